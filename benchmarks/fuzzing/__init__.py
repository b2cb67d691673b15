"""Files that are wrong in every way, put in the place of good ones: see ``benchmarks/fuzz.py``."""
