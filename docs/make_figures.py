"""Put the tables that the benchmarks wrote into README.md and docs/benchmarks.md: python docs/make_figures.py"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def filled(page: str) -> str:
    """``page`` with the text between ``<!-- results NAME -->`` and ``<!-- end -->`` replaced by NAME's table."""

    def table(match: re.Match[str]) -> str:
        text = (ROOT / "benchmarks" / "results" / f"{match[1]}.md").read_text().strip()
        text = re.sub(r"^#+ ", "### ", text, flags=re.MULTILINE)  # headings below those of the page
        return f"<!-- results {match[1]} -->\n{text}\n<!-- end -->"

    return re.sub(r"<!-- results (\S+) -->\n.*?<!-- end -->", table, page, flags=re.DOTALL)


if __name__ == "__main__":
    for path in (ROOT / "README.md", ROOT / "docs" / "benchmarks.md"):
        path.write_text(filled(path.read_text()))
