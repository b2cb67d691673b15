"""Reads a table of labels: a CSV or Parquet file with the path of an image and its label or labels in each row."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from proxyless.data.folder import class_name
from proxyless.data.labelling import Labelling
from proxyless.errors import ProxylessError, meant, short
from proxyless.files import reading

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")
"""Of files that are read as tables of labels."""

PATHS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image", "image_path", "img")
"""Names of the column of paths; the first column is taken where none has one of them."""

SPLIT = "split"
"""Name of the column that says which split an image belongs to."""


@dataclass(frozen=True)
class Table:
    """The rows of a file as text.

    Args:
        path: The file.
        columns: Cells by the name of the column, from top to bottom.
        lines: The line, or row, of the file that each row of the table is, for messages.
    """

    path: Path
    columns: Mapping[str, Sequence[str]]
    lines: Sequence[int]

    def at(self, row: int) -> str:
        """Return where a row is, as messages begin."""
        return f"{self.path}, line {self.lines[row]}"


@dataclass(frozen=True)
class Labels:
    """What a table of labels says.

    Args:
        table: The table it is from.
        paths: The images, as the table has them.
        labelling: What is to be learnt.
        names: Of the classes, the labels or the numbers.
        targets: int64 (images,) classes; float32 (images, names) of 0 and 1, or of numbers.
        splits: The split of each image as the table has it; None where it has no such column.
        reason: Why it is this labelling, in words.
    """

    table: Table
    paths: Sequence[str]
    labelling: Labelling
    names: tuple[str, ...]
    targets: np.ndarray
    splits: Sequence[str] | None
    reason: str


def read_labels(path: Path, labelling: Labelling | None = None) -> Labels:
    """Read a table of labels.

    Args:
        path: A CSV file with a header, or a Parquet file.
        labelling: What is to be learnt; None: what the labels are, where they leave no doubt.

    Raises:
        ProxylessError: The table cannot be read, is empty, lacks a column, has a cell that is no label, or could be
            meant in several ways.
    """
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    names = list(table.columns)
    paths = next((name for name in names if name.lower() in PATHS), names[0])
    split = next((name for name in names if name.lower() == SPLIT and name != paths), None)
    labels = [name for name in names if name not in (paths, split)]
    if not labels:
        raise ProxylessError(f"{path}: has no column of labels beside {paths!r}; add one, or several of numbers")
    for name in names:
        for row, cell in enumerate(table.columns[name]):
            if not cell:
                raise ProxylessError(f"{table.at(row)}: column {name!r} is empty; fill it in or remove the line")
    numbers = {name: _numbers(table.columns[name]) for name in labels}
    found, reason = _labelling(table, labels, numbers) if labelling is None else (labelling, "as --task says")
    classes, targets = _targets(table, labels, numbers, found)
    splits = None if split is None else table.columns[split]
    return Labels(table, table.columns[paths], found, classes, targets, splits, reason)


def _labelling(table: Table, labels: Sequence[str], numbers: Mapping[str, np.ndarray | None]) -> tuple[Labelling, str]:
    """Say what is to be learnt, and why."""
    if len(labels) == 1:
        values = numbers[labels[0]]
        if values is None:
            return Labelling.CLASSIFICATION, f"column {labels[0]!r} holds names"
        if (values % 1).any():
            return Labelling.REGRESSION, f"column {labels[0]!r} holds numbers with decimals"
        raise ProxylessError(
            f"{table.path}: whole numbers in column {labels[0]!r} may be classes or amounts; say which with --task"
            " classification or --task regression"
        )
    stacked = _stacked(table, labels, numbers)
    if not np.isin(stacked, (0, 1)).all():
        return Labelling.REGRESSION, f"{len(labels)} columns hold numbers"
    if (stacked.sum(axis=1) == 1).all():
        raise ProxylessError(
            f"{table.path}: each line has a single 1, which may be its class or one of many labels; say which with"
            " --task classification or --task multi-label"
        )
    return Labelling.MULTI_LABEL, f"{len(labels)} columns hold 0 or 1"


def _targets(
    table: Table, labels: Sequence[str], numbers: Mapping[str, np.ndarray | None], labelling: Labelling
) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of what is learnt, and the targets."""
    if labelling is Labelling.CLASSIFICATION and len(labels) == 1:
        return _classes(table.columns[labels[0]], numbers[labels[0]])
    stacked = _stacked(table, labels, numbers)
    names = tuple(class_name(name) for name in labels)
    if labelling is Labelling.REGRESSION:
        return names, stacked
    for row in np.flatnonzero(~np.isin(stacked, (0, 1)).all(axis=1))[:1].tolist():
        raise ProxylessError(f"{table.at(row)}: labels must be 0 or 1 for --task {labelling}")
    if labelling is Labelling.MULTI_LABEL:
        return names, stacked
    for row in np.flatnonzero(stacked.sum(axis=1) != 1)[:1].tolist():
        raise ProxylessError(f"{table.at(row)}: exactly one label must be 1 for --task {labelling}")
    return names, stacked.argmax(axis=1).astype(np.int64)


