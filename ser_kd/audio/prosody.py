"""How a voice sounds, every 10 ms: melody, loudness, timbre and steadiness (``DESCRIPTORS``).

What librosa has is librosa's (pYIN, mel spectrum, MFCC, deltas); jitter, shimmer, the
harmonics-to-noise ratio, spectral slope and flux are short formulas of ours, each with its source
beside it. The choice of descriptors follows eGeMAPS (Eyben et al. 2016, IEEE Transactions on
Affective Computing 7(2)), which ``egemaps`` has openSMILE compute, where that is installed.
"""

import functools
import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_kd.errors import UserError

HOP_SECONDS = 0.010
MIN_SAMPLE_RATE_HZ = 8_000
VERSION = 1
"""Raise it with every change that alters a value: what is kept on disk is then computed again."""

_F0_HZ = (60.0, 600.0)
# A finer grid costs its square in pYIN's Viterbi search, and 0.2 semitones are nobody's emotion.
_F0_GRID_SEMITONES = 0.2
_PYIN_SECONDS = 0.064
# The prior on YIN's threshold, mean 0.15: the middle one of Mauch and Dixon's three. With the
# lowest, librosa's default, some quiet clips of CREMA-D have no voice at all.
_PYIN_BETA = (2.0, 34.0 / 3.0)
_SPECTRUM_SECONDS = 0.025
_HNR_SECONDS = 0.050  # three periods of the lowest voice
_PERTURBATION_SECONDS = 0.060
_MFCCS, _MELS = 13, 40
_FLOOR_POWER = 1e-10
# The residue of a codec is no voice, however periodic (as in ser_kd.audio.decoding.is_silent).
_SILENCE_DB = -80.0
# Beyond these two neighbours are no periods of one voice (Praat's maximum period and amplitude
# factors).
_PERIOD_FACTOR, _AMPLITUDE_FACTOR = 1.3, 1.6
_LIKENESS = 0.3
_HNR_DB = (-20.0, 40.0)


@dataclass(frozen=True)
class Descriptor:
    """One column.

    Attributes:
        name: Unique.
        unit: Of its values.
        meaning: What it is, and what silence gives.
        voiced_only: It means nothing where there is no voice, and is 0 there.
    """

    name: str
    unit: str
    meaning: str
    voiced_only: bool = False


DESCRIPTORS = (
    Descriptor("voiced", "0 or 1", "whether pYIN hears a voice; silence: 0"),
    Descriptor("voicing_probability", "0 to 1", "how sure pYIN is of that; silence: 0"),
    Descriptor("f0_semitones", "semitones above 27.5 Hz", "pitch, 60 to 600 Hz, by pYIN", True),
    Descriptor("jitter_ratio", "1", "how much neighbouring periods differ in length", True),
    Descriptor("shimmer_ratio", "1", "how much neighbouring periods differ in amplitude", True),
    Descriptor("hnr_db", "dB, -20 to 40", "harmonics-to-noise ratio", True),
    Descriptor("level_db", "dB of full scale", "RMS of 25 ms; silence: -100"),
    Descriptor("slope_to_500_hz", "dB per kHz", "tilt of the spectrum up to 500 Hz; silence: 0"),
    Descriptor("slope_500_to_1500_hz", "dB per kHz", "the same from 500 Hz on; silence: 0"),
    Descriptor("flux", "0 to 1.41", "change of the spectrum's shape since 10 ms; silence: 0"),
    *(
        Descriptor(
            f"mfcc_{i}", "dB", f"shape of the mel spectrum; silence: {-632 if i == 0 else 0}"
        )
        for i in range(_MFCCS)
    ),
    *(
        Descriptor(f"delta_mfcc_{i}", "dB per 10 ms", f"slope of mfcc_{i} over 90 ms; silence: 0")
        for i in range(_MFCCS)
    ),
)

"""What ``descriptors`` gives, in order; a voiced-only one is 0 in silence, too."""

