"""Finds out which folders of a data set are splits and which are classes.

Where the folders would probably be misunderstood, they are refused.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from proxyless.data.tree import BESIDE, ELSEWHERE, LOOSE, NOT_AN_IMAGE, LeftOut, Tree
from proxyless.errors import ProxylessError

EXPECTED = "expected class folders of images, or train/ (and valid/, test/) with class folders in them"
DEEPEST = 8  # levels of folders that each only wrap another one

SPELLINGS = {
    "train": ("train", "training", "trn"),
    "valid": ("valid", "val", "validation", "validate", "dev", "development"),
    "test": ("test", "testing", "tst", "eval", "evaluation"),
}
"""The usual names of the folders of splits. Upper and lower case, and words of ``FILLERS``, make no difference:
``Train_images``."""
FILLERS = ("images", "image", "imgs", "img", "data", "dataset", "set", "split", "dir", "folder", "pictures", "photos")
CONTAINERS = frozenset((*FILLERS, "jpegimages", "mask", "masks", "label", "labels", "annotations", "segmentation"))
"""Folders of these names are not classes."""
TABLES = (".csv", ".tsv", ".parquet")


@dataclass(frozen=True)
class Layout:
    """Where the class folders of a data set are.

    Args:
        base: The folder that was read: that of the data set or one inside it.
        splits: Folders by ``train``, ``valid`` and ``test``; empty where the class folders are directly in ``base``.
    """

    base: str
    splits: dict[str, str]


def find_layout(tree: Tree, root: str, left_out: LeftOut, classes: Collection[str] = ()) -> Layout:
    """Find out where the class folders of a data set are.

    Args:
        tree: Lists folders.
        root: The folder of the data set.
        left_out: Where to note what is passed over.
        classes: Folders of these names are class folders, whatever is in them.

    Raises:
        ProxylessError: The folders would probably be misunderstood.
    """
    base = root
    for _ in range(DEEPEST):
        inside = tree.holding(base)
        if classes and set(inside) <= set(classes):
            return Layout(base, {})
        layout = _splits(tree, base, left_out)
        if layout is not None:
            return layout
        if len(inside) != 1:
            break
        only = os.path.join(base, inside[0])
        if tree.listing(only).images or not tree.holding(only):  # a single class, which the caller refuses
            break
        _leave_loose(tree, base, left_out)
        base = only
    _check_undivided(tree, base)
    _leave_loose(tree, base, left_out)
    return Layout(base, {})


def split_of(name: str) -> tuple[str, str] | None:
    """Return the split that the name of a folder stands for, and the other words in the name.

    This is ``("train", "")`` for ``Train_set``, ``("train", "seg")`` for ``seg_train``, and None where the name stands
    for no split.
    """
    words = [word for word in re.split(r"[^a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()) if word]
    kinds, rest = [], []
    for word in words:
        if kind := _kind(word):
            kinds.append(kind)
        elif word not in FILLERS:
            rest.append(word)
    return (kinds[0], " ".join(rest)) if len(kinds) == 1 else None


def _kind(word: str) -> str | None:
    for kind, spellings in SPELLINGS.items():
        for spelling in spellings:
            if word == spelling or (word.startswith(spelling) and word[len(spelling) :] in FILLERS):
                return kind
    return None


def _splits(tree: Tree, base: str, left_out: LeftOut) -> Layout | None:
    """Find the split folders of ``base``, if it has some."""
    named = _named(tree, base)
    divided = {kind: names for kind, names in named.items() if any(_is_divided(tree, base, name) for name in names)}
    if "train" not in divided:
        _check_train_is_there(tree, base, named, divided)
        return None
    if all(split_of(name) for name in _classes_below(tree, os.path.join(base, divided["train"][0]))):
        if len(divided) == 1 and len(tree.holding(base)) == 1:
            return None  # train/ wraps train/ and test/
        train = os.path.join(base, divided["train"][0])
        raise ProxylessError(f"{train}: its class folders are named as splits; give {train}, or rename them")
    for kind, names in named.items():
        holding = [name for name in names if tree.holds_images(os.path.join(base, name))]
        if len(holding) > 1 and len({tree.real(os.path.join(base, name)) for name in holding}) > 1:
            raise ProxylessError(f"{base}: has both {holding[0]}/ and {holding[1]}/, both {kind}; keep one of them")
        if holding and kind not in divided:
            _refuse_flat(tree, base, holding[0])
    chosen: dict[str, str] = {}
    for kind in sorted(divided, key=lambda kind: _is_link(tree, base, divided[kind][0])):  # real folders first
        name = next(name for name in divided[kind] if _is_divided(tree, base, name))
        if tree.real(os.path.join(base, name)) in {tree.real(path) for path in chosen.values()}:
            left_out.add(ELSEWHERE, os.path.join(base, name))
        else:
            chosen[kind] = os.path.join(base, name)
    classes = _classes_below(tree, chosen["train"])
    splits = {kind: _unwrapped(tree, chosen[kind], classes) for kind in SPELLINGS if kind in chosen}
    _leave_beside(tree, base, {os.path.basename(path) for path in chosen.values()}, classes, splits, left_out)
    _leave_loose(tree, base, left_out)
    for kind, path in splits.items():
        if path != chosen[kind]:
            _leave_loose(tree, chosen[kind], left_out)
        _leave_loose(tree, path, left_out)
        holding = tree.holding(path)
        if len(holding) > 1:
            _check_copies(tree, path, holding)
            _check_subfolders(tree, path, holding)
    return Layout(base, splits)


def _named(tree: Tree, base: str) -> dict[str, list[str]]:
    """Find the folders of ``base`` that have the name of a split, the usual spellings first.

    A name with other words in it, such as ``seg_train``, counts where several folders share these words.
    """
    found = [(name, split) for name in tree.listing(base).all_folders if (split := split_of(name))]
    kinds_with: dict[str, set[str]] = {}
    for _, (kind, rest) in found:
        kinds_with.setdefault(rest, set()).add(kind)
    named: dict[str, list[str]] = {}
    for name, (kind, rest) in sorted(found, key=lambda item: (bool(item[1][1]), _rank(item[0]))):
        if not rest or (len(kinds_with[rest]) > 1 and "train" in kinds_with[rest]):
            named.setdefault(kind, []).append(name)
    return {kind: named[kind] for kind in SPELLINGS if kind in named}


def _rank(name: str) -> int:
    spellings = [spelling for names in SPELLINGS.values() for spelling in names]
    return spellings.index(name.lower()) if name.lower() in spellings else len(spellings)


def _is_divided(tree: Tree, base: str, name: str) -> bool:
    """Say whether there are class folders with images in the folder ``name``.

    Only these make it a split: a data set of vehicles may have a *class* called train.
    """
    return bool(tree.holding(os.path.join(base, name)))


def _is_link(tree: Tree, base: str, name: str) -> bool:
    return name in tree.listing(base).linked_folders


def _classes_below(tree: Tree, folder: str) -> list[str]:
    return tree.holding(_unwrapped(tree, folder, []))


def _unwrapped(tree: Tree, folder: str, classes: list[str]) -> str:
    """Enter folders that only wrap the class folders: ``train/train/cat``, ``train/images/cat``."""
    here = folder
    for _ in range(DEEPEST):
        inside, loose = tree.holding(here), bool(tree.listing(here).images)
        if loose and here != folder:
            break
        if len(inside) > 1 or set(inside) & set(classes):
            return here
        if len(inside) != 1 or loose:
            break
        here = os.path.join(here, inside[0])
    return folder


def _check_train_is_there(tree: Tree, base: str, named: dict[str, list[str]], divided: dict[str, list[str]]) -> None:
    if divided:
        name = next(iter(divided.values()))[0]
        if len(tree.holding(base)) > 1 or "train" not in _named(tree, os.path.join(base, name)):
            below = _divided_below(tree, base)
            way = f"give {below}, which has one" if below else EXPECTED
            raise ProxylessError(f"{base}: has {name}/ but no train/ with class folders; {way}")
        return
    holding = tree.holding(base)
    names = {name for of in named.values() for name in of}
    if holding and set(holding) <= names:
        _refuse_flat(tree, base, holding[0])
    flat = [name for name in holding if name in names]
    if "train" in named and len({split_of(name) for name in flat}) > 1:
        others = _some([name for name in holding if name not in flat])
        raise ProxylessError(
            f"{base}: {_some(flat)} are beside {others} and have no class folders in them; {EXPECTED}; rename them if"
            " they are classes"
        )


def _refuse_flat(tree: Tree, base: str, name: str) -> None:
    """Refuse a split folder with images directly in it: nothing says which class they are of."""
    folder = os.path.join(base, name)
    count = len(tree.listing(folder).images)
    train = next((n for n in _named(tree, base).get("train", []) if _is_divided(tree, base, n)), None)
    way = f", or give {os.path.join(base, train)}, and images will be held out of it" if train else f"; {EXPECTED}"
    raise ProxylessError(
        f"{folder}: {count:,} images are in it without class folders; sort them into a folder for each"
        f" class{_table_way(tree, base, folder)}{way}"
    )


def _table_way(tree: Tree, *folders: str) -> str:
    """Name the file that probably holds the labels, where there is one, as another way to go."""
    for folder in folders:
        for name, reason in tree.listing(folder).others:
            if reason == NOT_AN_IMAGE and name.lower().endswith(TABLES):
                return f", or give {os.path.join(folder, name)} if it is a table of their labels"
    return ""


def _check_undivided(tree: Tree, base: str) -> None:
    listing, holding = tree.listing(base), tree.holding(base)
    if not holding:
        if listing.images:
            raise ProxylessError(
                f"{base}: its {len(listing.images):,} images are in one folder, not in class folders; sort them into a"
                f" folder for each class{_table_way(tree, base)}"
            )
        return
    if all(name.lower() in CONTAINERS for name in holding) and any(
        tree.listing(os.path.join(base, name)).images for name in holding
    ):
        _refuse_flat(tree, base, holding[0])
    if len(holding) < 2:
        return
    for name in holding:
        inside = os.path.join(base, name)
        if "train" in (named := _named(tree, inside)) and _is_divided(tree, inside, named["train"][0]):
            raise ProxylessError(
                f"{inside}: has {named['train'][0]}/ with class folders in it, and would be taken for one class of"
                f" {base}; give {inside}"
            )
        if below := _divided_below(tree, inside):
            raise ProxylessError(
                f"{below}: has train/ and other splits with class folders in them, and would be taken for a part of one"
                f" class, {name}/ of {base}; give {below}"
            )
    _check_copies(tree, base, holding)
    _check_subfolders(tree, base, holding)


def _check_subfolders(tree: Tree, base: str, classes: list[str]) -> None:
    """Refuse class folders whose images all lie in subfolders of the same names: these are probably the classes."""
    inside = [tree.holding(os.path.join(base, name)) for name in classes]
    shared = [name for name, count in Counter(name for names in inside for name in names).items() if count > 1]
    if not shared:
        return
    first = os.path.join(base, classes[0])
    if all(split_of(name) for names in inside for name in names):
        holder, name = next((c, names[0]) for c, names in zip(classes, inside, strict=True) if names)
        raise ProxylessError(
            f"{base}: splits such as {shared[0]}/ are inside the class folders ({holder}/{name}); put the split above"
            f" the class, as in {name}/{holder}"
        )
    if any(tree.listing(os.path.join(base, name)).images for name in classes):
        return
    if len(shared) > 1:
        raise ProxylessError(
            f"{base}: {_some(classes)} hold the same folders ({_some(shared)}), which are probably the classes; give"
            f" one of them, such as {first}, or call them train/, valid/ and test/; if they are the classes, move the"
            " images directly into them"
        )


def _leave_loose(tree: Tree, folder: str, left_out: LeftOut) -> None:
    listing = tree.listing(folder)
    for name, _, _ in listing.images:
        left_out.add(LOOSE, os.path.join(folder, name))
    for name, reason in listing.others:
        left_out.add(reason, os.path.join(folder, name))


def _leave_beside(
    tree: Tree, base: str, used: set[str], classes: list[str], splits: dict[str, str], left_out: LeftOut
) -> None:
    real = {tree.real(os.path.join(base, name)) for name in used}
    others = [name for name in tree.holding(base) if tree.real(os.path.join(base, name)) not in real]
    for name in others:
        path = os.path.join(base, name)
        if len(set(tree.holding(path)) & set(classes)) > 1:
            raise ProxylessError(
                f"{path}: holds the class folders of train/, but does not have the name of a split; rename it to valid"
                " or test, or move it away"
            )
    flat = [name for name in others if tree.listing(os.path.join(base, name)).images]
    if flat and len(splits) == 1:
        train = splits["train"]
        raise ProxylessError(
            f"{base}: {os.path.basename(train)}/ may be a split or a class, because {_some(others)} with images are"
            f" beside it; if it is the data set, give {train}; if it is a class, move its images directly into it"
        )
    for name in others:
        path = os.path.join(base, name)
        if count := tree.count_images(path):
            left_out.add(BESIDE, path, count)


def _check_copies(tree: Tree, base: str, classes: list[str]) -> None:
    """Refuse a class folder that holds folders named as the classes: it is a second copy of the data set."""
    for name in classes:
        inside = os.path.join(base, name)
        found = [other for other in tree.holding(inside) if other in classes]
        if len(found) > 1 and not {tree.real(os.path.join(base, c)) for c in classes} & {
            tree.real(os.path.join(inside, c)) for c in found
        }:
            raise ProxylessError(
                f"{inside}: holds folders that are named as the classes beside it ({_some(found)}), so it is probably a"
                f" second copy of the data set; move {inside} away, or give it alone"
            )


def _divided_below(tree: Tree, folder: str) -> str | None:
    """Find the first folder at or below ``folder`` that is divided into train/ and another split."""
    waiting = [(folder, 0)]
    while waiting:
        here, depth = waiting.pop(0)
        named = _named(tree, here)
        if len([kind for kind, names in named.items() if _is_divided(tree, here, names[0])]) > 1 and "train" in named:
            return here
        if depth < DEEPEST:
            waiting += [(os.path.join(here, name), depth + 1) for name in tree.listing(here).folders]
    return None


def _some(names: list[str]) -> str:
    return ", ".join(f"{name}/" for name in names[:3]) + (", ..." if len(names) > 3 else "")
