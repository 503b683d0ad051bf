"""Waveform -> log-mel as a Keras layer: the front end of training and export."""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_kd.audio.mel import hann_window, mel_filters
from ser_kd.config import LogMelConfig


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
        self.window = hann_window(self.logmel)
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
