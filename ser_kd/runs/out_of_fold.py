"""What the students of a cross-validation predict of the clips that they were not trained on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.data.targets import softmax


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of every clip by the fold that was not trained on it, nor on its speaker.

    Attributes:
        ids: Of the clips.
        clips: Index of the clip of each window, ``[windows]``.
        logits: float32 ``[windows, classes]``.
        folds: How many folds there are.
        by_speaker: Whether the folds are of speakers; False: of clips, so that others of the same
            speaker were trained on.
    """

    ids: tuple[str, ...]
    clips: np.ndarray
    logits: np.ndarray
    folds: int
    by_speaker: bool

    def probs(self, temperature: float) -> np.ndarray:
        """Probabilities averaged over each clip's windows, ``[clips, classes]``."""
        total = np.zeros((len(self.ids), self.logits.shape[1]))
        np.add.at(total, self.clips, softmax(self.logits.astype(np.float64) / temperature))
        return total / np.bincount(self.clips, minlength=len(self.ids))[:, np.newaxis]

    def save(self, path: Path) -> None:
        """Writes them as .npz."""
        files.write_npz(
            path,
            ids=np.array(self.ids),
            clips=self.clips,
            logits=self.logits,
            folds=self.folds,
            by_speaker=self.by_speaker,
        )

    @classmethod
    def load(cls, path: Path) -> "OutOfFold":
        """Reads what ``save`` wrote."""
        with np.load(path) as stored:
            return cls(
                tuple(stored["ids"].tolist()),
                stored["clips"],
                stored["logits"],
                int(stored["folds"]),
                bool(stored["by_speaker"]),
            )
