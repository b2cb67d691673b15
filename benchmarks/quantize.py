"""What each way of quantising to int8 costs a trained network, and what mends it.

    python benchmarks/quantize.py

Networks of the space ``mobilenet`` are trained on the digits of scikit-learn, with ReLU6 as the space has it and with
ReLU. Each is then quantised as it is, and made *hostile*: the channels of its tensors are multiplied by factors from
1/1000 to 1000 (from 1/100 to 1 below a ReLU6, of channels that stay below its bound), which the next weights take
back, so that it classifies as before. The third kind has images one in fifty of which are 30 times as bright. Every way
is tried: ranges of activations by their ends, by percentiles, by the least square error and by entropy (ONNX Runtime's
own), each with and without channels brought to one level; two of them also with biases corrected, layer by layer, by
what quantising moves the means of channels. The ranges come from 256 training images; accuracy and outputs are those on
held-out images, never on test images.

Writes ``benchmarks/results/quantize.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from proxyless import data, files
from proxyless.export.calibration import Feed, Method, Range, observed, ranges
from proxyless.export.equalize import equalized, groups, own_weights, rescale
from proxyless.export.onnx import to_onnx
from proxyless.export.onnx_session import run, session
from proxyless.export.quantize import simplified, with_integers
from proxyless.job.int8_comparison import LOSS
from proxyless.machine.onnx_runtime import import_onnxruntime
from proxyless.machine.versions import versions
from proxyless.spaces.mobilenet import MobileNetSpace

RESULTS = Path(__file__).parent / "results" / "quantize.json"
SEEDS = (0, 1)
EPOCHS = 20
RANGES = (*Method, "entropy")
CORRECTED = (Method.MINMAX, Method.MSE)
KINDS = ("ReLU6", "ReLU6, hostile", "ReLU6, rare bright images", "ReLU", "ReLU, hostile")


def brightened(images: Tensor, seed: int) -> Tensor:
    """``images`` one in fifty of which has 30 times the contrast."""
    rare = torch.rand(len(images), generator=torch.Generator().manual_seed(seed)) < 0.02
    return torch.where(rare[:, None, None, None], 30 * images, images)


def trained(kind: str, seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """A network of the space that has learnt the digits."""
    torch.manual_seed(seed)
    space = MobileNetSpace(classes=10, channels=1, image_size=images.shape[-1], width=0.25, depths=(2, 2, 1, 1, 1, 1))
    numbers = np.random.default_rng(seed)
    choices = {name: str(numbers.choice([c for c in row if c != "skip"])) for name, row in space.choices().items()}
    network = space.build(space.architecture(choices))
    if kind == "ReLU":
        for parent in list(network.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.ReLU6):
                    setattr(parent, name, nn.ReLU())
    optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-3)
    steps = EPOCHS * (len(images) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps)
    network.train()
    for _ in range(EPOCHS):
        for part in torch.randperm(len(images)).split(64)[: len(images) // 64]:
            loss = nn.functional.cross_entropy(network(images[part]), labels[part], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def hostile(model: Any, feeds: Sequence[Feed], seed: int) -> Any:
    """``model``, changed in place to one that computes the same with channels on very different levels."""
    own_weights(model)
    numbers = np.random.default_rng(seed)
    for group in groups(model):
        levels = [
            np.abs(values[name]).max(axis=tuple(d for d in range(values[name].ndim) if d != 1))
            for values in observed(model, feeds)
            for name in group.tensors
        ]
        level = np.max(levels, axis=0)
        if np.isfinite(group.bound):
            factors = np.where(level < 0.9 * group.bound, 10 ** numbers.uniform(-2, 0, len(level)), 1.0)
        else:
            factors = 10 ** numbers.uniform(-3, 3, len(level))
        rescale(model, group, factors)
    return model


def entropy(model: Any, feeds: Sequence[Feed]) -> dict[str, Range]:
    """The ranges that ONNX Runtime's entropy method gives."""
    import onnx

    calibrate = import_onnxruntime("onnxruntime.quantization.calibrate")
    left: Iterable[Any] = iter(feeds)

    class Reader:
        def get_next(self) -> Any:
            return next(left, None)  # type: ignore[call-overload]

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(onnx.shape_inference.infer_shapes(model), path)
        method = calibrate.CalibrationMethod.Entropy
        calibrator = calibrate.create_calibrator(path, None, str(Path(folder) / "more.onnx"), method)
        calibrator.collect_data(Reader())
        found = calibrator.compute_data()
    return {name: (np.float32(data.lowest), np.float32(data.highest)) for name, data in found.items()}


