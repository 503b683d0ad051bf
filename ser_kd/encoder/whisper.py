"""Whisper's encoder: log-mel spectrogram, two convolutions, fixed positions, transformer."""

from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ser_kd.audio.mel import hann_window, mel_filters
from ser_kd.config import LogMelConfig
from ser_kd.encoder.architecture import SAMPLE_RATE_HZ, EncoderConfig, longest_seconds
from ser_kd.encoder.layers import ACTIVATIONS
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.errors import UserError

WINDOW_SAMPLES = 400
HOP_SAMPLES = 160
FRAME_SAMPLES = 2 * HOP_SAMPLES  # the second convolution has a stride of 2
RECEPTIVE_FIELD_SAMPLES = WINDOW_SAMPLES + 4 * HOP_SAMPLES


class LogMelSpectrogram(layers.Layer):
    """Whisper's log-mel spectrogram: a 25 ms window every 10 ms, mels on Slaney's scale.

    ``log10`` of the mel powers, at least 8 below the clip's largest; plus 4, over 4. The window's
    centres start at sample 0, so the clip is mirrored at its ends. The numbers are those of
    transformers' ``WhisperFeatureExtractor``. Always in float32, as powers are beyond float16.

    Args:
        mels: 80 (large-v3: 128).
    """

    def __init__(self, mels: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        logmel = LogMelConfig(
            sample_rate_hz=SAMPLE_RATE_HZ,
            fft_samples=WINDOW_SAMPLES,
            hop_seconds=HOP_SAMPLES / SAMPLE_RATE_HZ,
            mels=mels,
            min_hz=0.0,
            max_hz=SAMPLE_RATE_HZ / 2,
        )
        self.window, self.filters = hann_window(logmel), mel_filters(logmel)

    def build(self, input_shape: Any = None) -> None:
        """There are no weights."""
        self.built = True

    def call(self, waveforms: Any, samples: Any = None) -> Any:
        """``waveforms`` [b, n], real ``samples`` int [b] (None = all) -> [b, n // 160, mels].

        Behind a clip's end the spectrogram is zero.
        """
        frames = ops.shape(waveforms)[1] // HOP_SAMPLES
        windows = _windows(_mirrored(waveforms, samples), frames) * self.window  # [b, t, 400]
        real, imaginary = ops.rfft(windows)
        power = ops.matmul(ops.square(real) + ops.square(imaginary), self.filters)
        x = ops.log(ops.maximum(power, 1e-10)) * np.float32(1 / np.log(10.0))  # [b, t, mels]
        if samples is None:
            return (ops.maximum(x, ops.max(x, axis=(1, 2), keepdims=True) - 8.0) + 4.0) / 4.0
        inside = before(frames, samples // HOP_SAMPLES)
        largest = ops.max(ops.where(inside, x, -10.0), axis=(1, 2), keepdims=True)
        return ops.where(inside, (ops.maximum(x, largest - 8.0) + 4.0) / 4.0, 0.0)


def before(frames: Any, lengths: Any) -> Any:
    """Frame numbers below ``lengths`` int [b]: bool [b, frames, 1]."""
    return (ops.arange(frames, dtype="int32")[None, :] < lengths[:, None])[:, :, None]


def _mirrored(waveforms: Any, samples: Any) -> Any:
    """Half a window more on both sides, mirrored at the first and the last real sample."""
    half = WINDOW_SAMPLES // 2
    if samples is None:
        return ops.pad(waveforms, [[0, 0], [half, half]], mode="reflect")
    index = ops.arange(ops.shape(waveforms)[1] + half, dtype="int32")[None, :]
    last = samples[:, None] - 1
    index = ops.maximum(ops.where(index > last, 2 * last - index, index), 0)
    waveforms = ops.take_along_axis(waveforms, index, axis=1)
    return ops.pad(waveforms, [[0, 0], [half, 0]], mode="reflect")


def _windows(x: Any, frames: Any) -> Any:
    """[b, n + 400] -> [b, frames, 400], 160 samples apart, cut from pieces that are so long."""
    pieces = ops.reshape(x[:, : HOP_SAMPLES * (frames + 2)], (-1, frames + 2, HOP_SAMPLES))
    rest = WINDOW_SAMPLES - 2 * HOP_SAMPLES
    return ops.concatenate([pieces[:, :-2], pieces[:, 1:-1], pieces[:, 2:, :rest]], axis=-1)


class MelFeatureEncoder(layers.Layer):
    """Two convolutions of width 3 that turn a log-mel spectrogram into frames 20 ms apart."""

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.mels = config.num_mel_bins
        self.conv_layers = [
            layers.Conv1D(config.d_model, 3, strides=stride, name=f"conv_{i}")
            for i, stride in enumerate((1, 2))
        ]
        self.activation = ACTIVATIONS[config.activation_function]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        inputs = self.mels
        for conv in self.conv_layers:
            conv.build((None, None, inputs))
            inputs = conv.filters

    def call(self, x: Any, samples: Any = None) -> Any:
        """``x`` [b, t, mels], zero behind its real ``samples`` -> [b, (t + 1) // 2, d]."""
        for conv in self.conv_layers:
            if conv.strides[0] == 2 and samples is not None:
                # The clip alone would be followed by the convolution's own padding.
                inside = before(ops.shape(x)[1], samples // HOP_SAMPLES)
                x = x * ops.cast(inside, x.dtype)
            x = self.activation(conv(ops.pad(x, [[0, 0], [1, 1], [0, 0]])))
        return x


class FixedPositions(layers.Layer):
    """Adds Whisper's positions: sines and cosines of a checkpoint, which training leaves alone."""

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.positions = config.max_source_positions

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.embedding = self.add_weight(
            shape=(self.positions, input_shape[-1]),
            initializer=lambda shape, dtype=None: ops.cast(sinusoids(*shape), dtype),
            trainable=False,
            name="embedding",
        )

    def call(self, x: Any) -> Any:  # [b, t, d]
        return x + self.embedding[: ops.shape(x)[1]]


def sinusoids(positions: int, dim: int) -> np.ndarray:
    """Sines, then cosines, of wavelengths from 2 pi to 20,000 pi: float32 [positions, dim]."""
    rates = np.exp(-np.log(10_000.0) * np.arange(dim // 2) / max(dim // 2 - 1, 1))
    angles = np.arange(positions)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)


@keras.saving.register_keras_serializable(package="ser_kd")
class WhisperEncoder(SpeechEncoder):
    """The encoder of Whisper (arXiv 2212.04356), its log-mel spectrogram in the graph.

    For the same weights the numbers are those of transformers' ``WhisperModel.encoder`` on the
    clip as it is: not padded to 30 s, and in a batch with a mask the same as alone. A clip that is
    padded with zeros to 30 s, without a mask, gives what Whisper itself sees.

    In training SpecAugment zeroes spans of the spectrogram, where ``apply_spec_augment`` is set.
    Clips are at most 30 s long.

    Args:
        config: See ``SpeechEncoder``, like the following.
        normalize_input: What ``preprocess`` does.
        gradient_checkpointing: Whether layers are computed a second time in the backward pass.

    Example:
        >>> encoder = WhisperEncoder(architecture("whisper", encoder_layers=1))
        >>> encoder(keras.ops.zeros((1, 16000))).shape
        TensorShape([1, 50, 384])
    """

    def _add_front_end(self) -> None:
        self.spectrogram = LogMelSpectrogram(self.config.num_mel_bins, name="spectrogram")
        self.feature_encoder = MelFeatureEncoder(self.config, name="feature_encoder")
        self.positional = FixedPositions(self.config, name="positional")

    def _build_front_end(self) -> None:
        self.masked_embedding = 0.0  # of the spectrogram's frames, and not learned
        self.spectrogram.build()
        self.feature_encoder.build((None, None, self.config.num_mel_bins))
        self.positional.build((None, None, self.transformer.hidden_size))

    @property
    def receptive_field_samples(self) -> int:
        """Samples that one frame depends on: the shortest possible input."""
        return RECEPTIVE_FIELD_SAMPLES

    def frame_lengths(self, samples: Any) -> Any:
        """Frames that ``samples`` (int or int tensor) real samples give; at least one."""
        frames = (samples // HOP_SAMPLES + 1) // 2
        return max(frames, 1) if isinstance(samples, int) else ops.maximum(frames, 1)

    def hidden_states(self, waveforms: Any, mask: Any = None, training: bool = False) -> list[Any]:
        """What enters each transformer layer, and the encoder's output, as in transformers 5.

        Arguments, result and errors: see ``SpeechEncoder.hidden_states``.
        """
        *states, last = super().hidden_states(waveforms, mask=mask, training=training)
        return [*states, self.norm(last)]

    def output_of(self, states: list[Any]) -> Any:
        """The encoder's output [batch, frames, dim], of its ``hidden_states``."""
        return states[-1]

    def _check(self, waveforms: Any, mask: Any) -> None:
        super()._check(waveforms, mask)
        samples = waveforms.shape[1]
        seconds = longest_seconds(self.config)
        if samples is not None and samples > seconds * SAMPLE_RATE_HZ:
            raise UserError(
                f"waveforms of {samples} samples are too long: Whisper takes at most {seconds:g} s "
                f"({round(seconds * SAMPLE_RATE_HZ)}); cut them"
            )

    def _embed(self, waveforms: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
        samples = None if mask is None else ops.sum(ops.cast(mask, "int32"), axis=1)
        x = self.spectrogram(waveforms, samples=samples)  # [b, t, mels]
        if seed is not None:
            inside = None
            if samples is not None:
                inside = before(ops.shape(x)[1], samples // HOP_SAMPLES)[:, :, 0]
            x = self._mask_features(x, inside, seed)
        x = self.positional(self.feature_encoder(x, samples=samples))
        real = None if mask is None else self.frame_mask(mask, ops.shape(x)[1])
        return x, real

    def _positions(self, x: Any) -> None:
        """None: the positions are in what enters the transformer."""
