"""Temperature scaling: one number that makes a network's probabilities calibrated."""

from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from ser_kd.data.targets import softmax
from ser_kd.export.reference import Reference
from ser_kd.tflite.interpreters import TFLiteModel

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


def scale_temperature(int8: Path, reference: Reference) -> dict[str, float]:
    """The temperature that suits the int8 student, as its file rounds, and what it does to ECE.

    Where the student was trained on the clips, the logits are those of the networks that were not.

    Args:
        int8: The file.
        reference: The validation clips.

    Returns:
        ``temperature``; ``ece_without_temperature``; ``ece_held_out``, that of clips whose speaker
        had no part in choosing their temperature.
    """
    logits = reference.held_out_logits
    if logits is None:
        logits = TFLiteModel(int8).predict(reference.windows)
    clips, truth, speakers = reference.clips, reference.truth, np.array(reference.speakers)
    temperature = fit_temperature(logits, clips, truth)
    held_out = np.full(len(logits), temperature)
    for speaker in sorted(set(reference.speakers)):
        others = speakers[clips] != speaker
        if others.any():
            names, renumbered = np.unique(clips[others], return_inverse=True)
            held_out[~others] = fit_temperature(logits[others], renumbered, truth[names])
    return {
        "temperature": temperature,
        "ece_without_temperature": reference.ece(reference.average(logits)),
        "ece_held_out": reference.ece(reference.average(logits / held_out[:, np.newaxis])),
    }