def corrected(model: Any, ends: Mapping[str, Range], feeds: Sequence[Feed]) -> Any:
    """``model`` in int8 with biases moved, from the first layer to the last, so that channels keep their means."""
    import onnx

    moved = onnx.ModelProto()
    moved.CopyFrom(model)
    own_weights(moved)
    weights = {tensor.name: tensor for tensor in moved.graph.initializer}
    layers = [node for node in moved.graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) > 2]
    wanted = {layer.name: mean(moved, layer.name, feeds) for layer in layers}
    for layer in layers:
        found = mean(with_integers(moved, ends), layer.name, feeds)
        bias = layer.input[2]
        values = onnx.numpy_helper.to_array(weights[bias]) + wanted[layer.name] - found
        weights[bias].CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), bias))
    return with_integers(moved, ends)


def mean(model: Any, layer: str, feeds: Sequence[Feed]) -> Any:
    """Of each channel that the layer of this name gives."""
    (tensor,) = (node.output[0] for node in model.graph.node if node.name == layer)
    found = [values[tensor] for values in observed(model, feeds)]
    return np.mean([array.mean(axis=tuple(d for d in range(array.ndim) if d != 1)) for array in found], axis=0)


def tried(model: Any, images: Tensor, held_out: Tensor, labels: Tensor) -> dict[str, dict[str, float]]:
    """Held-out accuracy, error of the outputs and seconds of every way of quantising ``model``."""
    feeds = [{"input": part.numpy()} for part in images.split(16)]
    expected = run(session(model.SerializeToString()), held_out.numpy())
    spread = np.sqrt(((expected - expected.mean(axis=0)) ** 2).mean())
    found = {"float32": {"accuracy": float((expected.argmax(axis=1) == labels.numpy()).mean())}}
    for equalize in (False, True):
        level = equalized(model, feeds) if equalize else model
        for method, correct in [*((way, False) for way in RANGES), *((way, True) for way in CORRECTED)]:
            start = time.perf_counter()
            ends = entropy(level, feeds) if method == "entropy" else ranges(level, feeds, Method(method))
            integers = with_integers(level, ends)
            if correct:
                integers = corrected(level, ends, feeds)
            outputs = run(session(integers.SerializeToString()), held_out.numpy())
            name = ", ".join([str(method)] + ["equalised"] * equalize + ["biases corrected"] * correct)
            found[name] = {
                "accuracy": float((outputs.argmax(axis=1) == labels.numpy()).mean()),
                "error": float(np.sqrt(((outputs - expected) ** 2).mean()) / spread),
                "seconds": time.perf_counter() - start,
            }
    return found


def markdown(result: dict[str, Any]) -> str:
    """For each way the loss of held-out accuracy by kind of network, and how often it is more than a point."""
    kinds = {kind: runs for kind, runs in result["kinds"].items() if runs}
    ways = [way for way in next(iter(kinds.values()))[0] if way != "float32"]
    lines = ["| ranges of activations | " + " | ".join(kinds) + " | more than a point lost |"]
    lines.append("| --- |" + " ---: |" * (len(kinds) + 1))
    for way in ways:
        cells, bad, count = [], 0, 0
        for runs in kinds.values():
            losses = [100 * (one["float32"]["accuracy"] - one[way]["accuracy"]) for one in runs]
            errors = [one[way]["error"] for one in runs]
            bad += sum(loss > 100 * LOSS + 1e-6 for loss in losses)
            count += len(losses)
            cells.append(f"{np.mean(losses):.1f} ({np.mean(errors):.3f})")
        lines.append(f"| {way} | " + " | ".join(cells) + f" | {bad} of {count} |")
    about = (
        f"Points of held-out accuracy lost, means of {len(result['seeds'])} networks of each kind on"
        f" {result['held_out_images']} images; in brackets the root mean square error of the outputs as a share of"
        " their spread."
    )
    return "\n".join([*lines, "", about]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parsed = parser.parse_args()
    torch.set_num_threads(1)
    digits = data.load("digits", image_size=16, valid_fraction=0.3)
    whole = {name: digits.sample(name, len(digits.splits[name])) for name in ("train", "valid")}
    result: dict[str, Any] = {
        "versions": versions(),
        "seeds": parsed.seeds,
        "held_out_images": len(whole["valid"]),
        "kinds": {kind: [] for kind in KINDS},
    }
    for seed in parsed.seeds:
        for kind in ("ReLU6", "ReLU", "ReLU6, rare bright images"):
            train, valid = whole["train"].images(), whole["valid"].images()
            if "bright" in kind:
                train, valid = brightened(train, seed), brightened(valid, seed + 1)
            network = trained(kind.split(",")[0], seed, train, whole["train"].labels)
            sample = train[torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:256]]
            content = to_onnx(network, [sample])
            models = {kind: simplified(content)}
            if "bright" not in kind:
                feeds = [{"input": part.numpy()} for part in train.split(64)]
                models[f"{kind}, hostile"] = hostile(simplified(content), feeds, seed)
            for name, model in models.items():
                found = tried(model, sample, valid, whole["valid"].labels)
                result["kinds"][name].append(found)
                losses = {w: round(found["float32"]["accuracy"] - f["accuracy"], 3) for w, f in found.items()}
                print(seed, name, found["float32"]["accuracy"], losses, flush=True)
    files.write_json(parsed.out, result)
    parsed.out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
