"""Scores by sex, age and race of the speakers, where a corpus has them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.corpora.clip import Clip

_SEXES = {"f": "female", "m": "male"}
_BAND_YEARS = 10


def slices(
    clips: Sequence[Clip],
    truth: np.ndarray,
    predicted: np.ndarray,
    labels: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[list[dict[str, Any]], list[str]]:
    """The clips' scores by sex, age band and race.

    Args:
        clips: With their attributes, ``[clips]``.
        truth: Class indices ``[clips]``.
        predicted: Class indices ``[clips]``.
        labels: Class names.
        resamples: Of the bootstrap over speakers.
        seed: Of the bootstrap.

    Returns:
        ``by`` (``sex``, ``age``, ``race``) and ``groups``: ``name``, ``clips``, ``speakers``,
        ``ua``, its ``interval`` (None for one speaker), ``recall`` as in ``metrics.full_scores``.
        Then notes: what is known of how many clips.
    """
    found: list[dict[str, Any]] = []
    notes, of_none = [], []
    for by, name_of in _GROUPINGS.items():
        names = [name_of(clip.attributes) for clip in clips]
        unknown = names.count("")
        if unknown == len(clips):
            of_none.append(by)
        elif unknown:
            notes.append(f"{by}: known of {len(clips) - unknown} of {len(clips)} clips")
        groups = []
        for name in sorted(set(names) - {""}):
            rows = np.array([row for row, of_row in enumerate(names) if of_row == name])
            speakers = [clips[row].speaker for row in rows]
            scores = metrics.full_scores(
                truth[rows], predicted[rows], speakers, labels, resamples, seed
            )
            groups.append(
                {
                    "name": name,
                    "clips": len(rows),
                    "speakers": len(set(speakers)),
                    "ua": scores["ua"],
                    "interval": scores["intervals"]["ua"],
                    "recall": scores["recall"],
                }
            )
        if groups:
            found.append({"by": by, "groups": groups})
    if of_none:
        notes.append(f"{', '.join(of_none)} of the speakers: not known")
    return found, notes


def _sex(attributes: Mapping[str, Any]) -> str:
    sex = str(attributes.get("sex", "")).strip().lower()
    return _SEXES.get(sex, sex)


def _age_band(attributes: Mapping[str, Any]) -> str:
    """Such as ``20-29``; empty where the age is no number of years."""
    try:
        years = int(float(attributes["age"]))
    except (KeyError, ValueError, OverflowError):
        return ""
    first = years // _BAND_YEARS * _BAND_YEARS
    return f"{first}-{first + _BAND_YEARS - 1}" if years >= 0 else ""


def _race(attributes: Mapping[str, Any]) -> str:
    return str(attributes.get("race", "")).strip()


_GROUPINGS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "sex": _sex,
    "age": _age_band,
    "race": _race,
}
