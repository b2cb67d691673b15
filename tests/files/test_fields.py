"""The objects of a parsed JSON file, read field by field."""

from __future__ import annotations

from typing import Any

import pytest

from proxyless.errors import ProxylessError
from proxyless.files.fields import Fields


def fields(**values: Any) -> Fields:
    return Fields(values, "blocks.3", source="net.config")


def test_an_object_that_may_be_null_or_missing_is_none_then() -> None:
    assert fields(bn=None).optional("bn") is None
    assert fields().optional("bn") is None
    found = fields(bn={"eps": 0.1}).optional("bn")
    assert found is not None
    assert found.number("eps") == 0.1


def test_an_object_that_may_be_null_but_not_missing_is_asked_for() -> None:
    assert fields(conv=None).optional("conv", missing=False) is None
    with pytest.raises(ProxylessError, match=r"^net\.config: blocks\.3: 'conv' is missing$"):
        fields().optional("conv", missing=False)


@pytest.mark.parametrize(
    ("kinds", "expected"), [(("ConvLayer",), "ConvLayer"), (("ConvLayer", "TreeNode"), "one of ConvLayer, TreeNode")]
)
def test_a_kind_that_is_not_known_is_named_with_those_that_are(kinds: tuple[str, ...], expected: str) -> None:
    assert fields(name="ConvLayer").kind_among("layer", kinds) == "ConvLayer"
    with pytest.raises(ProxylessError, match=rf"blocks\.3: unknown layer kind 'FooLayer': expected {expected}$"):
        fields(name="FooLayer").kind_among("layer", kinds)


def test_a_field_that_was_never_asked_for_may_only_say_nothing() -> None:
    fields(name="ConvLayer", dropout=0, later=None).finish()
    with pytest.raises(ProxylessError, match=r"blocks\.3: later = 0\.5 is not supported"):
        fields(later=0.5).finish()
