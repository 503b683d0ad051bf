"""Scores of predicted classes: NumPy in, numbers out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from ser_kd.metrics.bootstrap import interval, resampled_confusions


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


COLLAPSED_SHARE, ONE_SIDED_SHARE = 0.95, 0.8


def collapsed_class(confusion: Sequence[Sequence[int]]) -> tuple[int, float] | None:
    """The class that a model predicts for nearly every clip, whatever is said in it.

    Args:
        confusion: Counts, rows = truth, columns = prediction.

    Returns:
        The class and its share of the predictions, where that is at least ``COLLAPSED_SHARE`` and
        no class has ``ONE_SIDED_SHARE`` of the clips themselves; else None.
    """
    counts = np.asarray(confusion)
    total = counts.sum()
    if not total or counts.sum(axis=1).max() / total >= ONE_SIDED_SHARE:
        return None
    predicted = counts.sum(axis=0) / total
    largest = int(predicted.argmax())
    return (largest, float(predicted[largest])) if predicted[largest] >= COLLAPSED_SHARE else None


def speaker_intervals(
    truth: np.ndarray,
    predicted: np.ndarray,
    speakers: Sequence[str],
    classes: int,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of ``scores``, bootstrapped over speakers.

    With a single speaker the interval is the score itself. See ``bootstrap.reported_interval`` for
    when an interval may be shown.
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
        speakers: The speaker of each clip, ``[clips]``; the intervals are bootstrapped over them.
        labels: Class names.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        ``wa``, ``ua``, ``macro_f1``; ``intervals`` of these three; ``recall``: label -> ``value``,
        ``interval``, ``clips``, for the classes that occur in ``truth``; ``confusion``. Where there
        is one speaker only, every interval is None.
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
