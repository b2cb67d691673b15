"""The documentation is true: its code runs, its pages are made from the code, its figures are those recorded."""

from __future__ import annotations

import importlib.util
import json
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
LITTLE = "--measure-limit-s 0 --measure-loadings 1 --measure-networks 8 --search-warmup-epochs 4 --search-epochs 4"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_code_of_the_readme_runs_as_it_stands(tmp_path):
    """In order, on three classes of small photos, with nothing but the commands of this environment."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("valid", 4), ("test", 4)):
        for label, name in enumerate(("bright", "dark", "noisy")):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                low, high = ((180, 250), (5, 70), (0, 255))[label]
                Image.fromarray(rng.integers(low, high, (16, 16, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "OMP_NUM_THREADS": "1",
    }
    for language, code in re.findall(r"```(sh|python)\n(.*?)```", README, re.DOTALL):
        command = ["sh", "-ec", code] if language == "sh" else [sys.executable, "-c", code]
        # A budget in ms fits one machine; the README's is of the one its figures are of. And how well latencies are
        # known, or how long is searched, does not matter here.
        if language == "sh":
            command[-1] = command[-1].replace("--latency 0.3", f"--latency 100 {LITTLE}")
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{code}\n{done.stderr}"
        if "session.run" in code:
            check_accuracy(code, tmp_path)


def check_accuracy(code: str, folder: Path) -> None:
    """The README's own function classifies every test photo, and gives the accuracy of the summary."""
    photos = [str(path) for path in sorted((folder / "photos" / "test").rglob("*.png"))]
    counting = f"""{code}
from pathlib import Path
print(np.mean([classify(Image.open(path)) == Path(path).parent.name for path in {photos!r}]))
"""
    done = subprocess.run([sys.executable, "-c", counting], cwd=folder, capture_output=True, text=True)
    expected = json.loads((folder / "runs" / "photos" / "result.json").read_text())["test_accuracy"]
    assert expected > 0.5, "a network that tells no classes apart would hide a mistake"
    assert float(done.stdout.split()[-1]) == pytest.approx(expected, abs=1e-9), done.stderr


def test_the_make_targets_of_the_readme_exist():
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", "\n".join(blocks("console")), re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{p.name}" for p in (ROOT / "docs").glob("*.md"))])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert ((ROOT / page).parent / target).exists(), target


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_results_name_no_folder_of_the_machine_that_they_were_made_on():
    """But for folders that every machine has."""
    for path in (ROOT / "benchmarks" / "results").iterdir():
        text = path.read_text()
        found = re.findall(r"(?<![\w.~<>:/)-])/(?!tmp/|usr/|proc/|dev/|sys/|etc/)[A-Za-z]\w*/[\w./-]+", text)
        assert not found, f"{path.name}: {found[0]}"


@pytest.mark.parametrize("page", ["README.md", "docs/benchmarks.md"])
def test_quoted_figures_are_those_that_the_benchmarks_wrote(page):
    text = (ROOT / page).read_text()
    assert "<!-- results" in text
    assert text == script("make_figures").filled(text), "run python docs/make_figures.py"


def test_the_page_of_settings_is_made_from_their_definition():
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == script("make_settings").page(), "run python docs/make_settings.py"


def test_the_page_of_the_architecture_shows_the_structure_of_the_package():
    structure = script("make_structure")
    graph = structure.imports()
    assert set(structure.ROOMS) == set(structure.arrows(graph))
    assert structure.wrong_way(structure.arrows(graph)) == []
    assert structure.circle(graph) == []
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert page == structure.filled(page), "run python docs/make_structure.py"
    assert structure.table() in page


def names_on_the_page_of_the_architecture() -> list[str]:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rooms = "|".join(script("make_structure").ROOMS)
    found = re.findall(rf"`((?:{rooms})(?:\.\w+)+)`", page)
    return sorted(name for name in set(found) if name.split(".")[-1] not in ("html", "json", "jsonl"))


@pytest.mark.parametrize("name", names_on_the_page_of_the_architecture())
def test_names_on_the_page_of_the_architecture_are_there(name):
    pkgutil.resolve_name(f"proxyless.{name}")


def test_every_result_file_is_json_with_a_table_beside_it():
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        assert json.loads(path.read_text()), path
        assert path.with_suffix(".md").exists()
