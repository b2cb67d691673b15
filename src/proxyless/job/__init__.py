"""The main job: from settings to objects, the six stages and their order, the run folder, what is handed over."""
