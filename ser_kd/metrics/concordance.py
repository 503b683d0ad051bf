"""Concordance of continuous predictions with ratings: NumPy in, numbers out."""

import math
from collections.abc import Sequence

import numpy as np

from ser_kd.metrics.bootstrap import interval


def concordance(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The concordance correlation coefficient of each dimension (Lin, Biometrics 45, 1989).

    ``2 cov / (var + var + (mean - mean)^2)``, with the variances of the clips themselves (1 / n).

    Args:
        truth: Ratings ``[clips, dimensions]``; NaN: not rated, the clip does not count.
        predicted: ``[clips, dimensions]``.

    Returns:
        float64 ``[dimensions]``, -1..1. NaN where it is undefined: no clip is rated, or both
        sides are the same constant.
    """
    one_group = np.zeros(len(truth), np.int64)
    return _concordance_of(_moments(truth, predicted, one_group, 1)[0])


def concordance_intervals(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """95 % intervals of ``concordance``, bootstrapped over speakers, one for each dimension.

    As ``speaker_intervals``: with a single speaker the interval is the coefficient itself.
    Resamples for which it is undefined do not count; NaN where that is all of them.

    Args:
        truth: Ratings ``[clips, dimensions]``; NaN: not rated.
        predicted: ``[clips, dimensions]``.
        speakers: The speaker of each clip, ``[clips]``.
        resamples: Number of resamples.
        seed: Of the draws.
    """
    names, of_clip = np.unique(np.asarray(speakers), return_inverse=True)
    moments = _moments(truth, predicted, of_clip, len(names))
    # How often each speaker is drawn, when as many are drawn as there are.
    times = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1.0 / len(names)), size=resamples
    )
    drawn = _concordance_of(np.tensordot(times.astype(np.float64), moments, axes=1))
    return [
        (math.nan, math.nan) if np.isnan(values).all() else interval(values) for values in drawn.T
    ]


def _moments(
    truth: np.ndarray, predicted: np.ndarray, of_clip: np.ndarray, groups: int
) -> np.ndarray:
    """Count and sums of t, p, tt, pp, tp of each group's rated clips: ``[groups, dims, 6]``."""
    rated = ~np.isnan(truth)
    t, p = (np.where(rated, values, 0.0).astype(np.float64) for values in (truth, predicted))
    # From the middle of the ratings: sums of squares lose digits far from zero.
    middle = t.sum(axis=0) / np.maximum(rated.sum(axis=0), 1)
    t, p = np.where(rated, t - middle, 0.0), np.where(rated, p - middle, 0.0)
    sums = np.zeros((groups, truth.shape[1], 6))
    np.add.at(sums, of_clip, np.stack([rated, t, p, t * t, p * p, t * p], axis=-1))
    return sums


def _concordance_of(moments: np.ndarray) -> np.ndarray:
    """``concordance`` of sums ``[..., 6]`` as ``_moments`` gives them: ``[...]``."""
    count, t, p, tt, pp, tp = np.moveaxis(moments, -1, 0)
    # Times count squared all through, so that no mean is needed where there is none.
    covariance = count * tp - t * p
    spread = count * tt - t * t + count * pp - p * p + (t - p) ** 2
    # What rounding leaves of two equal constants is no spread.
    known = spread > 1e-12 * count * (tt + pp + np.finfo(np.float64).tiny)
    return np.divide(2.0 * covariance, spread, out=np.full(count.shape, np.nan), where=known)
