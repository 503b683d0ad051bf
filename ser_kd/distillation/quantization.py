"""Quantisation-aware fine-tuning: a student goes on learning with the rounding of its int8 file.

The forward pass rounds weights and activations as the int8 file does; the backward pass looks
through the rounding (straight-through; Jacob et al., arXiv 1712.05877). The layers are our own
because tfmot, which has such layers, does not support Keras 3. What learns are the variables of the
plain student, which is converted afterwards like any other.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from ser_kd.config import AudioConfig, AugmentConfig, DistillConfig, FitConfig, LogMelConfig
from ser_kd.data import batching, clip_arrays
from ser_kd.distillation.distiller import LiveTeaching
from ser_kd.distillation.logmel_network import LogMelPredictor, fit_logmel_network
from ser_kd.errors import UserError
from ser_kd.students.layers import Standardize

# Layers whose inputs are int8. Dropout stands for the dense layer behind it, whose input it scales
# while training. What is not here needs no rounding of its own: the converter fuses batch
# normalisation and ReLU6 into the convolution before them, and max pooling commutes with rounding.
_READERS = (
    layers.Conv2D,
    layers.DepthwiseConv2D,
    layers.Add,
    layers.GlobalAveragePooling2D,
    layers.Dropout,
)
_WITH_KERNEL = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
_BATCH = 32


def fine_tune_for_int8(
    student: keras.Model,
    calibration: np.ndarray,
    arrays: clip_arrays.ClipArrays,
    targets: Mapping[str, np.ndarray],
    fit: FitConfig,
    augment: AugmentConfig,
    distill: DistillConfig,
    audio: AudioConfig,
    logmel: LogMelConfig,
    seed: int,
    name: str,
    directory: Path,
    validation: tuple[clip_arrays.ClipArrays, np.ndarray],
    views: np.ndarray,
    live: LiveTeaching | None = None,
) -> keras.Model:
    """Trains a student on, rounded as its int8 file is; or goes on where that was interrupted.

    Everything is as in ``train_logmel_network`` but the start and the rounding. The ranges of the
    activations are measured anew after every epoch, before the epoch is scored, so that the score
    is that of the int8 file the student would become.

    Args:
        student: Trained; its weights are changed.
        calibration: float32 ``[windows, frames, mels]``, those that the export calibrates on.
        arrays: See ``train_logmel_network``, as for all that follows.
        targets: See there.
        fit: See there.
        augment: See there.
        distill: See there.
        audio: See there.
        logmel: See there.
        seed: See there.
        name: See there.
        directory: See there.
        validation: See there.
        views: See there.
        live: See there.

    Returns:
        ``student``, a plain Keras model with the new weights.

    Raises:
        UserError: The student has layers whose int8 arithmetic is not known here.
    """
    keras.utils.set_random_seed(seed)
    aware = Int8Aware(student, calibration)
    predictor = LogMelPredictor(aware.model, batching.Windowing.of(audio, logmel))

    def score() -> dict[str, float]:
        aware.calibrate()
        return predictor.score(*validation)

    fit_logmel_network(
        aware.model,
        np.asarray(student.get_layer("standardize").mean),
        arrays,
        targets,
        fit,
        augment,
        distill,
        logmel,
        seed,
        name,
        directory,
        score,
        views,
        live=live,
    )
    return student


class Int8Aware:
    """A student that rounds as its int8 file does, and can learn all the same.

    * Kernels: 8 bits, symmetric, one scale per output channel. The converter folds batch
      normalisation into them, which scales whole channels: rounding before it is the same.
    * Activations: 8 bits, asymmetric, one range per tensor, from the least to the largest value
      that the float student has on the calibration windows.
    * Batch normalisation keeps its moving statistics; its scale and offset learn.

    Biases stay float (the file has them in 32 bits).

    Attributes:
        model: Log-mel ``[batch, frames, mels]`` in dB -> logits ``[batch, classes]``. Its trainable
            weights are the student's; the ranges are further weights.
        ranges: Of each activation that the file stores, from the input to the logits.

    Args:
        student: As ``build_student`` makes it, of kind ``mobilenet`` or ``cnn``.
        calibration: float32 ``[windows, frames, mels]``.

    Raises:
        UserError: The student has layers whose int8 arithmetic is not known here.
    """

    def __init__(self, student: keras.Model, calibration: np.ndarray) -> None:
        self._calibration = calibration
        seen: list[Any] = []

        def keep(tensor: Any) -> Any:
            seen.append(tensor)
            return tensor

        observer, self._overwritten = _rebuild(student, keep, rounds=False)
        watcher = keras.Model(observer.input, seen)
        self.ranges = [FakeQuantize(name=f"int8_{number}") for number in range(len(seen))]
        unused = iter(self.ranges)
        self.model, _ = _rebuild(student, lambda tensor: next(unused)(tensor), rounds=True)

        @tf.function(input_signature=[tf.TensorSpec((None, *student.input_shape[1:]))])
        def extremes(windows: tf.Tensor) -> tf.Tensor:
            found = watcher(windows, training=False)
            return tf.stack([(tf.reduce_min(t), tf.reduce_max(t)) for t in found])

        self._extremes = extremes.get_concrete_function()
        self.calibrate()

    def calibrate(self) -> None:
        """Measures the ranges of all activations with the weights as they are now."""
        starts = range(0, len(self._calibration), _BATCH)
        batches = [
            self._extremes(tf.constant(self._calibration[i : i + _BATCH])).numpy() for i in starts
        ]
        low, high = np.min(batches, 0)[:, 0], np.max(batches, 0)[:, 1]
        for summand, total in self._overwritten:
            low[summand] = min(low[summand], low[total])
            high[summand] = max(high[summand], high[total])
        for layer, *limits in zip(self.ranges, low, high, strict=True):
            layer.set_range(*limits)


class FakeQuantize(layers.Layer):
    """Rounds to the 256 steps of an int8 tensor whose range includes ``low``, 0 and ``high``.

    Gradients pass where the input is inside of the range and stop outside of it.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        self.low = self.add_weight(shape=(), initializer="zeros", trainable=False, name="low")
        self.high = self.add_weight(shape=(), initializer="ones", trainable=False, name="high")

    def set_range(self, low: float, high: float) -> None:
        self.low.assign(min(low, 0.0))
        self.high.assign(max(high, 0.0))

    def call(self, inputs: Any) -> Any:
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.low, self.high)


