"""Whether probabilities mean what they say: NumPy in, numbers out."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

from ser_kd.data.targets import softmax

BINS = 15
_DRAWS = 1_000
_LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))


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
    and sure of it. Arguments as for ``reliability``.
    """
    return sum(
        item.clips * abs(item.confidence - item.accuracy)
        for item in reliability(probs, truth, bins)
    ) / len(truth)


def calibration_error_by_chance(
    probs: np.ndarray, bins: int = BINS, draws: int = _DRAWS
) -> tuple[float, float]:
    """What ECE would be measured if every probability were exactly true.

    The bins' accuracies are of few clips each, so no ECE is 0, and of few clips none is small. The
    clips' labels are drawn from the probabilities themselves, with a fixed seed.

    Args:
        probs: ``[clips, classes]``.
        bins: How many.
        draws: How often labels are drawn.

    Returns:
        The mean, and what 95 % of the draws stay below.
    """
    confidence = probs.max(1)
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    right = np.random.default_rng(0).random((draws, len(confidence))) < confidence
    found = np.zeros(draws)
    for number in range(bins):
        inside = place == number
        found += np.abs(right[:, inside].sum(1) - confidence[inside].sum()) / len(confidence)
    return float(found.mean()), float(np.quantile(found, 0.95))


def fit_temperature(logits: np.ndarray, clips: np.ndarray, truth: np.ndarray) -> float:
    """The temperature by which logits are divided so that the clips' likelihood is greatest.

    One number for all classes (Guo et al., arXiv 1706.04599): no label changes where a clip is one
    window. As in use, a clip's probabilities are the mean over its windows.

    Args:
        logits: ``[windows, classes]``.
        clips: Index of the clip of each window, ``[windows]``.
        truth: Class indices ``[clips]``.

    Returns:
        Between 0.05 and 20.
    """
    windows = np.bincount(clips, minlength=len(truth))
    of_truth = truth[clips]

    def loss(log_temperature: float) -> float:
        probs = softmax(logits.astype(np.float64) / np.exp(log_temperature))
        total = np.bincount(clips, probs[np.arange(len(clips)), of_truth], minlength=len(truth))
        return float(-np.log(total / windows + 1e-12).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))
