"""Network files in the authors' format that cannot be read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from official_files import Object, changed, conv, identity, small, small_tree

from proxyless import zoo
from proxyless.errors import ProxylessError


@pytest.mark.parametrize(
    ("make", "path", "value", "message"),
    [
        (small, "blocks.1.mobile_inverted_conv.name", "FooLayer", "blocks.1.mobile_inverted_conv: unknown layer kind"),
        (small, "blocks.1.name", "FooBlock", "blocks.1: unknown block kind 'FooBlock'"),
        (
            small,
            "blocks.1.mobile_inverted_conv.kernel_size",
            4,
            "blocks.1.mobile_inverted_conv: kernel_size must be odd",
        ),
        (small, "blocks.1.mobile_inverted_conv.kernel_size", ..., "'kernel_size' is missing"),
        (small, "first_conv.use_se", True, "first_conv: use_se = True is not supported"),
        (
            small,
            "blocks.1.mobile_inverted_conv.in_channels",
            16,
            "it takes 16 channels, but what comes before it returns 8",
        ),
        (small, "blocks.2.shortcut", None, "blocks.2.mobile_inverted_conv: a ZeroLayer needs"),
        (small, "blocks.3.shortcut", identity(8), "blocks.3: a shortcut needs stride 1"),
        (small, "blocks.0", None, "blocks.0: expected a JSON object, got None"),
        (small, "blocks", 3, "blocks must be a list"),
        (small, "first_conv.dropout_rate", 0.5, "first_conv: dropout_rate = 0.5 is not supported"),
        (small, "first_conv.act_func", "gelu", "first_conv: act_func must be one of"),
        (small, "first_conv.out_channels", 10**12, "first_conv: out_channels must be a whole number from 1"),
        (small, "first_conv.out_channels", "16", "first_conv: out_channels must be a whole number"),
        (small, "classifier.in_features", 31, "classifier: it takes 31 channels"),
        (small, "final_expand_layer", conv(), "final_expand_layer = .* is not supported"),
        (small_tree, "blocks.1.cell.merge_type", "max", "blocks.1.cell: merge_type must be one of"),
        (small_tree, "blocks.1.cell.split_type", None, "blocks.1.cell: a node with several edges needs a split_type"),
        (small_tree, "blocks.1.cell.child_nodes", [None], "blocks.1.cell: a node needs as many child_nodes as edges"),
        (small_tree, "blocks.1.cell.out_channels", 6, "blocks.1.cell: a branch returns 2 channels where"),
        (small_tree, "blocks.1.cell.path_drop_rate", 0.1, "path_drop_rate = 0.1 is not supported"),
        (small_tree, "blocks.1.cell.edges.0.name", "FooLayer", "blocks.1.cell.edges.0: unknown layer kind 'FooLayer'"),
        (small_tree, "blocks.1.cell_drop_rate", 0.2, "blocks.1: cell_drop_rate = 0.2 is not supported"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_place(
    make: Callable[[], Object], path: str, value: Any, message: str, saved: Callable[[Any], Path]
) -> None:
    with pytest.raises(ProxylessError, match=message) as caught:
        zoo.load_official(saved(changed(make, path, value)))
    assert str(caught.value).count("net.config") == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["{", "[]", '"text"', "[" * 100_000, "\x00\xff"])
def test_file_that_is_no_network_is_one_clear_error(content: str, tmp_path: Path) -> None:
    path = tmp_path / "net.config"
    path.write_text(content, encoding="latin-1")

    with pytest.raises(ProxylessError, match=r"net\.config"):
        zoo.load_official(path)


def test_missing_files_are_named(saved: Callable[[Any], Path], tmp_path: Path) -> None:
    with pytest.raises(ProxylessError, match=r"absent\.config: no such file"):
        zoo.load_official(tmp_path / "absent.config")
    with pytest.raises(ProxylessError, match=r"absent\.pth: no such file"):
        zoo.load_official(saved(small()), tmp_path / "absent.pth")
