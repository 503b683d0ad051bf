"""Latency against UA of the exported family, as an SVG that needs nothing to be looked at."""

from collections.abc import Mapping
from typing import Any

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 150, 56, 56
_LABEL_HEIGHT = 17
_STYLE = """\
<style>
text { font: 13px sans-serif; fill: #222 } .small { font-size: 12px; fill: #666 }
.title { font-size: 15px; font-weight: bold } line { stroke: #ccc } .axis { stroke: #888 }
circle { fill: #1769aa } .chosen { fill: #c2410c } rect { fill: #fff }
@media (prefers-color-scheme: dark) {
  text { fill: #eee } .small { fill: #aaa } line { stroke: #444 } .axis { stroke: #888 }
  circle { fill: #6cb6ff } .chosen { fill: #ff9f66 } rect { fill: #16181c } }
</style>"""


def family_svg(title: str, models: Mapping[str, Mapping[str, Any]], keras_ua: float) -> str:
    """One dot per file.

    Args:
        title: Above the plot.
        models: Kind -> ``ua``, ``latency_ms``, ``bytes``.
        keras_ua: A line to compare with.

    Returns:
        The SVG's text; it follows the reader's light or dark theme.
    """
    scores = [100 * model["ua"] for model in models.values()] + [100 * keras_ua]
    low, high = int(min(scores)) - 1, int(max(scores)) + 2
    longest = 1.15 * max(model["latency_ms"] for model in models.values())

    def x(latency_ms: float) -> float:
        return _LEFT + latency_ms / longest * (_WIDTH - _LEFT - _RIGHT)

    def y(ua_percent: float) -> float:
        return _HEIGHT - _BOTTOM - (ua_percent - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
        f"<title>{_escaped(title)}</title>{_STYLE}",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}"/>',
        f'<text class="title" x="{_LEFT}" y="22">{_escaped(title)}</text>',
        f'<text class="small" x="{_LEFT}" y="40">waveform: with the front end; the others: '
        "without it</text>",
    ]
    for score in range(low, high + 1):
        parts.append(_line(_LEFT, y(score), _WIDTH - _RIGHT, y(score)))
        parts.append(_text(_LEFT - 8, y(score) + 4, f"{score}", "small", "end"))
    step = _step(longest)
    for number in range(int(longest / step) + 1):
        place = x(number * step)
        parts.append(_text(place, _HEIGHT - _BOTTOM + 18, f"{number * step:g}", "small", "middle"))
    parts.append(_line(_LEFT, y(low), _WIDTH - _RIGHT, y(low), "axis"))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    words = "time for one window, ms, one CPU thread (less is better)"
    parts.append(_text(middle, _HEIGHT - 14, words, "", "middle"))
    parts.append(
        f'<text transform="translate(18 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" '
        'text-anchor="middle">UA on validation, % (more is better)</text>'
    )
    parts.append(_line(_LEFT, y(100 * keras_ua), _WIDTH - _RIGHT, y(100 * keras_ua), "axis", True))
    dots = {kind: (x(m["latency_ms"]), y(100 * m["ua"])) for kind, m in models.items()}
    places = _spread([*(place for _, place in dots.values()), y(100 * keras_ua)])
    for (kind, (cx, cy)), place in zip(dots.items(), places, strict=False):
        chosen = ' class="chosen"' if kind == "waveform" else ""
        parts.append(_line(cx, cy, _WIDTH - _RIGHT + 6, place))
        parts.append(f'<circle{chosen} cx="{cx:.1f}" cy="{cy:.1f}" r="5"/>')
        words = f"{kind}, {models[kind]['bytes'] / 1e3:,.0f} kB"
        parts.append(_text(_WIDTH - _RIGHT + 9, place + 4, words))
    parts.append(_text(_WIDTH - _RIGHT + 9, places[-1] + 4, "Keras model (dashed)", "small"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _spread(places: list[float]) -> list[float]:
    """Moves labels down as far as needed to keep them apart."""
    moved = dict.fromkeys(range(len(places)), 0.0)
    free = 0.0
    for index in sorted(moved, key=lambda i: places[i]):
        moved[index] = max(places[index], free)
        free = moved[index] + _LABEL_HEIGHT
    return list(moved.values())


def _step(longest: float) -> float:
    """Between two ticks: 1, 2 or 5 times a power of ten, about five of them."""
    size = 10.0 ** (len(str(int(1e9 * longest / 5))) - 10)
    return next(factor * size for factor in (1, 2, 5, 10) if longest / (factor * size) <= 6)


def _line(x1: float, y1: float, x2: float, y2: float, kind: str = "", dashed: bool = False) -> str:
    extra = (f' class="{kind}"' if kind else "") + (' stroke-dasharray="6 4"' if dashed else "")
    return f'<line{extra} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    extra = f' class="{kind}"' if kind else ""
    return f'<text{extra} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{_escaped(words)}</text>'


def _escaped(words: str) -> str:
    return words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
