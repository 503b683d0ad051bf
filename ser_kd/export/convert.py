"""Keras -> SavedModel -> .tflite.

``model.export`` and ``from_saved_model`` is the only way that works on every TensorFlow from 2.16
to 2.21: ``from_keras_model`` aborts the process on 2.16, and ``from_concrete_functions`` silently
gives NaN for Keras 3 models.
"""

import contextlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.errors import UserError
from ser_kd.export import verify
from ser_kd.export.model_file import compact
from ser_kd.progress import say
from ser_kd.quiet import stderr_held

KINDS = ("float32", "float16", "dynamic", "int8")
"""Log-mel in, logits out. ``float16``: weights in half the bytes; ``dynamic``: int8 weights, float
arithmetic; ``int8``: throughout."""
# TensorFlow 2.21's converter leaves the gates of an LSTM in float in about one of six conversions
# of the very same model. What stays so is found, and refused, by the export's verification.
_INT8_TRIES = 4


def model_path(export_dir: Path, kind: str) -> Path:
    """Where the student of that kind is written."""
    return export_dir / f"student_{kind}.tflite"


def convert(
    model: keras.Model, kinds: tuple[str, ...], export_dir: Path, windows: np.ndarray
) -> None:
    """Writes ``student_<kind>.tflite`` for each of ``kinds``, each one atomically.

    Args:
        model: float32 ``[batch, frames, mels]`` -> logits.
        kinds: Of ``KINDS``.
        export_dir: Receives the files.
        windows: Representative ones, float32 ``[windows, frames, mels]``, for the ranges of int8.

    Raises:
        UserError: TensorFlow cannot convert the model.
    """
    if not kinds:
        return
    say("  saving the network for TensorFlow's converter")
    with _saved_model(model) as saved:
        for kind in kinds:
            say(f"  converting to {kind}")
            with files.atomic(model_path(export_dir, kind)) as partial:
                for _ in range(_INT8_TRIES if kind == "int8" else 1):
                    partial.write_bytes(_convert(saved, kind, windows))
                    if kind != "int8" or not verify.not_int8(partial):
                        break


def convert_multi_task(model: keras.Model, path: Path, windows: np.ndarray) -> None:
    """Writes a student with several outputs as int8; they have their names in the signature.

    Args:
        model: As ``heads.multi_task_student`` makes it.
        path: The file.
        windows: Representative ones, float32 ``[windows, frames, mels]``, for the ranges of int8.

    Raises:
        UserError: TensorFlow cannot convert the model, or leaves a part of it in float.
    """
    with files.atomic(path) as partial, _saved_model(model) as saved:
        for _ in range(_INT8_TRIES):
            partial.write_bytes(_convert(saved, "int8", windows))
            if not verify.not_int8(partial):
                break
        else:
            raise UserError(
                f"{path.name}: {', '.join(verify.not_int8(partial))} stayed float in "
                f"{_INT8_TRIES} conversions; export again"
            )


@contextlib.contextmanager
def _saved_model(model: keras.Model) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as saved:
        # A static batch: nothing but one window at a time is asked for, and operators such as
        # the unrolled LSTM then need no shape arithmetic.
        signature = [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="logmel")]
        with contextlib.redirect_stdout(io.StringIO()):  # older Keras ignores ``verbose``
            model.export(saved, verbose=False, input_signature=signature)
        yield saved


def _convert(saved: str, kind: str, windows: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":

        def representative_dataset() -> Iterator[list[np.ndarray]]:
            for window in windows:
                yield [window[np.newaxis]]

        converter.representative_dataset = representative_dataset
        # Without a fallback: an operator that int8 lacks is an error, not a float island.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    try:
        with stderr_held():  # the converter writes pages of its own
            content: bytes = converter.convert()
    except Exception as error:  # the converter raises whatever its passes raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the student cannot be converted to {kind}: {reason}") from error
    return compact(content)


def convert_module(module: tf.Module, *inputs: tf.TensorSpec) -> bytes:
    """A module as a float32 .tflite model; ``inputs`` have their names in its signature."""
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as saved:
        function = module.__call__.get_concrete_function(*inputs)
        with stderr_held():
            tf.saved_model.save(module, saved, signatures=function)
        return _convert(saved, "float32", np.empty(0))
