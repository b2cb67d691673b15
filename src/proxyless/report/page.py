"""Writes the report of a run: one HTML page that needs no network connection and runs no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from proxyless.files.writing import write_text
from proxyless.report import compare, glance, latency, network, search, settings, training
from proxyless.report.markup import Html, tag
from proxyless.report.run_files import RunFiles, read_run

_SECTIONS = (
    ("result", "Result", glance.section),
    ("network", "The network", network.section),
    ("search", "The search", search.section),
    ("training", "Training", training.section),
    ("latency", "Latency", latency.section),
    ("settings", "Settings and record", settings.section),
)


def render(run: RunFiles, others: Sequence[RunFiles] = ()) -> str:
    """Return the page of a run, compared with ``others``; a section whose files are missing is left out."""
    found = [(key, name, content) for key, name, make in _SECTIONS if (content := make(run)) is not None]
    if (content := compare.section(run, others)) is not None:
        found.insert(1, ("comparison", "Side by side", content))
    title = glance.title(run)
    links = (tag("li", tag("a", name, href=f"#{key}")) for key, name, _ in found)
    style = files("proxyless.report").joinpath("style.css").read_text(encoding="utf-8")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name_="color-scheme", content="light dark"),
        tag("title", f"{title} · Proxyless report"),
        tag("style", Html(style)),
    )
    top = tag(
        "header",
        tag("p", "Proxyless report", class_="eyebrow"),
        tag("h1", title),
        tag("nav", tag("ul", *links), aria_label="Sections"),
    )
    sections = (
        tag("section", tag("h2", name, id=f"{key}-title"), content, id=key, aria_labelledby=f"{key}-title")
        for key, name, content in found
    )
    end = tag("footer", tag("p", f"Made by Proxyless from the files of the run folder {run.path.resolve().name}."))
    body = tag("body", top, tag("main", *sections), end)
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def write_report(run: str | Path, others: Sequence[str | Path] = (), *, source: str | None = None) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Args:
        run: The folder of the run.
        others: Folders of other runs, which are shown beside it.
        source: Where the images of the run are now, if they were moved.

    Raises:
        ProxylessError: A folder is not that of a run, or a file in it cannot be read.
    """
    path = Path(run) / "report.html"
    read = read_run(run)
    if source is not None:
        read = replace(read, data=read.data | {"source": source})
    write_text(path, render(read, [read_run(other) for other in others]))
    return path