class _Shared(layers.Layer):
    """A student's layer in another graph: the same variables, its kernel rounded if ``rounds``."""

    def __init__(self, layer: layers.Layer, rounds: bool) -> None:
        super().__init__(name=layer.name)
        self.layer = layer
        self.rounds = rounds
        self.built = True

    def call(self, inputs: Any, mask: Any = None) -> Any:  # batch normalisation is given a mask
        if isinstance(self.layer, layers.BatchNormalization):
            return self.layer(inputs, training=False)
        if not self.rounds:
            return self.layer(inputs)
        rounded = round_kernel(self.layer.kernel, isinstance(self.layer, layers.DepthwiseConv2D))
        with keras.StatelessScope([(self.layer.kernel, rounded)]):
            return self.layer(inputs)


def round_kernel(kernel: Any, depthwise: bool = False) -> Any:
    """Rounds each output channel to the 255 steps of symmetric int8; gradients pass unchanged.

    Args:
        kernel: ``[..., inputs, outputs]``, or of a depthwise convolution ``[height, width, inputs,
            multiplier]``, where every filter is a channel.
        depthwise: Which of them it is.

    Returns:
        As ``kernel``.
    """
    kernel = ops.convert_to_tensor(kernel)
    axes = (0, 1) if depthwise else tuple(range(len(kernel.shape) - 1))
    largest = ops.max(ops.abs(kernel), axis=axes, keepdims=True)
    step = ops.maximum(largest, keras.config.epsilon()) / 127.0
    return kernel + ops.stop_gradient(step * ops.round(kernel / step) - kernel)


def _rebuild(
    student: keras.Model, at_int8: Callable[[Any], Any], rounds: bool
) -> tuple[keras.Model, list[tuple[int, int]]]:
    """The student's graph once more, with its variables.

    Args:
        student: Of kind ``mobilenet`` or ``cnn``.
        at_int8: Takes each tensor that the int8 file stores, once and in the same order in every
            call, and returns what is to be read in its place.
        rounds: Whether kernels and constants are rounded.

    Returns:
        The model, and ``(summand, sum)`` numbers of tensors where the sum overwrites the summand.
    """
    read: dict[int, tuple[int, Any, Any]] = {}  # with the tensor itself, so that no id comes twice
    overwritten = []

    def int8(tensor: Any) -> Any:
        if id(tensor) not in read:
            read[id(tensor)] = (len(read), tensor, at_int8(tensor))
        return read[id(tensor)][2]

    def constant(values: np.ndarray) -> np.ndarray:
        if not rounds:
            return values
        limits = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        return np.asarray(tf.quantization.fake_quant_with_min_max_args(values, *limits))

    def copy(layer: Any) -> Any:
        if isinstance(layer, Standardize):
            return layer
        if not getattr(layer, "weights", None):
            return type(layer).from_config(layer.get_config())
        if not isinstance(layer, (*_WITH_KERNEL, layers.BatchNormalization)):
            raise UserError(
                f"quantisation-aware fine-tuning does not know {type(layer).__name__} "
                f"({layer.name}); set quantization.epochs = 0, or student.kind = 'mobilenet'"
            )
        return _Shared(layer, rounds)

    def call(layer: Any, inputs: Any, **settings: Any) -> Any:
        if isinstance(layer, Standardize):  # the file subtracts, stores, and multiplies
            mean, scale = np.asarray(layer.mean), 1.0 / np.asarray(layer.deviation)
            centred = layers.Rescaling(1.0, -constant(mean))(int8(inputs))
            return layers.Rescaling(constant(scale))(int8(centred))
        kind = layer.layer if isinstance(layer, _Shared) else layer
        read_inputs = (
            keras.tree.map_structure(int8, inputs) if isinstance(kind, _READERS) else inputs
        )
        outputs = layer(read_inputs, **settings)
        if isinstance(kind, layers.Add):
            # While TensorFlow Lite calibrates, a sum takes the memory of the summand that nothing
            # else reads, which is our last one, and thereby widens its range.
            int8(outputs)
            overwritten.append((read[id(inputs[-1])][0], read[id(outputs)][0]))
        return outputs

    body = keras.models.clone_model(student, clone_function=copy, call_function=call)
    return keras.Model(body.input, int8(body.output), name=student.name), overwritten
