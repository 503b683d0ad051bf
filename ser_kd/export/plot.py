"""Accuracy against latency of the exported files, as an SVG file."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from ser_kd.metrics import svg

_MARKERS = "osD^v<>ph"


def family_svg(title: str, models: Mapping[str, Mapping[str, Any]], keras_ua: float) -> str:
    """One point per file, the Keras model's UA as a dashed line.

    Args:
        title: Above the plot.
        models: Kind -> ``ua`` (0..1), ``latency_ms``, ``bytes``.
        keras_ua: UA of the Keras model, 0..1.

    Returns:
        The SVG's text; it follows the reader's light or dark theme.
    """
    with svg.style():
        figure = Figure(figsize=(6.6, 4.0))
        axes = figure.add_axes((0.1, 0.14, 0.55, 0.74))
        axes.axhline(100 * keras_ua, color=svg.DIM, linestyle="--", label="Keras model")
        for number, (kind, model) in enumerate(models.items()):
            axes.plot(
                model["latency_ms"],
                100 * model["ua"],
                _MARKERS[number % len(_MARKERS)],
                color=svg.ORANGE if kind == "waveform" else svg.BLUE,
                markersize=8,
                linestyle="none",
                label=f"{kind}, {model['bytes'] / 1e3:,.0f} kB",
            )
        axes.set_xlim(0.0, 1.1 * max(model["latency_ms"] for model in models.values()))
        axes.margins(y=0.2)
        axes.set_xlabel("latency of one window, ms, one CPU thread")
        axes.set_ylabel("UA on validation, %")
        axes.set_title(title, loc="left", fontsize=11)
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
        figure.text(0.67, 0.14, "waveform: with front end;\nthe others: without", color=svg.DIM)
        return svg.standalone(figure, f"{title}: UA against latency")
