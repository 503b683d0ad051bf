"""The networks over prosodic descriptors, and what they standardise them with."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ser_kd.audio.prosody import Descriptor
from ser_kd.students.architectures import categorical_head
from ser_kd.students.layers import Standardize
from ser_kd.teachers.settings import ProsodicTeacherConfig

_SMALLEST_DEVIATION = 1e-6
_LARGEST = 10.0

Statistics = tuple[np.ndarray, np.ndarray]
"""Mean and deviation of every descriptor, float32 ``[columns]``."""


def frame_statistics(frames: np.ndarray, columns: Sequence[Descriptor]) -> Statistics:
    """Mean and deviation; of what means something with a voice only, over the voiced frames.

    Voicing itself stays as it is: 0 and 1.

    Args:
        frames: float32 ``[frames, columns]``, or with more columns behind.
        columns: What they are.
    """
    mean, deviation = np.zeros(len(columns), np.float32), np.ones(len(columns), np.float32)
    counted = means_something(frames, columns)
    for index, column in enumerate(columns):
        values = frames[counted[:, index], index].astype(np.float64)
        if column.name == "voiced" or not len(values):
            continue
        mean[index] = values.mean()
        if values.std() > _SMALLEST_DEVIATION:
            deviation[index] = values.std()
    return mean, deviation


def means_something(frames: np.ndarray, columns: Sequence[Descriptor]) -> np.ndarray:
    """Bool ``[frames, columns]``."""
    voiced = frames[:, [column.name for column in columns].index("voiced")] > 0.5
    always = np.array([not column.voiced_only for column in columns])
    result: np.ndarray = always | voiced[:, np.newaxis]
    return result


@keras.saving.register_keras_serializable(package="ser_kd")
class StandardizeDescriptors(Standardize):
    """Rows of ``DescriptorStore`` -> standardised descriptors, 0 where they mean nothing.

    Args:
        voiced: Which column is the voicing.
        voiced_only: Of each column, whether it means something in voiced frames only.

    Inputs: ``[batch, frames, columns + 1]``, the last column 1 in frames of the clip, 0 in padding.
    Outputs: ``[batch, frames, columns]``, 0 is the mean; nothing is further than 10 deviations off.
    """

    def __init__(self, voiced: int, voiced_only: Sequence[bool], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.voiced, self.voiced_only = voiced, [bool(flag) for flag in voiced_only]

    def build(self, input_shape: tuple[int, ...]) -> None:
        super().build((*input_shape[:-1], input_shape[-1] - 1))

    def call(self, rows: Any) -> Any:
        values = ops.clip(super().call(rows[..., :-1]), -_LARGEST, _LARGEST)
        unvoiced = rows[..., self.voiced : self.voiced + 1] < 0.5
        nothing = ops.logical_or(
            ops.logical_and(ops.convert_to_tensor(self.voiced_only), unvoiced), rows[..., -1:] < 0.5
        )
        return ops.where(nothing, 0.0, values)

    def compute_output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*input_shape[:-1], input_shape[-1] - 1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "voiced": self.voiced, "voiced_only": self.voiced_only}


def build_network(
    teacher: ProsodicTeacherConfig,
    frames: int,
    columns: Sequence[Descriptor],
    classes: int,
) -> keras.Model:
    """An untrained network; what follows a clip's end has no influence on it.

    ``convolutional``: three convolutions over time. ``recurrent``: one, which makes steps of 40 ms,
    and a bidirectional GRU. Mean and deviation over time follow, as in x-vectors (Snyder et al.
    2017, Interspeech).

    Args:
        teacher: Kind, units, dropout.
        frames: Per window.
        columns: What a frame has.
        classes: Number of logits.

    Returns:
        A model from float32 ``[batch, frames, columns + 1]`` (see ``StandardizeDescriptors``) to
        logits ``[batch, classes]``, with layers ``standardize`` and ``embedding``.
    """
    names = [column.name for column in columns]
    inputs = keras.Input((frames, len(columns) + 1), name="descriptors")
    real = inputs[:, :, -1:]
    x = StandardizeDescriptors(
        names.index("voiced"), [column.voiced_only for column in columns], name="standardize"
    )(inputs)
    strides = (1, 2, 2) if teacher.network == "convolutional" else (4,)
    for stride in strides:
        x = layers.Conv1D(teacher.units, 5, stride, padding="same", use_bias=False)(x)
        x = layers.ReLU()(layers.LayerNormalization(epsilon=1e-5)(x))
        x = layers.Dropout(teacher.dropout)(x)
        real = real[:, ::stride]
        x = x * real
    if teacher.network == "recurrent":
        gru = layers.GRU(teacher.units // 2, return_sequences=True)
        x = layers.Bidirectional(gru)(x, mask=real[:, :, 0] > 0.5) * real
    count = ops.maximum(ops.sum(real, axis=1, keepdims=True), 1.0)
    mean = ops.sum(x, axis=1, keepdims=True) / count
    variance = ops.sum(ops.square(x - mean) * real, axis=1) / count[:, 0]
    pooled = ops.concatenate([mean[:, 0], ops.sqrt(variance + 1e-5)], axis=1)
    embedding = layers.Dense(2 * teacher.units, activation="relu", name="embedding")(pooled)
    return keras.Model(inputs, categorical_head(embedding, classes, teacher.dropout))
