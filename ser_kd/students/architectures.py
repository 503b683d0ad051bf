"""The student: log-mel in, logits out. Four kinds, each small enough for a phone.

``mobilenet``: inverted residuals (MobileNetV2, arXiv 1801.04381) with ReLU6, because int8 kernels
fuse ReLU6 and lose their speed with hard-swish. ``yamnet``: the first blocks of YAMNet, which is a
MobileNetV1 (arXiv 1704.04861), so that training can begin with its weights (``students.yamnet``).
``cnn`` and ``crnn`` are the plain alternatives to compare with.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from ser_kd.config import StudentConfig
from ser_kd.students.layers import FusedBatchNormalization, Standardize


@dataclass(frozen=True)
class Row:
    """``repeats`` inverted residuals of ``channels`` outputs; the first one has the ``stride``."""

    channels: int
    repeats: int
    stride: int
    expansion: int


STEM_CHANNELS = 16
MOBILENET_ROWS = (
    Row(16, 1, 1, 1),
    Row(24, 2, 2, 4),
    Row(40, 3, 2, 4),
    Row(80, 3, 2, 4),
    Row(112, 2, 1, 4),
)
HEAD_CHANNELS = 320
YAMNET_STEM_CHANNELS = 32
# (outputs, stride) of its depthwise separable blocks.
YAMNET_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip
CNN_CHANNELS = (24, 48, 96, 160)
CRNN_CHANNELS = (16, 32, 48)
CRNN_UNITS = 64


def build_student(
    config: StudentConfig, frames: int, mels: int, classes: int, name: str = "student"
) -> keras.Model:
    """Builds an untrained student.

    Args:
        config: Kind, width multiplier, dropout. Weights are random, also with ``initial_weights``.
        frames: Frames per window.
        mels: Mel bands.
        classes: Number of labels.
        name: The model's name.

    Returns:
        A model from float32 log-mel ``[batch, frames, mels]`` in dB to logits ``[batch, classes]``.
        Its layer ``embedding`` gives ``[batch, channels]``; its layer ``standardize`` holds the
        feature statistics, which training sets.
    """
    inputs = keras.Input((frames, mels), name="logmel")
    features = Standardize(name="standardize")(inputs)
    embedding = _BODIES[config.kind](features, config)
    embedding = layers.Identity(name="embedding")(embedding)
    logits = categorical_head(embedding, classes, config.dropout)
    return keras.Model(inputs, logits, name=name)


def categorical_head(embedding: Any, classes: int, dropout: float) -> Any:
    """The head of a task with exclusive classes: ``[batch, channels]`` -> logits."""
    return layers.Dense(classes, name="logits")(layers.Dropout(dropout)(embedding))


def embedding_model(model: keras.Model) -> keras.Model:
    """The same network with both outputs: ``(logits, embedding)``."""
    return keras.Model(model.input, (model.output, model.get_layer("embedding").output))


def _scaled(channels: int, width: float) -> int:
    """Channels times width, to a multiple of 8 (vector kernels), never below 90 % of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


def _conv_bn(x: Any, conv: layers.Layer, activation: bool = True) -> Any:
    x = FusedBatchNormalization(momentum=0.95)(conv(x))
    return layers.ReLU(6.0)(x) if activation else x


def _conv(channels: int, kernel: int, stride: int = 1) -> layers.Layer:
    return layers.Conv2D(
        channels,
        kernel,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )


def _depthwise(stride: int) -> layers.Layer:
    return layers.DepthwiseConv2D(
        3, stride, padding="same", use_bias=False, depthwise_initializer="he_normal"
    )


def _inverted_residual(x: Any, channels: int, stride: int, expansion: int) -> Any:
    inputs, in_channels = x, x.shape[-1]
    if expansion > 1:
        x = _conv_bn(x, _conv(expansion * in_channels, 1))
    x = _conv_bn(x, _depthwise(stride))
    x = _conv_bn(x, _conv(channels, 1), activation=False)
    return layers.Add()([inputs, x]) if stride == 1 and in_channels == channels else x


def _mobilenet(features: Any, config: StudentConfig) -> Any:
    x = ops.expand_dims(features, -1)  # [batch, frames, mels, 1]
    x = _conv_bn(x, _conv(_scaled(STEM_CHANNELS, config.width), 3, 2))
    for row in MOBILENET_ROWS:
        for repeat in range(row.repeats):
            stride = row.stride if repeat == 0 else 1
            x = _inverted_residual(x, _scaled(row.channels, config.width), stride, row.expansion)
    x = _conv_bn(x, _conv(_scaled(HEAD_CHANNELS, config.width), 1))
    return layers.GlobalAveragePooling2D()(x)


def _yamnet(features: Any, config: StudentConfig) -> Any:
    x = ops.expand_dims(features, -1)
    x = _conv_bn(x, _conv(_scaled(YAMNET_STEM_CHANNELS, config.width), 3, 2))
    for channels, stride in YAMNET_BLOCKS[: config.blocks]:
        x = _conv_bn(x, _depthwise(stride))
        outputs = min(_scaled(channels, config.width), config.most_channels)
        x = _conv_bn(x, _conv(outputs, 1))
    return layers.GlobalAveragePooling2D()(x)


def _cnn(features: Any, config: StudentConfig) -> Any:
    x = ops.expand_dims(features, -1)
    for channels in CNN_CHANNELS:
        x = _conv_bn(x, _conv(_scaled(channels, config.width), 3))
        x = layers.MaxPooling2D(2)(x)
    x = _conv_bn(x, _conv(_scaled(CNN_CHANNELS[-1], config.width), 3))
    return layers.GlobalAveragePooling2D()(x)


def _crnn(features: Any, config: StudentConfig) -> Any:
    x = ops.expand_dims(features, -1)
    for channels in CRNN_CHANNELS:
        x = _conv_bn(x, _conv(_scaled(channels, config.width), 3))
        x = layers.MaxPooling2D(2)(x)
    x = layers.Reshape((x.shape[1], x.shape[2] * x.shape[3]))(x)  # [batch, frames / 8, features]
    # Unrolled, because a TFLite while loop keeps the recurrence out of int8.
    x = layers.LSTM(_scaled(CRNN_UNITS, config.width), return_sequences=True, unroll=True)(x)
    return layers.GlobalAveragePooling1D()(x)


_BODIES: dict[str, Callable[[Any, StudentConfig], Any]] = {
    "mobilenet": _mobilenet,
    "yamnet": _yamnet,
    "cnn": _cnn,
    "crnn": _crnn,
}