def _classes(cells: Sequence[str], values: np.ndarray | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Number the classes, in alphabetical order, or in that of their numbers."""
    called = [class_name(cell) for cell in cells]
    order = dict(zip(called, called if values is None else values.tolist(), strict=True))
    classes = sorted(order, key=lambda name: order[name])
    number = {name: index for index, name in enumerate(classes)}
    return tuple(classes), np.array([number[name] for name in called], np.int64)


def _stacked(table: Table, labels: Sequence[str], numbers: Mapping[str, np.ndarray | None]) -> np.ndarray:
    """Return several columns of numbers as float32 (rows, columns).

    Raises:
        ProxylessError: A column holds something else.
    """
    columns = []
    for name in labels:
        values = numbers[name]
        if values is None:
            row = next(row for row, cell in enumerate(table.columns[name]) if _number(cell) is None)
            raise ProxylessError(
                f"{table.at(row)}: column {name!r} holds {short(table.columns[name][row])}, which is no number;"
                " expected a path and one label, or a path and several numbers"
            )
        columns.append(values)
    return np.stack(columns, axis=1).astype(np.float32)


def _number(cell: str) -> float | None:
    if cell.strip().lower() in ("true", "false"):
        return float(cell.strip().lower() == "true")
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _numbers(cells: Sequence[str]) -> np.ndarray | None:
    """Return the cells as float64 (rows,), None where one of them is no number."""
    values = [_number(cell) for cell in cells]
    return None if None in values else np.array(values, np.float64)


def _read_csv(path: Path) -> Table:
    """Read a CSV file, whose first line names the columns; commas, semicolons or tabs divide them."""
    content = reading.text(path, "CSV", reading.LARGEST_LINES)
    first = content.lstrip("\r\n").partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise ProxylessError(f"{path}, line {reader.line_num}: not readable as CSV ({error})") from None
    if not rows:
        raise ProxylessError(f"{path}: is empty; its first line must name the columns, such as path,label")
    header = rows[0]
    for row, line in zip(rows[1:], lines[1:], strict=True):
        if len(row) != len(header):
            raise ProxylessError(f"{path}, line {line}: has {len(row)} cells, and the first line {len(header)}")
    return _table(path, header, list(zip(*rows[1:], strict=True)), lines[1:])


def _read_parquet(path: Path) -> Table:
    reading.regular(path)
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ProxylessError(f"{path}: to read Parquet: pip install pyarrow; or give a CSV file") from None
    try:
        found = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise ProxylessError(f"{path}: not readable as Parquet ({str(error).splitlines()[0]})") from None
    columns = [["" if cell is None else str(cell) for cell in column.to_pylist()] for column in found.columns]
    return _table(path, found.column_names, columns, range(1, found.num_rows + 1))


def _table(path: Path, header: Sequence[str], columns: Sequence[Sequence[str]], lines: Sequence[int]) -> Table:
    for name in header:
        if not name or header.count(name) > 1:
            problem = f"column {name!r} is there twice" if name else "a column has no name"
            raise ProxylessError(f"{path}: {problem}; each column needs a name of its own")
    if not lines:
        raise ProxylessError(f"{path}: has no rows below the names of its columns")
    return Table(path, dict(zip(header, columns, strict=True)), lines)


def split_called(labels: Labels, row: int, known: Mapping[str, Sequence[str]]) -> str:
    """Return the split that a row of the table belongs to.

    Args:
        labels: The table.
        row: The row.
        known: Spellings of each split.

    Raises:
        ProxylessError: The cell names no split.
    """
    assert labels.splits is not None
    cell = labels.splits[row]
    for split, spellings in known.items():
        if cell.lower() in spellings:
            return split
    raise ProxylessError(
        f"{labels.table.at(row)}: {short(cell)} is no split; expected {', '.join(known)}{meant(cell, list(known))}"
    )
