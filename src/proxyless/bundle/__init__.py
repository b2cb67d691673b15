"""A search space as files for a device without this package, and the table made of what was timed there."""
