"""Latencies of operators that were never measured, and of devices on which hardly anything was."""
