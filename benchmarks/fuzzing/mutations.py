"""Ways in which a file can be wrong: values of a tree, bytes, archives, and what is no file at all."""

from __future__ import annotations

import copy
import io
import json
import os
import pickle
import random
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

# Numbers and constants that JSON texts can hold but that Python would not write: put in by name once a text is made.
RAW = {
    "@@huge@@": "1e400",
    "@@digits@@": "1" + "0" * 5000,
    "@@nan@@": "NaN",
    "@@inf@@": "-Infinity",
    "@@zero@@": "-0.0",
    "@@exponent@@": "1E+308",
    "@@long@@": "0." + "3" * 400,
    "@@deep@@": "[" * 100_000 + "]" * 100_000,
    "@@unclosed@@": '{"a": ' * 3000,
    "@@comment@@": "/* */ 1",
}
LEAVES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 8, 1000, 10**6, 10**7, 10**9, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400,
    0.0, 0.5, -0.5, 1e-320, 1e300, 1.5, 3.0, "", "x", "0", "1", "nan", "true", "skip", "a" * 10_000, "\0", "\n",
    "\ud800", "\udcff", "\u2028", "\x1b[2J", "../../../etc/passwd", "/dev/zero", "%s%n{0}", "<script>alert(1)</script>",
    [], {}, [[]], [None], {"": None}, [1, 2, 3], {"a": 1}, [0] * 1000, *RAW,
)  # fmt: skip
"""What may stand where a value of a tree stood."""

