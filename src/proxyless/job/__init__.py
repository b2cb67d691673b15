"""The main job: settings become objects, six stages run in order, and a run folder keeps what they leave."""
