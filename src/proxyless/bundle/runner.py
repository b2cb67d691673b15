"""Times the networks of a bundle on a device that has Python, numpy and ONNX Runtime, and writes results.json.

Every round is kept beside the results as it is done: when this is stopped, or killed, the same command goes on from
there. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import json
import multiprocessing
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from proxyless.export.onnxruntime_import import import_onnxruntime
from proxyless.latency.timing.interleaved import METHOD, time_interleaved
from proxyless.latency.timing.interruptions import Held
from proxyless.latency.timing.pinning import steady
from proxyless.latency.timing.repeated_loading import time_loadings
from proxyless.latency.timing.statistics import Conditions, Effort, Interval, Round, conditions, intervals, missing
from proxyless.machine.stopping import leave_signals_to_parent, stoppable
from proxyless.machine.system import machine, usable_cores

BUNDLE = "proxyless bundle 1"
"""Format of manifest.json."""

RESULTS = "proxyless results 1"
"""Format of results.json."""

LARGEST = 1 << 28
"""Bytes of a manifest, or of a file of rounds, at the most."""


class Mistake(Exception):  # noqa: N818  (shown to the user as one line, not raised at a caller)
    """What stops the program: one line that says what is wrong and how to mend it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Time a bundle; returns the exit code: 0, 2 after a mistake, 1 after one of ours, else that of a signal."""
    with stoppable(ending=arguments is None) as stop:
        try:
            measure(_parser().parse_args(arguments))
            sys.stdout.flush()
            return 0
        except Exception as error:
            code, line = _answer(error)
        except KeyboardInterrupt:
            code, line = stop.exit_code, ""
        if stop.number is not None or not line:  # what was running may have ended for the same signal
            code, line = stop.exit_code, "\nstopped; the same command goes on from here"
        print(line, file=sys.stderr)
        return code


def _answer(error: Exception) -> tuple[int, str]:
    if isinstance(error, Mistake | OSError):
        return 2, f"run.py: {error}"
    return 1, f"run.py: internal error: {type(error).__name__}: {error}"


def measure(parsed: argparse.Namespace) -> None:
    """Time whatever of the bundle is not yet known well enough, and write the results."""
    if parsed.out.is_dir():
        raise Mistake(f"--out {parsed.out}: is a folder; give the name of a file")
    if parsed.threads > usable_cores():
        raise Mistake(f"--threads {parsed.threads}: this process may use {usable_cores()} cores")
    manifest, digest = read_manifest(parsed.bundle)
    items = manifest["networks"] if parsed.networks_only else [*manifest["operators"].values(), *manifest["networks"]]
    models = {Path(item["file"]).stem: item for item in items}
    for item in models.values():
        if not (parsed.bundle / item["file"]).is_file():
            raise Mistake(f"{parsed.bundle / item['file']}: missing; copy the whole bundle again")
    runtime = _onnxruntime()
    setup = {
        "runtime": "onnxruntime",
        "runtime_version": runtime.__version__,
        "providers": providers(parsed.providers, runtime.get_available_providers()),
        "threads": parsed.threads,
        "machine": machine(),
    }
    effort = Effort(parsed.rounds, parsed.burst_ms, parsed.width, parsed.limit_s, parsed.loadings)
    record = Record(rounds_path(parsed.out), {"bundle": digest, "timing": METHOD} | setup)
    if missing(models, record.rounds, effort):
        apart = Apart(parsed.bundle, models, setup)
        history, shown = list(record.rounds), Progress("time")
        time_loadings(list(models), apart, effort, history=history, on_round=record.add, advance=shown)
    found, about = evaluated(models, record, effort)
    results = {
        "format": RESULTS,
        "bundle": digest,
        "device": {"name": parsed.name} | setup,
        "conditions": asdict(about),
        "times": {name: asdict(interval) for name, interval in found.items()},
        "manifest": manifest,
    }
    write_whole(parsed.out, json.dumps(results, indent=1, allow_nan=False) + "\n")
    for warning in about.warnings():
        print(warning, file=sys.stderr)
    networks = len(manifest["networks"])
    counted = f"{len(models) - networks} operators and {networks} networks"
    print(f"{parsed.out}: {counted} in {about.rounds} rounds, {about.seconds:.0f} s")
    others = " --adapt TABLES-OF-OTHER-DEVICES" * parsed.networks_only
    print(f"where the bundle was made: proxyless measure --from {parsed.out.name}{others} --out table.json")


def rounds_path(out: Path) -> Path:
    """Where the rounds are kept whose results go to ``out``."""
    return out.with_name(f"{out.name.removesuffix('.json')}.rounds.jsonl")


def read_manifest(folder: Path) -> tuple[dict[str, Any], str]:
    """The manifest of the bundle ``folder``, and its SHA-256, by which results are told to be of this bundle."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise Mistake(f"{folder}: no bundle, it has no manifest.json; give its folder by --bundle")
    if path.stat().st_size > LARGEST:
        raise Mistake(f"{path}: not the manifest of a bundle: it has {path.stat().st_size >> 20:,} MiB; copy it again")
    content = path.read_bytes()
    try:
        value = json.loads(content)
        known = value["format"] == BUNDLE
        items = [*value["operators"].values(), *value["networks"]] if known else []
        complete = all(isinstance(item[key], str) for item in items for key in ("file", "sha256"))
        if not complete or not all(isinstance(item["inputs"], list) for item in items):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Mistake(f"{path}: not the manifest of a bundle, or only part of it; copy it again") from None
    if not known:
        raise Mistake(
            f"{path}: format {value['format']!r}, but this run.py reads {BUNDLE!r}; keep a bundle's files together"
        )
    return value, hashlib.sha256(content).hexdigest()


