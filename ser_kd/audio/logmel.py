"""Waveform -> log-mel: the only definition of the front end (training, export, prediction)."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_kd.config import LogMelConfig


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


def _mel_edges_hz(config: LogMelConfig) -> np.ndarray:
    low, high = _hz_to_mel(config.min_hz), _hz_to_mel(config.max_hz)
    return _mel_to_hz(np.linspace(low, high, config.mels + 2))


_LINEAR_HZ_PER_MEL = 200.0 / 3.0
_LOG_START_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _LOG_START_HZ:
        return hz / _LINEAR_HZ_PER_MEL
    return float(_LOG_START_HZ / _LINEAR_HZ_PER_MEL + np.log(hz / _LOG_START_HZ) / _LOG_STEP)


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    start = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_START_HZ * np.exp(_LOG_STEP * (np.maximum(mel, start) - start))
    hz: np.ndarray = np.where(mel < start, mel * _LINEAR_HZ_PER_MEL, logarithmic)
    return hz


@keras.saving.register_keras_serializable(package="ser_kd")
class LogMel(keras.layers.Layer):
    """Log-mel spectrogram in dB: Hann window, power, mel filters, ``10 log10``, floor.

    Frames lie wholly inside the input (no centring, no padding), so the frames of a window that
    starts at a multiple of the hop are the same numbers as those frames of the whole clip.
    Agrees with ``librosa.feature.melspectrogram(center=False)`` followed by
    ``librosa.power_to_db(ref=1, top_db=None)`` to 1e-3 dB in cells within 80 dB of their frame's
    strongest; below that float32 has no digits left for it.

    Args:
        config: Sizes and range; see ``LogMelConfig``.

    Input: float32 ``[batch, samples]`` in -1..1 at ``config.sample_rate_hz``.
    Output: float32 ``[batch, frames, mels]`` in dB, at least ``config.floor_db``.
    """

    def __init__(self, config: LogMelConfig | dict[str, Any], **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "trainable": False})  # a loaded config names it as well
        self.logmel = config if isinstance(config, LogMelConfig) else LogMelConfig(**config)
        self.window = np.hanning(self.logmel.fft_samples + 1)[:-1].astype(np.float32)
        self.filters = mel_filters(self.logmel)

    def call(self, waveform: tf.Tensor) -> tf.Tensor:
        frames = tf.signal.frame(waveform, self.logmel.fft_samples, self.logmel.hop_samples)
        spectrum = tf.signal.rfft(frames * self.window)  # [batch, frames, bins]
        power = tf.square(tf.abs(spectrum))
        mel_power = tf.matmul(power, self.filters)  # [batch, frames, mels]
        floor = 10.0 ** (self.logmel.floor_db / 10.0)
        return (10.0 / np.log(10.0)) * tf.math.log(tf.maximum(mel_power, floor))

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        batch, samples = input_shape
        frames = None if samples is None else self.logmel.frames(samples)
        return (batch, frames, self.logmel.mels)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "config": dataclasses.asdict(self.logmel)}
