"""Many channels to one: their mean, but of those that carry the sound, and never of opposites.

A mean over all channels halves a stereo recording one channel of which is dead, and is silence
where one channel is the other's negative (a balanced line that was taken for stereo).
"""

from dataclasses import dataclass, field

import numpy as np

_DEAD = 1e-3
"""Power of a dead channel, its hiss, relative to the strongest: -30 dB."""
_CANCELLED = 0.5
"""The mean of N unrelated channels has the sum of their powers by N^2; below half of that, they are
opposites for the most part (a correlation of -0.5)."""


@dataclass
class ChannelPowers:
    """The power of every channel of a recording, and of their mean, block by block.

    Attributes:
        seconds: Memory of a stream, in seconds: earlier sound counts less; 0 = all counts the same.
        rate_hz: Of the samples; of a stream.
    """

    seconds: float = 0.0
    rate_hz: float = 1.0
    _frames: float = 0.0
    _totals: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _products: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))

    def add(self, block: np.ndarray) -> None:
        """Takes the next samples, ``[frames, channels]``."""
        channels = block.shape[1]
        if not self._totals.size:
            self._totals, self._products = np.zeros(channels), np.zeros((channels, channels))
        if self.seconds:
            kept = float(np.exp(-len(block) / (self.seconds * self.rate_hz)))
            self._frames *= kept
            self._totals *= kept
            self._products *= kept
        values = block.astype(np.float64)
        self._frames += len(block)
        with np.errstate(all="ignore"):
            self._totals += values.sum(axis=0)
            self._products += values.T @ values

    def chosen(self) -> np.ndarray | None:
        """The channels whose mean is the recording, int ``[channels]``; None = all of them."""
        if len(self._totals) < 2 or not self._frames:
            return None
        means = self._totals / self._frames
        if not np.isfinite(self._products).all():
            return None  # the decoder refuses such samples
        # Without the offset, which is no sound.
        covariance = self._products / self._frames - np.outer(means, means)
        powers = covariance.diagonal()
        loudest = int(powers.argmax())
        alive = np.flatnonzero(powers > _DEAD * powers[loudest])
        if not alive.size:
            return None  # silence
        mixed = covariance[np.ix_(alive, alive)].mean()
        if len(alive) > 1 and mixed < _CANCELLED * powers[alive].sum() / len(alive) ** 2:
            return np.array([loudest])
        return None if len(alive) == len(powers) else alive


def mixed(block: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
    """The mean of the chosen channels: ``[frames, channels]`` -> float32 ``[frames]``."""
    taken = block if chosen is None else block[:, chosen]
    result: np.ndarray = taken.mean(axis=1, dtype=np.float32)
    return result
