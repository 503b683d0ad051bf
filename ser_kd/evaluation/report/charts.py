"""The plots: plain numbers in, one inline SVG each out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ser_kd.evaluation.report import words
from ser_kd.evaluation.report.svg import Drawing, Scale, shortened, spread, text_width, wrapped

WIDTH = 360.0
"""Of most view boxes: that of a telephone, so that letters stay large enough on it."""
HEAT_FULL = 0.6
"""Opacity of a cell of the heat map at 100 %; a deeper one would swallow the number in it."""
_ROW, _LINE, _BAR, _HEADING, _NOTE = 22.0, 13.0, 12.0, 26.0, 16.0
_LABELS_END, _BARS_END = 124.0, 246.0
_PAIR_LABELS_END, _PAIR_FIRST_END, _PAIR_SECOND_START, _PAIR_END = 134.0, 182.0, 248.0, 296.0
_CROSS, _FOOT = 3.5, 44.0
_PANEL_GAP, _MARK_ROOM = 14.0, 32.0


@dataclass(frozen=True)
class Bar:
    """One row of ``interval_bars``.

    Attributes:
        label: Before the bar.
        value: Its length, 0..1, None: no bar.
        interval: Where its whisker begins and ends.
        note: In pale letters under the label.
        more: To be seen when a mouse rests on the bar.
    """

    label: str
    value: float | None
    interval: Sequence[float] | None = None
    note: str = ""
    more: str = ""


@dataclass(frozen=True)
class Block:
    """Rows that belong together, under a heading."""

    heading: str
    bars: Sequence[Any] = field(default_factory=list)


@dataclass(frozen=True)
class PairedBar:
    """One row of ``paired_bars``.

    Attributes:
        label: Before the bars.
        first: Share 0..1, None: no bar.
        second: The same.
        missed: For each of the two the limit that it misses, in words; empty where it misses none.
    """

    label: str
    first: float | None
    second: float | None
    missed: tuple[str, str] = ("", "")


@dataclass(frozen=True)
class Dot:
    """One file in ``scatter``."""

    label: str
    x: float
    y: float
    chosen: bool = False


@dataclass(frozen=True)
class Curve:
    """One line of a panel of ``curves``; ``kind`` is ``first`` or ``second``."""

    label: str
    points: Sequence[tuple[float, float]]
    kind: str = "first"


@dataclass(frozen=True)
class Panel:
    """One of the plots that ``curves`` draws under each other.

    Attributes:
        axis: Title of the upright axis, with its unit.
        curves: At least one.
        mark: A point to be marked, with words for it.
    """

    axis: str
    curves: Sequence[Curve]
    mark: tuple[float, float, str] | None = None


def interval_bars(
    name: str,
    title: str,
    description: str,
    blocks: Sequence[Block],
    axis: str,
    references: Sequence[tuple[float, str]] = (),
) -> str:
    """Bars from 0 to 100 % with intervals, the figures to their right.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        blocks: A block without heading takes no room for one.
        axis: Title of the axis, with its unit.
        references: Values 0..1 at which a dashed line stands, with words for it.
    """
    top = _NOTE * len(references) + 8
    bottom = top + sum(_block_height(block, _LABELS_END - 8) for block in blocks)
    drawing = Drawing(name, title, description, WIDTH, bottom + _FOOT)
    x = Scale(0, 1, _LABELS_END, _BARS_END)
    rows = _spans(blocks, top, _LABELS_END - 8)
    _percent_axis(drawing, x, rows, (0, 0.25, 0.5, 0.75, 1))
    drawing.text((x.start + x.end) / 2, bottom + 31, axis, "", "middle")
    y = top
    for block in blocks:
        y += _HEADING if block.heading else 0
        for bar in block.bars:
            height = _row_height(bar, _LABELS_END - 8)
            _interval_bar(drawing, x, y + height / 2, bar)
            y += height
    for number, (value, label) in enumerate(references):
        place = _NOTE * number + _NOTE / 2
        _reference(drawing, x(value), place + 8, top, rows)
        drawing.text(x(value), place, label, "dim", "middle")
    _headings(drawing, blocks, top, _LABELS_END - 8)
    return str(drawing)


def _label_lines(bar: Any, room: float) -> list[str]:
    """The label, then the note, where there is one."""
    return wrapped(bar.label, room) + _note_lines(bar, room)


def _note_lines(bar: Any, room: float) -> list[str]:
    note = getattr(bar, "note", "")
    return wrapped(note, room, 2) if note else []


def _row_height(bar: Any, room: float) -> float:
    return _ROW + _LINE * (len(_label_lines(bar, room)) - 1)


def _block_height(block: Block, room: float) -> float:
    rows = sum(_row_height(bar, room) for bar in block.bars)
    return rows + (_HEADING if block.heading else 0)


def _spans(blocks: Sequence[Block], top: float, room: float) -> list[tuple[float, float]]:
    """Where the rows of each block begin and end: no line of an axis leaves them."""
    spans = []
    for block in blocks:
        end = top + _block_height(block, room)
        spans.append((top + (_HEADING if block.heading else 0), end))
        top = end
    return spans


def _reference(
    drawing: Drawing, x: float, start: float, top: float, rows: Sequence[tuple[float, float]]
) -> None:
    """A dashed line through all rows, and a piece of it under its words."""
    if rows and rows[0][0] > top:
        drawing.line(x, start, x, top, "reference")
        start = rows[0][0]
    for number, (low, high) in enumerate(rows):
        drawing.line(x, start if number == 0 else low, x, high, "reference")


def _headings(drawing: Drawing, blocks: Sequence[Block], top: float, room: float) -> None:
    """Above the rows of each block; no line goes through them."""
    for block in blocks:
        if block.heading:
            drawing.text(0, top + _HEADING / 2 + 3, block.heading, "strong heading")
        top += _block_height(block, room)


def _row_label(drawing: Drawing, bar: Any, room: float, y: float) -> None:
    lines, notes = _label_lines(bar, room), len(_note_lines(bar, room))
    for number, line in enumerate(lines):
        place = y + _LINE * (number - (len(lines) - 1) / 2)
        drawing.text(room, place, line, "pale" if number >= len(lines) - notes else "", "end")


def _interval_bar(drawing: Drawing, x: Scale, y: float, bar: Bar) -> None:
    _row_label(drawing, bar, x.start - 8, y)
    figures = words.with_interval(bar.value, bar.interval)
    drawing.text(x.end + 10, y, figures)
    if bar.value is None:
        return
    tip = ", ".join(part for part in (bar.label, figures, bar.note, bar.more) if part)
    drawing.box(x(0), y - _BAR / 2, x(bar.value) - x(0), _BAR, "bar", tip)
    if words.interval(bar.interval) != words.NOT_KNOWN and bar.interval:
        drawing.whisker(x(bar.interval[0]), x(bar.interval[1]), y, 4)


def _percent_axis(
    drawing: Drawing, x: Scale, rows: Sequence[tuple[float, float]], ticks: Sequence[float]
) -> None:
    for tick in ticks:
        for low, high in rows:
            drawing.line(x(tick), low, x(tick), high, "axis" if tick == 0 else "grid")
        drawing.text(x(tick), rows[-1][1] + 11, f"{100 * tick:.0f}", "dim", "middle")


def paired_bars(
    name: str,
    title: str,
    description: str,
    blocks: Sequence[Block],
    axes: tuple[str, str],
    reference: tuple[float, str] | None = None,
) -> str:
    """Two shares per row, side by side, the figures behind the bars; a cross where one misses.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        blocks: Of ``PairedBar``.
        axes: Titles of the two columns, with their unit.
        reference: Where a dashed line stands in the first column, with words for it.
    """
    room, top = _PAIR_LABELS_END - 8, 2 * _NOTE + 4
    bottom = top + sum(_block_height(block, room) for block in blocks)
    some_missed = any(any(bar.missed) for block in blocks for bar in block.bars)
    drawing = Drawing(name, title, description, WIDTH, bottom + (44 if some_missed else 24))
    rows = _spans(blocks, top, room)
    scales = (
        Scale(0, 1, _PAIR_LABELS_END, _PAIR_FIRST_END),
        Scale(0, 1, _PAIR_SECOND_START, _PAIR_END),
    )
    for x, axis in zip(scales, axes, strict=True):
        drawing.text(x.start, _NOTE / 2, axis, "strong")
        _percent_axis(drawing, x, rows, (0, 0.5, 1))
    y = top
    for block in blocks:
        y += _HEADING if block.heading else 0
        for bar in block.bars:
            height = _row_height(bar, room)
            _row_label(drawing, bar, room, y + height / 2)
            values = (bar.first, bar.second)
            for x, value, missed in zip(scales, values, bar.missed, strict=True):
                _paired_bar(drawing, x, y + height / 2, bar.label, value, missed)
            y += height
    if reference:
        place = scales[0](reference[0])
        _reference(drawing, place, 2 * _NOTE - 4, top, rows)
        drawing.text(place, 1.5 * _NOTE - 2, reference[1], "dim", "middle")
    if some_missed:
        drawing.cross(_CROSS, bottom + 34, _CROSS, "cross")
        drawing.text(4 * _CROSS, bottom + 34, "and a hollow bar: a limit is missed", "dim")
    _headings(drawing, blocks, top, room)
    return str(drawing)


def _paired_bar(
    drawing: Drawing, x: Scale, y: float, label: str, value: float | None, missed: str
) -> None:
    figure = words.percent(value)
    drawing.text(x.end + 4 * _CROSS, y, figure.removesuffix(" %"))
    if missed:
        drawing.cross(x.end + 2 * _CROSS, y, _CROSS, "cross")
    if value is not None:
        tip = f"{label}: {figure}{f', missed: {missed}' if missed else ''}"
        kind = "bar missed" if missed else "bar"
        drawing.box(x(0), y - _BAR / 2, x(value) - x(0), _BAR, kind, tip)


def heat_map(
    name: str, title: str, description: str, labels: Sequence[str], counts: Sequence[Sequence[int]]
) -> str:
    """A confusion matrix: rows = truth, in per cent of the row, with the counts.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        labels: Of rows and columns.
        counts: ``[rows][columns]``.
    """
    left, top = 94.0, 44.0
    cell = max((WIDTH - left - 2) / len(labels), 44.0)
    height = min(cell, 52.0)
    width, bottom = left + cell * len(labels) + 2, top + height * len(labels)
    drawing = Drawing(name, title, description, width, bottom + 4)
    drawing.text(left + cell * len(labels) / 2, 10, "what the model said", "strong", "middle")
    drawing.upright(10, (top + bottom) / 2, "true emotion", "strong")
    for column, label in enumerate(labels):
        middle = left + (column + 0.5) * cell
        drawing.text(middle, 32, shortened(label, cell), "", "middle")
    for row, (label, numbers) in enumerate(zip(labels, counts, strict=True)):
        y, total = top + row * height, sum(numbers)
        drawing.text(left - 8, y + height / 2 - 7, shortened(label, left - 28), "", "end")
        drawing.text(left - 8, y + height / 2 + 9, words.count(total, "clip"), "pale", "end")
        for column, number in enumerate(numbers):
            x, share = left + column * cell, number / total if total else 0.0
            tip = (
                f"true {label}, said {labels[column]}: {number:,} of {words.count(total, 'clip')}"
                f" ({words.percent(share)})"
            )
            drawing.box(x, y, cell, height, "cell", tip, HEAT_FULL * share)
            figure = f"{100 * share:.0f} %" if total else words.NOT_KNOWN
            drawing.text(x + cell / 2, y + height / 2 - 7, figure, "incell", "middle")
            drawing.text(x + cell / 2, y + height / 2 + 9, f"{number:,}", "incell", "middle")
    for row in range(len(labels)):
        drawing.box(left + row * cell, top + row * height, cell, height, "right")
    return str(drawing)


def reliability(name: str, title: str, description: str, bins: Sequence[Mapping[str, Any]]) -> str:
    """Confidence against accuracy with the diagonal, above the number of clips per bin.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        bins: ``low``, ``high``, ``clips``, ``confidence``, ``accuracy``; bins without clips get no
            dot.
    """
    top, bottom, counts_top, counts_bottom = 8.0, 288.0, 362.0, 416.0
    drawing = Drawing(name, title, description, WIDTH, 462)
    x, y = Scale(0, 1, 52, WIDTH - 14), Scale(0, 1, bottom, top)
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        drawing.line(x(tick), y(0), x(tick), y(1), "axis" if tick == 0 else "grid")
        drawing.line(x(0), y(tick), x(1), y(tick), "axis" if tick == 0 else "grid")
        drawing.text(x(0) - 6, y(tick), f"{100 * tick:.0f}", "dim", "end")
        drawing.text(x(tick), counts_bottom + 11, f"{100 * tick:.0f}", "dim", "middle")
    drawing.upright(10, (top + bottom) / 2, "share of clips that it got right, %")
    drawing.text((x(0) + x(1)) / 2, 450, "how sure the model was, %", "", "middle")
    drawing.line(x(0), y(0), x(1), y(1), "reference")
    drawing.text(x(0.03), y(0.95), "above the line: right more often", "dim")
    drawing.text(x(0.03), y(0.95) + 15, "than it claimed (too modest)", "dim")
    drawing.text(x(0.98), y(0.1), "below: right less often", "dim", "end")
    drawing.text(x(0.98), y(0.1) + 15, "than it claimed (too sure)", "dim", "end")
    used = [item for item in bins if item["clips"]]
    drawing.path([(x(item["confidence"]), y(item["accuracy"])) for item in used], "curve first")
    for item in used:
        drawing.dot(x(item["confidence"]), y(item["accuracy"]), 5, "dot", _bin_words(item))
    _bin_counts(drawing, x, Scale(0, max([1, *(item["clips"] for item in bins)]), counts_bottom,
                                  counts_top), used)  # fmt: skip
    return str(drawing)


def _bin_words(item: Mapping[str, Any]) -> str:
    return (
        f"{words.count(item['clips'], 'clip')}: sure to {words.percent(item['confidence'])}, "
        f"right {words.percent(item['accuracy'])}"
    )


def _bin_counts(drawing: Drawing, x: Scale, y: Scale, bins: Sequence[Mapping[str, Any]]) -> None:
    """The small histogram under the reliability diagram."""
    drawing.text(x.start, y.end - 56, "clips in each step of sureness:", "dim")
    widest = max((text_width(f"{item['clips']:,}") for item in bins), default=0)
    for item in bins:
        left, right, height = x(item["low"]), x(item["high"]), y(item["clips"])
        drawing.box(left + 1, height, right - left - 2, y.start - height, "bar", _bin_words(item))
        middle = (left + right) / 2
        if widest <= right - left:
            drawing.text(middle, height - 7, f"{item['clips']:,}", "pale", "middle")
        else:
            drawing.upright(middle, height - 4, f"{item['clips']:,}", "pale", "start")
    drawing.line(x.start, y.start, x.end, y.start, "axis")


def scatter(
    name: str, title: str, description: str, dots: Sequence[Dot], axes: tuple[str, str]
) -> str:
    """Dots with their names in a column to the right, joined to them by thin lines.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        dots: ``x`` from 0, ``y`` in per cent.
        axes: Titles of the x and the y axis, with their units.
    """
    left, right, top, gap = 56.0, 200.0, 12.0, 20.0
    bottom = top + max(230.0, gap * len(dots))
    drawing = Drawing(name, title, description, WIDTH, bottom + 46)
    x = Scale(0, 1.1 * max(dot.x for dot in dots) or 1, left, right)
    heights = [dot.y for dot in dots]
    room = max(0.15 * (max(heights) - min(heights)), 0.5)
    y = Scale(min(heights) - room, max(heights) + room, bottom, top)
    for tick in y.ticks():
        drawing.line(left, y(tick), right, y(tick), "grid")
        drawing.text(left - 6, y(tick), f"{tick:g}", "dim", "end")
    for tick in x.ticks():
        drawing.line(x(tick), bottom, x(tick), bottom + 4, "axis")
        drawing.text(x(tick), bottom + 13, f"{tick:g}", "dim", "middle")
    drawing.line(left, bottom, right, bottom, "axis")
    drawing.line(left, top, left, bottom, "axis")
    drawing.text((left + right) / 2, bottom + 34, axes[0], "", "middle")
    drawing.upright(10, (top + bottom) / 2, axes[1])
    places = spread([y(dot.y) for dot in dots], gap, top + 6, bottom - 6)
    for dot, place in zip(dots, places, strict=True):
        drawing.path([(x(dot.x), y(dot.y)), (right, place), (right + 8, place)], "leader")
    for dot, place in zip(dots, places, strict=True):
        if dot.chosen:
            drawing.box(x(dot.x) - 5.5, y(dot.y) - 5.5, 11, 11, "chosen", dot.label)
        else:
            drawing.dot(x(dot.x), y(dot.y), 5, "dot", dot.label)
        label = shortened(dot.label, WIDTH - right - 12)
        drawing.text(right + 12, place, label, "strong" if dot.chosen else "")
    return str(drawing)


def curves(name: str, title: str, description: str, panels: Sequence[Panel], axis: str) -> str:
    """Lines over a common axis, each named at its end; one panel under the other.

    Args:
        name: Unique in the page.
        title: For those who hear the page read.
        description: The same.
        panels: From top to bottom.
        axis: Title of the axis that they share.
    """
    height, left, right = 150.0, 56.0, 246.0
    tops = [0.0]
    for panel in panels:
        tops.append(tops[-1] + height + (_MARK_ROOM if panel.mark else _PANEL_GAP))
    del tops[0]
    bottom = tops[-1]
    drawing = Drawing(name, title, description, WIDTH, bottom + 40)
    every = [point[0] for panel in panels for curve in panel.curves for point in curve.points]
    x = Scale(min(every), max(max(every), min(every) + 1), left, right)
    for panel, end in zip(panels, tops, strict=True):
        _panel(drawing, panel, x, end - height, end)
    for tick in sorted({round(tick) for tick in x.ticks(6)} | {round(x.low)}):
        if tick == x.low or x(tick) - x(x.low) > 18:
            drawing.text(x(tick), bottom + 12, f"{tick:g}", "dim", "middle")
    drawing.text((left + right) / 2, bottom + 30, axis, "", "middle")
    return str(drawing)


def _panel(drawing: Drawing, panel: Panel, x: Scale, top: float, bottom: float) -> None:
    values = [point[1] for curve in panel.curves for point in curve.points]
    room = 0.08 * (max(values) - min(values)) or 0.5
    y = Scale(min(values) - room, max(values) + room, bottom, top)
    for tick in y.ticks(6):
        drawing.line(x.start, y(tick), x.end, y(tick), "grid")
        drawing.text(x.start - 6, y(tick), f"{tick:g}", "dim", "end")
    drawing.line(x.start, bottom, x.end, bottom, "axis")
    drawing.line(x.start, top, x.start, bottom, "axis")
    drawing.upright(10, (top + bottom) / 2, panel.axis)
    names = [wrapped(curve.label, WIDTH - x.end - 8) for curve in panel.curves]
    gap = _LINE * max(map(len, names)) + 6
    ends = spread([y(curve.points[-1][1]) for curve in panel.curves], gap, top, bottom)
    for curve, lines, end in zip(panel.curves, names, ends, strict=True):
        drawing.path([(x(a), y(b)) for a, b in curve.points], f"curve {curve.kind}")
        last = curve.points[-1]
        drawing.dot(x(last[0]), y(last[1]), 2.5, f"end {curve.kind}")
        for number, line in enumerate(lines):
            drawing.text(x.end + 8, end + _LINE * (number - (len(lines) - 1) / 2), line)
    if panel.mark:
        place, value, label = panel.mark
        drawing.line(x(place), top - 6, x(place), bottom, "reference")
        drawing.dot(x(place), y(value), 5, "ring")
        half = text_width(label) / 2
        middle = min(max(x(place), x.start + half), WIDTH - half)
        drawing.text(middle, top - 14, label, "dim", "middle")
