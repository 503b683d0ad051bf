"""Pitch by pYIN, and how much of a voice is harmonic."""

import numpy as np

from ser_kd.audio.prosody.framing import centred_frames, hop_samples
from ser_kd.registry import load_object

_F0_HZ = (60.0, 600.0)
# A finer grid costs its square in pYIN's Viterbi search, and 0.2 semitones are nobody's emotion.
_F0_GRID_SEMITONES = 0.2
_PYIN_SECONDS = 0.064
# The prior on YIN's threshold, mean 0.15: the middle one of Mauch and Dixon's three. With the
# lowest, librosa's default, some quiet clips of CREMA-D have no voice at all.
_PYIN_BETA = (2.0, 34.0 / 3.0)
_HNR_SECONDS = 0.050  # three periods of the lowest voice
_HNR_DB = (-20.0, 40.0)


def pitch(padded: np.ndarray, sample_rate_hz: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz (0 where unvoiced) and the probability of voice, ``[frames]`` each.

    pYIN: Mauch and Dixon 2014, ICASSP.
    """
    f0_hz, voiced, probability = load_object("librosa:pyin")(
        padded,
        fmin=_F0_HZ[0],
        fmax=_F0_HZ[1],
        sr=sample_rate_hz,
        frame_length=round(_PYIN_SECONDS * sample_rate_hz),
        hop_length=hop_samples(sample_rate_hz),
        resolution=_F0_GRID_SEMITONES,
        beta_parameters=_PYIN_BETA,
        fill_na=None,
    )
    return np.where(voiced, f0_hz, 0.0)[:frames], probability[:frames]


def semitones(f0_hz: np.ndarray) -> np.ndarray:
    """Semitones above 27.5 Hz, eGeMAPS's zero; 0 where unvoiced."""
    return np.where(f0_hz > 0, 12.0 * np.log2(np.maximum(f0_hz, 27.5) / 27.5), 0.0)


def harmonics_to_noise_db(padded: np.ndarray, f0_hz: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Harmonics-to-noise ratio ``[frames]`` in dB, 0 where unvoiced.

    Boersma 1993, IFA Proceedings 17: r is the autocorrelation of a windowed frame, divided by the
    window's own, at its peak near the period; a share r of the power is harmonic, 1 - r is noise.
    Between samples the autocorrelation is interpolated, as it is limited in band.
    """
    result = np.zeros(len(f0_hz))
    voiced = np.flatnonzero(f0_hz)
    if not len(voiced):
        return result
    size = round(_HNR_SECONDS * sample_rate_hz)
    window = np.hanning(size + 2)[1:-1]
    cut = centred_frames(padded, size, hop_samples(sample_rate_hz), len(f0_hz))[voiced]
    cut = (cut - cut.mean(axis=1, keepdims=True)) * window  # [voiced, size]
    fine = 4
    bins = 1 << (2 * size - 1).bit_length()
    correlation = _autocorrelation(cut, bins, fine) / _autocorrelation(window, bins, fine)
    for row, frame in enumerate(voiced):
        period = fine * sample_rate_hz / f0_hz[frame]
        first = round(0.95 * period)
        near = correlation[row, first - 1 : round(1.05 * period) + 2]
        peak = 1 + int(np.argmax(near[1:-1]))
        r = np.clip(parabola(near, peak)[1], 0.01, 0.9999)
        result[frame] = 10.0 * np.log10(r / (1.0 - r))
    return np.clip(result, *_HNR_DB)


def _autocorrelation(signals: np.ndarray, bins: int, fine: int) -> np.ndarray:
    """``[..., lags]``, 1 at lag 0, ``fine`` lags per sample, up to half of ``bins`` samples."""
    power = np.abs(np.fft.rfft(signals, bins)) ** 2
    correlation = np.fft.irfft(power, fine * bins)[..., : fine * bins // 4]
    result: np.ndarray = correlation / np.maximum(correlation[..., :1], 1e-30)
    return result


def parabola(values: np.ndarray, peak: int) -> tuple[float, float]:
    """Place and height of the top of a parabola through ``values`` around index ``peak``."""
    if not 0 < peak < len(values) - 1:
        return float(peak), float(values[peak])
    left, top, right = values[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    shift = 0.0 if bend >= 0 else 0.5 * (left - right) / bend
    return peak + shift, float(top - 0.25 * (left - right) * shift)
