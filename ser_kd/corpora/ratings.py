"""Continuous targets: valence, arousal, dominance, and the emotions that a crowd perceived.

Readers put a clip's ratings, in the corpus's own range, into ``clip.attributes["ratings"]`` (name
-> number); of one's own data a CSV column of that name serves (``corpora.folder``). From here on
every dimension runs from -1 to 1, whatever the corpus's range: 0 is the middle of the scale, where
a new head with its bias of 0 starts, and cutting off at -1 and 1 is something that TensorFlow Lite
does within a dense layer (``students.heads``). The concordance does not change when truth and
prediction are scaled alike.
"""

import difflib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from ser_kd.corpora.clip import Clip
from ser_kd.corpora.reader import Dimension
from ser_kd.corpora.readers import CORPORA, find_reader
from ser_kd.errors import UserError

_MISSING = ("", "na", "nan")


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
    own = find_reader(corpus).dimensions
    if not ranges:
        if own:
            return own
        rated = [name for name in CORPORA if find_reader(name).dimensions]
        raise UserError(
            f"corpus {corpus!r} has no dimensions of its own (there are some in "
            f"{', '.join(rated)}): name those of your CSV with their ranges, such as "
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


def to_own_scale(values: np.ndarray, dimensions: Sequence[Dimension]) -> np.ndarray:
    """The opposite way, for people to read: -1..1 -> the raters' scale, ``[..., dimensions]``."""
    low, high = _ends(dimensions)
    scaled: np.ndarray = low + (values + 1.0) / 2.0 * (high - low)
    return scaled


def _ends(dimensions: Sequence[Dimension]) -> tuple[np.ndarray, np.ndarray]:
    low = np.array([dimension.low for dimension in dimensions])
    return low, np.array([dimension.high for dimension in dimensions])


def _rating(clip: Clip, dimension: Dimension) -> float:
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
