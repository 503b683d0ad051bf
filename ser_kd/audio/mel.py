"""Mel filters, and the log-mel front end in NumPy: for prediction without TensorFlow."""

import numpy as np

from ser_kd.config import LogMelConfig

_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def mel_filters(config: LogMelConfig) -> np.ndarray:
    """Triangular filters on the Slaney mel scale, each of unit area (Slaney 1998).

    Linear below 1 kHz, logarithmic above: the scale of librosa's default, so that
    ``librosa.filters.mel`` gives the same matrix.

    Returns:
        float32 ``[fft_samples // 2 + 1, mels]``.
    """
    edges_hz = _mel_edges_hz(config)
    bins_hz = np.fft.rfftfreq(config.fft_samples, 1.0 / config.sample_rate_hz)[:, np.newaxis]
    low, centre, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    rising = (bins_hz - low) / (centre - low)
    falling = (high - bins_hz) / (high - centre)
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    filters: np.ndarray = (triangles * (2.0 / (high - low))).astype(np.float32)
    return filters


def mel_centres_hz(config: LogMelConfig) -> np.ndarray:
    """The frequency that each mel band is centred on, ``[mels]`` in Hz."""
    return _mel_edges_hz(config)[1:-1]


def hann_window(config: LogMelConfig) -> np.ndarray:
    """The periodic Hann window of the FFT, float32 ``[fft_samples]``."""
    window: np.ndarray = np.hanning(config.fft_samples + 1)[:-1].astype(np.float32)
    return window


class NumpyLogMel:
    """The same numbers as ``ser_kd.audio.logmel.LogMel``, without TensorFlow.

    They agree to 1e-3 dB; in cells 80 dB and more below a pure tone the layer's float32 FFT has
    fewer digits. Here the FFT is in float64, as NumPy 1 always computes it.

    Args:
        config: Sizes and range; see ``LogMelConfig``.
    """

    def __init__(self, config: LogMelConfig) -> None:
        self.logmel = config
        self._window, self._filters = hann_window(config), mel_filters(config)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """Log-mel frames of a batch.

        Args:
            waveform: float32 ``[batch, samples]`` in -1..1 at ``config.sample_rate_hz``, at least
                ``config.fft_samples`` long.

        Returns:
            float32 ``[batch, frames, mels]`` in dB, at least ``config.floor_db``.
        """
        config = self.logmel
        every = np.lib.stride_tricks.sliding_window_view(waveform, config.fft_samples, axis=1)
        frames = every[:, :: config.hop_samples] * self._window
        spectrum = np.fft.rfft(frames.astype(np.float64))  # [batch, frames, bins]
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
        floor = 10.0 ** (config.floor_db / 10.0)
        decibels: np.ndarray = 10.0 * np.log10(np.maximum(power @ self._filters, floor))
        return decibels.astype(np.float32)


def _mel_edges_hz(config: LogMelConfig) -> np.ndarray:
    low, high = _hz_to_mel(config.min_hz), _hz_to_mel(config.max_hz)
    return _mel_to_hz(np.linspace(low, high, config.mels + 2))


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_START_HZ / _LINEAR_HZ_PER_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    start = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (np.maximum(mel, start) - start))
    hz: np.ndarray = np.where(mel < start, mel * _LINEAR_HZ_PER_MEL, logarithmic)
    return hz
