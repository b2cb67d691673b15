"""HTML from values: what is text stays text, and quantities read as a person writes them."""

from __future__ import annotations

import pytest

from proxyless.report.markup import (
    Html,
    aligned,
    amount,
    duration,
    join,
    milliseconds,
    number,
    percent,
    running_text,
    shape,
    shortened,
    signed_percent,
    significant,
    table,
    tag,
)


def test_text_is_escaped_and_html_is_not_escaped_twice() -> None:
    assert tag("p", "a < b & c", tag("b", '"x"')) == "<p>a &lt; b &amp; c<b>&quot;x&quot;</b></p>"
    assert join(["<", Html("<br/>"), None]) == "&lt;<br/>"


def test_attributes_are_escaped_renamed_and_left_out_when_none() -> None:
    made = tag("text", "t", class_="a", text_anchor='"><script>', x=1.0, y=2.126, id=None, hidden=True)
    assert made == '<text class="a" text-anchor="&quot;&gt;&lt;script&gt;" x="1" y="2.13" hidden>t</text>'


def test_elements_without_content_close_themselves_unless_they_hold_something() -> None:
    assert tag("rect", x=1) == '<rect x="1"/>'
    assert tag("rect", tag("title", "t"), x=1) == '<rect x="1"><title>t</title></rect>'
    assert tag("p") == "<p></p>"


def test_a_table_has_headings_for_rows_and_columns() -> None:
    made = table(["Name", "ms"], [["a", 1]], label="costs", numeric=[1])
    assert '<th scope="col">Name</th><th scope="col" class="n">ms</th>' in made
    assert '<th scope="row">a</th><td class="n">1</td>' in made
    assert 'aria-label="costs"' in made


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.09642, "0.0964"),
        (4.0, "4.00"),
        (78.34, "78.3"),
        (204.9, "205"),
        (0.99996, "1.00"),
        (12345.6, "12,300"),
        (0, "0"),
    ],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_units() -> None:
    assert milliseconds(1.234) == "1.23 ms"
    assert milliseconds(None) == "–"
    assert percent(0.9317) == "93.2 %"
    assert [signed_percent(value) for value in (0.012, -0.012, -0.0001)] == ["+1.2 %", "−1.2 %", "+0.0 %"]
    assert [amount(value) for value in (0, 950, 12_800, 999_960, 320_430_000, 1.213e9)] == [
        "0",
        "950",
        "12.8 k",
        "1.00 M",
        "320 M",
        "1.21 G",
    ]
    assert [duration(value) for value in (6.1, 59.4, 74.2, 7200)] == ["6.1 s", "59 s", "1 min 14 s", "2 h 00 min"]
    assert aligned(0.0052, 0.528) == "0.005"
    assert aligned(3.14159, 42.0) == "3.1"
    assert shape([24, 56, 56]) == "24 × 56 × 56"


def test_only_finite_numbers_are_numbers() -> None:
    assert number(3) == 3.0
    assert [number(value) for value in (True, "3", None, float("nan"), float("inf"))] == [None] * 5


def test_names_in_running_text() -> None:
    assert running_text(["a"]) == "a"
    assert running_text(["a", "b", "c"]) == "a, b and c"
    assert running_text(list("abcdef"), most=2) == "a, b and 4 more"
    assert shortened("a long name", 6) == "a lon…"