# Name and unit, as openSMILE calls and orders them.
_EGEMAPS = (
    ("Loudness_sma3", "sone, about"),
    ("alphaRatio_sma3", "dB"),
    ("hammarbergIndex_sma3", "dB"),
    ("slope0-500_sma3", "dB per Hz"),
    ("slope500-1500_sma3", "dB per Hz"),
    ("spectralFlux_sma3", "1"),
    *((f"mfcc{i}_sma3", "1") for i in range(1, 5)),
    ("F0semitoneFrom27.5Hz_sma3nz", "semitones above 27.5 Hz"),
    ("jitterLocal_sma3nz", "1"),
    ("shimmerLocaldB_sma3nz", "dB"),
    ("HNRdBACF_sma3nz", "dB"),
    ("logRelF0-H1-H2_sma3nz", "dB"),
    ("logRelF0-H1-A3_sma3nz", "dB"),
    *(
        (f"F{i}{name}_sma3nz", unit)
        for i in range(1, 4)
        for name, unit in (("frequency", "Hz"), ("bandwidth", "Hz"), ("amplitudeLogRelF0", "dB"))
    ),
)
EGEMAPS = (
    Descriptor("voiced", "0 or 1", "whether openSMILE gives an F0"),
    *(
        # Formants have a frequency without a voice, too.
        Descriptor(name, unit, "see Eyben et al. 2016", name.endswith("nz") and unit != "Hz")
        for name, unit in _EGEMAPS
    ),
)
"""What ``egemaps`` gives: the 25 low-level descriptors of eGeMAPSv02, and voicing before them."""


def hop_samples(sample_rate_hz: int) -> int:
    """Samples from one frame to the next: 10 ms, as near as whole samples come."""
    return round(HOP_SECONDS * sample_rate_hz)


