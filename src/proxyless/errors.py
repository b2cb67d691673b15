"""The one exception a user's mistake raises: a single line that says what is wrong, where, and how to mend it."""


class ProxylessError(Exception):
    """A mistake in what the user passed: shown as one line by the command line, which then exits with code 2."""
