"""A student's start: the first layers of YAMNet, as its authors publish it.

YAMNet (github.com/tensorflow/models, research/audioset/yamnet; Apache-2.0) is a MobileNetV1 (arXiv
1704.04861) trained on 521 kinds of sounds of AudioSet, two million clips. Its first layers are of
use for emotions, too. The file that is read here is the one for phones (TensorFlow Hub,
``google/lite-model/yamnet/classification/tflite/1``): int8 weights, batch normalisation folded in.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from ser_kd.config import StudentConfig
from ser_kd.errors import UserError
from ser_kd.students.architectures import YAMNET_BLOCKS, YAMNET_STEM_CHANNELS, build_student
from ser_kd.students.weights_file import require_weights_file
from ser_kd.tflite.interpreters import load_interpreter

# Speech in YAMNet's own input, ln(mel magnitude + 0.001): mean over frames and bands, and the mean
# over bands of the deviation. Measured on CREMA-D's training clips. Standardised log-mels have 0
# and 1; whatever is wrong about the rest, training mends.
_SPEECH_MEAN, _SPEECH_DEVIATION = -2.6, 1.4

_BATCH = 32
_Convolution = tuple[np.ndarray, np.ndarray]
"""Kernel as Keras has it, and bias."""


def read_convolutions(path: Path, blocks: int) -> list[_Convolution]:
    """The stem and the first ``blocks`` blocks (depthwise, pointwise) of a file.

    Raises:
        UserError: There is no such file, or its first layers are not YAMNet's.
    """
    require_weights_file(path)
    interpreter = load_interpreter(path)
    interpreter.allocate_tensors()
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    wanted = _kernel_shapes(blocks)
    found = []
    # The interpreters tell a file's operators in this way only; tests compare what comes out.
    for operator in interpreter._get_ops_details():
        if operator["op_name"] not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            continue
        kernel, bias = (details[index] for index in operator["inputs"][1:3])
        if kernel["dtype"] != np.int8 or bias["dtype"] != np.int32:
            break
        scales = kernel["quantization_parameters"]["scales"]
        # [1, height, width, channels] or [outputs, height, width, inputs] in the file.
        places = (-1, 1, 1, 1) if operator["op_name"] == "CONV_2D" else (1, 1, 1, -1)
        values = interpreter.get_tensor(kernel["index"]) * scales.reshape(places)
        steps = bias["quantization_parameters"]["scales"]
        offsets = interpreter.get_tensor(bias["index"]) * steps
        found.append((values.transpose(1, 2, 3, 0).astype(np.float32), offsets.astype(np.float32)))
    if [kernel.shape for kernel, _ in found[: len(wanted)]] != wanted:
        raise UserError(
            f"student.initial_weights: {path} does not begin as YAMNet for TensorFlow Lite does "
            f"({len(wanted)} int8 convolutions for student.blocks = {blocks}); is it another model?"
        )
    return found[: len(wanted)]


def _kernel_shapes(blocks: int) -> list[tuple[int, ...]]:
    shapes: list[tuple[int, ...]] = [(3, 3, 1, YAMNET_STEM_CHANNELS)]
    inputs = YAMNET_STEM_CHANNELS
    for outputs, _ in YAMNET_BLOCKS[:blocks]:
        shapes += [(3, 3, inputs, 1), (1, 1, inputs, outputs)]
        inputs = outputs
    return shapes


def narrowed(
    convolutions: list[_Convolution], model: keras.Model, windows: np.ndarray
) -> list[_Convolution]:
    """Convolutions with as many channels as a student has.

    A block of fewer channels keeps those whose activations vary most: one that is the same for all
    speech carries no information, and the next block's offsets make up for it.

    Args:
        convolutions: As ``read_convolutions`` gives them.
        model: See ``begin_with``.
        windows: See ``begin_with``.
    """
    wanted = [layer.kernel.shape[-1] for layer in _body(model)][2::2]
    if wanted == [kernel.shape[-1] for kernel, _ in convolutions[2::2]]:
        return convolutions
    _, frames, mels = model.input_shape
    config = StudentConfig("yamnet", blocks=len(wanted))
    whole = build_student(config, frames, mels, model.output_shape[-1])
    statistics = model.get_layer("standardize")
    whole.get_layer("standardize").set_statistics(statistics.mean, statistics.deviation)
    begin_with(whole, convolutions, windows)
    activations = [layer.output for layer in whole.layers if isinstance(layer, layers.ReLU)]
    cut, inputs = convolutions[:1], np.arange(YAMNET_STEM_CHANNELS)
    for block, (_, variance) in enumerate(_moments(whole, activations[2::2], windows)):
        outputs = np.sort(np.argsort(-variance, kind="stable")[: wanted[block]])
        (depthwise, depthwise_bias), (pointwise, bias) = convolutions[2 * block + 1 :][:2]
        cut.append((depthwise[:, :, inputs], depthwise_bias[inputs]))
        cut.append((pointwise[:, :, inputs][:, :, :, outputs], bias[outputs]))
        inputs = outputs
    return cut


def begin_with(model: keras.Model, convolutions: list[_Convolution], windows: np.ndarray) -> None:
    """Sets the body of a student of kind ``yamnet`` to what a file has.

    The file has no batch normalisation left. Each one is set so that it changes nothing yet: its
    moving statistics are those of ``windows``, its scale and offset undo them. From there it trains
    as any other.

    Args:
        model: As ``student.build_student`` makes it, its feature statistics set.
        convolutions: As ``read_convolutions`` gives them, with the model's channels.
        windows: float32 ``[windows, frames, mels]`` in dB.
    """
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for number, (layer, norm, (kernel, bias)) in enumerate(
        zip(_body(model), norms, convolutions, strict=True)
    ):
        offset = bias
        if number == 0:  # from standardised features to YAMNet's
            offset = bias + _SPEECH_MEAN * kernel.sum(axis=(0, 1, 2))
            kernel = _SPEECH_DEVIATION * kernel
        layer.set_weights([kernel])
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        norm.set_weights([np.sqrt(one + norm.epsilon), offset, zero, one])
    moments = _moments(model, [norm.input for norm in norms], windows)
    for norm, (mean, variance) in zip(norms, moments, strict=True):
        offset = norm.get_weights()[1] + mean
        norm.set_weights([np.sqrt(variance + norm.epsilon), offset, mean, variance])


def _body(model: keras.Model) -> list[layers.Layer]:
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    return [layer for layer in model.layers if isinstance(layer, kinds)]


def _moments(
    model: keras.Model, tensors: list[keras.KerasTensor], windows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Mean and variance of each channel of some tensors ``[batch, height, width, channels]``."""
    watcher = keras.Model(model.input, tensors)
    sums = [np.zeros((2, tensor.shape[-1])) for tensor in tensors]
    for start in range(0, len(windows), _BATCH):  # all activations of all windows fill gigabytes
        batch = windows[start : start + _BATCH]
        for total, seen in zip(sums, watcher(batch, training=False), strict=True):
            moments = [np.mean(seen, (0, 1, 2)), np.mean(np.square(seen), (0, 1, 2))]
            total += len(batch) / len(windows) * np.array(moments)
    return [(mean, np.maximum(square - mean**2, 0.0)) for mean, square in sums]
