"""Level, slope, flux and mel cepstrum of the frames of a waveform."""

import numpy as np

from ser_kd.audio.prosody.columns import MFCCS
from ser_kd.audio.prosody.framing import centred_frames, hop_samples
from ser_kd.registry import load_object

_SPECTRUM_SECONDS = 0.025
_MELS = 40
_FLOOR_POWER = 1e-10


def spectrum(
    padded: np.ndarray, sample_rate_hz: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level ``[frames]`` in dB; spectra ``[frames, bins]`` in dB and as magnitudes.

    A sine of full scale has magnitude 1 in its bin.
    """
    size = round(_SPECTRUM_SECONDS * sample_rate_hz)
    cut = centred_frames(padded, size, hop_samples(sample_rate_hz), frames)
    window = np.hanning(size + 2)[1:-1]
    bins = 1 << (size - 1).bit_length()
    magnitudes = np.abs(np.fft.rfft(cut * window, bins)) / (window.sum() / 2)
    return _decibel(np.mean(cut**2, axis=1)), _decibel(magnitudes**2), magnitudes


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(power + _FLOOR_POWER)


def slope_db_per_khz(
    decibel: np.ndarray, sample_rate_hz: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """Least-squares slope of the spectrum in a band, dB per kHz (Eyben et al. 2016, table 1).

    Without the bin at 0 Hz, which is the microphone's, not the voice's.
    """
    khz = np.linspace(0.0, sample_rate_hz / 2_000, decibel.shape[1])
    band = (khz > low_hz / 1e3) & (khz <= high_hz / 1e3)
    centred = khz[band] - khz[band].mean()
    slope: np.ndarray = decibel[:, band] @ centred / (centred @ centred)
    return slope


def flux(magnitudes: np.ndarray) -> np.ndarray:
    """Distance between the spectra of neighbouring frames, each of length 1 (or 0: silence).

    Scheirer and Slaney 1997, ICASSP; of normalised spectra, as in Tzanetakis and Cook 2002, IEEE
    Transactions on Speech and Audio Processing 10(5), so that loudness has no part in it.
    """
    floor = np.sqrt(_FLOOR_POWER)
    length = np.linalg.norm(magnitudes, axis=1, keepdims=True)
    shape = np.where(length > floor, magnitudes / np.maximum(length, floor), 0.0)
    return np.linalg.norm(np.diff(shape, axis=0, prepend=shape[:1]), axis=1)


def cepstrum(magnitudes: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
    """MFCC 0 to 12 of 40 mel bands in dB, and their slopes over nine frames, by name."""
    mel = load_object("librosa.filters:mel")(
        sr=sample_rate_hz, n_fft=2 * (magnitudes.shape[1] - 1), n_mels=_MELS, norm=None
    )
    mfcc = load_object("librosa.feature:mfcc")(S=_decibel(mel @ (magnitudes.T**2)), n_mfcc=MFCCS)
    # "nearest", because a clip may be shorter than the nine frames.
    delta = load_object("librosa.feature:delta")(mfcc, width=9, mode="nearest")
    names = [f"mfcc_{i}" for i in range(MFCCS)] + [f"delta_mfcc_{i}" for i in range(MFCCS)]
    return dict(zip(names, [*mfcc, *delta], strict=True))
