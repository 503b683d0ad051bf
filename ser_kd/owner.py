"""The owner's voice, learnt without labels: mean and spread of each mel band over what they said.

A phone has one owner. Whoever's voice is brighter, louder or lower than the corpus's, all of their
clips differ from it in the same way, whatever they feel; that part can be taken out. From the
log-mel frames of a few clips come a mean and a deviation per mel band, drawn towards those of the
corpus as long as there are few, and the student hears frames that have been moved to the corpus's
own: it needs no change for that. What is kept are two sums per mel band: nothing that was said can
be told from them.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import files
from ser_kd.errors import UserError

PRIOR_CLIPS = 2.0
"""The corpus counts as so many of the owner's clips."""
MAX_CLIPS = 200
"""Older clips fade once there are as many, so that a new phone, room or year is followed."""
_FORMAT = 1
_LEAST_DEVIATION_DB = 1e-3


@dataclass(frozen=True)
class OwnerStatistics:
    """What is known of a voice.

    Attributes:
        clips: How many were heard; fades above ``MAX_CLIPS``.
        frames: How many frames they had.
        total: Sum of the frames per mel band in dB, float64 ``[mels]``.
        squares: Sum of their squares, float64 ``[mels]``.
    """

    clips: float = 0.0
    frames: float = 0.0
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def heard(self, logmel: np.ndarray) -> "OwnerStatistics":
        """The statistics after one more clip.

        Args:
            logmel: Its frames ``[frames, mels]`` in dB, without padding; speech.

        Raises:
            ValueError: Other mel bands than before, or numbers that are not finite.
        """
        frames = np.asarray(logmel, np.float64)
        if frames.ndim != 2 or (self.frames and frames.shape[1] != len(self.total)):
            raise ValueError(
                f"log-mel frames {list(frames.shape)}: [frames, {len(self.total) or 'mels'}] needed"
            )
        if not np.isfinite(frames).all():
            raise ValueError("log-mel frames that are not finite numbers")
        if not len(frames):
            return self
        keep = min(1.0, (MAX_CLIPS - 1) / self.clips) if self.clips else 1.0
        before = (
            self
            if self.frames
            else OwnerStatistics(0.0, 0.0, np.zeros(frames.shape[1]), np.zeros(frames.shape[1]))
        )
        return OwnerStatistics(
            keep * before.clips + 1.0,
            keep * before.frames + len(frames),
            keep * before.total + frames.sum(0),
            keep * before.squares + (frames**2).sum(0),
        )

    def voice(
        self, mean_db: np.ndarray, deviation_db: np.ndarray, prior_clips: float = PRIOR_CLIPS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation per mel band, drawn towards the corpus while there are few clips.

        Args:
            mean_db: Of the corpus, ``[mels]``; what is returned before any clip was heard.
            deviation_db: Of the corpus, ``[mels]``.
            prior_clips: How many clips the corpus counts as.

        Returns:
            Both float32 ``[mels]`` in dB.

        Raises:
            ValueError: The corpus has other mel bands.
        """
        if not self.frames:
            return np.asarray(mean_db, np.float32), np.asarray(deviation_db, np.float32)
        if len(mean_db) != len(self.total):
            raise ValueError(f"{len(mean_db)} mel bands, the voice has {len(self.total)}")
        own_mean = self.total / self.frames
        variance = np.maximum(self.squares / self.frames - own_mean**2, 0.0)
        own_deviation = np.sqrt(variance) + _LEAST_DEVIATION_DB
        share = self.clips / (self.clips + prior_clips)
        return (
            (share * own_mean + (1.0 - share) * mean_db).astype(np.float32),
            (share * own_deviation + (1.0 - share) * deviation_db).astype(np.float32),
        )

    def write(self, path: Path) -> None:
        """Writes them as JSON, atomically. The file holds two numbers per mel band, no sound."""
        facts = {
            "format": _FORMAT,
            "clips": self.clips,
            "frames": self.frames,
            "total": self.total.tolist(),
            "squares": self.squares.tolist(),
        }
        with files.atomic(path) as partial:
            partial.write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "OwnerStatistics":
        """Reads what ``write`` wrote; a file that is not there is a voice nobody has heard yet.

        Raises:
            UserError: The file is damaged or something else.
        """
        try:
            facts: Any = files.read_json(path)
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no owner's statistics ({error}); delete it") from None
        try:
            known = cls(
                float(facts["clips"]),
                float(facts["frames"]),
                np.array(facts["total"], np.float64),
                np.array(facts["squares"], np.float64),
            )
            whole = (
                facts["format"] == _FORMAT
                and known.total.ndim == 1
                and known.total.shape == known.squares.shape
                and np.isfinite([known.clips, known.frames, *known.total, *known.squares]).all()
                and known.clips >= 0
                and (known.frames > 0) == (len(known.total) > 0)
            )
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise UserError(f"{path}: no owner's statistics; delete it to begin anew")
        return known


def to_corpus(
    logmel: np.ndarray,
    voice: tuple[np.ndarray, np.ndarray],
    corpus: tuple[np.ndarray, np.ndarray],
    floor_db: float,
) -> np.ndarray:
    """Log-mel frames of a voice, moved to the corpus's mean and deviation.

    Digital silence, such as what follows a short clip, stays silent.

    Args:
        logmel: ``[..., mels]`` in dB.
        voice: Mean and deviation ``[mels]``, as ``OwnerStatistics.voice`` gives them.
        corpus: Mean and deviation ``[mels]``, those that the student standardises with.
        floor_db: The front end's floor.

    Returns:
        float32, as ``logmel``.
    """
    scale = corpus[1] / voice[1]
    moved = (logmel - voice[0]) * scale + corpus[0]
    result: np.ndarray = np.where(logmel > floor_db, moved, logmel).astype(np.float32)
    return result
