"""The six stages of the main job, one file each, in the order of :mod:`proxyless.job.pipeline`.

Each takes the value of the stage before it and returns its own. What a stage leaves in the run folder is enough for the
next one, so that a job that was stopped goes on with the stage it was in.
"""
