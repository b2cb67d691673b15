"""Every setting of the main job, once: the flags, the YAML file and its documentation are made from these classes."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from proxyless import files
from proxyless.errors import ProxylessError, short
from proxyless.yaml_files import read_yaml


def _setting(default: Any, help: str, *, least: float | None = None, most: float = math.inf) -> Any:
    return field(default=default, metadata={"help": help, "least": least, "most": most})


class Update(Enum):
    """The rule that moves the architecture parameters."""

    TWO_PATH = "two-path"
    ALL_PATH = "all-path"
    REINFORCE = "reinforce"


class LossForm(Enum):
    """How the expected latency enters the loss of the architecture parameters."""

    ADD_LINEAR = "add-linear"
    MUL_LOG = "mul-log"
    WEIGHTED = "weighted"
    NONE = "none"


class Derivation(Enum):
    """Which architecture a search ends with."""

    BUDGET = "budget"
    MOST_PROBABLE = "most-probable"


class ZeroGate(Enum):
    """What an architecture step does with a choice whose active candidate is Zero."""

    EXACT = "exact"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class ImageSettings:
    """How images become tensors, and which are held out."""

    size: int | None = _setting(None, "height and width in px; default: that of the images, at most 224", least=8)
    valid_fraction: float = _setting(
        0.1, "share of the training images held out for the architecture steps", least=0, most=0.5
    )
    test_fraction: float = _setting(
        0.15, "share held out for the final test where the data has no test split", least=0, most=0.5
    )
    skip_corrupt: bool = _setting(False, "leave out images that cannot be read instead of stopping")
    grey_range: tuple[int, ...] | None = _setting(
        None,
        "lowest and highest value of greys of 16 or 32 bits, which become black and white; "
        "default: those of the training images",
    )
    flip: bool | None = _setting(None, "mirror training images; default: yes, but not for digits")
    crop_scale: float | None = _setting(
        None, "smallest share of an image that is cropped; default: 0.35 from 64 px on", least=0, most=1
    )


@dataclass(frozen=True)
class SpaceSettings:
    """The family of networks that is searched."""

    name: str = _setting("mobilenet", "name of the search space")
    width: float | None = _setting(None, "multiplier of all widths; default: 1.0 from 96 px on, 0.5 below", least=0.1)
    depths: tuple[int, ...] | None = _setting(
        None, "most blocks of each of the six stages; default: from the image size"
    )
    first_width: int | None = _setting(None, "width of the first stage before the multiplier; default: 24", least=8)
    kernels: tuple[int, ...] | None = _setting(None, "kernel sizes of the candidates; default: 3 5 7")
    expansions: tuple[int, ...] | None = _setting(None, "expansion factors of the candidates; default: 3 6")
    blocks: int | None = _setting(None, "space tree: residual blocks of a stage; default: 18", least=1)
    stem: int | None = _setting(None, "space tree: channels of the first convolution; default: 16", least=1)
    final_width: int | None = _setting(None, "space tree: channels of the last block; default: 400", least=1)


@dataclass(frozen=True)
class MeasureSettings:
    """How thoroughly latency is measured."""

    threads: int | None = _setting(None, "threads of one inference; default: the device's", least=1)
    batch: int | None = _setting(None, "images of one inference; default: the device's", least=1)
    rounds: int = _setting(24, "interleaved passes over all candidates at the least, over all loadings", least=1)
    loadings: int = _setting(4, "times that everything is loaded anew, where the runtime runs files", least=1)
    burst_ms: float = _setting(6.0, "ms that a candidate runs in each pass, three inferences at the least", least=0.01)
    width: float = _setting(0.02, "half the width of an interval, as a share, that is narrow enough", least=0)
    limit_s: float = _setting(120.0, "seconds after which intervals may stay wider", least=0)
    share: float = _setting(
        1.0, "share of the distinct candidates that is measured; the others are predicted from them", least=0.01, most=1
    )
    networks: int = _setting(48, "whole networks measured to correct the table", least=4)
    cache: str | None = _setting("~/.cache/proxyless/latency", "folder of known measurements; null: measure all anew")


@dataclass(frozen=True)
class SearchSettings:
    """The search: weights of sampled paths and architecture parameters in turn."""

    update: Update = _setting(Update.TWO_PATH, "rule of the architecture steps")
    warmup_epochs: int | None = _setting(
        None, "epochs of uniformly sampled paths before; default: 50,000 images' worth", least=0
    )
    shared_start: bool = _setting(True, "train one candidate first, from which the others take over (not in the paper)")
    epochs: int | None = _setting(None, "epochs of the search; default: 100,000 images' worth", least=1)
    batch_size: int = _setting(128, "images of a step", least=2)
    learning_rate: float = _setting(0.05, "of the weights, at the start of the cosine", least=0)
    weight_decay: float = _setting(4e-5, "of the weights on the path", least=0)
    label_smoothing: float = _setting(0.1, "of the loss of the weights", least=0, most=0.9)
    architecture_every: int = _setting(2, "weight steps for one architecture step", least=1)
    architecture_delay: int = _setting(0, "epochs of the search before the first architecture step", least=0)
    zero_gate: ZeroGate = _setting(ZeroGate.EXACT, "gradient where Zero is active; skipped: none, the authors' program")
    architecture_learning_rate: float | None = _setting(
        None, "of Adam; default: such that rate x steps is 24, as in the paper, at most 0.05", least=0
    )
    temperature: float = _setting(1.0, "T of the path probabilities softmax(alpha / T); 1: the paper's", least=0.01)
    final_temperature: float | None = _setting(
        None, "T at the end of the search, approached geometrically; default: T stays as it is", least=0.01
    )
    derivation: Derivation = _setting(
        Derivation.BUDGET, "budget: the most probable one that keeps it; most-probable: of each choice, as in the paper"
    )
    loss: LossForm = _setting(LossForm.ADD_LINEAR, "how the expected latency enters the loss")
    latency_weight: float = _setting(0.1, "lambda of the latency term, or where its multiplier starts", least=0)
    multiplier_gain: float | None = _setting(
        None,
        "of the multiplier that meets the budget; default: 25 / architecture steps; 0: lambda stays fixed",
        least=0,
    )


@dataclass(frozen=True)
class TrainingSettings:
    """Training of the network that was found, from scratch."""

    epochs: int | None = _setting(None, "default: 300,000 images' worth, at most 60", least=1)
    batch_size: int = _setting(128, "images of a step", least=2)
    learning_rate: float = _setting(0.2, "at the top of the cosine", least=0)
    warmup_epochs: float = _setting(0.3, "epochs in which the learning rate rises", least=0)
    weight_decay: float = _setting(4e-5, "not of norms and biases", least=0)
    label_smoothing: float = _setting(0.1, "of the loss", least=0, most=0.9)
    dropout: float = _setting(0.0, "before the classifier", least=0, most=0.95)
    drop_path: float = _setting(
        0.0, "space tree: probability that the last residual block is left out for an image", least=0, most=0.95
    )
    ema: bool = _setting(True, "deliver the moving average of the weights")
    cutout: int = _setting(0, "side in px of a square cut out of training images", least=0)


@dataclass(frozen=True)
class Settings:
    """The whole job."""

    data: str = _setting("", "folder of images in class folders, or the name of a known data set")
    device: str = _setting(
        "cpu", "what the network is for: one of those that `proxyless devices` lists, or the file of a latency table"
    )
    latency: float | None = _setting(None, "latency budget in ms of one inference")
    seed: int = _setting(0, "of everything random", least=0)
    images: ImageSettings = field(default_factory=ImageSettings)
    space: SpaceSettings = field(default_factory=SpaceSettings)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)

    def replace(self, values: Mapping[str, Any]) -> Settings:
        """These settings with ``values`` by dotted name, such as ``{"search.epochs": 3}``, put in.

        Raises:
            ProxylessError: an unknown name or a value of the wrong type.
        """
        nested: dict[str, Any] = {}
        for name, value in values.items():
            *sections, last = name.split(".")
            target = nested
            for section in sections:
                target = target.setdefault(section, {})
            target[last] = value
        return _merged(self, nested, "")

    def to_yaml(self) -> str:
        """All settings as YAML that :func:`load` reads."""
        return yaml.safe_dump(_plain(self), sort_keys=False)


def without_effect(settings: Settings) -> list[str]:
    """In words, what was chosen of the search in vain, since something else that was chosen does not use it."""
    chosen, usual = settings.search, SearchSettings()
    unused: dict[str, str] = {}
    if chosen.loss in (LossForm.MUL_LOG, LossForm.NONE):
        unused["latency_weight"] = f"search.loss {chosen.loss.value}"
    if chosen.update is Update.REINFORCE:  # its reward takes the latency by the budget, or where there is none, not
        without_budget = chosen.loss is LossForm.NONE and settings.latency is None
        names = ("zero_gate", "latency_weight") if without_budget else ("zero_gate", "latency_weight", "loss")
        unused |= dict.fromkeys(names, f"search.update {chosen.update.value}")
    return [
        f"search.{name} has no effect with {other}"
        for name, other in unused.items()
        if getattr(chosen, name) != getattr(usual, name)
    ]


RECIPES = Path(__file__).parent / "recipes"


def recipes() -> list[str]:
    """Names of the shipped recipes."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(path: str | Path, base: Settings | None = None) -> Settings:
    """Settings from a YAML file, or the shipped recipe of that name, laid over ``base``.

    Raises:
        ProxylessError: the file is missing or no YAML mapping, or holds an unknown setting or a value of a wrong type.
    """
    if str(path) in recipes():
        path = RECIPES / f"{path}.yaml"
    elif not Path(path).exists():
        raise ProxylessError(f"{path}: no such config file, and no recipe: there is {', '.join(recipes())}")
    value = read_yaml(path)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ProxylessError(f"{path}: a config is a mapping of settings, this is a {type(value).__name__}")
    try:
        return _merged(base or Settings(), value, "")
    except ProxylessError as error:
        raise ProxylessError(f"{path}: {error}") from None


