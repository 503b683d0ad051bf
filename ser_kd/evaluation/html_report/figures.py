"""The figures of the page, as inline SVG that follows the page's theme."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from ser_kd.metrics import svg

_WIDTH = 4.7
"""Inches, 338 points: on a phone of 360 px the letters keep the size that they have here."""
_SMALL, _LETTERS_OF_LABEL = 8.5, 10


def confusion_matrix(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """Rows = truth, columns = prediction, in per cent of the row; right answers are framed.

    Args:
        labels: Class names.
        counts: Clips ``[truth][prediction]``.
    """
    table = np.asarray(counts, float)
    shares = table / np.maximum(table.sum(1, keepdims=True), 1.0)
    size = len(labels)
    names = [name if len(name) <= _LETTERS_OF_LABEL else f"{name[:9]}…" for name in labels]
    with svg.style():
        figure = Figure(figsize=(_WIDTH, 4.4))
        axes = figure.add_axes((0.17, 0.02, 0.81, 0.81))
        axes.grid(False)
        for row, column in np.ndindex(size, size):
            place = (column - 0.5, row - 0.5)
            share = shares[row, column]
            axes.add_patch(Rectangle(place, 1, 1, color=svg.BLUE, alpha=0.6 * share, linewidth=0))
            if row == column:
                axes.add_patch(Rectangle(place, 1, 1, fill=False, edgecolor=svg.DIM, zorder=3))
            if table[row].any():
                figures = f"{100 * share:.0f}"
                colour = svg.TEXT if share >= 0.005 else svg.DIM
                axes.text(column, row, figures, ha="center", va="center", color=colour)
        axes.set_xlim(-0.5, size - 0.5)
        axes.set_ylim(size - 0.5, -0.5)
        turned = size > 6 or max(map(len, names)) > 6
        axes.set_xticks(range(size), names, rotation=40 if turned else 0, fontsize=9)
        axes.set_yticks(range(size), names, fontsize=9)
        axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        axes.set_xlabel("predicted, % of the row's clips")
        axes.xaxis.set_label_position("top")
        axes.set_ylabel("true emotion")
        axes.spines[:].set_visible(False)
        title = "Confusion matrix: one row per true emotion, one column per predicted emotion"
        return svg.inline(figure, "confusion", title)


def reliability_diagram(bins: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy against confidence, above the number of clips in each bin.

    Args:
        bins: ``low``, ``high``, ``clips``, ``confidence``, ``accuracy``.
    """
    used = [item for item in bins if item["clips"]]
    most = max(item["clips"] for item in used)
    with svg.style():
        figure = Figure(figsize=(_WIDTH, 4.4))
        axes = figure.add_axes((0.14, 0.36, 0.83, 0.62))
        axes.plot([0, 100], [0, 100], color=svg.DIM, linestyle="--", linewidth=1)
        axes.text(4, 92, "above: underconfident", color=svg.DIM, fontsize=_SMALL)
        axes.text(98, 5, "below: overconfident", color=svg.DIM, fontsize=_SMALL, ha="right")
        axes.plot(
            [100 * item["confidence"] for item in used],
            [100 * item["accuracy"] for item in used],
            color=svg.BLUE,
            linewidth=1.2,
        )
        axes.scatter(
            [100 * item["confidence"] for item in used],
            [100 * item["accuracy"] for item in used],
            [12 + 60 * item["clips"] / most for item in used],
            color=svg.BLUE,
            zorder=3,
        )
        axes.set_ylim(0, 100)
        axes.set_ylabel("accuracy, %")
        below = figure.add_axes((0.14, 0.12, 0.83, 0.18))
        below.bar(
            [100 * item["low"] for item in bins],
            [item["clips"] for item in bins],
            [100 * (item["high"] - item["low"]) for item in bins],
            align="edge",
            color=svg.BLUE,
            alpha=0.5,
            edgecolor=svg.BLUE,
            linewidth=0.6,
        )
        below.set_ylabel("clips")
        below.set_xlabel("confidence: probability of the predicted emotion, %")
        below.locator_params(axis="y", nbins=2)
        for each in (axes, below):
            each.set_xlim(0, 100)
        axes.tick_params(labelbottom=False)
        title = "Reliability diagram: accuracy against confidence"
        return svg.inline(figure, "reliability", title)


def training_curves(history: Sequence[Mapping[str, Any]]) -> str:
    """Accuracy on the training clips and UA on validation, over the epochs; "" without any."""
    curves = (
        ("accuracy", "training clips: accuracy (WA)", "-", svg.BLUE),
        ("validation_ua", "validation clips: mean recall (UA)", "--", svg.ORANGE),
    )
    with svg.style():
        figure = Figure(figsize=(_WIDTH, 3.0))
        axes = figure.add_axes((0.12, 0.16, 0.85, 0.68))
        for key, label, line, colour in curves:
            rows = [row for row in history if row.get(key) is not None]
            if rows:
                epochs = [row["epoch"] for row in rows]
                values = [100 * row[key] for row in rows]
                axes.plot(epochs, values, line, color=colour, label=label, marker=_marker(rows))
        if not axes.lines:
            return ""
        axes.set_xlabel("epoch")
        axes.set_ylabel("%")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), frameon=False, fontsize=_SMALL)
        return svg.inline(figure, "training", "Training curves over the epochs")


def _marker(points: Sequence[Any]) -> str:
    """A single point has no line."""
    return "o" if len(points) == 1 else ""