def providers(wanted: Sequence[str], available: Sequence[str]) -> list[str]:
    """Full names of execution providers; ``xnnpack`` is short for ``XnnpackExecutionProvider``."""
    short = {name.lower().removesuffix("executionprovider"): name for name in available}
    found = []
    for name in wanted:
        key = name.lower().removesuffix("executionprovider")
        if key not in short:
            raise Mistake(f"--providers {name}: this ONNX Runtime has {', '.join(available)}")
        found.append(short[key])
    return found


class Model:
    """A loaded ONNX file that is run on one input, the same every time."""

    def __init__(self, session: Any, inputs: Sequence[Mapping[str, Any]]) -> None:
        self.session = session
        numbers = np.random.default_rng(0)
        read = {value.name for value in session.get_inputs()}
        self.feed = {
            value["name"]: numbers.standard_normal(value["shape"]).astype(value["dtype"])
            for value in inputs
            if value["name"] in read
        }

    def times_ms(self, count: int) -> Any:
        """Ms that each of ``count`` inferences took, copies to and from an accelerator included."""
        times = np.empty(count)
        for i in range(count):
            start = time.perf_counter_ns()
            self.session.run(None, self.feed)
            times[i] = time.perf_counter_ns() - start
        return times / 1e6


def load(runtime: Any, folder: Path, item: Mapping[str, Any], setup: Mapping[str, Any]) -> Model:
    """Load one file of the bundle, which must be as it was written."""
    path = folder / item["file"]
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != item["sha256"]:
        raise Mistake(f"{path}: changed since the bundle was written; copy it again")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = setup["threads"]
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Otherwise the threads of one model go on spinning after an inference and take the cores of the next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    chosen: list[Any] = list(setup["providers"])
    if "XnnpackExecutionProvider" in chosen:  # has threads of its own, which ONNX Runtime's would only disturb
        own = {"intra_op_num_threads": str(setup["threads"])}
        chosen[chosen.index("XnnpackExecutionProvider")] = ("XnnpackExecutionProvider", own)
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = runtime.InferenceSession(content, options, providers=chosen, enable_fallback=0)
        model = Model(session, item["inputs"])
        model.times_ms(1)
    except Exception as error:  # ONNX Runtime raises classes of its own, which it does not export
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Mistake(f"{path}: ONNX Runtime cannot run it: {reason}") from None
    if session.get_providers()[0] != setup["providers"][0]:
        raise Mistake(
            f"{path}: runs with {session.get_providers()[0]}, since {setup['providers'][0]} cannot be loaded: its"
            " libraries are missing or of other versions"
        )
    return model


