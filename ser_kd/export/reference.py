"""The Keras model's answers on the validation clips, which exported files are compared with."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ser_kd import metrics
from ser_kd.data.targets import softmax
from ser_kd.metrics.calibration import expected_calibration_error

Logits = Callable[[np.ndarray], np.ndarray]
"""float32 ``[batch, frames, mels]`` -> ``[batch, classes]``."""


@dataclass(frozen=True)
class Reference:
    """The Keras model's answers on the validation clips.

    Attributes:
        clips: Index of the clip of each window, ``[windows]``.
        windows: float32 ``[windows, frames, mels]``.
        pcm: The same windows as float32 samples, in batches ``[.., samples]``, made when asked for:
            they are many times as large.
        truth: Class of each clip, ``[clips]``.
        speakers: Of each clip.
        logits: ``[windows, classes]``.
        temperature: What logits are divided by before softmax.
        held_out_logits: ``[windows, classes]``, of networks that were not trained on these clips,
            where the model itself was; None: it was not.
    """

    clips: np.ndarray
    windows: np.ndarray
    pcm: Callable[[], Iterator[np.ndarray]]
    truth: np.ndarray
    speakers: list[str]
    logits: np.ndarray
    temperature: float = 1.0
    held_out_logits: np.ndarray | None = None

    @property
    def probs(self) -> np.ndarray:
        """float64 ``[clips, classes]``."""
        return self.average(self.logits)

    @property
    def ua(self) -> float:
        """Unweighted accuracy of the clips."""
        return metrics.scores(self.truth, self.probs.argmax(1))["ua"]

    def nll(self, probs: np.ndarray) -> float:
        """Mean of -log(probability of the true class): a few flips move UA more than this."""
        return float(-np.log(probs[np.arange(len(self.truth)), self.truth] + 1e-12).mean())

    def ece(self, probs: np.ndarray) -> float:
        """Expected calibration error."""
        return expected_calibration_error(probs, self.truth)

    def average(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities averaged over each clip's windows, ``[clips, classes]``."""
        total = np.zeros((len(self.truth), logits.shape[1]))
        np.add.at(total, self.clips, softmax(logits.astype(np.float64) / self.temperature))
        return total / np.bincount(self.clips, minlength=len(self.truth))[:, np.newaxis]


def in_batches(logits: Logits, windows: np.ndarray) -> np.ndarray:
    """Logits ``[windows, classes]`` of all windows."""
    batches = [logits(windows[first : first + 128]) for first in range(0, len(windows), 128)]
    return np.concatenate(batches)
