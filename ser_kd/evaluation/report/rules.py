"""By which rules the page calls a figure good, bad, the same, or too little to say anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_kd.evaluation.report import words

MIN_SPEAKERS = 5
"""Of fewer no interval is drawn: drawn again and again from so few, it comes out too narrow."""
WELL, FAIRLY, ALIKE = 0.5, 0.25, 0.8
"""Shares of the way from guessing to the best there is (see ``way``)."""
LITTLE_DROP = 0.05
_MOSTLY, _TOO_OFTEN = 0.5, 1.5


def interval_of(scores: Mapping[str, Any], key: str, speakers: int) -> Any:
    """The interval of a score; None where too few speakers gave it."""
    return enough((scores.get("intervals") or {}).get(key), speakers)


def enough(low_high: Any, speakers: int) -> Any:
    """An interval, or None where it comes from too few speakers."""
    return low_high if speakers >= MIN_SPEAKERS else None


def guess(evaluation: Mapping[str, Any]) -> float:
    """UA of a model that guesses."""
    return 1 / len(evaluation["labels"])


def way(ua: float, guessed: float, best: float = 1.0) -> float:
    """How far UA has come from guessing (0) to the best (1); 1 where the best is no more."""
    return (ua - guessed) / (best - guessed) if best > guessed else 1.0


def middle(evaluation: Mapping[str, Any]) -> float:
    """Half of the way from the UA of clean clips down to guessing."""
    return (evaluation["scores"]["ua"] + guess(evaluation)) / 2


def about_the_same(own: float, other: float, scores: Mapping[str, Any], speakers: int) -> bool:
    """Whether UA of another model is as near to our own as other speakers might bring it.

    Args:
        own: Of one of the models that are compared.
        other: Of the model that it is held against.
        scores: Of the evaluated model: how wide its interval is, either side.
        speakers: That gave them; with too few nothing is the same.
    """
    ends = interval_of(scores, "ua", speakers)
    if not ends:
        return False
    low, high = (own + end - scores["ua"] for end in ends)
    return bool(low <= other <= high)


def broken_kinds(evaluation: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Kind of change -> its conditions that take UA more than half of the way to guessing."""
    broken: dict[str, list[dict[str, Any]]] = {}
    for condition in conditions(evaluation):
        if condition["ua"] < middle(evaluation):
            broken.setdefault(condition["kind"], []).append(condition)
    return broken


def held_kinds(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Kind of change -> how far UA falls with the worst of them, where that is little."""
    drops: dict[str, float] = {}
    for item in conditions(evaluation):
        drops[item["kind"]] = max(drops.get(item["kind"], 0.0), item["ua_drop"])
    return {kind: drop for kind, drop in drops.items() if drop <= LITTLE_DROP}


def conditions(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was done to the clips, and what became of the answers."""
    return (evaluation.get("robustness") or {}).get("conditions") or []


def limits(evaluation: Mapping[str, Any], published: bool) -> list[dict[str, Any]]:
    """The published limits, or the harder ones of ours."""
    found = (evaluation.get("robustness") or {}).get("gates") or []
    return [limit for limit in found if bool(limit.get("published", True)) is published]


def is_at_least(limit: Mapping[str, Any]) -> bool:
    """Whether figures are to be above the limit, not below it."""
    bound = limit.get("bound", "at least" if "unchanged" in words.limit_name(limit) else "at most")
    return bool(bound == "at least")


def few_speakers_of_sexes(evaluation: Mapping[str, Any]) -> str:
    """``5 and 4 speakers`` where a sex has too few; else empty."""
    for item in evaluation.get("slices") or []:
        counts = [group["speakers"] for group in item["groups"]]
        if item["by"] == "sex" and counts and min(counts) < MIN_SPEAKERS:
            return f"{words.listed([f'{count:,}' for count in counts])} speakers"
    return ""


def favourite(
    labels: Sequence[str], confusion: Sequence[Sequence[int]]
) -> tuple[str, float, float] | None:
    """The label that a model gives to most clips, though many of these have another one.

    Returns:
        The label, the share of the clips that it is given to, the share that has it; None where no
        label stands out.
    """
    clips = sum(map(sum, confusion))
    if not clips or len(confusion) != len(labels):
        return None
    said = [sum(row[column] for row in confusion) / clips for column in range(len(labels))]
    place = max(range(len(labels)), key=said.__getitem__)
    true = sum(confusion[place]) / clips
    if said[place] < _MOSTLY or said[place] < _TOO_OFTEN * true:
        return None
    return labels[place], said[place], true
