"""The page as a whole: self-contained, well-formed, complete from whatever files a run has, and written in one go."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from made_up_run import build_run

from proxyless.errors import ProxylessError
from proxyless.report import read_run, render, write_report

VOID = {"meta", "br", "rect", "line", "path", "circle", "polygon"}
SECTIONS = {"result", "network", "search", "training", "latency", "settings"}


class Page(HTMLParser):
    """Every element of a page with its attributes, and its visible text; fails where tags do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in VOID
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def sections(self) -> set[str | None]:
        return {attributes["id"] for attributes in self.all("section")}


def page_of(run: Path) -> Page:
    return Page(render(read_run(run)))


def test_the_report_is_written_into_the_run_folder_with_every_section(run: Path) -> None:
    path = write_report(run)
    assert path == run / "report.html"
    assert Page(path.read_text(encoding="utf-8")).sections == SECTIONS


def test_the_page_loads_nothing_and_runs_nothing(run: Path) -> None:
    source = render(read_run(run))
    page = Page(source)
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "image",
        "use",
    }
    for _, attributes in page.elements:
        assert not {"src", "srcset", "data", "xlink:href", "action"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
        assert not [name for name in attributes if name.startswith("on")]
    assert "http:" not in source
    assert "https:" not in source
    assert "url(" not in source
    assert "@import" not in source


def test_links_lead_to_sections_and_ids_are_unique(run: Path) -> None:
    page = page_of(run)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for attributes in page.all("a")} == {f"#{name}" for name in SECTIONS}
    assert {attributes["aria-labelledby"] for attributes in page.all("section")} <= set(ids)


