"""Shows the chosen network: drawn block by block, and as a table of what each block costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from proxyless.report.candidates import Candidates, Look, candidates_of, skips, table_ms
from proxyless.report.charts import line, rect, svg, text
from proxyless.report.markup import (
    Html,
    aligned,
    amount,
    figure,
    join,
    milliseconds,
    number,
    percent,
    scrolling,
    shape,
    shortened,
    table,
    tag,
)
from proxyless.report.run_files import RunFiles, records


@dataclass(frozen=True)
class Block:
    """What the network has at one choice."""

    name: str
    candidate: str
    operation: str
    skipped: bool
    ms: float | None
    macs: float | None = None
    input: Sequence[int] = ()
    output: Sequence[int] = ()

    @property
    def stage(self) -> str:
        """The part of its name before the dot, or the whole name."""
        return self.name.split(".")[0]


def _size(value: Any) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, list) and all(isinstance(item, int) for item in value) else ()


def blocks(run: RunFiles) -> list[Block]:
    """Return the blocks of the result or, where it has none, those of the architecture."""
    candidates = candidates_of(run)
    layers = records(run.result, "layers")
    if layers:
        return [
            Block(
                name=str(layer.get("name", "")),
                candidate=str(layer.get("operation", "")),
                operation=str(layer.get("operation", "")),
                skipped=bool(layer.get("skipped", False)),
                ms=number(layer.get("ms")),
                macs=number(layer.get("macs")),
                input=_size(layer.get("input")),
                output=_size(layer.get("output")),
            )
            for layer in layers
        ]
    return [
        Block(
            name=choice,
            candidate=candidate,
            operation=candidates.look(candidate).label,
            skipped=skips(run, choice, candidate),
            ms=table_ms(run, choice, candidate),
        )
        for choice, candidate in run.choices.items()
    ]


_MIDDLE, _LEAST_WIDTH, _BLOCK_GAP, _STAGE_GAP = 84.0, 17.0, 2.0, 14.0
_LONGEST_LABEL = 14


def _height(block: Block, look: Look, expansions: Sequence[int]) -> float:
    if block.skipped:
        return 46.0
    if look.expansion is None or len(expansions) < 2:
        return 84.0
    return 76.0 + 60.0 * (look.expansion - expansions[0]) / (expansions[-1] - expansions[0])


def _box(block: Block, look: Look, left: float, width: float, expansions: Sequence[int]) -> Html:
    height = _height(block, look, expansions)
    top, centre = _MIDDLE - height / 2, left + width / 2
    if block.skipped:
        label, style = "skip", "skipped"
    else:
        label, style = block.candidate.replace("_", " "), f"fill {look.colour}"
    says = [f"{block.name}: {block.operation}"]
    if block.ms:
        says.append(milliseconds(block.ms))
    if block.output:
        says.append(f"output {shape(block.output)}")
    return tag(
        "g",
        tag("title", ", ".join(says)),
        rect(left, top, width, height, style, rx=3),
        tag(
            "text",
            shortened(label, int((height - 8) / 6.4)),
            transform=f"translate({centre + 4:.1f} {_MIDDLE:g}) rotate(-90)",
            text_anchor="middle",
            class_="skip-label" if block.skipped else "on-colour",
        ),
    )


def _label_width(stage: str) -> float:
    return max(6.8 * min(len(stage), _LONGEST_LABEL), 46.0)


def _legend(shown: Sequence[Block], looks: Sequence[Look]) -> Html:
    def swatch(class_: str, label: str) -> Html:
        return tag("li", tag("span", class_=f"swatch {class_}"), label)

    by_colour = {look.colour: f"kernel {look.kernel}×{look.kernel}" if look.kernel else look.label for look in looks}
    items = [swatch(colour, label) for colour, label in by_colour.items()]
    if any(block.skipped for block in shown):
        items.append(swatch("dashed", "skipped: the block passes its input on"))
    return tag("ul", *items, class_="legend")


def _spare(page: float, stages: Sequence[tuple[str, Sequence[Block]]], shares: Sequence[Sequence[float]]) -> float:
    """Find how many pixels can be distributed by latency, so that all stages together fill the page.

    Every box has a least width and every stage needs room for its name, so there is no closed form; an interval is
    halved instead.
    """

    def filled(spare: float) -> float:
        boxes = (len(part) * (_LEAST_WIDTH + _BLOCK_GAP) - _BLOCK_GAP + spare * sum(part) for part in shares)
        return sum(max(box, _label_width(stage)) + _STAGE_GAP for box, (stage, _) in zip(boxes, stages, strict=True))

    low, high = 0.0, page
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if filled(middle) <= page else (low, middle)
    return low


def strip(shown: Sequence[Block], candidates: Candidates) -> Html:
    """Draw the network from left to right: a box for each block, with gaps between stages and their names below."""
    page = 960.0
    stages = [(stage, list(group)) for stage, group in groupby(shown, key=lambda block: block.stage)]
    total_ms = sum(block.ms or 0.0 for block in shown)
    shares = [[(block.ms or 0.0) / total_ms if total_ms else 1 / len(shown) for block in group] for _, group in stages]
    spare = _spare(page, stages, shares)
    expansions = sorted({look.expansion for look in candidates.looks.values() if look.expansion})
    parts: list[Html] = []
    left = _STAGE_GAP / 2
    for (stage, members), part in zip(stages, shares, strict=True):
        widths = [_LEAST_WIDTH + spare * share for share in part]
        boxes = sum(widths) + _BLOCK_GAP * (len(members) - 1)
        slot = max(boxes, _label_width(stage))
        middle, place = left + slot / 2, left + (slot - boxes) / 2
        for block, width in zip(members, widths, strict=True):
            parts.append(_box(block, candidates.look(block.candidate), place, width, expansions))
            place += width + _BLOCK_GAP
        parts.append(line(left, 164, left + slot, 164, "axis"))
        parts.append(text(middle, 180, shortened(stage, _LONGEST_LABEL), "middle", class_="tick strong"))
        output = next((block.output for block in reversed(members) if block.output), ())
        notes = ([f"{output[0]} ch"] if output else []) + ([f"{output[1]}×{output[2]}"] if len(output) == 3 else [])
        parts += [text(middle, 195 + 14 * row, note, "middle", class_="note") for row, note in enumerate(notes)]
        left += slot + _STAGE_GAP
    width = max(page, left)
    skipped = sum(block.skipped for block in shown)
    label = f"The network as {len(shown)} boxes in {len(stages)} stages, {skipped} of them skipped; a table lists them."
    return svg(width, 216, line(0, _MIDDLE, width, _MIDDLE, "axis"), *parts, label=label, wide=True)


def _table(run: RunFiles, shown: Sequence[Block]) -> Html:
    total_ms = sum(block.ms or 0.0 for block in shown)
    macs, shapes = any(block.macs for block in shown), any(block.output for block in shown)
    largest = max((block.ms or 0.0 for block in shown), default=0.0)

    def share(ms: float) -> Html:
        bar = tag("span", class_="bar", style=f"width:{100 * ms / largest:.1f}%")
        return join((tag("span", bar, class_="track"), tag("span", percent(ms / total_ms), class_="value")))

    def row(block: Block) -> list[object]:
        operation = "skipped" if block.skipped else block.operation
        cells: list[object] = [block.name, tag("span", operation, class_="muted") if block.skipped else operation]
        if shapes:
            cells.append(" → ".join(shape(size) for size in (block.input, block.output) if size))
        if macs:
            cells.append(amount(block.macs))
        return [*cells, aligned(block.ms, largest) if block.ms else "–", share(block.ms) if block.ms else ""]

    head, foot = ["Block", "Operation"], ["Sum of these rows", ""]
    if shapes:
        head, foot = [*head, "Input → output"], [*foot, ""]
    if macs:
        head, foot = [*head, "MACs"], [*foot, amount(sum(block.macs or 0.0 for block in shown))]
    numeric = range(len(head) - macs, len(head) + 1)
    head, foot = [*head, "Latency, ms", "Share"], [*foot, aligned(total_ms, largest) if total_ms else "–", ""]
    return table(head, map(row, shown), label="The blocks of the network", numeric=numeric, foot=foot)


def section(run: RunFiles) -> Html | None:
    """Show the network, drawn and listed, if the run has chosen one."""
    shown = blocks(run)
    if not shown:
        return None
    candidates = candidates_of(run)
    used = [candidates.look(block.candidate) for block in shown if not block.skipped]
    used.sort(key=lambda look: (look.kernel or 0, look.name))
    kept = sum(not block.skipped for block in shown)
    heights = " A taller box expands its channels more." if len({look.expansion for look in used}) > 1 else ""
    widths = " A wider box takes more of the latency." if any(block.ms for block in shown) else ""
    colours = ""
    if used:
        by_kernel = any(look.kernel for look in used)
        colours = f" Colour is the {'size of the kernel' if by_kernel else 'operation'}."
    caption = f"The network from input (left) to output (right).{colours}{heights}{widths}"
    predicted = number(run.result.get("latency_predicted_ms"))
    notes = []
    if any(block.ms for block in shown):
        notes.append("Latency here is what the table says of each block by itself.")
    if predicted is not None:
        notes.append(f"The whole network, with the correction of the table, is predicted at {milliseconds(predicted)}.")
    return join(
        (
            tag(
                "p", f"The network keeps {kept} of the {len(shown)} blocks of its space and skips {len(shown) - kept}."
            ),
            figure(join((_legend(shown, used), scrolling(strip(shown, candidates), "The network, drawn"))), caption),
            tag("h3", "Block by block"),
            _table(run, shown),
            tag("p", " ".join(notes), class_="small") if notes else None,
        )
    )
