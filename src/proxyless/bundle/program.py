"""The program of a bundle, which ``python run.pyz`` runs on the device: it times the models and writes results.json.

It needs numpy and ONNX Runtime, and of this package only what ``run.pyz`` carries; see
:mod:`proxyless.bundle.application`. Every round is kept beside the results as soon as it is done: after a stop or a
kill the same command goes on from there.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from proxyless import files
from proxyless.errors import ProxylessError, first_line
from proxyless.files import reading
from proxyless.files.fields import Fields
from proxyless.latency.timing import rounds_file
from proxyless.latency.timing.interleaved import METHOD
from proxyless.latency.timing.onnx_models import OnnxLoader
from proxyless.latency.timing.progress import Progress
from proxyless.latency.timing.repeated_loading import time_over_loadings
from proxyless.latency.timing.statistics import Effort, Round, conditions, intervals, missing
from proxyless.latency.timing.worker import Input, Model, Workers
from proxyless.machine.onnx_runtime import import_onnxruntime
from proxyless.machine.stopping import stoppable
from proxyless.machine.system import machine, usable_cores

BUNDLE = "proxyless bundle 1"
"""Format of manifest.json."""

RESULTS = "proxyless results 1"
"""Format of results.json."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Time a bundle as the command line says.

    Args:
        arguments: the flags; those of the process by default, which then ends after this.

    Returns:
        The exit code: 0, 2 after a mistake of the user, 1 after one of ours, 128 and its number after a signal.
    """
    with stoppable(ending=arguments is None) as stop:
        try:
            time_bundle(_parser().parse_args(arguments))
            sys.stdout.flush()
            return 0
        except (ProxylessError, OSError) as error:
            code, line = 2, f"run.pyz: {error}"
        except Exception as error:
            code, line = 1, f"run.pyz: internal error: {type(error).__name__}: {first_line(error)}"
        except KeyboardInterrupt:
            code, line = stop.exit_code, ""
        if stop.number is not None or not line:  # what was running may have ended for the same signal
            code, line = stop.exit_code, "\nstopped; the same command goes on from here"
        print(line, file=sys.stderr)
        return code


@dataclass(frozen=True)
class Bundle:
    """A bundle to be timed.

    Args:
        manifest: what manifest.json holds.
        digest: its SHA-256, by which results are told to be of this bundle.
        operators: the candidate operations, by the names of their files.
        networks: the whole networks, by the names of their files.
    """

    manifest: Mapping[str, Any]
    digest: str
    operators: Mapping[str, Model]
    networks: Mapping[str, Model]


def time_bundle(parsed: argparse.Namespace) -> None:
    """Time whatever of a bundle is not yet known well enough, and write the results.

    Raises:
        ProxylessError: the bundle is not whole, a model cannot be run, or a flag asks for what there is not.
    """
    if parsed.out.is_dir():
        raise ProxylessError(f"--out {parsed.out}: is a folder; give the name of a file")
    if parsed.threads > usable_cores():
        raise ProxylessError(f"--threads {parsed.threads}: this process may use {usable_cores()} cores")
    bundle = read_bundle(parsed.bundle, networks_only=parsed.networks_only)
    models = {**bundle.operators, **bundle.networks}
    onnxruntime = import_onnxruntime()
    setup = {
        "runtime": "onnxruntime",
        "runtime_version": onnxruntime.__version__,
        "providers": providers(parsed.providers, onnxruntime.get_available_providers()),
        "threads": parsed.threads,
        "machine": machine(),
    }
    effort = Effort(parsed.rounds, parsed.burst_ms, parsed.width, parsed.limit_s, parsed.loadings)
    kept = rounds_path(parsed.out)
    rounds = take_up(kept, {"bundle": bundle.digest, "timing": METHOD} | setup)

    def keep(done: Round) -> None:
        rounds_file.append(kept, done)
        rounds.append(done)

    if missing(models, rounds, effort):
        load = OnnxLoader(parsed.threads, tuple(setup["providers"]))
        workers = Workers(models, load, "ONNX Runtime", parsed.threads)
        time_over_loadings(models, workers, effort, history=rounds, on_round=keep, advance=Progress("time"))
    found, _ = intervals(models, rounds, effort)
    about = conditions(models, rounds, effort)
    results = {
        "format": RESULTS,
        "bundle": bundle.digest,
        "device": {"name": parsed.name} | setup,
        "conditions": asdict(about),
        "times": {name: asdict(interval) for name, interval in found.items()},
        "manifest": bundle.manifest,
    }
    files.write_json(parsed.out, results)
    for warning in about.warnings():
        print(warning, file=sys.stderr)
    counted = f"{len(models) - len(bundle.networks)} operators and {len(bundle.networks)} networks"
    print(f"{parsed.out}: {counted} in {about.rounds} rounds, {about.seconds:.0f} s")
    others = " --adapt TABLES-OF-OTHER-DEVICES" if parsed.networks_only else ""
    print(f"where the bundle was made: proxyless measure --from {parsed.out.name}{others} --out table.json")


def read_bundle(folder: Path, *, networks_only: bool = False) -> Bundle:
    """Read what is in the bundle ``folder``, and make sure that every file is there and as it was written.

    Args:
        folder: of the bundle.
        networks_only: leave out the operators.

    Raises:
        ProxylessError: it is not; names the file.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise ProxylessError(f"{folder}: no bundle, it has no manifest.json; give its folder by --bundle")
    content = reading.content(path, reading.LARGEST_JSON)
    broken = f"{path}: not the manifest of a bundle, or only part of it; copy it again"
    try:
        manifest = reading.parsed_json(content.decode("utf-8"))
    except ValueError as error:
        raise ProxylessError(f"{broken} ({error})") from None
    fields = Fields(manifest, "", source=broken, whole="the manifest")
    if fields.text("format") != BUNDLE:
        raise ProxylessError(
            f"{path}: format {fields.text('format')!r}, but this run.pyz reads {BUNDLE!r}; keep a bundle's files"
            " together"
        )
    operators = fields.child("operators")
    keys = () if networks_only else operators.names
    return Bundle(
        manifest,
        hashlib.sha256(content).hexdigest(),
        dict(_model(folder, operators.child(key)) for key in keys),
        dict(_model(folder, item) for item in fields.objects("networks")),
    )


