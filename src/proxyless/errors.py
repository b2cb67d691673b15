"""The one exception a user's mistake raises: a single line that says what is wrong, where, and how to mend it."""

from __future__ import annotations

LONGEST = 1000
"""Characters of a message that are shown; what a file holds may be quoted in it, however long that is."""


class ProxylessError(Exception):
    """A mistake in what the user passed: shown as one line by the command line, which then exits with code 2.

    Names and values that a message quotes come from files, and may hold line ends or what steers a terminal: these are
    written as escapes.
    """

    def __str__(self) -> str:
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in super().__str__())
        if len(text) > LONGEST:
            text = f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"
        return text


def first_line(error: BaseException) -> str:
    """What a foreign exception says, in one line."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def short(value: object, most: int = 60) -> str:
    """A value as a message quotes it, in so many characters."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