class Apart:
    """Loads models in a process of its own and times them.

    Args:
        folder: of the bundle.
        models: by name, as the manifest describes them.
        setup: providers and threads.

    Raises:
        Mistake: when called, of a model that cannot be loaded or ends the process.
    """

    def __init__(self, folder: Path, models: Mapping[str, Mapping[str, Any]], setup: Mapping[str, Any]) -> None:
        self.folder, self.models, self.setup = folder, models, setup

    def __call__(
        self,
        order: Sequence[str],
        effort: Effort,
        on_round: Callable[[Round], None],
        advance: Callable[[float], None],
    ) -> None:
        context = multiprocessing.get_context("spawn")
        out, into = context.Pipe(duplex=False)
        process = context.Process(target=_loading, args=(self, list(order), effort, into), daemon=True)
        process.start()
        into.close()  # the end that the process has is the only one
        loading = order[0]
        try:
            while True:
                kind, value = out.recv()
                if kind == "mistake":
                    raise Mistake(value)
                elif kind == "loading":
                    loading = value
                elif kind == "round":
                    on_round(value)
                elif kind == "share":
                    advance(value)
                else:
                    return
        except EOFError:
            process.join()
            name = self.folder / self.models[loading]["file"]
            raise Mistake(f"{name}: the process that ran it, or one after it, ended with {process.exitcode}") from None
        finally:
            process.kill()
            process.join()


def _loading(apart: Apart, order: Sequence[str], effort: Effort, into: Any) -> None:
    """What the process of a loading does: sends pairs of a kind and a value."""
    leave_signals_to_parent()
    try:
        runtime, loaded = _onnxruntime(), {}
        with steady(apart.setup["threads"]):
            for name in order:
                into.send(("loading", name))
                loaded[name] = load(runtime, apart.folder, apart.models[name], apart.setup)
            time_interleaved(
                loaded,
                effort,
                on_round=lambda done: into.send(("round", done)),
                advance=lambda share: into.send(("share", share)),
            )
        into.send(("finished", None))
    except Mistake as error:
        into.send(("mistake", str(error)))
    except BrokenPipeError:  # the parent has been killed
        return


class Record:
    """The rounds done so far, kept in a file of JSON lines that begins with what was measured and how.

    Args:
        path: of the file; taken up if it is there.
        setup: what all its rounds have in common.

    Raises:
        Mistake: the file holds something else, or rounds of another setup.
    """

    def __init__(self, path: Path, setup: Mapping[str, Any]) -> None:
        self.path = path
        self.rounds: list[Round] = []
        self.seconds = 0.0
        if path.exists():
            if not path.is_file() or path.stat().st_size > LARGEST:
                raise Mistake(f"{path}: in the way, and holds no rounds of a bundle; choose another --out")
            self._take_up(setup)
        else:
            write_whole(path, json.dumps(setup) + "\n")
        self.last = time.perf_counter()

    def _take_up(self, setup: Mapping[str, Any]) -> None:
        first, *lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True) or [""]
        mend = "choose another --out, or remove that file"
        try:
            before = json.loads(first)
            differing = [name for name in setup if before.get(name) != setup[name]]
        except (ValueError, AttributeError, RecursionError):
            raise Mistake(f"{self.path}: in the way, and holds no rounds of a bundle; {mend}") from None
        if differing:
            name = differing[0]
            what = "another bundle" if name == "bundle" else f"{name} {before.get(name)!r}, not {setup[name]!r}"
            raise Mistake(f"{self.path}: its rounds are of {what}; {mend}")
        for line in lines:
            try:
                value = json.loads(line)
                bursts = {name: float(ms) for name, ms in value["bursts"].items()}
                loading = str(value["loading"])
                other, seconds = value["other_cores"], float(value["seconds"])
                held = Held(**value.get("held", {}))
                other = None if other is None else float(other)
                sensible = all(0 <= number < 1e9 for number in (seconds, *vars(held).values()))
                if not sensible or not all(1e-9 < ms < 1e9 for ms in bursts.values()):
                    continue
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                continue  # cut off by a kill
            self.rounds.append(Round(bursts, other, loading, held))
            self.seconds += seconds
        if lines and not lines[-1].endswith("\n"):
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n")

    def add(self, done: Round) -> None:
        """Append a round."""
        now = time.perf_counter()
        value = {
            "bursts": {name: round(ms, 7) for name, ms in done.bursts.items()},
            "other_cores": done.other_cores,
            "loading": done.loading,
            "held": asdict(done.held),
            "seconds": round(now - self.last, 3),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(value, allow_nan=False) + "\n")
        self.rounds.append(done)
        self.seconds += now - self.last
        self.last = now


