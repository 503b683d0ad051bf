"""Degradations of a waveform: level, clipping, cuts, noise (codecs: ``audio.codecs``).

Each is a function of one waveform; ``robustness`` decides which of them a model is tested with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.audio.decoding import Waveform

_PEAK = 32_767 / 32_768
# Below it phones' microphones record nothing, and 1/f has no bound.
_PINK_FROM_HZ = 20.0
_TALKERS = (4, 7)


# Changes.


def with_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """The waveform at another level; what exceeds full scale is clipped, as a converter does.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        gain_db: Of the amplitude, in dB.
    """
    louder: Waveform = np.clip(waveform * np.float32(10.0 ** (gain_db / 20.0)), -1.0, _PEAK)
    return louder


def clipped(waveform: Waveform, share: float) -> Waveform:
    """The loudest samples cut down to the level of the next.

    Args:
        waveform: float32 ``[samples]``.
        share: Of the samples, 0 to 1: the level is the ``1 - share`` quantile of the
            magnitudes.
    """
    level = np.float32(np.quantile(np.abs(waveform), 1.0 - share))
    cut: Waveform = np.clip(waveform, -level, level)
    return cut


def cropped(waveform: Waveform, first_samples: int = 0, last_samples: int = 0) -> Waveform:
    """The waveform without its first and last samples; at least one sample stays."""
    first = min(first_samples, len(waveform) - 1)
    return waveform[first : max(first + 1, len(waveform) - last_samples)]


def padded(waveform: Waveform, before_samples: int = 0, after_samples: int = 0) -> Waveform:
    """The waveform with digital silence before and after it."""
    return np.pad(waveform, (before_samples, after_samples))


def with_noise(waveform: Waveform, noise: np.ndarray, snr_db: float) -> Waveform:
    """The waveform and noise together.

    The ratio is one of root mean squares over the whole clip, pauses included, as in the published
    tests; over the speech alone it is a little better. Where the sum exceeds full scale, both
    are attenuated: noise is measured here, not clipping.

    Args:
        waveform: float32 ``[samples]``; one of zeros stays as it is.
        noise: ``[samples]`` at any level; zeros leave the waveform as it is.
        snr_db: Level of the waveform above that of the noise, in dB.
    """
    level = rms(noise)
    if level == 0.0:
        return waveform
    mixed = waveform + rms(waveform) / level * 10.0 ** (-snr_db / 20.0) * noise
    return (mixed / max(1.0, float(np.abs(mixed).max()) / _PEAK)).astype(np.float32)


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


# Noise.


def white_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, the same power at all frequencies, ``[samples]`` at level 1."""
    return rng.standard_normal(samples)


def pink_noise(samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with a power of 1/f from 20 Hz on (3 dB less with every octave).

    Args:
        samples: How many.
        rate_hz: Their rate.
        rng: Where it comes from.

    Returns:
        float64 ``[samples]`` at any level.
    """
    size = 1 << (max(samples, rate_hz) - 1).bit_length()  # a power of 2: the transform is quick
    hz = np.fft.rfftfreq(size, 1.0 / rate_hz)
    passed = hz >= _PINK_FROM_HZ
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum[~passed] = 0.0
    spectrum[passed] /= np.sqrt(hz[passed])
    return np.fft.irfft(spectrum, size)[:samples]


@dataclass(frozen=True)
class Babble:
    """Four to seven other speakers at once.

    Attributes:
        speakers: The speaker of each clip, ``[clips]``.
        waveform: The clip at a place; silent clips add nothing.
    """

    speakers: Sequence[str]
    waveform: Callable[[int], Waveform]

    @property
    def possible(self) -> bool:
        """Whether there are two speakers at least."""
        return len(set(self.speakers)) > 1

    def make(self, speaker: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of clips of other speakers, all equally loud, each from a place of its own.

        Args:
            speaker: Left out of it.
            samples: Its length; shorter clips are repeated.
            rng: Which clips, and where they begin.

        Returns:
            float64 ``[samples]`` at any level.
        """
        others = np.flatnonzero(np.asarray(self.speakers) != speaker)
        talkers = min(int(rng.integers(_TALKERS[0], _TALKERS[1] + 1)), len(others))
        total = np.zeros(samples)
        for index in rng.choice(others, talkers, replace=False):
            voice = self.waveform(int(index))
            start = int(rng.integers(len(voice)))
            if level := rms(voice):
                total += np.resize(np.roll(voice, -start), samples) / level
        return total
