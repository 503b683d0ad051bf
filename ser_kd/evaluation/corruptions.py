"""Recordings spoilt on purpose: level, clipping, cuts, noise, telephone, codec.

Each is a function of one waveform; ``robustness`` decides which of them a model is tried with.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import signal

from ser_kd.audio import Waveform

_PEAK = 32_767 / 32_768
_TELEPHONE_HZ = (300.0, 3_400.0)
_TELEPHONE_RATE_HZ = 8_000
_TELEPHONE_ORDER = 4
_MU = 255.0
# Below it nobody hears, no microphone of a phone hears, and 1/f has no end.
_PINK_FROM_HZ = 20.0
_TALKERS = (4, 7)
# What libsndfile makes of the compression levels 1 and 0 for one channel of Opus.
_OPUS_BITS_PER_SECOND = (6_000.0, 256_000.0)


class UnavailableError(Exception):
    """A change cannot be made on this machine; the message says why."""


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


def telephone(waveform: Waveform, rate_hz: int) -> Waveform:
    """The waveform as a fixed-line telephone of the last century would hand it on.

    8 kHz, a Butterworth band-pass from 300 to 3400 Hz, then mu-law in 8 bits by its formula (ITU-T
    G.711, mu = 255; the standard's own tables replace the curve by 16 straight pieces), and back.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        rate_hz: Its sample rate, more than 6800; the result has the same.
    """
    narrow = resampled(waveform, rate_hz, _TELEPHONE_RATE_HZ)
    sections = signal.butter(
        _TELEPHONE_ORDER, _TELEPHONE_HZ, "bandpass", fs=_TELEPHONE_RATE_HZ, output="sos"
    )
    heard = mu_law_decoded(mu_law_encoded(signal.sosfilt(sections, narrow)))
    back = resampled(heard.astype(np.float32), _TELEPHONE_RATE_HZ, rate_hz)[: len(waveform)]
    return np.pad(back, (0, len(waveform) - len(back)))


def mu_law_encoded(samples: np.ndarray) -> np.ndarray:
    """Samples in -1..1 -> uint8; what lies beyond is clipped."""
    limited = np.clip(samples, -1.0, 1.0)
    bent = np.sign(limited) * np.log1p(_MU * np.abs(limited)) / np.log1p(_MU)
    codes: np.ndarray = np.round((bent + 1.0) / 2.0 * _MU).astype(np.uint8)
    return codes


def mu_law_decoded(codes: np.ndarray) -> np.ndarray:
    """uint8 -> float64 samples in -1..1; the inverse of ``mu_law_encoded`` but for the rounding."""
    bent = 2.0 * codes.astype(np.float64) / _MU - 1.0
    samples: np.ndarray = np.sign(bent) * np.expm1(np.abs(bent) * np.log1p(_MU)) / _MU
    return samples


def resampled(waveform: Waveform, rate_hz: int, to_hz: int) -> Waveform:
    """The waveform at another rate, by a polyphase filter."""
    ratio = Fraction(to_hz, rate_hz)
    if ratio == 1:
        return waveform
    other: Waveform = signal.resample_poly(waveform, ratio.numerator, ratio.denominator)
    return other.astype(np.float32)


def opus(waveform: Waveform, rate_hz: int, bits_per_second: float) -> Waveform:
    """The waveform through the Opus codec (RFC 6716), in an Ogg file in memory.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        rate_hz: 8000, 12000, 16000, 24000 or 48000.
        bits_per_second: 6000 to 256000; the encoder's goal, without the Ogg container's share.

    Raises:
        UnavailableError: The installed soundfile or libsndfile cannot do that, or not at this rate.
    """
    import soundfile

    low, high = _OPUS_BITS_PER_SECOND
    level = (high - bits_per_second) / (high - low)
    file = io.BytesIO()
    try:
        soundfile.write(
            file, waveform, rate_hz, format="OGG", subtype="OPUS", compression_level=level
        )
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
    except TypeError:  # compression_level is unknown
        raise UnavailableError("soundfile 0.13 or newer is needed") from None
    except (RuntimeError, ValueError) as error:  # LibsndfileError is a RuntimeError
        raise UnavailableError(" ".join(str(error).split())) from None
    return np.pad(decoded[: len(waveform)], (0, max(0, len(waveform) - len(decoded))))


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
