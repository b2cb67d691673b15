"""The one exception a user's mistake raises: a single line that says what is wrong, where, and how to mend it."""

from __future__ import annotations


class ProxylessError(Exception):
    """A mistake in what the user passed: shown as one line by the command line, which then exits with code 2."""


def first_line(error: BaseException) -> str:
    """What a foreign exception says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
