"""The plots of ``docs/distillation.md``: SVG files that follow the reader's light or dark theme."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser_kd.evaluation.report.charts import Dot, scatter
from ser_kd.evaluation.report.style import DARK, LIGHT
from ser_kd.evaluation.report.svg import Drawing, Scale

_WIDTH, _ROW, _HEADING, _TOP, _FOOT = 640.0, 20.0, 28.0, 8.0, 62.0
_LABELS_END, _LINES_END = 250.0, 480.0
# The page of an evaluation gives its plots these colours and rules; a file has to bring its own.
_RULES = """\
text { font: 12px system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: var(--text) }
.page { fill: var(--page) } .dim { fill: var(--dim) } .strong { font-weight: 600 }
.axis { stroke: var(--dim) } .grid { stroke: var(--grid) }
.leader { stroke: var(--dim); fill: none; stroke-width: 0.8 }
.whisker { stroke: var(--text); stroke-width: 1.4 } .dot { fill: var(--blue) }
.screen { fill: var(--page); stroke: var(--blue); stroke-width: 1.6 }
.chosen { fill: var(--orange) }
"""


@dataclass(frozen=True)
class Change:
    """One line of the plot of differences, in points of UA.

    Attributes:
        label: Before the line.
        value: The difference.
        low: Where its interval begins.
        high: Where it ends.
        is_screen: Drawn hollow.
    """

    label: str
    value: float
    low: float
    high: float
    is_screen: bool


def differences_svg(levers: Mapping[str, Sequence[Change]]) -> str:
    """Differences of UA with their intervals, lever by lever.

    Args:
        levers: Heading -> its variants, at least one in all.
    """
    changes = [change for block in levers.values() for change in block]
    bottom = _TOP + _HEADING * len(levers) + _ROW * len(changes)
    low = min(0.0, *(change.low for change in changes))
    high = max(0.0, *(change.high for change in changes))
    room = max(0.05 * (high - low), 0.1)
    x = Scale(low - room, high + room, _LABELS_END, _LINES_END)
    drawing = Drawing(
        "levers",
        "What each variant gains",
        "Differences of UA from the variant that each one changes, with intervals over speakers.",
        _WIDTH,
        bottom + _FOOT,
    )
    y = _TOP
    for lever, block in levers.items():
        drawing.text(8, y + _HEADING / 2 + 4, lever, "strong")
        y += _HEADING
        for tick in x.ticks(8):
            kind = "axis" if abs(tick) < 1e-9 else "grid"
            drawing.line(x(tick), y, x(tick), y + _ROW * len(block), kind)
        for change in block:
            _draw_change(drawing, x, y + _ROW / 2, change)
            y += _ROW
    for tick in x.ticks(8):
        drawing.text(x(tick), bottom + 11, f"{tick:+g}" if tick else "0", "dim", "middle")
    axis = "difference of UA, points, with 95 % intervals over speakers"
    drawing.text((x.start + x.end) / 2, bottom + 30, axis, "", "middle")
    reading = "right of 0: better; hollow: a screen"
    drawing.text((x.start + x.end) / 2, bottom + 47, reading, "dim", "middle")
    return _file(drawing, _WIDTH, bottom + _FOOT)


def _draw_change(drawing: Drawing, x: Scale, y: float, change: Change) -> None:
    figures = f"{change.value:+z.1f} ({change.low:+z.1f} to {change.high:+z.1f})"
    drawing.text(x.start - 8, y, change.label, "", "end")
    drawing.whisker(x(change.low), x(change.high), y, 4)
    kind = "screen" if change.is_screen else "dot"
    drawing.dot(x(change.value), y, 4.5, kind, f"{change.label}, {figures}")
    drawing.text(x.end + 10, y, figures)


def cost_svg(title: str, dots: Sequence[Dot], axis: str) -> str:
    """UA in per cent against a cost, one dot per variant.

    Args:
        title: For those who hear the page read.
        dots: At least two.
        axis: Title of the cost, with its unit.
    """
    drawn = scatter("cost", title, f"{axis} against UA", dots, (axis, "UA, %"))
    _, _, width, height = drawn.split('viewBox="', 1)[1].split('"', 1)[0].split()
    return _file(drawn, float(width), float(height))


def _file(drawing: Drawing | str, width: float, height: float) -> str:
    """A drawing that was made for a page, as a file of its own."""
    colours = (
        f":root {{ {_variables(LIGHT)} }}\n"
        f"@media (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
    )
    opening, body = str(drawing).split("\n", 1)
    opening = opening.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    page = f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>'
    return f"{opening}\n<style>\n{colours}{_RULES}</style>\n{page}\n{body}\n"


def _variables(colours: Mapping[str, str]) -> str:
    used = ("page", "text", "dim", "grid", "blue", "orange")
    return "; ".join(f"--{name}: {colours[name]}" for name in used)
