"""Temperature scaling: one number that makes a network's probabilities calibrated."""

import numpy as np
from scipy.optimize import minimize_scalar

from ser_kd.data.targets import softmax

_LOG_TEMPERATURES = (np.log(0.05), np.log(20.0))


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
