"""Confidence intervals by a bootstrap over speakers, not clips.

Clips of one speaker are not independent: the question is what another sample of people would give.
"""

from collections.abc import Sequence

import numpy as np

MIN_SPEAKERS = 5
"""Intervals from fewer speakers are computed but not reported: resampled from so few people, they
come out far too narrow (two speakers give at most three distinct resamples)."""


def resampled_confusions(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    classes: int,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Confusion matrices of resamples of the speakers.

    Each resample draws as many speakers as there are, with replacement, and takes all of their
    clips. Every score of a resample follows from the sum of its speakers' confusion matrices.

    Args:
        truth: Class indices ``[clips]``.
        predicted: Class indices ``[clips]``.
        speakers: The speaker of each clip, ``[clips]``.
        classes: Number of classes.
        resamples: Number of resamples.
        seed: Of the draws.

    Returns:
        int ``[resamples, classes, classes]``, rows = truth, columns = prediction.
    """
    names, of_clip = np.unique(np.asarray(speakers), return_inverse=True)
    tables = np.zeros((len(names), classes, classes))
    np.add.at(tables, (of_clip, truth, predicted), 1.0)
    drawn = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    times = np.zeros((resamples, len(names)))
    np.add.at(times, (np.arange(resamples)[:, np.newaxis], drawn), 1.0)
    # A product of float matrices: NumPy hands it to BLAS, which it does not with whole numbers.
    totals = times @ tables.reshape(len(names), -1)
    return np.rint(totals).astype(np.int64).reshape(resamples, classes, classes)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The 2.5th and 97.5th percentile of bootstrap values; NaN does not count."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def reported_interval(
    low_high: Sequence[float] | None, speakers: int
) -> tuple[float, float] | None:
    """A stored interval as it may be shown to a reader.

    Args:
        low_high: Of ``speaker_intervals`` or ``full_scores``, also read back from JSON.
        speakers: Number of speakers that it was resampled from.

    Returns:
        The interval; None where there is none, or for fewer than ``MIN_SPEAKERS`` speakers.
    """
    if low_high is None or speakers < MIN_SPEAKERS:
        return None
    low, high = low_high
    return low, high
