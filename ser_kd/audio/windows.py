"""Cutting clips into windows: the only definition, for training, evaluation and inference."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ser_kd.config import AudioConfig, LogMelConfig


def window_starts(
    samples: int, window_samples: int, hop_samples: int, grid_samples: int = 1
) -> npt.NDArray[np.int64]:
    """Where the windows of a clip start.

    A clip no longer than a window has one, at 0. A longer one has a window every ``hop_samples``
    and a last one that ends with the clip. Every start is a multiple of ``grid_samples`` (the hop
    of the log-mel frames, so that a window's frames are frames of the whole clip): starts are
    moved down to the grid, the last one up, so that it reaches the clip's end (up to
    ``grid_samples - 1`` zeros then follow).

    Args:
        samples: Length of the clip, 0 or more.
        window_samples: Length of a window.
        hop_samples: Distance of the windows, at most ``window_samples``.
        grid_samples: At most ``hop_samples``.

    Returns:
        int64 [windows], ascending, without repeats.

    Raises:
        ValueError: a length is out of range.
    """
    if not 1 <= grid_samples <= hop_samples <= window_samples or samples < 0:
        raise ValueError(
            f"samples = {samples}, window_samples = {window_samples}, hop_samples = {hop_samples}, "
            f"grid_samples = {grid_samples}: 1 <= grid <= hop <= window is needed"
        )
    if samples <= window_samples:
        return np.zeros(1, np.int64)
    last = -(-(samples - window_samples) // grid_samples) * grid_samples
    starts = np.arange(0, last, hop_samples, dtype=np.int64) // grid_samples * grid_samples
    return np.append(starts, last)


def padded(parts: Sequence[np.ndarray], cells: int, padding: float = 0.0) -> np.ndarray:
    """Pieces of clips as windows of one length.

    Args:
        parts: At least one, each of at most ``cells`` cells (samples or frames): ``[cells, ...]``.
        cells: Length of a window.
        padding: What follows a piece that is shorter.

    Returns:
        ``[len(parts), cells, ...]``, of the parts' type.
    """
    windows = np.full((len(parts), cells, *parts[0].shape[1:]), padding, parts[0].dtype)
    for window, part in zip(windows, parts, strict=True):
        window[: len(part)] = part
    return windows


@dataclass(frozen=True)
class Windowing:
    """How a clip is cut into windows (``window_starts``), in samples.

    Windows start on the front end's hop, also for waveform networks: all models see the same.
    """

    window_samples: int
    hop_samples: int
    grid_samples: int

    @classmethod
    def of(cls, audio: AudioConfig, logmel: LogMelConfig) -> "Windowing":
        """Of a run's settings."""
        grid = logmel.hop_samples
        hops = round(audio.window_hop_seconds * audio.sample_rate_hz / grid)
        return cls(audio.window_samples, max(1, hops) * grid, grid)

    def starts(self, samples: int) -> npt.NDArray[np.int64]:
        """Where the windows of a clip of ``samples`` samples start, int64 ``[windows]``."""
        return window_starts(samples, self.window_samples, self.hop_samples, self.grid_samples)

    def cut(
        self, waveform: npt.NDArray[np.float32], starts: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.float32]:
        """Windows of a clip; what is missing at the end is zeros.

        Args:
            waveform: float32 ``[samples]``.
            starts: Which of its windows; None = all of them.

        Returns:
            float32 ``[windows, window_samples]``.
        """
        starts = self.starts(len(waveform)) if starts is None else starts
        parts = [waveform[start : start + self.window_samples] for start in starts]
        return padded(parts, self.window_samples)
