"""A parser of one command's flags, whose every mistake is one line with what was probably meant."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

from proxyless import __version__
from proxyless.errors import nearest, one_line
from proxyless.job import terminal

MOST_MEANT = 4
"""Flags that an error offers at the most for one that is not there."""

_TRUTHS = ("true", "false", "yes", "no", "on", "off", "1", "0", "null")


class PrintVersion(argparse.Action):
    """Prints the version and ends the process."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        terminal.say(__version__)
        parser.exit()


class CommandParser(argparse.ArgumentParser):
    """A parser that ends the process with exit code 2 and one line, as a user's other mistakes do.

    Flags are never abbreviated, so that a new flag cannot change what an old command means.
    """

    def __init__(self, *, space: str = "", **arguments: Any) -> None:
        super().__init__(allow_abbrev=False, **arguments)
        self.space = space
        """The search space whose settings are flags."""
        self.elsewhere: Callable[[str], str | None] = lambda name: None
        """Says of a flag that is unknown here where it belongs, if it does somewhere."""
        self.others: Mapping[str, CommandParser] = {}
        """The other commands' parsers by name, for flags that are one of theirs."""

    def error(self, message: str) -> NoReturn:
        """Exit with code 2 after one line."""
        message = re.sub(r"^argument (\S+): ", r"\1 ", message)
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            names = [self._described(name) for name in missing.split(", ")]
            message = f"{_listed(names, 'and')} {'is' if len(names) == 1 else 'are'} missing"
        self.exit(2, f"{self.prog}: {one_line(message)}\n")

    def print_help(self, file: Any = None) -> None:
        """Print the help, to a reader that may not read on."""
        terminal.say(self.format_help().rstrip("\n"))

    def checked(self, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """Words in a form that argparse reads as they are meant, and a remark on each flag that was given in vain.

        Unknown flags and lacking values end the process.

        Args:
            words: of the command, such as ``--latency -1e3``, which becomes ``--latency=-1e3``.
        """
        flags, left = self.flags(), list(words)
        ready: list[str] = []
        given: dict[str, list[tuple[str, str]]] = {}
        while left:
            word = left.pop(0)
            if word == "--":
                ready += [word, *left]
                break
            if not _is_flag(word):
                if not word:
                    self.error("one of the arguments is empty")
                ready.append(word)
                continue
            name, equals, value = word.partition("=")
            if name not in flags:
                self.error(self._unknown(name))
            action = flags[name]
            if action.nargs == 0:
                self._check_switch(name, action, value if equals else (left or [""])[0], joined=bool(equals))
                ready.append(name)
                value = name
            else:
                values = [value] if equals else []
                while not equals and left and not _is_flag(left[0]) and (action.nargs == "+" or not values):
                    values.append(left.pop(0))
                if not values:
                    self.error(_without(name, action, left[0] if left else "--"))
                if "" in values:
                    self.error(f"{name} is empty: it takes {action.metavar}")
                # Joined, a value may begin with "-".
                ready += [name, *values] if action.nargs == "+" else [f"{name}={values[0]}"]
                value = " ".join(values)
            given.setdefault(action.dest, []).append((name, value))
        repeated = [uses for uses in given.values() if len({value for _, value in uses}) > 1]
        return ready, [f"{uses[-1][0]} is given more than once: the last one counts" for uses in repeated]

    def flags(self) -> dict[str, argparse.Action]:
        """What each flag does, hidden ones included."""
        return {flag: action for action in self._actions for flag in action.option_strings}

    def _visible(self) -> list[str]:
        return [flag for flag, action in self.flags().items() if action.help != argparse.SUPPRESS]

    def _described(self, name: str) -> str:
        action = self.flags().get(name)
        return name if action is None else f"{name} {action.metavar}"

    def _check_switch(self, name: str, action: argparse.Action, value: str, *, joined: bool) -> None:
        """End the process where a switch is given a value."""
        two_ways = isinstance(action, argparse.BooleanOptionalAction)
        if joined or (two_ways and value.casefold() in _TRUTHS):
            mend = f": write {' or '.join(action.option_strings)}" if two_ways else ""
            self.error(f"{name} takes no value, got {value!r}{mend}")

    def _unknown(self, name: str) -> str:
        if where := self.elsewhere(name):
            return f"unknown option {name}: {where}"
        theirs = [command for command, parser in self.others.items() if name in parser._visible()]
        if theirs:
            return f"unknown option {name}: it is one of proxyless {_listed(theirs, 'and')}"
        near = _flags_meant(name, self._visible())
        mend = f"did you mean {_listed(near, 'or')}?" if near else f"`{self.prog} --help` lists those there are"
        return f"unknown option {name}: {mend}"


def _is_flag(word: str) -> bool:
    """Whether a word is no value: it begins with ``-`` and is not a negative number."""
    if not word.startswith("-") or word == "-":
        return False
    try:
        float(word)
    except ValueError:
        return True
    return False


def _without(name: str, action: argparse.Action, after: str) -> str:
    text = f"{name} lacks its value, {action.metavar}"
    if action.nargs is None and not after.startswith("--"):
        text += f"; one that begins with - is written {name}={after}"
    return text


def _flags_meant(name: str, known: Sequence[str]) -> list[str]:
    """Those of ``known`` that an unknown flag is the beginning or the end of, else the one that is spelt most alike."""
    body = name.strip("-").replace("_", "-").casefold()
    if not body:
        return []
    if f"--{body}" in known:
        return [f"--{body}"]
    parts = [flag for flag in known if flag.startswith(f"--{body}") or flag.endswith(f"-{body}")]
    if parts:
        return parts if len(parts) <= MOST_MEANT else []
    near = nearest(f"--{body}", known)
    return [] if near is None else [near]


def _listed(names: Sequence[str], last: str) -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}" if len(names) > 1 else names[0]
