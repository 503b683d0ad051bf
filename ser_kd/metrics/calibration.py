"""Calibration of probabilities: reliability diagram and ECE, NumPy in, numbers out."""

from dataclasses import dataclass

import numpy as np

BINS = 15
_DRAWS = 1_000


@dataclass(frozen=True)
class Bin:
    """The clips whose largest probability lies in ``(low, high]``.

    Attributes:
        low: Of the confidence.
        high: The same.
        clips: How many there are.
        confidence: Their mean largest probability; 0 where there are none.
        accuracy: The share of them whose label is right; 0 where there are none.
    """

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


def reliability(probs: np.ndarray, truth: np.ndarray, bins: int = BINS) -> list[Bin]:
    """Confidence against accuracy, in bins of equal width.

    Args:
        probs: ``[clips, classes]``.
        truth: Class indices ``[clips]``.
        bins: How many.
    """
    confidence, right = probs.max(1), probs.argmax(1) == truth
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence) - 1, 0, bins - 1)
    found = []
    for number in range(bins):
        inside = place == number
        clips = int(inside.sum())
        means = (confidence[inside].mean(), right[inside].mean()) if clips else (0.0, 0.0)
        found.append(Bin(float(edges[number]), float(edges[number + 1]), clips, *map(float, means)))
    return found


def expected_calibration_error(probs: np.ndarray, truth: np.ndarray, bins: int = BINS) -> float:
    """Mean distance of confidence and accuracy over ``reliability``'s bins, weighted by clips.

    ECE as in Guo et al. (arXiv 1706.04599): 0 = probabilities are frequencies, 1 = always wrong
    with full confidence. Arguments as for ``reliability``.
    """
    return sum(
        item.clips * abs(item.confidence - item.accuracy)
        for item in reliability(probs, truth, bins)
    ) / len(truth)


def calibration_error_by_chance(
    probs: np.ndarray, bins: int = BINS, draws: int = _DRAWS
) -> tuple[float, float]:
    """The ECE that a perfectly calibrated model would measure on as many clips.

    A bin's accuracy comes from few clips, so a measured ECE is never 0. Here the correctness of
    each clip is drawn from its own confidence, with a fixed seed.

    Args:
        probs: ``[clips, classes]``.
        bins: How many.
        draws: Number of draws.

    Returns:
        The mean and the 95th percentile of the draws.
    """
    confidence = probs.max(1)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    right = np.random.default_rng(0).random((draws, len(confidence))) < confidence
    found = np.zeros(draws)
    for number in range(bins):
        inside = place == number
        found += np.abs(right[:, inside].sum(1) - confidence[inside].sum()) / len(confidence)
    return float(found.mean()), float(np.quantile(found, 0.95))