def save(settings: Settings, path: Path) -> None:
    """Write all settings as YAML."""
    files.write_text(path, settings.to_yaml())


@dataclass(frozen=True)
class Described:
    """One setting as it appears in help and documentation."""

    name: str
    type: Any
    default: Any
    help: str


def describe(cls: type = Settings, prefix: str = "") -> Iterator[Described]:
    """All settings by dotted name, in order."""
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        hint = hints[item.name]
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from describe(hint, f"{prefix}{item.name}.")
        else:
            yield Described(prefix + item.name, hint, item.default, item.metadata["help"])


def _merged(settings: Any, values: Mapping[Any, Any], where: str) -> Any:
    hints = typing.get_type_hints(type(settings))
    fields = {item.name: item for item in dataclasses.fields(settings)}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            near = difflib.get_close_matches(str(name), hints, 1)
            mend = f"did you mean {where}{near[0]}?" if near else f"there is {', '.join(hints)}"
            raise ProxylessError(f"unknown setting {where}{name}: {mend}")
        current = getattr(settings, name)
        if dataclasses.is_dataclass(current):
            if not isinstance(value, Mapping):
                raise ProxylessError(
                    f"setting {where}{name} is a section: it needs settings below it, got {short(value)}"
                )
            changes[name] = _merged(current, value, f"{where}{name}.")
        else:
            changes[name] = _checked(value, hints[name], f"{where}{name}")
            least, most = fields[name].metadata["least"], fields[name].metadata["most"]
            if least is not None and changes[name] is not None and not least <= changes[name] <= most:
                bounds = f"at least {least:g}" + (f" and at most {most:g}" if most < math.inf else "")
                raise ProxylessError(f"setting {where}{name} must be {bounds}, got {short(value)}")
    return dataclasses.replace(settings, **changes)


def type_name(hint: Any) -> str:
    """A type in a user's words: ``a whole number or null``, ``true or false``..."""
    if isinstance(hint, type) and issubclass(hint, Enum):
        return " or ".join(str(member.value) for member in hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(type_name(option) for option in typing.get_args(hint))
    if typing.get_origin(hint) is tuple:
        return "a list of whole numbers"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}[hint]


def _checked(value: Any, hint: Any, name: str) -> Any:
    """``value`` if it is of type ``hint``, converted where nothing is lost."""
    wanted = type_name(hint)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if isinstance(hint, type) and issubclass(hint, Enum):
        for member in hint:
            if value in (member, member.value):
                return member
    elif typing.get_origin(hint) is tuple:
        if isinstance(value, list | tuple) and all(isinstance(v, int) and not isinstance(v, bool) for v in value):
            return tuple(value)
    elif hint is float:
        # YAML reads 1e-3, without a point, as text.
        with contextlib.suppress(ValueError, OverflowError):
            if isinstance(value, int | float | str) and not isinstance(value, bool) and math.isfinite(float(value)):
                return float(value)
    elif hint is int:
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    elif isinstance(value, hint):
        return value
    raise ProxylessError(f"setting {name} must be {wanted}, got {short(value)}")


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple) else value
