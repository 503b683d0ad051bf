"""Continuous targets: valence, arousal, dominance, and what a crowd heard.

Readers put a clip's ratings, in the corpus's own range, into ``clip.attributes["ratings"]`` (name
-> number); of one's own data a CSV column of that name serves (``corpora.folder``); CREMA-D's are
computed from its crowd's votes. From here on every dimension runs from -1 to 1, whatever the
corpus's range: 0 is the middle of the scale, where a new head with its bias of 0 starts, and
cutting off at -1 and 1 is something that TensorFlow Lite does within a dense layer
(``students.heads``). The concordance does not change when truth and prediction are scaled alike.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_kd.corpora.clip import Clip
from ser_kd.errors import UserError

_MISSING = ("", "na", "nan")


@dataclass(frozen=True)
class Dimension:
    """What raters gave a number for.

    Attributes:
        name: Such as ``valence``.
        low: The lower end of the raters' scale.
        high: Its upper end.
    """

    name: str
    low: float
    high: float


def _valence_arousal_dominance(low: float, high: float) -> tuple[Dimension, ...]:
    return tuple(Dimension(name, low, high) for name in ("valence", "arousal", "dominance"))


_CREMA_D = {
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "happiness": "HAP",
    "neutral": "NEU",
    "sadness": "SAD",
}

DIMENSIONS: dict[str, tuple[Dimension, ...]] = {
    # See ``crowd_intensities``.
    "crema_d": tuple(Dimension(name, 0.0, 100.0) for name in _CREMA_D),
    # Seven manikins (Busso et al., arXiv 2509.09791), and five (Busso et al. 2008).
    "msp_podcast": _valence_arousal_dominance(1.0, 7.0),
    "iemocap": _valence_arousal_dominance(1.0, 5.0),
    # What the synthesiser was set to (``corpora.demo.RATED``): semitones, log2, dB per octave.
    "demo": (
        Dimension("pitch", -16.0, 16.0),
        Dimension("rate", -1.0, 1.0),
        Dimension("brightness", -8.0, 8.0),
    ),
}
"""Corpus -> its dimensions, in output order."""


def dimensions_of(
    corpus: str, ranges: Mapping[str, tuple[float, float]] | None = None
) -> tuple[Dimension, ...]:
    """The dimensions of a corpus.

    Args:
        corpus: Its reader's name.
        ranges: Name -> ends of the scale: of the columns of one's own data, or to choose some of
            the corpus's own dimensions. Empty: all that the corpus has.

    Raises:
        UserError: The corpus has none, or not one of that name, or the ends are no range.
    """
    own = DIMENSIONS.get(corpus, ())
    if not ranges:
        if own:
            return own
        raise UserError(
            f"corpus {corpus!r} has no dimensions of its own (there are some in "
            f"{', '.join(DIMENSIONS)}): name those of your CSV with their ranges, such as "
            "valence = [1, 7]"
        )
    known = [dimension.name for dimension in own]
    for name, (low, high) in ranges.items():
        if own and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UserError(
                f"corpus {corpus!r} has no dimension {name!r}{hint}; it has {', '.join(known)}"
            )
        if not -math.inf < low < high < math.inf:
            raise UserError(
                f"dimension {name!r} cannot run from {low:g} to {high:g}: give two numbers, the "
                "lower one first"
            )
    return tuple(Dimension(name, *ends) for name, ends in ranges.items())


def read_ratings(clips: Sequence[Clip], dimensions: Sequence[Dimension]) -> np.ndarray:
    """The clips' ratings, from -1 (the lower end of the scale) to 1.

    Args:
        clips: All of a corpus.
        dimensions: Which, with their ranges.

    Returns:
        float32 ``[clips, dimensions]``; NaN where a clip has no rating.

    Raises:
        UserError: A rating is out of range or no number, or no clip at all has one.
    """
    values = np.array(
        [[_rating(clip, dimension) for dimension in dimensions] for clip in clips], np.float64
    ).reshape(len(clips), len(dimensions))
    for column, dimension in enumerate(dimensions):
        if np.isnan(values[:, column]).all():
            raise UserError(
                f"none of {len(clips):,} clips has a rating of {dimension.name!r}: check its name, "
                "and whether the table with the ratings is there"
            )
    low, high = _ends(dimensions)
    return (2.0 * (values - low) / (high - low) - 1.0).astype(np.float32)


def crowd_intensities(clip: Clip) -> dict[str, float]:
    """How strongly those heard each emotion who had nothing but the voice; of CREMA-D.

    Everybody named one emotion and its strength, 0 to 100. The table's mean is over those alone who
    named it (one of eleven heard joy, and at 98: mean 98) and is missing where nobody did. Here it
    is over all who listened, to whom the emotions that they did not name count 0: 8.9.

    Args:
        clip: With ``votes`` and ``vote_intensities`` (``corpora.crema_d``).

    Returns:
        Dimension -> 0 to 100; empty where the table has no voice row for the clip.
    """
    votes = clip.attributes.get("votes", {}).get("voice", {})
    strengths = clip.attributes.get("vote_intensities", {}).get("voice", {})
    if not strengths:
        return {}
    listeners = sum(votes.values())
    return {
        name: votes[label] * strengths.get(label, 0.0) / listeners
        for name, label in _CREMA_D.items()
    }


def to_own_scale(values: np.ndarray, dimensions: Sequence[Dimension]) -> np.ndarray:
    """The opposite way, for people to read: -1..1 -> the raters' scale, ``[..., dimensions]``."""
    low, high = _ends(dimensions)
    scaled: np.ndarray = low + (values + 1.0) / 2.0 * (high - low)
    return scaled


def _ends(dimensions: Sequence[Dimension]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([dimension.low for dimension in dimensions])
    return low, np.array([dimension.high for dimension in dimensions])


def _rating(clip: Clip, dimension: Dimension) -> float:
    ratings: Mapping[str, Any]
    if "votes" in clip.attributes:
        ratings = crowd_intensities(clip)
    else:
        # Columns of one's own CSV are attributes themselves; the reader writes their names small.
        ratings = clip.attributes.get("ratings", clip.attributes)
    text = str(ratings.get(dimension.name.lower(), "")).strip()
    if text.lower() in _MISSING:
        return math.nan
    try:
        # Spreadsheets that write semicolons between cells write commas in numbers.
        value = float(text.replace(",", "."))
    except ValueError:
        raise UserError(f"clip {clip.id!r}: {dimension.name} = {text!r} is no number") from None
    if not dimension.low <= value <= dimension.high:
        raise UserError(
            f"clip {clip.id!r}: {dimension.name} = {value:g} is out of range: it runs from "
            f"{dimension.low:g} to {dimension.high:g}; mend the rating, or the range if that is "
            "wrong"
        )
    return value
