"""Scores of predictions: NumPy in, numbers out."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score


def scores(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """WA, UA and macro-F1.

    Args:
        truth: Class indices ``[clips]``.
        predicted: Class indices ``[clips]``.

    Returns:
        ``wa`` (accuracy), ``ua`` (mean recall over classes), ``macro_f1``, each 0..1. Classes that
        do not occur in ``truth`` do not count.
    """
    present = np.unique(truth)
    return {
        "wa": float(accuracy_score(truth, predicted)),
        "ua": float(
            recall_score(truth, predicted, labels=present, average="macro", zero_division=0)
        ),
        "macro_f1": float(
            f1_score(truth, predicted, labels=present, average="macro", zero_division=0)
        ),
    }


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int) -> list[list[int]]:
    """Counts, rows = truth, columns = prediction."""
    table: list[list[int]] = confusion_matrix(truth, predicted, labels=np.arange(classes)).tolist()
    return table


def resampled_confusions(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    classes: int,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Confusion matrices of as many other samples of people: the bootstrap over speakers.

    Each resample draws as many speakers as there are, with replacement, and takes all of their
    clips. Every score of a resample follows from the sum of its speakers' confusion matrices.

    Args:
        truth: Class indices ``[clips]``.
        predicted: Class indices ``[clips]``.
        speakers: Who speaks, ``[clips]``.
        classes: How many there are.
        resamples: How often is drawn.
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
    sums = times @ tables.reshape(len(names), -1)
    return np.rint(sums).astype(np.int64).reshape(resamples, classes, classes)


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle 95 % of what a bootstrap gave; values that are not numbers do not count."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def speaker_intervals(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    classes: int,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of ``scores``, bootstrapped over speakers, not clips.

    Clips of one speaker are not independent; what another sample of people would give is asked.
    With a single speaker the interval is the score itself.
    """
    tables = resampled_confusions(truth, predicted, speakers, classes, resamples, seed)
    return {key: interval(values) for key, values in scores_of_confusions(tables).items()}


def full_scores(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    labels: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """``scores``, the recall of every class and the confusion matrix, with 95 % intervals.

    Args:
        truth: Class indices ``[clips]``.
        predicted: Class indices ``[clips]``.
        speakers: Who speaks, ``[clips]``; the intervals are bootstrapped over them.
        labels: Class names.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        ``wa``, ``ua``, ``macro_f1``; ``intervals`` of these three; ``recall``: label -> ``value``,
        ``interval``, ``clips``, for the classes that occur in ``truth``; ``confusion``. Where there
        is but one speaker every interval is None: nothing is known of other people.
    """
    tables = resampled_confusions(truth, predicted, speakers, len(labels), resamples, seed)
    counts = np.bincount(truth, minlength=len(labels))
    several = len(set(speakers)) > 1
    recall = {}
    for index, label in enumerate(labels):
        if not counts[index]:
            continue
        hits = tables[:, index, index].astype(np.float64)
        of_class = tables[:, index].sum(axis=1)
        drawn = np.divide(hits, of_class, out=np.full(len(hits), np.nan), where=of_class > 0)
        recall[label] = {
            "value": float(np.mean(predicted[truth == index] == index)),
            "interval": interval(drawn) if several else None,
            "clips": int(counts[index]),
        }
    resampled = scores_of_confusions(tables)
    return {
        **scores(truth, predicted),
        "intervals": {key: interval(resampled[key]) if several else None for key in resampled},
        "recall": recall,
        "confusion": confusion(truth, predicted, len(labels)),
    }


def concordance(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The concordance correlation coefficient of each dimension (Lin, Biometrics 45, 1989).

    ``2 cov / (var + var + (mean - mean)^2)``, with the variances of the clips themselves (1 / n).

    Args:
        truth: Ratings ``[clips, dimensions]``; NaN: not rated, the clip does not count.
        predicted: ``[clips, dimensions]``.

    Returns:
        float64 ``[dimensions]``, -1..1. NaN where nothing can be told: no clip is rated, or both
        sides are one and the same constant.
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
    Resamples of which nothing can be told do not count; NaN where that is all of them.

    Args:
        truth: Ratings ``[clips, dimensions]``; NaN: not rated.
        predicted: ``[clips, dimensions]``.
        speakers: Who speaks, ``[clips]``.
        resamples: How often is drawn.
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


def negative_log_likelihood(probs: np.ndarray, truth: np.ndarray) -> float:
    """Mean of -log(probability of the true class), in nats; 0 is best.

    Args:
        probs: ``[clips, classes]``.
        truth: Class indices ``[clips]``.
    """
    return float(-np.log(probs[np.arange(len(truth)), truth] + 1e-12).mean())


def scores_of_confusions(tables: np.ndarray) -> dict[str, np.ndarray]:
    """``scores`` of confusion matrices ``[tables, classes, classes]``, each ``[tables]``."""
    right = np.diagonal(tables, axis1=1, axis2=2).astype(np.float64)
    true_count, said_count = tables.sum(axis=2), tables.sum(axis=1)
    present = true_count > 0
    zeros = np.zeros_like(right)
    recall = np.divide(right, true_count, out=zeros.copy(), where=present)
    f1 = np.divide(2.0 * right, true_count + said_count, out=zeros.copy(), where=present)
    return {
        "wa": right.sum(axis=1) / tables.sum(axis=(1, 2)),
        "ua": recall.sum(axis=1) / present.sum(axis=1),
        "macro_f1": f1.sum(axis=1) / present.sum(axis=1),
    }
