"""Processes that make batches: they are started once, and asked for one batch after the other.

Every process has a pipe of its own. There are no locks, and nothing has a name in the system. A process may end at any
moment: it never blocks the others or this process, and leaves nothing behind.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing import connection, util
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import torch

from proxyless.data.main_guard import MEND
from proxyless.data.sharing import Layout, Memory, Shared, bytes_of
from proxyless.data.watch import Watch
from proxyless.errors import ProxylessError, first_line

Batch = tuple[torch.Tensor, torch.Tensor]

AHEAD = 2
"""Batches that a process is asked for in advance."""

CAUSES = {
    "SIGKILL": "most often by the system, for want of memory",
    "SIGBUS": "most often for want of memory",
}


class Source(Protocol):
    """Makes the batch of a number, the same one in every process."""

    def __getitem__(self, number: int) -> Batch: ...

    def largest(self) -> Batch:
        """Return tensors of the type and shape of the largest batch, without memory."""
        ...

    def prepare(self) -> None:
        """Import what making batches needs, once, before processes are forked."""
        ...

    def doing(self) -> str:
        """Say in words what it is doing; called from another thread."""
        ...


@dataclass(frozen=True)
class Answer:
    """The answer of a process to the request ``key``: a batch, or why there is none."""

    key: int
    batch: Batch | None
    failure: str = ""


class Ended(Exception):  # noqa: N818  (not an error of the caller)
    """A process has ended that should still run; the text says how."""


class Workers:
    """Processes that make batches.

    Args:
        sources: Makers of batches, by name.
        count: Number of processes.
        patience_s: Seconds after which a process tells what takes so long.

    Raises:
        OSError: The system starts no more processes, or has no memory for what they share.
        ProxylessError: This process is itself being started, by a script without a main guard.
    """

    def __init__(self, sources: Mapping[str, Source], count: int, *, patience_s: float) -> None:
        self.channels: list[connection.Connection] = []
        self.processes: list[BaseProcess] = []
        self.asked: list[set[int]] = []
        self.slot_of: dict[int, int] = {}
        size = max(bytes_of(source.largest()) for source in sources.values())
        self.slots = [Memory(size) for _ in range(AHEAD * count)]
        self.free = list(range(len(self.slots)))
        for source in sources.values():
            source.prepare()
        self.owner = os.getpid()
        shared = Shared(sources)
        self.stop = util.Finalize(self, _stop, (self.owner, self.channels, self.processes), exitpriority=10)
        try:
            for _ in range(count):
                self._start(shared, patience_s)
        except BaseException as error:
            self.stop()
            if isinstance(error, RuntimeError) and "bootstrapping" in str(error):
                raise ProxylessError(f"this script is run again by each process that it starts: {MEND}") from None
            raise

    def _start(self, shared: Shared, patience_s: float) -> None:
        here, there = multiprocessing.Pipe()
        arguments = (there, shared, self.slots, patience_s)
        process = multiprocessing.Process(target=_work, args=arguments, daemon=True, name="proxyless-loader")
        try:
            process.start()
        except BaseException:
            here.close()
            raise
        finally:
            there.close()
        self.channels.append(here)
        self.processes.append(process)
        self.asked.append(set())

    def room(self) -> bool:
        """Say whether a process can take another request."""
        return bool(self.free)

    def ask(self, key: int, source: str, number: int) -> None:
        """Ask a process for a batch; there must be :meth:`room`.

        Raises:
            Ended: The process has ended.
        """
        least = min(range(len(self.asked)), key=lambda worker: len(self.asked[worker]))
        slot = self.free.pop()
        self.asked[least].add(key)
        self.slot_of[key] = slot
        try:
            self.channels[least].send((key, source, number, slot))
        except OSError:
            raise Ended(self._how(least)) from None

    def answers(self, timeout_s: float) -> list[Answer | str]:
        """Receive what the processes have sent: answers, and lines of text for the user.

        Args:
            timeout_s: How long to wait where nothing has come yet.

        Raises:
            Ended: A process has ended.
        """
        ready = connection.wait([*self.channels, *(process.sentinel for process in self.processes)], timeout_s)
        found: list[Answer | str] = []
        for worker, channel in enumerate(self.channels):
            if channel in ready:
                try:
                    message = channel.recv()
                except (EOFError, OSError):
                    raise Ended(self._how(worker)) from None
                found.append(message if isinstance(message, str) else self._answer(worker, *message))
            elif self.processes[worker].sentinel in ready:
                raise Ended(self._how(worker))
        return found

    def _answer(self, worker: int, key: int, made: Layout | str) -> Answer:
        self.asked[worker].discard(key)
        slot = self.slot_of.pop(key)
        self.free.append(slot)
        if isinstance(made, str):
            return Answer(key, None, made)
        images, labels = (self.slots[slot].tensor(place).clone() for place in made)
        return Answer(key, (images, labels))

    def _how(self, worker: int) -> str:
        """Say how a process ended."""
        process = self.processes[worker]
        process.join(5.0)  # it has closed its pipe, and is about to end
        code = process.exitcode
        if code is None:
            return "a process that loads images no longer answers"
        if code < 0:
            name = signal.Signals(-code).name
            cause = f", {CAUSES[name]}" if name in CAUSES else ""
            return f"a process that loads images was ended by {name}{cause}"
        again = "" if multiprocessing.get_start_method() == "fork" else f" (if a script started this: {MEND})"
        return f"a process that loads images ended with exit code {code}{again}"


def _stop(owner: int, channels: list[connection.Connection], processes: list[BaseProcess]) -> None:
    """Kill all processes; they hold nothing that would have to be saved."""
    if os.getpid() != owner:  # a fork of this process has nothing to end
        return
    for process in processes:
        process.kill()
    for process in processes:
        process.join()
        process.close()
    for channel in channels:
        channel.close()
    channels.clear()
    processes.clear()


def _work(channel: connection.Connection, shared: Shared, slots: list[Memory], patience_s: float) -> None:
    """What a process does until its parent ends it, or has ended."""
    # An interrupt reaches all processes of a terminal or a service; it is the parent that ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)  # there are as many processes as cores
    sources: Mapping[str, Source] = shared.value
    sending = threading.Lock()

    def send(message: Any) -> None:
        with sending:
            channel.send(message)

    watch = Watch(patience_s, send)
    try:
        while True:
            key, name, number, slot = channel.recv()
            with watch.over(sources[name].doing):
                send((key, _made(sources[name], number, slots[slot])))
    except (EOFError, OSError):  # the parent has ended
        return


def _made(source: Source, number: int, slot: Memory) -> Layout | str:
    try:
        return slot.put(source[number])
    except Exception as error:  # the parent makes the batch itself, and so meets the error where it is handled
        return f"{type(error).__name__}: {first_line(error)}"


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
