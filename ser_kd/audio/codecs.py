"""Speech as a telephone line and the Opus codec transmit it."""

import io
from fractions import Fraction

import numpy as np
import soundfile
from scipy import signal

from ser_kd.audio.decoding import Waveform

_TELEPHONE_HZ = (300.0, 3_400.0)
_TELEPHONE_RATE_HZ = 8_000
_TELEPHONE_ORDER = 4
_MU = 255.0
# What libsndfile makes of the compression levels 1 and 0 for one channel of Opus.
_OPUS_BITS_PER_SECOND = (6_000.0, 256_000.0)


class UnavailableError(Exception):
    """A change cannot be made on this machine; the message says why."""


def telephone(waveform: Waveform, rate_hz: int) -> Waveform:
    """The waveform as a fixed-line telephone would transmit it.

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
    decoded = mu_law_decoded(mu_law_encoded(signal.sosfilt(sections, narrow)))
    back = resampled(decoded.astype(np.float32), _TELEPHONE_RATE_HZ, rate_hz)[: len(waveform)]
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