def _model(folder: Path, item: Fields) -> tuple[str, Model]:
    """Return the name and the model of an entry of the manifest."""
    path = folder / item.text("file")
    if not path.is_file():
        raise ProxylessError(f"{path}: missing; copy the whole bundle again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != item.text("sha256"):
        raise ProxylessError(f"{path}: changed since the bundle was written; copy it again")
    inputs = [Input(one.text("name"), tuple(one.values("shape")), one.text("dtype")) for one in item.objects("inputs")]
    return path.stem, Model(str(path), path.absolute(), tuple(inputs))


def providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """Find execution providers by their names; ``xnnpack`` is short for ``XnnpackExecutionProvider``.

    Args:
        wanted: short or full names, in any case.
        available: full names of those that this ONNX Runtime was built with.

    Returns:
        The full names of those wanted.

    Raises:
        ProxylessError: one is not available.
    """
    by_short = {_short(name): name for name in available}
    for name in wanted:
        if _short(name) not in by_short:
            raise ProxylessError(f"--providers {name}: this ONNX Runtime has {', '.join(available)}")
    return [by_short[_short(name)] for name in wanted]


def _short(provider: str) -> str:
    return provider.lower().removesuffix("executionprovider")


def rounds_path(out: Path) -> Path:
    """Name the file that keeps the rounds whose results go to ``out``."""
    return out.with_name(f"{out.name.removesuffix('.json')}.rounds.jsonl")


def take_up(path: Path, setup: Mapping[str, Any]) -> list[Round]:
    """Read the rounds that were done before, or begin a file for them.

    Args:
        path: of the file of rounds.
        setup: what all its rounds must have in common.

    Returns:
        The rounds.

    Raises:
        ProxylessError: the file holds something else, or rounds of another setup.
    """
    if not path.exists():
        rounds_file.begin(path, setup)
        return []
    mend = "choose another --out, or remove that file"
    try:
        before, rounds = rounds_file.read(path)
    except ProxylessError as error:
        raise ProxylessError(f"{error}; {mend}") from None
    if "bundle" not in before:
        raise ProxylessError(f"{path}: in the way, and holds no rounds of a bundle; {mend}")
    for name, value in setup.items():
        if before.get(name) != value:
            what = "another bundle" if name == "bundle" else f"{name} {before.get(name)!r}, not {value!r}"
            raise ProxylessError(f"{path}: its rounds are of {what}; {mend}")
    return rounds


class _Parser(argparse.ArgumentParser):
    """A parser of flags written in full, whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ")
        near = difflib.get_close_matches(unknown.split("=")[0].split()[0], flags, 1) if unknown != message else []
        mend = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"run.pyz: {message.removeprefix('argument ')}{mend}\n")


def _parser() -> argparse.ArgumentParser:
    default = Effort()
    parser = _Parser(prog="run.pyz", description="Time the networks of a bundle on this device.", allow_abbrev=False)

    def add(flag: str, metavar: str, kind: Callable[[str], Any], value: Any, text: str) -> None:
        shown = f"{value:g}" if isinstance(value, float) else value
        parser.add_argument(flag, metavar=metavar, type=kind, default=value, help=f"{text} (default: {shown})")

    text = "the whole networks alone: enough to adapt tables of other devices, not to make one from nothing"
    parser.add_argument("--networks-only", action="store_true", help=text)
    whole = _number(int, 1)
    add("--out", "FILE", Path, Path("results.json"), "file for the results")
    add("--name", "NAME", str, platform.node() or "device", "of this device")
    add("--threads", "N", whole, 1, "of one inference")
    text = "execution providers of ONNX Runtime by preference, such as xnnpack cpu, or cuda cpu (default: cpu)"
    parser.add_argument("--providers", nargs="+", default=["cpu"], metavar="NAME", help=text)
    add("--rounds", "N", whole, default.rounds, "undisturbed passes over all models at the least")
    text = "how often all models are loaded anew, in a process of its own each time"
    add("--loadings", "N", whole, default.loadings, text)
    add("--burst-ms", "MS", _number(float, 0.01), default.burst_ms, "ms that a model runs in each pass")
    text = "half the width of an interval, as a share, that is narrow enough"
    add("--width", "X", _number(float, 0), default.width, text)
    add("--limit-s", "S", _number(float, 0), default.limit_s, "seconds after which intervals may stay wider")
    add("--bundle", "FOLDER", Path, Path(sys.argv[0]).resolve().parent, "folder of the bundle")
    return parser


def _number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g}, got {text}")
        return value

    parsed.__name__ = "number"  # argparse names it in its error
    return parsed
