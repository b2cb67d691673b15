"""Every setting of the main job, once: the flags, the YAML file and its documentation are made from these classes."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml

from proxyless import files
from proxyless.configuration import merged, plain, setting
from proxyless.errors import ProxylessError, meant
from proxyless.files.yaml_files import read_yaml
from proxyless.spaces.settings import SpaceSettings, section


class TableTask(Enum):
    """What is learnt from a table of labels."""

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"


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


class Balance(Enum):
    """What makes up for classes of very different numbers of images."""

    AUTO = "auto"
    NONE = "none"
    WEIGHTS = "weights"
    SAMPLER = "sampler"


@dataclass(frozen=True)
class ImageSettings:
    """How images become tensors, and which are held out."""

    size: int | None = setting(
        None, "Height and width in px that images are brought to. Default: that of the images, at most 224.", least=8
    )
    valid_fraction: float = setting(
        0.1, "Share of the training images that is held out for the architecture steps.", least=0, most=0.5
    )
    test_fraction: float = setting(
        0.15,
        "Share of the images that is held out for the final test, where the data has no test split.",
        least=0,
        most=0.5,
    )
    skip_corrupt: bool = setting(False, "Leave out images that cannot be read, instead of stopping.")
    grey_range: tuple[int, ...] | None = setting(
        None,
        "Lowest and highest value of greys of 16 or 32 bits, which become black and white. Default: those of the"
        " training images.",
    )
    flip: bool | None = setting(None, "Mirror training images at random. Default: yes, but not for digits.")
    crop_scale: float | None = setting(
        None,
        "Smallest share of a training image that a random crop keeps. Default: 0.35 from 64 px on, a shift below.",
        least=0,
        most=1,
    )
    workers: int | None = setting(
        None,
        "Processes that load images; 0: none, they are loaded where the training runs. Default: one for each core, at"
        " most 4, where images are decoded or changed one by one.",
        least=0,
    )


@dataclass(frozen=True)
class MeasureSettings:
    """How thoroughly latency is measured."""

    threads: int | None = setting(None, "Threads that one inference uses. Default: those of the device.", least=1)
    batch: int | None = setting(None, "Images in one inference. Default: those of the device.", least=1)
    rounds: int = setting(
        24, "Fewest passes over all candidates when latency is measured, over all loadings together.", least=1
    )
    loadings: int = setting(
        4, "How often everything that is measured is loaded anew, where the runtime runs files.", least=1
    )
    burst_ms: float = setting(
        6.0, "How many ms each candidate runs in each pass of measuring, three inferences at the least.", least=0.01
    )
    width: float = setting(
        0.02,
        "Measuring ends when the interval of each latency is at most this share of it wide to either side.",
        least=0,
    )
    limit_s: float = setting(120.0, "Seconds after which measuring ends although intervals are wider.", least=0)
    share: float = setting(
        1.0,
        "Share of the distinct candidates that is measured. The others are predicted from them.",
        least=0.01,
        most=1,
    )
    networks: int = setting(48, "How many whole networks are measured to correct the latency table.", least=4)
    cache: str | None = setting(
        "~/.cache/proxyless/latency",
        "Folder of earlier measurements, which are taken over. With null all is measured anew.",
    )


@dataclass(frozen=True)
class SearchSettings:
    """The search: weights of sampled paths and architecture parameters in turn."""

    update: Update = setting(Update.TWO_PATH, "Rule by which a step of the search moves the architecture parameters.")
    warmup_epochs: int | None = setting(
        None,
        "Epochs in which only weights are trained, before the search. Default: 50,000 images' worth, at most 20.",
        least=0,
    )
    shared_start: bool = setting(
        True, "Train one candidate of each choice first, from which the others take weights over (not in the paper)."
    )
    epochs: int | None = setting(None, "Epochs of the search. Default: 100,000 images' worth, at most 40.", least=1)
    batch_size: int = setting(128, "Images in each step of the search.", least=2)
    learning_rate: float = setting(
        0.05, "Learning rate of the weights in the search, from which it falls along a cosine.", least=0
    )
    weight_decay: float = setting(4e-5, "Weight decay of the sampled weights in the search.", least=0)
    label_smoothing: float = setting(
        0.1, "Label smoothing of the loss of the weights in the search.", least=0, most=0.9
    )
    architecture_every: int = setting(2, "Weight steps of the search for each architecture step.", least=1)
    architecture_delay: int = setting(0, "Epochs of the search that pass before the first architecture step.", least=0)
    zero_gate: ZeroGate = setting(
        ZeroGate.EXACT,
        "Gradient of a choice whose active candidate is Zero. With skipped it has none, as in the authors' program.",
    )
    architecture_learning_rate: float | None = setting(
        None,
        "Adam's learning rate of the architecture parameters. Default: as the paper's over all steps, 24 / architecture"
        " steps, at most 0.05.",
        least=0,
    )
    temperature: float = setting(
        1.0, "Temperature T of the path probabilities softmax(alpha / T). The paper has 1.", least=0.01
    )
    final_temperature: float | None = setting(
        None, "Temperature T at the end of the search, approached geometrically. Default: T stays as it is.", least=0.01
    )
    derivation: Derivation = setting(
        Derivation.BUDGET,
        "Network that a search ends with: the most probable one within the budget, or as in the paper the most"
        " probable candidate of each choice.",
    )
    loss: LossForm = setting(
        LossForm.ADD_LINEAR, "How the expected latency enters the loss of the architecture parameters."
    )
    latency_weight: float = setting(
        0.1, "Weight lambda of latency in the loss, or what its multiplier starts from.", least=0
    )
    multiplier_gain: float | None = setting(
        None,
        "Gain of the multiplier of latency, which meets the budget. Default: 25 / architecture steps. With 0 the"
        " weight lambda stays fixed.",
        least=0,
    )


@dataclass(frozen=True)
class TrainingSettings:
    """Training of the network that was found, from scratch."""

    epochs: int | None = setting(
        None, "Epochs that the network found is trained for. Default: 300,000 images' worth, at most 60.", least=1
    )
    batch_size: int = setting(128, "Images in each step of the final training.", least=2)
    learning_rate: float = setting(
        0.2, "Learning rate of the final training at its highest, from which it falls along a cosine.", least=0
    )
    warmup_epochs: float = setting(0.3, "Epochs of the final training in which its learning rate rises.", least=0)
    weight_decay: float = setting(4e-5, "Weight decay of the final training, not applied to norms and biases.", least=0)
    label_smoothing: float = setting(0.1, "Label smoothing of the loss in the final training.", least=0, most=0.9)
    dropout: float = setting(
        0.0,
        "Share of the features that dropout leaves out before the classifier in the final training.",
        least=0,
        most=0.95,
    )
    drop_path: float = setting(
        0.0,
        "Probability that the last residual block is left out for an image in the final training, in the space tree.",
        least=0,
        most=0.95,
    )
    ema: bool = setting(True, "Deliver the moving average of the weights of the final training.")
    balance: Balance = setting(
        Balance.AUTO,
        "How search and training make up for classes of unequal size: weights in the loss, or a sampler that draws all "
        "classes equally often. With auto the sampler, where the largest class has more than 10 times the images of "
        "the smallest.",
    )
    fast_gradients: bool = setting(
        True,
        "Compute the weight gradients of large depthwise convolutions with more than three columns, in search and "
        "training, in a faster way, where a short timing on this CPU shows that it is faster.",
    )
    cutout: int = setting(0, "Side in px of the square that is cut out of training images. With 0 none is.", least=0)


@dataclass(frozen=True)
class CalibrationSettings:
    """What the ranges of an int8 network are taken from."""

    images: int = setting(256, "Training images that the ranges of an int8 network are taken from.", least=1)


@dataclass(frozen=True)
class Settings:
    """The whole job."""

    data: str = setting(
        "",
        "Images to learn from: a folder that holds a folder for each class, a table of labels (.csv, .parquet), or the"
        " name of a known data set.",
    )
    task: TableTask | None = setting(
        None, "What is learnt from a table of labels. Default: what its labels say, where they leave no doubt."
    )
    device: str = setting(
        "cpu",
        "Device that the network is for: one of those that `proxyless devices` lists, or the file of a latency table.",
    )
    latency: float | None = setting(
        None, "Latency in ms that one inference may take on the device, the budget of the search."
    )
    seed: int = setting(0, "Seed of everything random.", least=0)
    images: ImageSettings = field(default_factory=ImageSettings)
    space: SpaceSettings = field(default_factory=section)
    measure: MeasureSettings = field(default_factory=MeasureSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    calibration: CalibrationSettings = field(default_factory=CalibrationSettings)

    def replace(self, values: Mapping[str, Any]) -> Settings:
        """These settings with ``values`` by dotted name, such as ``{"search.epochs": 3}``, put in.

        Raises:
            ProxylessError: an unknown name or a value of the wrong type.
        """
        nested: dict[str, Any] = {}
        for name, value in values.items():
            *sections, last = str(name).split(".")
            target = nested
            for part in sections:
                target = target.setdefault(part, {})
            target[last] = value
        return merged(self, nested, "")

    def to_yaml(self) -> str:
        """All settings as YAML that :func:`load` reads."""
        return yaml.safe_dump(plain(self), sort_keys=False)


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
        known = f"there is {', '.join(recipes())}{meant(str(path), recipes())}"
        raise ProxylessError(f"{path}: no such config file, and no recipe: {known}")
    value = read_yaml(path)
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise ProxylessError(f"{path}: a config is a mapping of settings, this is a {type(value).__name__}")
    try:
        return merged(base or Settings(), value, "")
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


def describe(settings: Any = None, prefix: str = "") -> Iterator[Described]:
    """All settings by dotted name, in order.

    Args:
        settings: whose space decides which settings of a space there are; by default that of :class:`Settings`.
        prefix: what stands before the names.
    """
    settings = Settings() if settings is None else settings
    hints = typing.get_type_hints(type(settings))
    for item in dataclasses.fields(settings):
        current = getattr(settings, item.name)
        if dataclasses.is_dataclass(current):
            yield from describe(current, f"{prefix}{item.name}.")
        else:
            yield Described(prefix + item.name, hints[item.name], item.default, item.metadata["help"])


def flat(settings: Any, prefix: str = "") -> dict[str, Any]:
    """The values of all settings by dotted name, in order."""
    values: dict[str, Any] = {}
    for item in dataclasses.fields(settings):
        name, current = prefix + item.name, getattr(settings, item.name)
        values |= flat(current, f"{name}.") if dataclasses.is_dataclass(current) else {name: current}
    return values


def value(settings: Settings, name: str) -> Any:
    """A setting by its dotted name."""
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return found
