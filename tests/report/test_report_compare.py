import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from made_up_run import build_run

from proxyless import ProxylessError
from proxyless.report import read_run, render, write_report


def cells(page: str) -> list[str]:
    class Cells(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []
            self.inside = False

        def handle_starttag(self, name, attributes):
            if name in ("td", "th"):
                self.inside = True
                self.found.append("")

        def handle_endtag(self, name):
            if name in ("td", "th"):
                self.inside = False

        def handle_data(self, text):
            if self.inside:
                self.found[-1] += text

    parser = Cells()
    parser.feed(page)
    return parser.found


def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    one, two = build_run(tmp_path / "searched"), build_run(tmp_path / "published", seed=1)
    result = json.loads((two / "result.json").read_text())
    (two / "result.json").write_text(json.dumps(result | {"test_accuracy": 0.1234}))
    return one, two


def test_a_report_against_another_run_shows_both_in_a_table_and_drawn(tmp_path):
    one, two = two_runs(tmp_path)
    page = write_report(one, [two]).read_text()
    found = cells(page)
    assert {"searched", "published", "12.34 %"} <= {cell.replace("\u202f", " ").replace("\xa0", " ") for cell in found}
    assert page.count("drawn") > render(read_run(one)).count("drawn")
    assert 'id="comparison"' in page
    assert 'id="comparison"' not in render(read_run(one))


def test_accuracies_on_different_data_are_warned_of(tmp_path):
    one, two = two_runs(tmp_path)
    assert "different data" not in render(read_run(one), [read_run(two)])
    data = json.loads((two / "data.json").read_text())
    (two / "data.json").write_text(json.dumps(data | {"source": "elsewhere"}))
    assert "different data" in render(read_run(one), [read_run(two)])


def test_another_run_that_is_none_leaves_the_report_as_it_was(tmp_path):
    one, _ = two_runs(tmp_path)
    before = write_report(one).read_text()
    with pytest.raises(ProxylessError, match="no such folder"):
        write_report(one, [tmp_path / "nowhere"])
    assert (one / "report.html").read_text() == before