def descriptors(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """All ``DESCRIPTORS`` of a recording; no value is ever NaN or infinite.

    Args:
        waveform: float32 ``[samples]`` in -1..1, of any length.
        sample_rate_hz: 8000 or more.

    Returns:
        float32 ``[frames, len(DESCRIPTORS)]``, one frame per ``hop_samples`` begun: frame t is
        centred on sample ``t * hop_samples``. What lies beyond the ends counts as silence.
    """
    hop = hop_samples(sample_rate_hz)
    frames = max(1, -(-len(waveform) // hop))
    padded = np.zeros(frames * hop, np.float64)
    if len(waveform):  # without the microphone's offset
        padded[: len(waveform)] = waveform - np.mean(waveform, dtype=np.float64)
    level_db, decibel, magnitudes = _spectrum(padded, sample_rate_hz, frames)
    f0_hz, probability = _pitch(padded, sample_rate_hz, frames)
    f0_hz[level_db <= _SILENCE_DB] = 0.0
    voiced = f0_hz > 0
    jitter, shimmer = _perturbation(padded, f0_hz, sample_rate_hz)
    columns = {
        "voiced": voiced,
        "voicing_probability": np.where(level_db <= _SILENCE_DB, 0.0, probability),
        "f0_semitones": _semitones(f0_hz),
        "jitter_ratio": jitter,
        "shimmer_ratio": shimmer,
        "hnr_db": _hnr_db(padded, f0_hz, sample_rate_hz),
        "level_db": level_db,
        "slope_to_500_hz": _slope(decibel, sample_rate_hz, 0.0, 500.0),
        "slope_500_to_1500_hz": _slope(decibel, sample_rate_hz, 500.0, 1_500.0),
        "flux": _flux(magnitudes),
        **_cepstrum(magnitudes, sample_rate_hz),
    }
    return np.stack([columns[d.name] for d in DESCRIPTORS], axis=1).astype(np.float32)


def egemaps(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The low-level descriptors of eGeMAPSv02, by openSMILE: its numbers, every 10 ms.

    Not where TensorFlow is loaded: see ``APART``.

    Args:
        waveform: float32 ``[samples]`` in -1..1, of any length.
        sample_rate_hz: 8000 or more.

    Returns:
        float32 ``[frames, len(EGEMAPS)]``. Voiced-only values are 0 without voice (in openSMILE
        some are -201 there); nothing is NaN.

    Raises:
        UserError: The package opensmile is not installed.
    """
    # openSMILE gives up on less than 0.06 s.
    padded = np.zeros(max(len(waveform), sample_rate_hz // 10), np.float32)
    padded[: len(waveform)] = waveform
    values = _open_smile().process_signal(padded, sample_rate_hz).to_numpy(np.float32)
    voiced = values[:, [name for name, _ in _EGEMAPS].index("F0semitoneFrom27.5Hz_sma3nz")] > 0
    values = np.concatenate([voiced[:, np.newaxis], values], axis=1)
    voiced_only = np.array([descriptor.voiced_only for descriptor in EGEMAPS])
    silenced: np.ndarray = np.where(voiced_only & ~voiced[:, np.newaxis], 0.0, values)
    return np.nan_to_num(silenced).astype(np.float32)


FEATURES: dict[str, tuple[tuple[Descriptor, ...], Callable[[np.ndarray, int], np.ndarray]]] = {
    "descriptors": (DESCRIPTORS, descriptors),
    "egemaps": (EGEMAPS, egemaps),
}
"""Name of a set -> its columns, and what computes them: (waveform, sampling rate) -> frames."""
APART = ("egemaps",)
"""Sets that need a process without TensorFlow: openSMILE's library (2.6.0) and TensorFlow's (2.21)
write over each other's memory, and Python aborts. openSMILE alone is sound."""


def compute(features: str, sample_rate_hz: int, waveform: np.ndarray) -> np.ndarray:
    """One set of ``FEATURES`` of a recording; a function that other processes can be given."""
    return FEATURES[features][1](waveform, sample_rate_hz)


def require(features: str) -> None:
    """Makes sure that a set can be computed here.

    Raises:
        UserError: Its package is missing.
    """
    # Looked for, not loaded: TensorFlow may be here.
    if features == "egemaps" and importlib.util.find_spec("opensmile") is None:
        raise UserError(
            "features = 'egemaps' needs the package opensmile: pip install 'ser-kd[prosody]' (its "
            "licence allows research, not products), or set features = 'descriptors'"
        )


def _open_smile() -> Any:
    require("egemaps")
    opensmile = importlib.import_module("opensmile")
    return opensmile.Smile(
        feature_set=opensmile.FeatureSet.eGeMAPSv02,
        feature_level=opensmile.FeatureLevel.LowLevelDescriptors,
    )


def _semitones(f0_hz: np.ndarray) -> np.ndarray:
    """Semitones above 27.5 Hz, eGeMAPS's zero; 0 where unvoiced."""
    return np.where(f0_hz > 0, 12.0 * np.log2(np.maximum(f0_hz, 27.5) / 27.5), 0.0)


def _cut(padded: np.ndarray, size: int, hop: int, frames: int) -> np.ndarray:
    """``[frames, size]``: frame t is centred on sample ``t * hop``; zeros beyond the ends."""
    around = np.pad(padded, (size // 2, size))
    cut: np.ndarray = np.lib.stride_tricks.sliding_window_view(around, size)[::hop][:frames]
    return cut


def _spectrum(
    padded: np.ndarray, sample_rate_hz: int, frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Level ``[frames]`` in dB; spectra ``[frames, bins]`` in dB and as magnitudes.

    A sine of full scale has magnitude 1 in its bin.
    """
    size = round(_SPECTRUM_SECONDS * sample_rate_hz)
    cut = _cut(padded, size, hop_samples(sample_rate_hz), frames)
    window = np.hanning(size + 2)[1:-1]
    bins = 1 << (size - 1).bit_length()
    magnitudes = np.abs(np.fft.rfft(cut * window, bins)) / (window.sum() / 2)
    return _decibel(np.mean(cut**2, axis=1)), _decibel(magnitudes**2), magnitudes


def _decibel(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(power + _FLOOR_POWER)


def _slope(decibel: np.ndarray, sample_rate_hz: int, low_hz: float, high_hz: float) -> np.ndarray:
    """Least-squares slope of the spectrum in a band, dB per kHz (Eyben et al. 2016, table 1).

    Without the bin at 0 Hz, which is the microphone's, not the voice's.
    """
    khz = np.linspace(0.0, sample_rate_hz / 2_000, decibel.shape[1])
    band = (khz > low_hz / 1e3) & (khz <= high_hz / 1e3)
    centred = khz[band] - khz[band].mean()
    slope: np.ndarray = decibel[:, band] @ centred / (centred @ centred)
    return slope


def _flux(magnitudes: np.ndarray) -> np.ndarray:
    """Distance between the spectra of neighbouring frames, each of length 1 (or 0: silence).

    Scheirer and Slaney 1997, ICASSP; of normalised spectra, as in Tzanetakis and Cook 2002, IEEE
    Transactions on Speech and Audio Processing 10(5), so that loudness has no part in it.
    """
    floor = np.sqrt(_FLOOR_POWER)
    length = np.linalg.norm(magnitudes, axis=1, keepdims=True)
    shape = np.where(length > floor, magnitudes / np.maximum(length, floor), 0.0)
    return np.linalg.norm(np.diff(shape, axis=0, prepend=shape[:1]), axis=1)


def _cepstrum(magnitudes: np.ndarray, sample_rate_hz: int) -> dict[str, np.ndarray]:
    """MFCC 0 to 12 of 40 mel bands in dB, and their slopes over nine frames, by name."""
    librosa = _librosa()
    mel = librosa.filters.mel(
        sr=sample_rate_hz, n_fft=2 * (magnitudes.shape[1] - 1), n_mels=_MELS, norm=None
    )
    mfcc = librosa.feature.mfcc(S=_decibel(mel @ (magnitudes.T**2)), n_mfcc=_MFCCS)
    # "nearest", because a clip may be shorter than the nine frames.
    delta = librosa.feature.delta(mfcc, width=9, mode="nearest")
    names = [f"mfcc_{i}" for i in range(_MFCCS)] + [f"delta_mfcc_{i}" for i in range(_MFCCS)]
    return dict(zip(names, [*mfcc, *delta], strict=True))


def _pitch(padded: np.ndarray, sample_rate_hz: int, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """F0 in Hz (0 where unvoiced) and the probability of voice, ``[frames]`` each.

    pYIN: Mauch and Dixon 2014, ICASSP.
    """
    f0_hz, voiced, probability = _librosa().pyin(
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


def _hnr_db(padded: np.ndarray, f0_hz: np.ndarray, sample_rate_hz: int) -> np.ndarray:
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
    cut = _cut(padded, size, hop_samples(sample_rate_hz), len(f0_hz))[voiced]
    cut = (cut - cut.mean(axis=1, keepdims=True)) * window  # [voiced, size]
    fine = 4
    bins = 1 << (2 * size - 1).bit_length()
    correlation = _autocorrelation(cut, bins, fine) / _autocorrelation(window, bins, fine)
    for row, frame in enumerate(voiced):
        period = fine * sample_rate_hz / f0_hz[frame]
        first = round(0.95 * period)
        near = correlation[row, first - 1 : round(1.05 * period) + 2]
        peak = 1 + int(np.argmax(near[1:-1]))
        r = np.clip(_parabola(near, peak)[1], 0.01, 0.9999)
        result[frame] = 10.0 * np.log10(r / (1.0 - r))
    return np.clip(result, *_HNR_DB)


def _autocorrelation(signals: np.ndarray, bins: int, fine: int) -> np.ndarray:
    """``[..., lags]``, 1 at lag 0, ``fine`` lags per sample, up to half of ``bins`` samples."""
    power = np.abs(np.fft.rfft(signals, bins)) ** 2
    correlation = np.fft.irfft(power, fine * bins)[..., : fine * bins // 4]
    result: np.ndarray = correlation / np.maximum(correlation[..., :1], 1e-30)
    return result


def _parabola(values: np.ndarray, peak: int) -> tuple[float, float]:
    """Place and height of the top of a parabola through ``values`` around index ``peak``."""
    if not 0 < peak < len(values) - 1:
        return float(peak), float(values[peak])
    left, top, right = values[peak - 1 : peak + 2]
    bend = left - 2 * top + right
    shift = 0.0 if bend >= 0 else 0.5 * (left - right) / bend
    return peak + shift, float(top - 0.25 * (left - right) * shift)


def _perturbation(
    padded: np.ndarray, f0_hz: np.ndarray, sample_rate_hz: int
) -> tuple[np.ndarray, np.ndarray]:
    """Jitter and shimmer ``[frames]``, 0 where unvoiced or with fewer than three periods around.

    Praat manual, "Voice 2. Jitter" and "Voice 3. Shimmer", both "local": the mean difference
    between neighbouring periods (their lengths, their amplitudes), divided by the mean; here over
    the 60 ms around a frame.
    """
    hop = hop_samples(sample_rate_hz)
    centres = np.arange(len(f0_hz)) * hop
    periods: list[np.ndarray] = []
    amplitudes: list[np.ndarray] = []
    for first, last in _stretches(f0_hz > 0):
        period = sample_rate_hz / f0_hz[first:last]
        marks = _period_marks(padded, period, first * hop, hop)
        lengths = np.diff(marks)
        periods.append(_neighbours(marks[1:-1], lengths, _PERIOD_FACTOR))
        at = np.interp(marks, centres[first:last], period)
        levels = np.array([_amplitude(padded, m, t) for m, t in zip(marks, at, strict=True)])
        amplitudes.append(_neighbours((marks[1:] + marks[:-1]) / 2, levels, _AMPLITUDE_FACTOR))
    half = _PERTURBATION_SECONDS / 2 * sample_rate_hz
    jitter, shimmer = (_local(pairs, centres, half) for pairs in (periods, amplitudes))
    return np.where(f0_hz > 0, jitter, 0.0), np.where(f0_hz > 0, shimmer, 0.0)


def _stretches(voiced: np.ndarray) -> list[tuple[int, int]]:
    """First and last + 1 of every run of voiced frames."""
    edges = np.flatnonzero(np.diff(voiced.astype(np.int8), prepend=0, append=0))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _period_marks(padded: np.ndarray, period: np.ndarray, start: int, hop: int) -> np.ndarray:
    """Where the periods of a voiced stretch are, ascending, in samples and parts of samples.

    Praat manual, "Sound & Pitch: To PointProcess (cc)": from the largest excursion in the middle
    of the stretch on, both ways, the next mark is where the waveform around it is most like the
    one around the last mark, 0.8 to 1.2 periods away; a likeness below 0.3 ends it.

    Args:
        padded: ``[samples]``.
        period: In samples, of each frame of the stretch.
        start: Sample that its first frame is centred on.
        hop: From frame to frame.
    """
    end = min(start + (len(period) - 1) * hop, len(padded) - 1)
    centres = start + np.arange(len(period)) * hop
    middle = len(period) // 2
    reach = int(period[middle] / 2)
    low = max(0, int(centres[middle]) - reach)
    near = padded[low : int(centres[middle]) + reach + 1]
    if not len(near):
        return np.zeros(0)
    first = low + int(np.argmax(np.abs(near - near.mean())))
    marks = [float(first)]
    for direction in (-1, 1):
        mark = float(first)
        while True:
            length = float(np.interp(mark, centres, period))
            mark, likeness = _next_mark(padded, mark, direction, length)
            if not start - length / 2 <= mark <= end + length / 2:
                break
            if likeness >= _LIKENESS:
                marks.append(mark)
    return np.sort(marks)


def _next_mark(
    padded: np.ndarray, mark: float, direction: int, period: float
) -> tuple[float, float]:
    """The mark one period on and the correlation there; beyond the samples' ends infinity."""
    half, place = max(1, int(period / 2)), round(mark)
    lags = sorted(direction * lag for lag in (round(0.8 * period), round(1.2 * period)))
    # One lag more at either end, for the parabola.
    low, high = place + lags[0] - 1 - half, place + lags[1] + 1 + half + 1
    if min(low, place - half) < 0 or max(high, place + half + 1) > len(padded):
        return direction * np.inf, 0.0
    own = padded[place - half : place + half + 1]
    others = np.lib.stride_tricks.sliding_window_view(padded[low:high], len(own))
    own = own - own.mean()
    others = others - others.mean(axis=1, keepdims=True)
    likeness = others @ own / (np.linalg.norm(others, axis=1) * np.linalg.norm(own) + 1e-12)
    peak = 1 + int(np.argmax(likeness[1:-1]))
    return mark + lags[0] - 1 + _parabola(likeness, peak)[0], float(likeness[peak])


def _amplitude(padded: np.ndarray, mark: float, period: float) -> float:
    """RMS around a mark, under a Hann window of 0.4 periods, as Praat's shimmer measures it."""
    reach = max(2, round(0.2 * period))
    low = round(mark) - reach
    part = padded[max(0, low) : round(mark) + reach + 1]
    weight = np.hanning(2 * reach + 3)[1:-1][max(0, -low) :][: len(part)]
    return float(np.sqrt(weight @ part**2 / weight.sum()))


def _neighbours(places: np.ndarray, values: np.ndarray, largest_factor: float) -> np.ndarray:
    """``[pairs, 3]``: where two neighbours meet, their difference, their mean."""
    one, other = values[:-1], values[1:]
    keep = np.maximum(one, other) <= largest_factor * np.minimum(one, other)
    places = places if len(values) > 1 else places[:0]
    pairs = np.stack([places, np.abs(other - one), (one + other) / 2], axis=1)
    return pairs[keep]


def _local(pairs: list[np.ndarray], centres: np.ndarray, half: float) -> np.ndarray:
    """Mean difference over mean value of the pairs within ``half`` samples of each centre."""
    table = np.concatenate([np.zeros((0, 3)), *pairs])
    sums = np.concatenate([np.zeros((1, 2)), np.cumsum(table[:, 1:], axis=0)])
    first = np.searchsorted(table[:, 0], centres - half)
    last = np.searchsorted(table[:, 0], centres + half, side="right")
    difference, value = (sums[last] - sums[first]).T
    enough = (last - first >= 2) & (value > 0)
    return np.where(enough, difference / np.where(enough, value, 1.0), 0.0)


@functools.cache
def _librosa() -> Any:
    return importlib.import_module("librosa")  # takes a second, which most uses do not need
