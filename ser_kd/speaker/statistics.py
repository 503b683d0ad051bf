"""A voice, learnt without labels: mean and deviation of each mel band over a few clips.

If a speaker's voice is brighter, louder or lower than the corpus's, all of their clips differ from
it in the same way, whatever the emotion; that part can be taken out (speaker normalisation). From
the log-mel frames of a few clips come a mean and a deviation per mel band, drawn towards those of
the corpus as long as there are few, and the student is given frames that have been moved to the
corpus's own: it needs no change for that. What is kept are two floating-point sums per mel band:
nothing that was said can be told from them.
"""

from dataclasses import dataclass, field

import numpy as np

from ser_kd.students.frontend import PRIOR_CLIPS

MAX_CLIPS = 200
"""Older clips fade once there are as many, so that a new phone, room or year is followed."""
CLASSIFY_OWNER, LISTEN_TO_OWNER = "classify_owner", "listen_to_owner"
"""Signatures of a waveform model. ``pcm [1, samples]`` and ``statistics [2, mels]`` (mean and
deviation of a voice in dB) -> ``probabilities``; ``pcm`` -> ``total [mels]``, ``squares [mels]``
and ``frames [1]``, sums over its frames."""
AT_FLOOR_DB = 1e-2
"""What is so little above the front end's floor is at it: runtimes differ in their logarithm."""
_LEAST_DEVIATION_DB = 1e-3


@dataclass(frozen=True)
class VoiceStatistics:
    """What is known of a voice.

    Attributes:
        clips: How many were learnt from; fades above ``MAX_CLIPS``.
        frames: How many frames they had.
        total: Sum of the frames per mel band in dB, float64 ``[mels]``.
        squares: Sum of their squares, float64 ``[mels]``.
    """

    clips: float = 0.0
    frames: float = 0.0
    total: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def after(self, logmel: np.ndarray) -> "VoiceStatistics":
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
        return self.added(len(frames), frames.sum(0), (frames**2).sum(0))

    def added(self, frames: float, total: np.ndarray, squares: np.ndarray) -> "VoiceStatistics":
        """The statistics after one more clip, whose sums are known.

        Args:
            frames: How many it has.
            total: Their sum ``[mels]`` in dB.
            squares: The sum of their squares ``[mels]``.

        Raises:
            ValueError: Other mel bands than before, or numbers that are not finite.
        """
        total, squares = np.asarray(total, np.float64), np.asarray(squares, np.float64)
        if self.frames and not total.shape == squares.shape == self.total.shape:
            raise ValueError(
                f"sums {list(total.shape)} and {list(squares.shape)}: [{len(self.total)}] needed"
            )
        if not np.isfinite([frames, *total, *squares]).all():
            raise ValueError("log-mel frames that are not finite numbers")
        if not frames:
            return self
        if not self.frames:
            return VoiceStatistics(1.0, float(frames), total, squares)
        keep = min(1.0, (MAX_CLIPS - 1) / self.clips)
        return VoiceStatistics(
            keep * self.clips + 1.0,
            keep * self.frames + frames,
            keep * self.total + total,
            keep * self.squares + squares,
        )

    def voice(
        self, mean_db: np.ndarray, deviation_db: np.ndarray, prior_clips: float = PRIOR_CLIPS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation per mel band, drawn towards the corpus while there are few clips.

        Args:
            mean_db: Of the corpus, ``[mels]``; what is returned before any clip was learnt.
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
        voice: Mean and deviation ``[mels]``, as ``VoiceStatistics.voice`` gives them.
        corpus: Mean and deviation ``[mels]``, those that the student standardises with.
        floor_db: The front end's floor.

    Returns:
        float32, as ``logmel``.
    """
    scale = corpus[1] / voice[1]
    moved = (logmel - voice[0]) * scale + corpus[0]
    sounds = logmel > floor_db + AT_FLOOR_DB
    result: np.ndarray = np.where(sounds, moved, logmel).astype(np.float32)
    return result


def sounding(logmel: np.ndarray, floor_db: float) -> np.ndarray:
    """The frames that are not digital silence, such as what follows a short clip.

    Args:
        logmel: ``[..., frames, mels]`` in dB.
        floor_db: The front end's floor.

    Returns:
        ``[sounding frames, mels]``.
    """
    frames = logmel.reshape(-1, logmel.shape[-1])
    result: np.ndarray = frames[frames.max(axis=1) > floor_db + AT_FLOOR_DB]
    return result
