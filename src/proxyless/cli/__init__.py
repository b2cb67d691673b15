"""The command line: parses, calls, prints."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from proxyless.cli import options
from proxyless.cli.guard import guarded
from proxyless.cli.output import Answer, as_json
from proxyless.cli.parsing import CommandParser, PrintVersion
from proxyless.errors import Incomplete, ProxylessError, meant
from proxyless.job import terminal
from proxyless.spaces.settings import DEFAULT

COMMANDS = {
    "search": "design a network for your images, device and latency budget",
    "measure": "measure the latency table of a search space",
    "bundle": "write a search space as files to be timed on a device without this package",
    "train": "train the network of an architecture",
    "evaluate": "accuracy of a run's network on the test split",
    "export": "write a run's network as ONNX again, in int8, or as TFLite",
    "report": "write a run's report again",
    "devices": "the devices that latencies can be of, and what each needs",
    "zoo": "the published networks",
}


COMPILED = "TORCHINDUCTOR_CACHE_DIR"
"""Environment variable that names PyTorch's folder of compiled code."""

DEBUG = "--debug"
"""Taken before the command and after it."""

IMPORT = "--import"
"""Taken before the command and after it, and more than once."""


def parser(space: str = DEFAULT) -> CommandParser:
    """The parser of all commands; each command's own is among its ``others``.

    Args:
        space: the search space whose settings are flags.
    """
    top = CommandParser(
        prog="proxyless",
        description="Designs a neural network for your task and your device.",
        epilog="Start with: proxyless search --data digits --device cpu --latency 0.1 --out runs/first",
    )
    _add_common(top)
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, text in COMMANDS.items():
        module = import_module(f"proxyless.cli.{name}")
        command = commands.add_parser(name, help=text, description=f"{module.__doc__}".strip(), space=space)
        module.add_arguments(command)
        command.add_argument("--json", action="store_true", help="Print the outcome as one JSON value.")
        _add_common(command, hidden=True)
        command.set_defaults(run=partial(_answered, module.run))
        command.others = top.others = {**top.others, name: command}
    for command in top.others.values():
        command.others = {name: other for name, other in top.others.items() if other is not command}
    return top


def _add_common(parser: CommandParser, *, hidden: bool = False) -> None:
    text = argparse.SUPPRESS if hidden else "print the version and exit"
    parser.add_argument("--version", action=PrintVersion, nargs=0, help=text)
    text = "Of an error, show also where in the program it arose."
    parser.add_argument(DEBUG, action="store_true", default=argparse.SUPPRESS, help=text)
    text = "Module, or Python file, that registers a space, a runtime, a task or a metric of yours. May be repeated."
    parser.add_argument(IMPORT, metavar="MODULE", default=argparse.SUPPRESS, help=text)


def _answered(run: Callable[[argparse.Namespace], Answer], parsed: argparse.Namespace) -> None:
    """Run a command and print its outcome."""
    if parsed.json:
        with terminal.outcome_alone():
            answer = run(parsed)
        terminal.say(as_json(answer.value))
    else:
        answer = run(parsed)
        terminal.say(answer.text)
    if answer.lacking:
        raise Incomplete(answer.lacking)


def parse(words: Sequence[str]) -> argparse.Namespace:
    """What is to be run, and how; ends the process with one line where it cannot be."""
    top = parser()
    if not words:
        top.print_help()
        top.exit(2)
    if words[0] == "help":
        words = [*(word for word in words[1:2] if word != "help"), "--help"]
    if words[0] not in top.others:
        _without_command(top, words)
    if options.has_space(top.others[words[0]]) and (space := options.named_space(words)) != DEFAULT:
        top = parser(space)
    command = top.others[words[0]]
    if any(word in ("-h", "--help") for word in words):
        return top.parse_args([words[0], "--help"])
    ready, remarks = command.checked(words[1:])
    parsed, beside = command.parse_known_args(ready)
    beside = [word for word in beside if word != "--"]
    if beside:
        command.error(f"unexpected argument {beside[0]!r}: `{command.prog} --help` shows what it takes")
    parsed.command = words[0]
    parsed.remarks = remarks + options.remarks(parsed)
    return parsed


def _without_command(top: CommandParser, words: Sequence[str]) -> NoReturn:
    """End the process with help, the version or an error."""
    if not words[0].startswith("-"):
        top.error(f"unknown command {words[0]!r}: there is {', '.join(COMMANDS)}{meant(words[0], COMMANDS)}")
    top.parse_args(top.checked(words)[0])
    top.error("the command comes first, as in: proxyless search --data DATA --out RUN")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code.

    That is 0; 2 after a mistake of the user or an error of the system, 1 after one of ours or where only a part of what
    was asked for came about; 128 and the number of the signal that ended it.
    """
    terminal.prepare()
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != DEBUG]
    command = words[0] if words and words[0] in COMMANDS else ""
    return guarded(partial(_run, words), command=command, debug=words != given, ending=arguments is None)


def _run(words: Sequence[str]) -> None:
    words, modules = _without_imports(words)
    _import_plugins(modules, words)
    parsed = parse(words)
    for remark in () if getattr(parsed, "quiet", False) else parsed.remarks:
        terminal.tell(f"proxyless {parsed.command}: {remark}")
    # Read when PyTorch is loaded. Its threads wait for one another by spinning; where another process wants a core,
    # they spin through the time that the one they wait for would need.
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
    with _own_compiled_code():
        parsed.run(parsed)


def _without_imports(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words without each ``--import MODULE``, and the modules."""
    left, others, modules = list(words), list[str](), list[str]()
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if word == "--":
            return [*others, word, *left], modules
        if name != IMPORT:
            others.append(word)
        elif equals or (left and not left[0].startswith("-")):
            modules.append(value if equals else left.pop(0))
        else:
            raise ProxylessError(f"{IMPORT} lacks its value, MODULE")
    return others, modules


def _import_plugins(modules: Sequence[str], words: Sequence[str]) -> None:
    """Import what the user's own code registers: the modules that are named, and those of a run that goes on."""
    outs = [
        after if word == "--out" else word.removeprefix("--out=")
        for word, after in pairwise([*words, ""])
        if word == "--out" or word.startswith("--out=")
    ]
    if not modules and not outs:
        return
    from proxyless.job import plugins
    from proxyless.job.run_folder import RunFolder

    for module in modules:
        plugins.import_module(module)
    for out in outs:
        plugins.restore(RunFolder(Path(out)))


@contextmanager
def _own_compiled_code() -> Iterator[None]:
    """PyTorch's folder of compiled code, which it makes in any case, is removed at the end; the user needs no name."""
    if COMPILED in os.environ:
        yield
        return
    os.environ[COMPILED] = os.path.join(tempfile.gettempdir(), f"proxyless-compiled-{os.getpid()}")
    try:
        yield
    finally:
        shutil.rmtree(os.environ.pop(COMPILED), ignore_errors=True)
