"""How a path is chosen: update rules, objectives and rewards, budgets, and the loop of a search.

The package is at the same time the verb of the front door: ``proxyless.search(...)`` runs the main job, see
:func:`proxyless.job.front_door.search`.
"""
