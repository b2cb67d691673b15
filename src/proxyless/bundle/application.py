"""``run.pyz``: the program of a bundle as one file, a standard zip application of Python (PEP 441)."""

from __future__ import annotations

import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
"""Folder of this package."""

CARRIED = (
    "errors.py",
    "files/__init__.py",
    "files/fields.py",
    "files/reading.py",
    "files/writing.py",
    "machine",
    "latency/timing",
    "bundle/program.py",
)
"""The modules and whole folders of this package that time models; they need the standard library and numpy alone."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time that every file in it bears, so that equal programs are equal bytes."""


def write(path: Path) -> None:
    """Write the zip application; the same version of this package always writes the same bytes.

    ``__init__.py`` of a folder that is carried only in part is empty, so that it imports nothing that is missing.
    """
    contents = {"__main__.py": (ROOT / "bundle" / "__main__.py").read_bytes()}
    for place in CARRIED:
        modules = sorted((ROOT / place).glob("*.py")) if (ROOT / place).is_dir() else [ROOT / place]
        contents |= {f"proxyless/{module.relative_to(ROOT).as_posix()}": module.read_bytes() for module in modules}
    for name in list(contents):
        for folder in Path(name).parents:
            if folder.parts:
                contents.setdefault(f"{folder.as_posix()}/__init__.py", b"")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(contents):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), contents[name])
