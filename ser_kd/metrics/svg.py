"""Matplotlib figures as SVG text that follows the reader's light or dark theme.

Figures are drawn with the colours of ``THEME``; in the SVG each becomes a CSS variable, which the
page or the file itself defines for both themes. The same figure gives the same text every time: no
dates, no random ids.
"""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib
from matplotlib.figure import Figure

TEXT, DIM, GRID, PAGE = "#101112", "#202122", "#303132", "#404142"
BLUE, ORANGE = "#505152", "#606162"
THEME = {
    # Drawn with -> CSS variable, light, dark.
    TEXT: ("text", "#1b1f24", "#eceff3"),
    DIM: ("dim", "#57606a", "#a9b1ba"),
    GRID: ("grid", "#d5dbe1", "#343a42"),
    PAGE: ("page", "#ffffff", "#16181c"),
    BLUE: ("blue", "#1769aa", "#6cb6ff"),
    ORANGE: ("orange", "#b93c09", "#ff9f66"),
}
"""Placeholder colours of the drawing; blue and orange differ for colour-blind readers, too."""

_STYLE = {
    "svg.fonttype": "none",  # letters stay letters: they can be searched, and take the page's font
    "svg.hashsalt": "ser_kd",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": TEXT,
    "axes.labelcolor": TEXT,
    "axes.edgecolor": DIM,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": DIM,
    "ytick.color": DIM,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))


@contextmanager
def style() -> Iterator[None]:
    """Inside, figures are made with the settings that ``inline`` and ``standalone`` rely on."""
    with matplotlib.rc_context(_STYLE):
        yield


def colours() -> str:
    """CSS: the theme's variables, light unless the reader's screen asks for dark."""

    def variables(place: int) -> str:
        return " ".join(f"--{row[0]}: {row[place]};" for row in THEME.values())

    return (
        f":root {{ color-scheme: light dark; {variables(1)} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {variables(2)} }} }}"
    )


def inline(figure: Figure, name: str, title: str) -> str:
    """The figure as an ``<svg>`` element for a page that defines ``colours``.

    Args:
        figure: Made inside of ``style``.
        name: Unique in the page; every id of the figure begins with it.
        title: Read aloud in the figure's place.
    """
    with matplotlib.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata=_NO_METADATA)
    text = buffer.getvalue()
    text = text[text.index("<svg ") :].rstrip()
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # would hold for all of the page
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
    for colour, (variable, *_) in THEME.items():
        text = text.replace(colour, f"var(--{variable})")
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box is not None
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view_box.group()} class="plot" role="img" aria-labelledby="{name}-title">'
        f'<title id="{name}-title">{escape(title)}</title>'
    )
    return opening + text[text.index(">") + 1 :]


def standalone(figure: Figure, title: str) -> str:
    """The figure as an SVG file with its own colours and background."""
    text = inline(figure, "plot", title)
    rules = "text { font-family: system-ui, sans-serif !important }"
    background = '<rect width="100%" height="100%" fill="var(--page)"/>'
    head, body = text.split("</title>", 1)
    return f"{head}</title>\n<style>\n{colours()}\n{rules}\n</style>\n{background}{body}\n"
