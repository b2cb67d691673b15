"""Whether older versions of ONNX Runtime load and run the files that this package writes.

    python benchmarks/old_runtimes.py

Writes a float32 and an int8 file of a network of each space with this version, runs them here, and in a virtual
environment for each older version of ONNX Runtime, where outputs for the same images are compared.

Writes ``benchmarks/results/old_runtimes.json`` and ``.md``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from proxyless import Supernet, files, spaces
from proxyless.architecture import derive
from proxyless.export.onnx import export
from proxyless.export.onnx_session import run, session
from proxyless.export.quantize import RECIPES, quantized
from proxyless.machine.versions import versions

RESULTS = Path(__file__).parent / "results" / "old_runtimes.json"
OLD = ("1.15.1", "1.16.3", "1.17.3", "1.20.1")
SPACES = {
    "mobilenet": {"classes": 10, "channels": 3, "image_size": 32, "width": 0.5},
    "tree": {"classes": 10, "channels": 3, "image_size": 32, "blocks": 3, "final_width": 64},
    "nas-bench-macro": {},
}
THERE = """
import json, sys
import numpy as np, onnxruntime
found = {}
for name in sys.argv[2:]:
    images = np.load(f"{sys.argv[1]}/{name.split('.')[0]}.npz")["images"]
    try:
        session = onnxruntime.InferenceSession(f"{sys.argv[1]}/{name}", providers=["CPUExecutionProvider"])
        np.save(f"{sys.argv[1]}/{name}.npy", session.run(None, {"input": images})[0])
        found[name] = None
    except Exception as error:
        found[name] = str(error).strip().splitlines()[0]
print(json.dumps({"version": onnxruntime.__version__, "numpy": np.__version__, "errors": found}))
"""


def written(folder: Path) -> list[dict[str, Any]]:
    """The files of every space in ``folder``, and what their outputs are here."""
    found = []
    for name, arguments in SPACES.items():
        torch.manual_seed(0)
        space = spaces.make(name, arguments)
        supernet = Supernet(space.network())
        network = derive(supernet, [0] * len(supernet.choices)).eval()
        images = torch.randn(32, *space.input_shape)
        np.savez(folder / f"{name}.npz", images=images.numpy())
        export(network, images, folder / f"{name}.onnx", metadata={"classes": list(range(10))})
        samples = [[part.numpy()] for part in images.split(16)]
        content = quantized((folder / f"{name}.onnx").read_bytes(), samples, RECIPES[0])
        (folder / f"{name}.int8.onnx").write_bytes(content)
        for file in (f"{name}.onnx", f"{name}.int8.onnx"):
            model = onnx.load(folder / file)
            outputs = run(session(folder / file), images.numpy())
            found.append(
                {
                    "file": file,
                    "ir_version": model.ir_version,
                    "opsets": {item.domain or "ai.onnx": item.version for item in model.opset_import},
                    "outputs": outputs,
                    "runtimes": {},
                }
            )
    return found


def tried(version: str, folder: Path, models: list[dict[str, Any]]) -> None:
    """Run ``models`` with an older version, in an environment of its own."""
    with tempfile.TemporaryDirectory() as name:
        venv.create(name, with_pip=True)
        python = Path(name) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", f"onnxruntime=={version}", "numpy<2"], check=True)
        code = [python, "-c", THERE, str(folder), *(model["file"] for model in models)]
        done = subprocess.run(code, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    for model in models:
        error = said["errors"][model["file"]]
        if error is None:
            there, here = np.load(folder / f"{model['file']}.npy"), model["outputs"]
            spread = float(here.max() - here.min())
            model["runtimes"][version] = {"difference": float(np.abs(there - here).max()) / spread}
        else:
            model["runtimes"][version] = {"error": error}
        print(version, model["file"], model["runtimes"][version], flush=True)


def markdown(result: dict[str, Any]) -> str:
    """A row for each file, a column for each version."""
    old = result["tried"]
    lines = ["| file | imports | " + " | ".join(old) + " |", "| --- | --- |" + " ---: |" * len(old)]
    for model in result["models"]:
        imports = ", ".join(f"{domain} {version}" for domain, version in model["opsets"].items())
        cells = [
            f"{model['runtimes'][version]['difference']:.1e}"
            if "difference" in model["runtimes"][version]
            else "refused"
            for version in old
        ]
        lines.append(f"| `{model['file']}` | {imports}, IR {model['ir_version']} | " + " | ".join(cells) + " |")
    about = (
        f"Largest difference of an output to that of ONNX Runtime {result['versions']['onnxruntime']}, as a share of"
        " the outputs' range."
    )
    return "\n".join([*lines, "", about]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--versions", nargs="+", default=list(OLD))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        models = written(Path(name))
        for version in parsed.versions:
            tried(version, Path(name), models)
    for model in models:
        del model["outputs"]
    result = {"versions": versions(), "python": sys.version.split()[0], "tried": parsed.versions, "models": models}
    files.write_json(parsed.out, result)
    parsed.out.with_suffix(".md").write_text(markdown(result), encoding="utf-8")
    print(markdown(result))


if __name__ == "__main__":
    main()
