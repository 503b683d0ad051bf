"""A student's start: the first layers of YAMNet, as its authors publish it.

YAMNet (github.com/tensorflow/models, research/audioset/yamnet; Apache-2.0) is a MobileNetV1 (arXiv
1704.04861) that learnt 521 kinds of sounds from AudioSet, two million clips. What its first layers
hear is of use for emotions, too. The file that is read here is the one for phones (TensorFlow Hub,
``google/lite-model/yamnet/classification/tflite/1``): int8 weights, batch normalisation folded in.
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

from ser_kd.errors import UserError
from ser_kd.student import YAMNET_BLOCKS, YAMNET_STEM_CHANNELS
from ser_kd.tflite import load_interpreter

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
    if not path.is_file():
        raise UserError(
            f"student.initial_weights: no file {path}; it is YAMNet for TensorFlow Lite, 4.1 MB, "
            "from tensorflow.org's model hub (google/lite-model/yamnet/classification/tflite/1)"
        )
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


def begin_with(model: keras.Model, convolutions: list[_Convolution], windows: np.ndarray) -> None:
    """Sets the body of a student of kind ``yamnet`` to what a file has.

    The file has no batch normalisation left. Each one is set so that it changes nothing yet: its
    moving statistics are those of ``windows``, its scale and offset undo them. From there it trains
    as any other.

    Args:
        model: As ``student.build_student`` makes it, its feature statistics set.
        convolutions: As ``read_convolutions`` gives them; width is 1.
        windows: float32 ``[windows, frames, mels]`` in dB.
    """
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    body = [layer for layer in model.layers if isinstance(layer, kinds)]
    norms = [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)]
    for number, (layer, norm, (kernel, bias)) in enumerate(
        zip(body, norms, convolutions, strict=True)
    ):
        offset = bias
        if number == 0:  # from standardised features to YAMNet's
            offset = bias + _SPEECH_MEAN * kernel.sum(axis=(0, 1, 2))
            kernel = _SPEECH_DEVIATION * kernel
        layer.set_weights([kernel])
        one, zero = np.ones_like(bias), np.zeros_like(bias)
        norm.set_weights([np.sqrt(one + norm.epsilon), offset, zero, one])
    watcher = keras.Model(model.input, [norm.input for norm in norms])
    sums = [np.zeros((2, norm.input.shape[-1])) for norm in norms]
    for start in range(0, len(windows), _BATCH):  # all activations of all windows fill gigabytes
        batch = windows[start : start + _BATCH]
        for total, seen in zip(sums, watcher(batch, training=False), strict=True):
            moments = [np.mean(seen, (0, 1, 2)), np.mean(np.square(seen), (0, 1, 2))]
            total += len(batch) / len(windows) * np.array(moments)
    for norm, (mean, square) in zip(norms, sums, strict=True):
        variance = np.maximum(square - mean**2, 0.0)
        offset = norm.get_weights()[1] + mean
        norm.set_weights([np.sqrt(variance + norm.epsilon), offset, mean, variance])
