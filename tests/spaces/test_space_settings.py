"""Each space owns its settings: flags, files and documentation know them by the space."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import nn

from proxyless import Choice, ProxylessError
from proxyless.job.settings import Settings, describe, load
from proxyless.spaces import SPACES, ImageSpace, list_spaces, make, register_space, setting


def names(space: str) -> list[str]:
    chosen = Settings().replace({"space.name": space})
    return [item.name.removeprefix("space.") for item in describe(chosen) if item.name.startswith("space.")]


def test_each_space_has_its_own_settings():
    assert names("mobilenet") == ["name", "width", "depths", "first_width", "kernels", "expansions"]
    assert names("tree") == ["name", "blocks", "stem", "final_width"]
    assert names("nas-bench-macro") == ["name"]


def test_a_file_chooses_the_space_and_its_settings_in_any_order(tmp_path: Path):
    (tmp_path / "c.yaml").write_text("space:\n  blocks: 2\n  name: tree\n")
    chosen = load(tmp_path / "c.yaml").space
    assert (chosen.name, chosen.arguments()) == ("tree", {"blocks": 2, "stem": 16, "final_width": 400})


def test_a_file_of_before_has_null_for_the_settings_of_all_spaces(tmp_path: Path):
    text = "space:\n  name: tree\n  width: null\n  kernels: null\n  blocks: null\n  stem: 8\n  final_width: null\n"
    (tmp_path / "c.yaml").write_text(text)
    assert load(tmp_path / "c.yaml").space.arguments() == {"blocks": 18, "stem": 8, "final_width": 400}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"space.blocks": 2}, "setting space.blocks is one of the space tree, and the space is mobilenet"),
        (
            {"space.name": "tree", "space.depths": [1]},
            "setting space.depths is one of the space mobilenet, and the space is tree",
        ),
        ({"space.name": "tree", "space.block": 1}, "unknown setting space.block: did you mean space.blocks?"),
        ({"space.name": "treee"}, "no search space called 'treee': there is .*; did you mean tree?"),
        ({"space.name": 3}, "setting space.name must be text, got 3"),
        ({"space.width": 0.01}, "setting space.width must be at least 0.1 and at most 8, got 0.01"),
        ({"space.depths": [0] * 6}, "setting space.depths must hold numbers of at least 1 and at most 100"),
    ],
)
def test_a_setting_of_another_space_is_one_line_that_says_whose_it_is(values: dict[str, object], told: str):
    with pytest.raises(ProxylessError, match=told):
        Settings().replace(values)


def test_another_space_keeps_what_it_shares_and_refuses_what_it_does_not_have():
    with pytest.raises(ProxylessError, match=r"setting space\.blocks is one of the space tree"):
        Settings().replace({"space.name": "tree", "space.blocks": 2}).replace({"space.name": "mobilenet"})
    assert Settings().replace({"space.name": "tree"}).replace({"space.name": "mobilenet"}) == Settings()


@pytest.fixture
def striped(monkeypatch: pytest.MonkeyPatch) -> type[ImageSpace]:
    """A space that a test registers, forgotten after it."""
    for name in ("_things", "_origins"):
        monkeypatch.setattr(SPACES, name, dict(getattr(SPACES, name)))

    @register_space("dotted")
    @dataclass(frozen=True)
    class Striped(ImageSpace):
        """A chain of layers, each with or without a stripe."""

        stripes: int = setting(2, "Layers that may have a stripe.", least=1, most=5)
        width: float = setting(1.0, "Multiplier of the channels.", least=0.5)

        def network(self) -> nn.Module:
            layers = [Choice(a=nn.Conv2d(3, 3, 1), b=nn.Conv2d(3, 3, 3, padding=1)) for _ in range(self.stripes)]
            return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, self.classes))

    return Striped


def test_a_space_of_ones_own_has_to_have_a_network_alone(striped: type[ImageSpace]):
    space = make("dotted", {"classes": 4, "image_size": 8, "stripes": 3})
    assert space == striped(classes=4, image_size=8, stripes=3)  # type: ignore[call-arg]
    architecture = space.architecture({"0": "a", "1": "b", "2": "a"})
    assert architecture.space == "dotted"
    assert architecture.arguments["stripes"] == 3
    assert space.describe(architecture) == "a b a"
    assert sum(isinstance(part, nn.Conv2d) for part in space.build(architecture).modules()) == 3
    with pytest.raises(ProxylessError, match="space dotted: stripes must be at least 1 and at most 5, got 6"):
        make("dotted", {"stripes": 6})


@pytest.mark.usefixtures("striped")
def test_its_settings_are_known_like_ours():
    assert names("dotted") == ["name", "stripes", "width"]
    chosen = Settings().replace({"space.width": 0.5}).replace({"space.name": "dotted", "space.stripes": 4})
    assert chosen.space.arguments() == {"stripes": 4, "width": 0.5}
    found = next(known for known in list_spaces() if known.name == "dotted")
    assert found.description == "A chain of layers, each with or without a stripe."
    assert found.settings == ("stripes", "width")


@pytest.mark.usefixtures("striped")
def test_a_space_is_a_dataclass_of_a_name_of_its_own():
    with pytest.raises(ProxylessError, match="there is a search space called 'tree' already"):
        register_space("tree")(SPACES.get("dotted"))
    with pytest.raises(ProxylessError, match=r"search space mine: .* is no dataclass that is a subclass of ImageSpace"):
        register_space("mine")(nn.Linear)  # type: ignore[type-var]