KINDS = ("leaf", "leaf", "leaf", "near", "near", "near", "drop", "rename", "swap", "wrap", "more", "other", "add")
MAGIC = (b"\0", b"\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 8, b"PK\x03\x04", b"\x80\x02", b"{", b"[", b'"')
SPECIAL = ("/dev/zero", "/dev/null", "/dev/full", "/nowhere", "/proc/self/mem", "/proc/cpuinfo")
MARKER = "executed"
"""File that would be there, in the folder of the case, if code of a file had been run."""


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of all values of a tree."""
    found = [path]
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        found += places(value, (*path, key))
    return found


def at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def put(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """``tree`` with ``value`` at ``path``."""
    if not path:
        return value
    at(tree, path[:-1])[path[-1]] = value
    return tree


def changed_tree(tree: Any, rng: random.Random) -> Any:
    """One change somewhere in a tree of lists, dicts and values."""
    tree = copy.deepcopy(tree)
    path = rng.choice(places(tree))
    value = at(tree, path)
    kind = rng.choice(
        ("leaf", "leaf", "leaf", "near", "near", "drop", "rename", "swap", "wrap", "more", "other", "add")
    )
    if kind == "near" and isinstance(value, int | float) and not isinstance(value, bool):
        return put(
            tree, path, rng.choice((-value, value + 1, value - 1, value * 1000, float(value), value / 3, str(value)))
        )
    if kind == "near" and isinstance(value, str):
        return put(tree, path, rng.choice((value[:-1], value + "x", value.upper(), value * 200, [value], value[::-1])))
    if kind in ("drop", "rename", "swap") and path:
        outer = at(tree, path[:-1])
        if kind == "drop":
            del outer[path[-1]]
        elif kind == "rename" and isinstance(outer, dict):
            outer[rng.choice((str(path[-1]) + "x", "", "__proto__", "\n", "\ud800"))] = outer.pop(path[-1])
        else:
            other = rng.choice(places(tree))
            return put(tree, path, copy.deepcopy(at(tree, other)))
        return tree
    if kind == "wrap":
        for _ in range(rng.choice((1, 1, 2, 10, 70, 500))):
            value = [value] if rng.random() < 0.5 else {"a": value}
        return put(tree, path, value)
    if kind == "more" and isinstance(value, list) and value:
        value *= rng.choice((2, 3, 300))
        return tree
    if kind == "other" and isinstance(value, list | dict):
        return put(tree, path, dict(enumerate(value)) if isinstance(value, list) else list(value))
    if kind == "add" and isinstance(value, dict):
        value[rng.choice(("unknown", "name", "", "x" * 1000, "classes"))] = rng.choice(LEAVES)
        return tree
    return put(tree, path, copy.deepcopy(rng.choice(LEAVES)))


def as_text(tree: Any) -> bytes:
    """A tree as JSON, which YAML reads as well, with what :data:`RAW` names."""
    for levels in (None, 2):
        try:
            text = json.dumps(tree, indent=levels)
            break
        except (RecursionError, ValueError):
            text = "[]"
    for name, raw in RAW.items():
        text = text.replace(f'"{name}"', raw)
    return text.encode()


def changed_bytes(content: bytes, rng: random.Random) -> bytes:
    """One change of bytes somewhere."""
    where = rng.randrange(len(content) + 1)
    until = min(len(content), where + rng.choice((1, 2, 8, 100, 5000)))
    kind = rng.randrange(14)
    if kind < 3 and content:
        where %= len(content)
        return content[:where] + bytes([content[where] ^ (1 << rng.randrange(8))]) + content[where + 1 :]
    if kind == 3:
        return content[:where]
    if kind == 4:
        return content[:where] + rng.randbytes(rng.choice((1, 4, 100))) + content[where:]
    if kind == 5:
        return content[:where] + content[until:]
    if kind == 6:
        return content[:until] + content[where:]
    if kind == 7:
        magic = rng.choice(MAGIC)
        return content[:where] + magic + content[where + len(magic) :]
    if kind == 8:
        return content[:where] + b"\0" * (until - where) + content[until:]
    if kind == 9:
        return content[where:] + content[:where]
    if kind == 10:
        return rng.choice(
            (b"", b"\0", b"\n", b"\xef\xbb\xbf" + content, content + content, content[where:], b"null", b"{}")
        )
    if kind == 11:
        return content.decode("latin-1").encode(rng.choice(("utf-16", "utf-32", "utf-8")))
    if kind == 12:
        lines = content.split(b"\n")
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines) * rng.choice((1, 3)))
        return b"\n".join(lines)
    return content.replace(
        rng.choice((b",", b":", b'"', b"1", b"0", b" ", b"\n", b"e")), rng.choice(MAGIC), rng.choice((1, -1))
    )


class Code:
    """What would write a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.path),)


def with_code(path: Path) -> bytes:
    """A checkpoint that would make the folder ``path`` if it were unpickled like any pickle."""
    out = io.BytesIO()
    torch.save({"state_dict": {"a": Code(path)}}, out)
    return out.getvalue()


def unpickled(content: bytes) -> object:
    """What nobody should do with a checkpoint of others: run what it holds."""
    return torch.load(io.BytesIO(content), weights_only=False)


TENSORS: tuple[Callable[[torch.Tensor], Any], ...] = (
    lambda x: x.flatten()[:-1],
    lambda x: x[None],
    lambda x: x.half() if x.is_floating_point() else x.float(),
    lambda x: x.double() if x.is_floating_point() else x.to(torch.int8),
    lambda x: x.long(),
    lambda x: x.bool(),
    lambda x: x.to(torch.complex64),
    lambda x: x.float() * float("nan"),
    lambda x: x.float() + float("inf"),
    lambda x: x.float().to_sparse(),
    lambda x: x.to("meta"),
    lambda x: torch.zeros(1).expand(10**9),
    lambda x: x.float() * 1e-40,
    lambda x: torch.zeros(0),
    lambda x: x.tolist(),
    lambda x: x.numpy(),
    lambda x: torch.nn.Parameter(x.float()),
    lambda x: torch.quantize_per_tensor(x.float(), 0.1, 0, torch.quint8),
    lambda x: x.t() if x.ndim == 2 else x,
    lambda x: None,
)


def tensors(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if isinstance(tree, torch.Tensor) else []
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in inner:
        found += tensors(value, (*path, key))
    return found


def plain(tree: Any) -> Any:
    """Ordered dicts and tuples as dicts and lists."""
    if isinstance(tree, dict):
        return {key: plain(value) for key, value in tree.items()}
    return [plain(value) for value in tree] if isinstance(tree, list | tuple) else tree


def changed_checkpoint(content: bytes, rng: random.Random, folder: Path) -> bytes:
    """One change of what ``torch.save`` wrote: a tensor, a value, a record of the archive, or code put into it."""
    kind = rng.randrange(8)
    out = io.BytesIO()
    if kind < 4:
        tree = plain(torch.load(io.BytesIO(content), weights_only=True))
        chosen = tensors(tree)
        if kind < 2 and chosen:
            path = rng.choice(chosen)
            tree = put(tree, path, rng.choice(TENSORS)(at(tree, path)))
        else:
            tree = changed_tree(tree, rng)
        torch.save(tree, out, _use_new_zipfile_serialization=rng.random() < 0.8)
        return out.getvalue()
    if kind == 4:
        code = Code(folder / MARKER)
        value = rng.choice((code, {"epoch": code}, OrderedDict(a=[code]), {"state_dict": {"a": code}}))
        if rng.random() < 0.3:
            return pickle.dumps(value, protocol=rng.choice((0, 2, 4)))
        torch.save(value, out)
        return out.getvalue()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    name = rng.choice(list(records))
    if kind == 5:
        records[name] = changed_bytes(records[name], rng)
    elif kind == 6:
        pickled = next(name for name in records if name.endswith("data.pkl"))
        records[pickled] = changed_bytes(records[pickled], rng)
    elif rng.random() < 0.5:
        del records[name]
    else:
        records[name] = b"\0" * rng.choice((10**3, 10**6, 10**7))
    packing = zipfile.ZIP_DEFLATED if kind == 7 else zipfile.ZIP_STORED
    with zipfile.ZipFile(out, "w", packing) as archive:
        for name, record in records.items():
            archive.writestr(name, record)
    return out.getvalue()


def changed_safetensors(content: bytes, rng: random.Random) -> bytes:
    """One change of the header of a safetensors file, or of its length."""
    length = int.from_bytes(content[:8], "little")
    if rng.random() < 0.2:
        return rng.choice((0, 1, length - 1, length + 1, 2**32, 2**63, 2**64 - 1)).to_bytes(8, "little") + content[8:]
    header = as_text(changed_tree(json.loads(content[8 : 8 + length]), rng))
    return len(header).to_bytes(8, "little") + header + content[8 + length :]


def no_file(path: Path, rng: random.Random) -> None:
    """Something else in the place of the file ``path``, which is gone."""
    kind = rng.randrange(7)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    elif kind == 2:
        path.symlink_to(path)
    elif kind == 3:
        path.symlink_to(
            rng.choice(("/dev/zero", "/dev/null", "/dev/full", "/nowhere", "/proc/self/mem", "/proc/cpuinfo"))
        )
    elif kind == 4:
        with path.open("wb") as file:
            file.truncate(10 * 2**30)
    elif kind == 5:
        (path.parent / "target").mkdir(exist_ok=True)
        path.symlink_to("target")
    # else nothing at all
