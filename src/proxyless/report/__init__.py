"""Shows a run as one HTML page: what was asked for, what was found, and how far to trust it."""

from proxyless.report.page import render, write_report
from proxyless.report.run_files import RunFiles, read_run

__all__ = ["RunFiles", "read_run", "render", "write_report"]