def evaluated(models: Mapping[str, Any], record: Record, effort: Effort) -> tuple[dict[str, Interval], Conditions]:
    """The interval of every model over all rounds, also those before a stop, and what the machine was like."""
    found, _ = intervals(models, record.rounds, effort)
    return found, conditions(models, record.rounds, effort, before=0, seconds=record.seconds)


class Progress:
    """The share done and the time left, on standard error: one line on a terminal, else a line every ten seconds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()
        self.started = self.last = time.monotonic()
        self.first: float | None = None

    def __call__(self, share: float) -> None:
        now = time.monotonic()
        if self.first is None:  # what was known before is not of this run
            self.first, self.started = share, now
        ended = share >= 1 and self.terminal
        if not ended and (now - self.last < (0.2 if self.terminal else 10) or share <= self.first):
            return
        self.last = now
        left = (now - self.started) * (1 - share) / max(share - self.first, 1e-9)
        text = f"{self.name} {share:4.0%}  {left:.0f} s left"
        print(f"\r{text:<40}" if self.terminal else text, end="" if self.terminal and not ended else "\n",
              file=sys.stderr, flush=True)  # fmt: skip


def write_whole(path: Path, text: str) -> None:
    """Write ``text`` to ``path`` as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".partial-", suffix=path.suffix, dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _onnxruntime() -> Any:
    try:
        return import_onnxruntime()
    except ImportError as error:
        raise Mistake(f"ONNX Runtime cannot be imported ({error}): pip install onnxruntime") from None


class _Parser(argparse.ArgumentParser):
    """Of flags written in full, whose mistakes are one line."""

    def error(self, message: str) -> NoReturn:
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = message.removeprefix("unrecognized arguments: ")
        near = difflib.get_close_matches(unknown.split("=")[0].split()[0], flags, 1) if unknown != message else []
        mend = f"; did you mean {near[0]}?" if near else ""
        self.exit(2, f"run.py: {message.removeprefix('argument ')}{mend}\n")


def _parser() -> argparse.ArgumentParser:
    default = Effort()
    parser = _Parser(description="Time the networks of a bundle on this device.", allow_abbrev=False)
    text = "the whole networks alone: enough to adapt tables of other devices, not to make one from nothing"
    parser.add_argument("--networks-only", action="store_true", help=text)
    whole, positive = _number(int, 1), _number(float, 0.01)
    own = Path(__file__).resolve().parent
    parser.add_argument("--out", type=Path, default=Path("results.json"), metavar="FILE", help="default: results.json")
    parser.add_argument("--name", default=platform.node() or "device", help="of this device (default: its host name)")
    parser.add_argument("--threads", type=whole, default=1, metavar="N", help="of one inference (default: 1)")
    parser.add_argument(
        "--providers", nargs="+", default=["cpu"], metavar="NAME",
        help="execution providers of ONNX Runtime by preference, such as xnnpack cpu, or cuda cpu (default: cpu)",
    )  # fmt: skip
    text = f"undisturbed passes over all models at the least (default: {default.rounds})"
    parser.add_argument("--rounds", type=whole, default=default.rounds, metavar="N", help=text)
    text = f"how often all models are loaded anew, in a process of its own each time (default: {default.loadings})"
    parser.add_argument("--loadings", type=whole, default=default.loadings, metavar="N", help=text)
    text = f"ms that a model runs in each pass (default: {default.burst_ms:g})"
    parser.add_argument("--burst-ms", type=positive, default=default.burst_ms, metavar="MS", help=text)
    text = f"half the width of an interval, as a share, that is narrow enough (default: {default.width:g})"
    parser.add_argument("--width", type=_number(float, 0), default=default.width, metavar="X", help=text)
    text = f"seconds after which intervals may stay wider (default: {default.limit_s:g})"
    parser.add_argument("--limit-s", type=_number(float, 0), default=default.limit_s, metavar="S", help=text)
    parser.add_argument("--bundle", type=Path, default=own, metavar="FOLDER", help="default: where this file is")
    return parser


def _number(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    def parsed(text: str) -> Any:
        value = kind(text)
        if not least <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"must be at least {least:g}, got {text}")
        return value

    parsed.__name__ = "number"  # argparse names it in its error
    return parsed


if __name__ == "__main__":
    sys.exit(main())
