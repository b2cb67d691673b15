"""Every name of the front door has an example in its docstring, and the example runs."""

from __future__ import annotations

import doctest
import shutil
from pathlib import Path
from types import ModuleType

import pytest

import proxyless
from proxyless.latency.runtimes import RUNTIMES
from proxyless.spaces import SPACES
from proxyless.tasks import METRICS, TASKS

FINISHED = Path(__file__).parent / "versions" / "0.1.0" / "finished"
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The folder in which examples run; it holds a finished run, ``runs/digits``."""
    place = tmp_path_factory.mktemp("examples")
    shutil.copytree(FINISHED, place / "runs" / "digits")
    return place


@pytest.fixture
def registries(monkeypatch):
    """What an example registers is forgotten after it."""
    for registry in (SPACES, RUNTIMES, TASKS, METRICS):
        registry.registered()  # ours, which are registered when first asked for, stay
        for attribute in ("_things", "_origins"):
            monkeypatch.setattr(registry, attribute, dict(getattr(registry, attribute)))


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("name", proxyless.__all__)
def test_the_example_of_a_public_name_runs(name, place, monkeypatch):
    monkeypatch.chdir(place)
    thing = getattr(proxyless, name)
    if isinstance(thing, ModuleType):  # the package proxyless.search, which is a verb as well
        from proxyless.job.front_door import search as thing
    assert "Example:" in (thing.__doc__ or ""), f"proxyless.{name} has no example"
    (example,) = doctest.DocTestFinder(recurse=False).find(thing, name)
    assert example.examples, f"the example of proxyless.{name} has no line that runs"
    told: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append)
    assert not told, "".join(told)
