"""Voice activity: is there speech in this window? Without a model, by a few FFTs and two figures.

Speech is **periodic** for a while (the voice), which noise and clicks are not, and while it is, its
spectrum **changes** (vowels, melody), which that of hum and tones does not. Neither figure depends
on the level, and nothing is learned or remembered: a window's answer depends on that window alone.

What it passes (``benchmarks/voice_activity.py`` on other clips than those that its defaults were
chosen on; docs/benchmarks.md): 99 to 100 % of clips of CREMA-D and EmoDB at -12 and -30 dBFS, 98 to
99 % in noise at 10 dB; no window of silence, noise, hum, tones or clicks; 3.5 % of tones in noise.

What it cannot know, by its construction (not measured): music with a melody counts as speech;
whispering does not, nor does one vowel held at one pitch.
"""

from dataclasses import dataclass

import numpy as np

_FRAME_SECONDS, _HOP_SECONDS = 0.048, 0.016
_VOICE_HZ = (70.0, 400.0)
# Above it breath and noise outweigh a voice's harmonics.
_PERIODIC_BELOW_HZ = 1_200.0
# Wide enough to keep the harmonics of every voice apart, narrow enough to level coloured noise.
_WHITENING_HZ = 400.0
_SHAPE_BELOW_HZ = 4_000.0
# Noise is periodic by chance, but not for so many frames on end (96 ms).
_RUN_FRAMES = 4
# Consonants beside a vowel are speech, too.
_HANGOVER_SECONDS = 0.1


@dataclass(frozen=True)
class VoiceActivityDetector:
    """Tells speech from silence, noise, hum, tones and clicks.

    Per frame of 48 ms, every 16 ms: the power spectrum from 70 to 1200 Hz is divided by its own
    mean over 400 Hz, so that noise of any colour is white; its transform back is the
    autocorrelation, whose highest value at the periods of 70 to 400 Hz says how periodic the frame
    is (Boersma 1993, IFA Proceedings 17, for the correction by the window's own autocorrelation).
    Four periodic frames on end are voice. If the spectra of a window's voice are all alike, it is
    none. What is within 0.1 s of voice is speech.

    It costs two real FFTs of 1024 points per frame at 16 kHz, 370 for a window of 3 s, about 20
    million operations a second with an update every 0.5 s. In NumPy on one thread that is 4.4 ms a
    window, where the int8 student with its front end takes 0.6 ms (medians of 60, taking turns, on
    2 busy cores).

    Attributes:
        min_share: A window is speech if this share of it is, 0 to 1.
        min_periodicity: Of a voiced frame; half of all frames of noise are above 0.3, one in
            twenty above this; a quarter of the frames of CREMA-D's clips is above 0.6.
        max_likeness: Mean cosine of the magnitude spectra of any two voiced frames of a window:
            1 for hum and tones, 0.4 to 0.75 for nine in ten of CREMA-D's clips.
        floor_dbfs: Frames below this level (RMS from 70 to 1200 Hz, dB of full scale) are silence.
    """

    min_share: float = 0.1
    min_periodicity: float = 0.43
    max_likeness: float = 0.85
    floor_dbfs: float = -65.0

    def speech_share(self, samples: np.ndarray, sample_rate_hz: int) -> float:
        """How much of a window is speech.

        Args:
            samples: float32 ``[samples]`` in -1..1; what was recorded, without zeros to fill up.
            sample_rate_hz: 8000 or more.

        Returns:
            0 to 1; 0 for anything shorter than 0.1 s.
        """
        frame_samples = round(_FRAME_SECONDS * sample_rate_hz)
        hop_samples = round(_HOP_SECONDS * sample_rate_hz)
        frames = 1 + (len(samples) - frame_samples) // hop_samples
        if frames < _RUN_FRAMES:
            return 0.0
        cut = np.lib.stride_tricks.sliding_window_view(samples, frame_samples)[::hop_samples]
        cut = cut.astype(np.float64)
        cut -= cut.mean(axis=1, keepdims=True)
        taper = np.hanning(frame_samples + 2)[1:-1]
        # Room for the longest period, for the FFT's autocorrelation goes round in a circle.
        longest = round(sample_rate_hz / _VOICE_HZ[0])
        size = 1 << (frame_samples + longest - 1).bit_length()
        power = np.abs(np.fft.rfft(cut * taper, size)) ** 2  # [frames, bins]
        hz = np.fft.rfftfreq(size, 1 / sample_rate_hz)
        low = power[:, (hz >= _VOICE_HZ[0]) & (hz <= _PERIODIC_BELOW_HZ)]

        level = 2 * low.sum(axis=1) / (size * np.sum(taper**2))
        loud = level > 10 ** (self.floor_dbfs / 10)
        white = np.zeros_like(power)
        white[:, (hz >= _VOICE_HZ[0]) & (hz <= _PERIODIC_BELOW_HZ)] = _whitened(
            low, round(_WHITENING_HZ / 2 / hz[1])
        )
        shortest = round(sample_rate_hz / _VOICE_HZ[1])
        periodicity = _autocorrelation(white)[:, shortest : longest + 1]
        own = _autocorrelation(np.abs(np.fft.rfft(taper, size)) ** 2)[shortest : longest + 1]
        voiced = loud & ((periodicity / own).max(axis=1) > self.min_periodicity)

        # A run's first frame stands for the run.
        runs = np.lib.stride_tricks.sliding_window_view(voiced, _RUN_FRAMES).all(axis=1)
        voice = np.convolve(runs, np.ones(_RUN_FRAMES)) > 0.5
        shapes = np.sqrt(power[:, (hz >= _VOICE_HZ[0]) & (hz <= _SHAPE_BELOW_HZ)][voice])
        if not voice.any() or _likeness(shapes) > self.max_likeness:
            return 0.0
        hangover = round(_HANGOVER_SECONDS / _HOP_SECONDS)
        spread = np.convolve(runs, np.ones(_RUN_FRAMES + 2 * hangover)) > 0.5
        return float(spread[hangover : hangover + frames].mean())


def _whitened(power: np.ndarray, half_width: int) -> np.ndarray:
    """``[frames, bins]`` divided by its running mean over ``2 * half_width + 1`` bins."""
    padded = np.pad(power, ((0, 0), (half_width + 1, half_width)), mode="reflect")
    total = np.cumsum(padded, axis=1)
    width = 2 * half_width + 1
    mean = (total[:, width:] - total[:, :-width]) / width
    # What is 120 dB below a frame's peak is rounding.
    return power / (mean + 1e-12 * power.max(axis=1, keepdims=True) + 1e-30)


def _autocorrelation(power: np.ndarray) -> np.ndarray:
    """From power spectra ``[..., bins]``, 1 at lag 0; zeros for silence."""
    correlation = np.fft.irfft(power)
    result: np.ndarray = correlation / (correlation[..., :1] + 1e-30)
    return result


def _likeness(magnitudes: np.ndarray) -> float:
    """Mean cosine between any two rows of ``[frames, bins]``, two frames or more."""
    rows = magnitudes / (np.linalg.norm(magnitudes, axis=1, keepdims=True) + 1e-30)
    total, count = rows.sum(axis=0), len(rows)
    return float((total @ total - (rows * rows).sum()) / (count * (count - 1)))
