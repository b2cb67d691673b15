"""Lists image files, folders and links as they are on disk, and notes what is passed over, and why."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from proxyless.data.decoding import without_warnings
from proxyless.errors import ProxylessError

NOT_AN_IMAGE = "not an image that can be opened"
SYSTEM = "hidden or of the system"
LOOSE = "beside the class folders"
BESIDE = "in folders beside those of the splits"
NOWHERE = "links that lead nowhere"
CIRCLE = "links that lead round in a circle"
ELSEWHERE = "links into another class or split"
AGAIN = "second paths to a file that counts already"
SPECIAL = "neither file nor folder"

EXAMPLES = 5  # names kept for each reason

SYSTEM_FILES = frozenset(("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r"))
SYSTEM_FOLDERS = frozenset(
    ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information", "lost+found")
)
# Vector drawings that need another program, films, documents, arrays: Pillow reads the header, but not the pixels.
NO_PICTURES = frozenset(("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "PDF", "WMF"))
# In raw files of cameras a reader of TIFF finds only the thumbnail.
RAW = "3fr arw cr2 cr3 crw dcr dng erf kdc mef mos mrw nef nrw orf pef raf raw rw2 rwl sr2 srf srw x3f"
RAW_SUFFIXES = frozenset(f".{name}" for name in RAW.split())

Key = tuple[int, int]
"""Device and inode: paths that share these lead to one file."""


@dataclass
class LeftOut:
    """The files that were passed over, and the folders that were not entered.

    Args:
        root: The folder of the data set.
        counts: How many, by reason.
        examples: A few of their names, by reason.
    """

    root: str
    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, path: str, count: int = 1) -> None:
        """Count what was passed over; ``path`` is an example of it."""
        self.counts[reason] = self.counts.get(reason, 0) + count
        shown = self.examples.setdefault(reason, [])
        if len(shown) < EXAMPLES:
            shown.append(relative(path, self.root))

    def describe(self) -> dict[str, dict[str, object]]:
        """Return it as JSON-able data, by reason."""
        return {reason: {"count": count, "examples": self.examples[reason]} for reason, count in self.counts.items()}


@dataclass(frozen=True)
class Listing:
    """What is directly in one folder, sorted by name: image files, real and linked folders, and everything else."""

    images: tuple[tuple[str, Key, bool], ...]
    """Name, device and inode, and whether it is a link."""
    folders: tuple[str, ...]
    linked_folders: tuple[str, ...]
    others: tuple[tuple[str, str], ...]
    """Name and reason."""

    @property
    def all_folders(self) -> tuple[str, ...]:
        """Real and linked folders."""
        return tuple(sorted((*self.folders, *self.linked_folders)))


class Tree:
    """The listings of folders; each folder is read once."""

    def __init__(self) -> None:
        self.real: Callable[[str], str] = cache(os.path.realpath)
        """Gives the path of a folder without links."""
        self._listings: dict[str, Listing] = {}
        self._holds: dict[str, bool] = {}

    def listing(self, folder: str) -> Listing:
        """List a folder; the path may contain links.

        Raises:
            ProxylessError: It cannot be read.
        """
        real = self.real(folder)
        if real not in self._listings:
            self._listings[real] = _read(folder)
        return self._listings[real]

    def holds_images(self, folder: str) -> bool:
        """Say whether there are images in a folder or below it, following links."""
        real = self.real(folder)
        if real not in self._holds:
            self._holds[real] = False  # for links that lead back here
            listing = self.listing(folder)
            self._holds[real] = bool(listing.images) or any(
                self.holds_images(os.path.join(folder, name)) for name in listing.all_folders
            )
        return self._holds[real]

    def holding(self, folder: str) -> list[str]:
        """Return the names of the folders directly in a folder that hold images."""
        return [name for name in self.listing(folder).all_folders if self.holds_images(os.path.join(folder, name))]

    def count_images(self, folder: str) -> int:
        """Count the images in a folder and below it, without following links."""
        listing = self.listing(folder)
        return len(listing.images) + sum(self.count_images(os.path.join(folder, name)) for name in listing.folders)


@dataclass(frozen=True)
class Owner:
    """A class folder; everything below it is of one split and one class."""

    path: str
    linked: bool


@dataclass(frozen=True)
class _Found:
    path: str
    key: Key
    links: int
    """How many links lie on the way to it."""
    owner: int


def collect(tree: Tree, root: str, owners: list[Owner], left_out: LeftOut) -> list[list[str] | None]:
    """Collect the image files below each class folder.

    Each real file counts once: at its own path, or at the first of the paths with the fewest links.

    Args:
        tree: Lists folders.
        root: The folder that names are relative to.
        owners: The class folders.
        left_out: Where to note what is passed over.

    Returns:
        The names of the files of each owner, sorted; None for an owner that is left out.
    """
    claims = _Claims(tree, owners)
    found: list[_Found] = []
    names: list[list[str] | None] = [[] for _ in owners]
    for number, owner in enumerate(owners):
        if claims.is_taken(number):
            left_out.add(ELSEWHERE, owner.path)
            names[number] = None
        else:
            found += _walk(tree, claims, number, left_out)
    first: dict[Key, _Found] = {}
    for item in sorted(found, key=lambda item: item.links):  # stable: owners in order, then names
        first.setdefault(item.key, item)
    for item in found:
        counted, of = first[item.key], names[item.owner]
        if counted is item and of is not None:
            of.append(relative(item.path, root))
        else:
            left_out.add(ELSEWHERE if counted.owner != item.owner and item.links else AGAIN, item.path)
    return [None if of is None else sorted(of) for of in names]


def relative(path: str, root: str) -> str:
    """Return ``path`` relative to ``root``, with slashes."""
    return path[len(root) :].lstrip(os.sep).replace(os.sep, "/")


class _Claims:
    """Knows which real folder belongs to which owner."""

    def __init__(self, tree: Tree, owners: list[Owner]) -> None:
        self.tree = tree
        self.owners = owners
        self.real = [tree.real(owner.path) for owner in owners]
        self.first: dict[str, int] = {}
        for number in sorted(range(len(owners)), key=lambda n: owners[n].linked):
            self.first.setdefault(self.real[number], number)
        self.above = {parent for path in self.first for parent in _parents(path)}

    def is_taken(self, number: int) -> bool:
        """Say whether an owner is a link to the folder of another owner, into it, or to a folder above it."""
        real = self.real[number]
        if not self.owners[number].linked:
            return False
        inside = any(parent in self.first for parent in _parents(real))
        return self.first[real] != number or inside or real in self.above

    def reason(self, link: str, owner: int) -> str | None:
        """Say why a linked folder is left out, if it is."""
        real = self.tree.real(link)
        for path in (real, *_parents(real)):
            if path in self.first:
                return AGAIN if self.first[path] == owner else ELSEWHERE
        return ELSEWHERE if real in self.above else None


def _walk(tree: Tree, claims: _Claims, owner: int, left_out: LeftOut) -> Iterator[_Found]:
    start = claims.owners[owner]
    waiting = [(start.path, int(start.linked))]
    seen = set()
    while waiting:
        folder, links = waiting.pop(0)
        if (real := tree.real(folder)) in seen:
            left_out.add(AGAIN, folder)
            continue
        seen.add(real)
        listing = tree.listing(folder)
        for name, key, is_link in listing.images:
            yield _Found(os.path.join(folder, name), key, links + is_link, owner)
        for name, reason in listing.others:
            left_out.add(reason, os.path.join(folder, name))
        waiting += [(os.path.join(folder, name), links) for name in listing.folders]
        for name in listing.linked_folders:
            link = os.path.join(folder, name)
            if why := claims.reason(link, owner):
                left_out.add(why, link)
            else:
                waiting.append((link, links + 1))


def _parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _read(folder: str) -> Listing:
    images: list[tuple[str, Key, bool]] = []
    folders: list[str] = []
    linked: list[str] = []
    others: list[tuple[str, str]] = []
    try:
        device, real = os.stat(folder).st_dev, os.path.realpath(folder)
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            if _is_of_the_system(entry.name):
                others.append((entry.name, SYSTEM))
                continue
            is_link = entry.is_symlink()
            if entry.is_file(follow_symlinks=False):
                key = (device, entry.inode())
            else:
                try:
                    status = os.stat(entry.path)
                except OSError:  # a link to nothing, or to itself
                    others.append((entry.name, NOWHERE))
                    continue
                if stat.S_ISDIR(status.st_mode):
                    if is_link and os.path.realpath(entry.path) in (real, *_parents(real)):
                        others.append((entry.name, CIRCLE))
                        continue
                    (linked if is_link else folders).append(entry.name)
                    continue
                if not stat.S_ISREG(status.st_mode):
                    others.append((entry.name, SPECIAL))
                    continue
                key = (status.st_dev, status.st_ino)
            if is_image(entry.path):
                images.append((entry.name, key, is_link))
            else:
                others.append((entry.name, NOT_AN_IMAGE))
    except OSError as error:
        raise ProxylessError(f"{folder}: cannot be read ({error.strerror or error})") from None
    return Listing(tuple(images), tuple(folders), tuple(linked), tuple(others))


def _is_of_the_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in SYSTEM_FILES or name.lower() in SYSTEM_FOLDERS


def is_image(path: str) -> bool:
    """Say whether Pillow knows the suffix of a file, or else recognises its first bytes as those of an image."""
    suffix = os.path.splitext(path)[1].lower()
    known, signed = _formats()
    if suffix in known:
        return True
    return suffix not in RAW_SUFFIXES and _opens(path, signed)


def _opens(path: str, formats: tuple[str, ...]) -> bool:
    from PIL import Image

    try:
        with without_warnings(), Image.open(path, formats=formats):
            return True
    except Exception:  # no image; Pillow's plugins raise errors of nearly any type
        return False


@cache
def _formats() -> tuple[frozenset[str], tuple[str, ...]]:
    """Return the suffixes that Pillow knows, and the formats that it recognises by the first bytes of a file."""
    from PIL import Image

    of_suffix = Image.registered_extensions()
    suffixes = frozenset(suffix for suffix, name in of_suffix.items() if name in Image.OPEN and name not in NO_PICTURES)
    return suffixes, tuple(name for name, (_, accept) in Image.OPEN.items() if accept and name not in NO_PICTURES)
