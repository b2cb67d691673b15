"""Things that are known by name, ours and those of other packages."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from proxyless.errors import ProxylessError
from proxyless.registry import Registry

GROUP = "proxyless.made_up"


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[object]:
    """One that has a thing of its own, and two of an installed package, of which one cannot be imported."""
    info = tmp_path / "made_up-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: made-up\nVersion: 1.0\n")
    points = "theirs = made_up_package\nbroken = made_up_broken:Thing\nsilent = made_up_silent\n"
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}")
    (tmp_path / "made_up_own.py").write_text(
        "from made_up_home import HOME\nHOME[0].register('own', 1, module=__name__)"
    )
    (tmp_path / "made_up_package.py").write_text(
        "from made_up_home import HOME\nHOME[0].register('theirs', 2, module=__name__)"
    )
    (tmp_path / "made_up_broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "made_up_silent.py").write_text("")
    (tmp_path / "made_up_home.py").write_text("HOME = []")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("made_up_home", "made_up_own", "made_up_package", "made_up_silent"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    import made_up_home  # type: ignore[import-not-found]

    made: Registry[object] = Registry("made-up thing", GROUP, {"own": "made_up_own"})
    made_up_home.HOME.append(made)
    return made


def test_names_are_known_without_importing_what_registers_them(registry: Registry[object]):
    assert registry.names() == ["own", "theirs", "broken", "silent"]
    assert not {"made_up_own", "made_up_package"} & set(sys.modules)
    assert registry.registered() == {"own": 1}
    assert "made_up_package" not in sys.modules


def test_a_thing_is_imported_when_it_is_used(registry: Registry[object]):
    assert registry.get("own") == 1
    assert "made_up_package" not in sys.modules
    assert registry.get("theirs") == 2


def test_what_is_registered_in_this_process_has_its_module_as_origin(registry: Registry[object]):
    registry.register("mine", 3, module="my_module")
    assert registry.get("mine") == 3
    assert registry.names()[-1] == "silent"
    assert "mine" in registry.names()
    assert registry.origin("mine") == "my_module"
    assert registry.origin("own") is None
    assert registry.origin("theirs") is None


def test_registering_again_from_the_same_module_replaces(registry: Registry[object]):
    registry.register("mine", 3, module="my_module")
    registry.register("mine", 4, module="my_module")
    assert registry.get("mine") == 4


@pytest.mark.parametrize("name", ["own", "mine"])
def test_a_name_that_is_taken_is_refused(registry: Registry[object], name: str):
    registry.register("mine", 3, module="my_module")
    with pytest.raises(ProxylessError, match=f"there is a made-up thing called '{name}' already, of m.*: choose"):
        registry.register(name, 4, module="another")


@pytest.mark.parametrize("name", ["", "My Space", "--x", "a/b", "a,b"])
def test_a_name_that_could_not_be_written_on_the_command_line_is_refused(registry: Registry[object], name: str):
    with pytest.raises(ProxylessError, match="cannot be the name of a made-up thing"):
        registry.register(name, 4, module="another")


def test_an_unknown_name_says_what_there_is_and_what_was_meant(registry: Registry[object]):
    with pytest.raises(
        ProxylessError, match=r"no made-up thing called 'thiers': there is own, .*; did you mean theirs"
    ):
        registry.get("thiers")


def test_a_package_that_cannot_be_imported_is_named_and_stops_nothing_else(registry: Registry[object]):
    wanted = "made-up thing broken of the package made-up cannot be imported: ModuleNotFoundError: No module named"
    with pytest.raises(ProxylessError, match=wanted):
        registry.get("broken")
    assert registry.get("theirs") == 2


def test_a_package_that_registers_nothing_of_the_name_is_told(registry: Registry[object]):
    with pytest.raises(ProxylessError, match="names a made-up thing silent in made_up_silent, which registers none"):
        registry.get("silent")