def test_headings_go_down_one_step_at_a_time(run: Path) -> None:
    levels = [int(tag[1]) for tag, _ in page_of(run).elements if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_every_drawing_says_what_it_is_and_every_figure_has_a_caption(run: Path) -> None:
    page = page_of(run)
    drawings = [attributes for attributes in page.all("svg") if "viewbox" in attributes]
    assert len(drawings) > 21
    assert all(attributes["role"] == "img" and attributes["aria-label"] for attributes in drawings)
    assert len(page.all("figure")) == len(page.all("figcaption")) == 7


def test_the_big_figures_are_those_of_the_result(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    words = page_of(run).text
    assert "93.17 %" in words
    assert f"{result['latency_measured_ms']:.2f} ms" in words
    assert "3.91 M" in words
    assert f"{result['macs'] / 1e6:.0f} M" in words
    assert "Budget met" in words


def test_one_hundred_snapshots_of_a_large_space_stay_far_below_three_megabytes(tmp_path: Path) -> None:
    assert write_report(build_run(tmp_path / "run", snapshots=100)).stat().st_size < 1_000_000


def test_the_same_files_give_the_same_page(run: Path) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


HOSTILE = "<script>alert('1')</script>&\"x"


def test_text_of_the_files_stays_text(run: Path) -> None:
    def spoil(value: object) -> object:
        if isinstance(value, dict):
            return {str(spoil(key)) if key in names else key: spoil(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [spoil(inner) for inner in value]
        return value + HOSTILE if isinstance(value, str) and value not in kinds else value

    kinds = ("warmup", "search", "check", "calibration")
    names = {"stage2.block1", "k5_e3", "torch", "check", "train"}
    names |= set(json.loads((run / "latency.json").read_text())["choices"])
    for path in [*run.glob("*.json"), *run.glob("*/history.jsonl")]:
        lines = [json.dumps(spoil(json.loads(line))) for line in path.read_text().splitlines()]
        path.write_text("\n".join(lines) + "\n")
    (run / "config.yaml").write_text(f"data: {json.dumps(HOSTILE)}\n{json.dumps('key' + HOSTILE)}: 1\n")
    page = page_of(run)
    assert page.sections == SECTIONS
    assert not page.all("script")
    assert page.text.count(HOSTILE) > 50
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in page_of(build_run(run.parent / "plain")).elements}


@pytest.mark.parametrize(
    ("missing", "without"),
    [
        ("search", {"search"}),
        ("config.yaml", set()),
        ("data.json", set()),
        ("latency.json", {"latency"}),
        ("architecture.json", set()),
        ("result.json", set()),
        ("model.json", set()),
        ("confusion.json", set()),
        ("training", set()),
    ],
)
def test_a_missing_file_leaves_out_its_section_alone(run: Path, missing: str, without: set[str]) -> None:
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert page_of(run).sections == SECTIONS - without


@pytest.mark.parametrize(
    ("kept", "sections"),
    [
        ("config.yaml", {"settings"}),
        ("data.json", {"result", "settings"}),
        ("latency.json", {"result", "latency"}),
        ("architecture.json", {"result", "network"}),
        ("result.json", {"result", "network", "settings"}),
        ("model.json", {"result", "settings"}),
        ("confusion.json", {"result", "training", "settings"}),
        ("search/history.jsonl", {"search"}),
        ("training/history.jsonl", {"training"}),
    ],
)
def test_a_single_file_is_enough_for_a_report(run: Path, tmp_path: Path, kept: str, sections: set[str]) -> None:
    target = tmp_path / "alone" / kept
    target.parent.mkdir(parents=True)
    shutil.copy(run / kept, target)
    assert page_of(tmp_path / "alone").sections == sections


def test_a_run_that_was_only_trained_shows_its_network_without_a_search(run: Path) -> None:
    shutil.rmtree(run / "search")
    (run / "latency.json").unlink()
    result = json.loads((run / "result.json").read_text())
    del result["layers"]  # which need a table
    (run / "result.json").write_text(json.dumps(result))
    page = page_of(run)
    assert page.sections == {"result", "network", "training", "settings"}
    assert "of the 21 blocks of its space" in page.text


def test_values_that_are_absent_or_of_another_type_do_not_stop_the_report(run: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    for key, value in {
        "latency_measured_ms": None,
        "macs": "many",
        "layers": None,
        "seconds": [],
        "device": "a phone",
    }.items():
        result[key] = value
    (run / "result.json").write_text(json.dumps(result))
    assert page_of(run).sections == SECTIONS


@pytest.mark.parametrize("layout", ["nothing", "empty folder", "other files"])
def test_a_folder_that_is_not_a_run_is_said_in_one_line(tmp_path: Path, layout: str) -> None:
    folder = tmp_path / "somewhere"
    if layout != "nothing":
        folder.mkdir()
    if layout == "other files":
        (folder / "notes.json").write_text("{}")
    with pytest.raises(ProxylessError, match="somewhere") as caught:
        write_report(folder)
    assert "\n" not in str(caught.value)
    assert not (folder / "report.html").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("result.json", "{"),
        ("result.json", "[1]"),
        ("config.yaml", "a: [1\nb: }"),
        ("config.yaml", "!!python/object/apply:os.system ['true']"),
        ("data.json", "\udcff"),
        ("latency.json", '{"format": 1}'),
        ("search/history.jsonl", "\udcff"),
    ],
)
def test_a_broken_file_is_named_and_leaves_the_earlier_report(run: Path, name: str, content: str) -> None:
    before = write_report(run).read_bytes()
    (run / name).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ProxylessError, match=re.escape(name)) as caught:
        write_report(run)
    assert "\n" not in str(caught.value)
    assert (run / "report.html").read_bytes() == before


def test_a_failed_write_leaves_the_earlier_report_alone(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(run).read_bytes()
    files = set(run.iterdir())
    (run / "config.yaml").write_text("seed: 7\n")

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(run)
    assert (run / "report.html").read_bytes() == before
    assert set(run.iterdir()) == files


def test_making_a_report_needs_no_heavy_library(run: Path) -> None:
    program = (
        "import sys; from proxyless.report import write_report; write_report(sys.argv[1]);"
        "print(sorted({'torch', 'numpy', 'matplotlib', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(run)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("finished", "seconds", "told"),
    [
        (True, {"data": 1.0, "search": 60.0, "train": 30.0, "check": 4.0, "report": 1.0}, "1 min 36 s in all"),
        # Of version 0.1.0, and of a run that is not finished.
        (True, {"search": 60.0, "derive": 5.0, "train": 30.0}, "1 min 35 s in the stages that have been timed"),
        (False, {"data": 1.0, "search": 60.0}, "1 min 01 s in the stages that have been timed"),
    ],
)
def test_the_time_in_all_is_that_of_all_stages(finished, seconds, told, run: Path) -> None:
    if finished:
        result = json.loads((run / "result.json").read_text())
        (run / "result.json").write_text(json.dumps(result | {"seconds": seconds}))
    else:
        (run / "result.json").unlink()
        (run / "seconds.json").write_text(json.dumps(seconds))
    assert told in Page(render(read_run(run))).text
