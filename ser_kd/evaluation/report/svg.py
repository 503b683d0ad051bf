"""Drawing primitives: SVG as text, inline in a page whose CSS (``style``) gives the colours."""

import html
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_FONT_PIXELS = 12.0
_LEAST_PIXELS = 11.0
"""Letters do not shrink below it: where the screen is too narrow for that, a plot scrolls."""
_LETTER_WIDTH = 0.55
"""Width of a letter as a share of the font's size, on the mean, in a wide font."""


def escaped(words: str) -> str:
    """For the text and the attributes of HTML and SVG alike."""
    return html.escape(words, quote=True)


def text_width(words: str) -> float:
    """About how wide ``words`` will be, in pixels; rather too much than too little."""
    return _LETTER_WIDTH * _FONT_PIXELS * len(words)


def shortened(words: str, pixels: float) -> str:
    """As much of ``words`` as ``pixels`` have room for."""
    room = max(int(pixels / (_LETTER_WIDTH * _FONT_PIXELS)), 1)
    return words if len(words) <= room else f"{words[: max(room - 2, 1)]}.."


def wrapped(words: str, pixels: float, most: int = 3) -> list[str]:
    """``words`` in up to ``most`` lines; what these cannot hold is cut off."""
    room = max(int(pixels / (_LETTER_WIDTH * _FONT_PIXELS)), 1)
    lines = textwrap.wrap(words, room, break_on_hyphens=False) or [""]
    kept, rest = lines[: most - 1], lines[most - 1 :]
    return kept + ([shortened(" ".join(rest), pixels)] if rest else [])


@dataclass(frozen=True)
class Scale:
    """A linear axis: ``low`` is drawn at pixel ``start``, ``high`` at pixel ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round numbers within the axis, ``about`` that many."""
        step = round_step(self.high - self.low, about)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def round_step(span: float, about: int = 5) -> float:
    """1, 2 or 5 times a power of ten, so that ``span`` has at most ``about`` such steps."""
    power = 10.0 ** math.floor(math.log10(span / about))
    return next(
        factor * power for factor in (1, 2, 5, 10) if span <= about * factor * power * 1.001
    )


def spread(places: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Moves labels as far as needed to keep them ``gap`` apart, within ``low`` and ``high``.

    Where there is too little room for all, they leave at ``low`` rather than overlap.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved = list(places)
    free = low
    for index in order:
        moved[index] = max(moved[index], free)
        free = moved[index] + gap
    free = high
    for index in reversed(order):
        moved[index] = min(moved[index], free)
        free = moved[index] - gap
    return moved


class Drawing:
    """Collects the elements of one plot.

    Args:
        name: Unique in the page; the ids of title and description follow from it.
        title: What it is, for those who hear the page read.
        description: What is to be seen, for the same.
        width: Of the view box, pixels.
        height: The same.
    """

    def __init__(self, name: str, title: str, description: str, width: float, height: float):
        least = math.ceil(width * _LEAST_PIXELS / _FONT_PIXELS)
        self._parts = [
            f'<svg class="plot" id="plot-{name}" viewBox="0 0 {width:.0f} {height:.0f}" role="img" '
            f'style="min-width: {least}px" aria-labelledby="{name}-title {name}-description">',
            f'<title id="{name}-title">{escaped(title)}</title>',
            f'<desc id="{name}-description">{escaped(description)}</desc>',
        ]

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>"])

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """``kind``: a CSS class, as in all that follow."""
        place = f'x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
        self._parts.append(f'<line class="{kind}" {place}/>')

    def path(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """Straight lines from point to point."""
        places = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._parts.append(f'<polyline class="{kind}" points="{places}"/>')

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A filled polygon."""
        places = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._parts.append(f'<polygon class="{kind}" points="{places}"/>')

    def box(
        self, x: float, y: float, width: float, height: float, kind: str, tip: str = "",
        opacity: float | None = None,
    ) -> None:  # fmt: skip
        """A rectangle; ``tip`` shows when a mouse rests on it."""
        place = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
        fill = "" if opacity is None else f' fill-opacity="{opacity:.3f}"'
        self._shape("rect", f'class="{kind}" {place}{fill}', tip)

    def dot(self, x: float, y: float, radius: float, kind: str, tip: str = "") -> None:
        place = f'cx="{x:.2f}" cy="{y:.2f}" r="{radius:.2f}"'
        self._shape("circle", f'class="{kind}" {place}', tip)

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """``y``: the middle of the letters. ``anchor``: start, middle or end."""
        self._text(f'x="{x:.2f}" y="{y:.2f}"', words, kind, anchor)

    def upright(
        self, x: float, y: float, words: str, kind: str = "", anchor: str = "middle"
    ) -> None:
        """Text that reads upwards."""
        self._text(f'transform="translate({x:.2f} {y:.2f}) rotate(-90)"', words, kind, anchor)

    def whisker(self, low: float, high: float, y: float, half: float) -> None:
        """An interval from x = ``low`` to ``high`` with an end mark of ``2 * half``."""
        self.line(low, y, high, y, "whisker")
        for end in (low, high):
            self.line(end, y - half, end, y + half, "whisker")

    def cross(self, x: float, y: float, half: float, kind: str) -> None:
        """Two crossed lines, ``2 * half`` wide."""
        self.line(x - half, y - half, x + half, y + half, kind)
        self.line(x - half, y + half, x + half, y - half, kind)

    def _text(self, place: str, words: str, kind: str, anchor: str) -> None:
        extra = f' class="{kind}"' if kind else ""
        self._parts.append(
            f'<text{extra} {place} dy="0.35em" text-anchor="{anchor}">{escaped(words)}</text>'
        )

    def _shape(self, tag: str, attributes: str, tip: str) -> None:
        end = f"><title>{escaped(tip)}</title></{tag}>" if tip else "/>"
        self._parts.append(f"<{tag} {attributes}{end}")
