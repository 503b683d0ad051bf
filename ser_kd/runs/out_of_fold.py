"""What the students of a cross-validation predict of the clips that they were not trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.data.targets import softmax

_LOGITS = "logits_"


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of every clip by the fold that was not trained on it, nor on its speaker.

    Attributes:
        ids: Of the clips.
        clips: Index of the clip of each window, ``[windows]``.
        logits: Kind of student (``pipeline.students.candidates``) -> float32 ``[windows,
            classes]``.
        chosen: The kind that scores best.
        folds: How many folds there are.
        by_speaker: Whether the folds are of speakers; False: of clips, so that others of the same
            speaker were trained on.
    """

    ids: tuple[str, ...]
    clips: np.ndarray
    logits: Mapping[str, np.ndarray]
    chosen: str
    folds: int
    by_speaker: bool

    @property
    def chosen_logits(self) -> np.ndarray:
        """Those of the kind that scores best."""
        return self.logits[self.chosen]

    def probs(self, kind: str, temperature: float = 1.0) -> np.ndarray:
        """Probabilities averaged over each clip's windows, ``[clips, classes]``."""
        logits = self.logits[kind].astype(np.float64)
        total = np.zeros((len(self.ids), logits.shape[1]))
        np.add.at(total, self.clips, softmax(logits / temperature))
        return total / np.bincount(self.clips, minlength=len(self.ids))[:, np.newaxis]

    def save(self, path: Path) -> None:
        """Writes them as .npz."""
        files.write_npz(
            path,
            ids=np.array(self.ids),
            clips=self.clips,
            chosen=self.chosen,
            folds=self.folds,
            by_speaker=self.by_speaker,
            **{_LOGITS + kind: logits for kind, logits in self.logits.items()},
        )

    @classmethod
    def load(cls, path: Path) -> "OutOfFold":
        """Reads what ``save`` wrote."""
        with np.load(path) as stored:
            return cls(
                tuple(stored["ids"].tolist()),
                stored["clips"],
                {
                    name.removeprefix(_LOGITS): stored[name]
                    for name in stored.files
                    if name.startswith(_LOGITS)
                },
                str(stored["chosen"]),
                int(stored["folds"]),
                bool(stored["by_speaker"]),
            )
