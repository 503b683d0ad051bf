"""The page from the dicts of ``eval.json`` and ``resources.json``: no network, no JavaScript."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ser_kd import files
from ser_kd.corpora.emotions import emotion
from ser_kd.evaluation.html_report import figures
from ser_kd.evaluation.summary import collapsed, reported_part
from ser_kd.metrics import MIN_SPEAKERS, reported_interval, svg

_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def write_report(evaluation: Mapping[str, Any], resources: Mapping[str, Any], path: Path) -> None:
    """Writes the page, atomically.

    Args:
        evaluation: As ``evaluation.scores`` describes it. Of a section without data there is
            nothing on the page.
        resources: Model -> size, time and memory, as far as measured.
        path: Of the page.
    """
    with files.atomic(path) as partial:
        partial.write_text(report(evaluation, resources), encoding="utf-8")


def report(evaluation: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """The page's text."""
    name = reported_part(evaluation)
    part = evaluation["parts"][name]
    file = part["file"]
    model = file["model"]
    scores = part["models"][model]
    bins = file["calibration"]["bins"]
    return _ENVIRONMENT.get_template("page.html.j2").render(
        evaluation=evaluation,
        resources=resources,
        part_name=name,
        part=part,
        file=file,
        scores=scores,
        chance=1 / len(scores["recall"]),
        collapsed=collapsed(evaluation),
        few_speakers=part["speakers"] < MIN_SPEAKERS,
        min_speakers=MIN_SPEAKERS,
        mistakes=_mistakes(evaluation["labels"], scores["confusion"]),
        overconfidence=_overconfidence(bins),
        precision=_precision(evaluation["labels"], scores["confusion"]),
        confusion=Markup(figures.confusion_matrix(evaluation["labels"], scores["confusion"])),
        reliability=Markup(figures.reliability_diagram(bins)),
        training=Markup(figures.training_curves(evaluation["history"])),
        colours=Markup(svg.colours()),
    )


def _mistakes(labels: Sequence[str], confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """Every confusion that happened, the largest share of a true emotion's clips first."""
    found = [
        {"truth": labels[row], "predicted": labels[column], "clips": clips, "of": sum(counts)}
        for row, counts in enumerate(confusion)
        for column, clips in enumerate(counts)
        if clips and row != column
    ]
    return sorted(found, key=lambda item: -item["clips"] / item["of"])


def _overconfidence(bins: Sequence[Mapping[str, Any]]) -> float:
    """Mean confidence minus accuracy, -1..1."""
    clips = sum(item["clips"] for item in bins)
    return sum(i["clips"] * (i["confidence"] - i["accuracy"]) for i in bins) / max(clips, 1)


def _precision(
    labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> dict[str, float | None]:
    """Of the clips with this prediction, the share that is right; None if it never occurs."""
    predicted = [sum(row[column] for row in confusion) for column in range(len(labels))]
    return {
        label: confusion[column][column] / predicted[column] if predicted[column] else None
        for column, label in enumerate(labels)
    }


def _percent(value: float | None, digits: int = 1) -> str:
    """0.669 -> ``66.9 %``, with a space at which no line breaks."""
    if value is None or not math.isfinite(value):
        return "-"
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _points(value: float) -> str:
    """A difference of two shares, 0.05 -> ``5.0 points``."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}points"


def _interval(low_high: Sequence[float] | None, speakers: int) -> str:
    """In per cent, ``63-71``; ``-`` where too few speakers gave it."""
    ends = reported_interval(low_high, speakers)
    return f"{100 * ends[0]:.0f}\N{EN DASH}{100 * ends[1]:.0f}" if ends else "-"


def _size(value: float | None) -> str:
    """Bytes as kB, MB or GB (powers of 1,000)."""
    if value is None:
        return "-"
    unit, name = next((pair for pair in _UNITS if value >= pair[0]), _UNITS[-1])
    digits = 0 if unit == 1e3 or value >= 100 * unit else 1
    return f"{value / unit:,.{digits}f}\N{NO-BREAK SPACE}{name}"


def _unit(value: float | None, unit: str, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}\N{NO-BREAK SPACE}{unit}"


def _count(number: int, noun: str) -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "percent": _percent,
    "points": _points,
    "interval": _interval,
    "size": _size,
    "unit": _unit,
    "count": _count,
    "emotion": emotion,
}
