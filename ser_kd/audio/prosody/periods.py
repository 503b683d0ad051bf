"""Jitter and shimmer: how much neighbouring periods of a voice differ in length and amplitude."""

import numpy as np

from ser_kd.audio.prosody.framing import hop_samples
from ser_kd.audio.prosody.pitch import parabola

_PERTURBATION_SECONDS = 0.060
# Beyond these two neighbours are no periods of one voice (Praat's maximum period and amplitude
# factors).
_PERIOD_FACTOR, _AMPLITUDE_FACTOR = 1.3, 1.6
_LIKENESS = 0.3


def jitter_and_shimmer(
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
    return mark + lags[0] - 1 + parabola(likeness, peak)[0], float(likeness[peak])


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
