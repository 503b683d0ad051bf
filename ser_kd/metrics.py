"""Scores of predictions: NumPy in, numbers out."""

from collections.abc import Sequence

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
    rng = np.random.default_rng(seed)
    names = sorted(set(speakers))
    rows = [np.flatnonzero(np.asarray(speakers) == name) for name in names]
    drawn: dict[str, list[float]] = {"wa": [], "ua": [], "macro_f1": []}
    # The scores of a resample follow from the sum of its speakers' confusion matrices.
    tables = np.array([confusion(truth[r], predicted[r], classes) for r in rows])
    for _ in range(resamples):
        table = tables[rng.integers(len(names), size=len(names))].sum(0)
        right, true_count, said_count = np.diag(table), table.sum(1), table.sum(0)
        present = true_count > 0
        drawn["wa"].append(right.sum() / table.sum())
        drawn["ua"].append(np.mean(right[present] / true_count[present]))
        drawn["macro_f1"].append(np.mean(2 * right[present] / (true_count + said_count)[present]))
    low_high = {key: np.percentile(values, [2.5, 97.5]) for key, values in drawn.items()}
    return {key: (float(low), float(high)) for key, (low, high) in low_high.items()}
