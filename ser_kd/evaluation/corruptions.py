"""Recordings spoilt on purpose: level, clipping, cuts, noise; lines and codecs: ``audio.codecs``.

Each is a function of one waveform; ``robustness`` decides which of them a model is tried with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.audio.decoding import Waveform

_PEAK = 32_767 / 32_768
# Below it nobody hears, no microphone of a phone hears, and 1/f has no end.
_PINK_FROM_HZ = 20.0
_TALKERS = (4, 7)


# Changes.


def with_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """The waveform louder or softer; what leaves full scale is clipped, as a converter does.

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
        share: How many of the samples, 0 to 1: the level is the ``1 - share`` quantile of the
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
    tests; over the speech alone it is a little better. Where the sum leaves full scale, both are
    turned down: noise is what is asked about here, and not clipping.

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
    heard = hz >= _PINK_FROM_HZ
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum[~heard] = 0.0
    spectrum[heard] /= np.sqrt(hz[heard])
    return np.fft.irfft(spectrum, size)[:samples]


@dataclass(frozen=True)
class Babble:
    """Four to seven other people who talk at once.

    Attributes:
        speakers: Who speaks in each clip, ``[clips]``.
        waveform: The clip at a place; clips that are silent say nothing.
    """

    speakers: Sequence[str]
    waveform: Callable[[int], Waveform]

    @property
    def possible(self) -> bool:
        """Whether there are two speakers."""
        return len(set(self.speakers)) > 1

    def make(self, speaker: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of clips of other speakers, all equally loud, each from a place of its own.

        Args:
            speaker: Who is not heard in it.
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
