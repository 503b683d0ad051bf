"""Loading .keras files of this project."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import ser_kd.students.heads
import ser_kd.students.layers  # noqa: F401 (classes are registered by importing them)
from ser_kd.errors import UserError
from ser_kd.students.frontend import Corpus


def load_keras(path: Path) -> keras.Model:
    """Loads a student's .keras file, for evaluation.

    Raises:
        UserError: It is missing, truncated, corrupt, or not a Keras model.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such model; train one first: ser-kd train")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras each have their own errors
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise UserError(f"{path} is damaged or no Keras model ({reason}); train again") from None


def keras_logits(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """A compiled function of a log-mel model: float32 ``[batch, frames, mels]`` -> logits."""
    run = tf.function(lambda windows: model(windows, training=False), reduce_retracing=True)
    return lambda windows: run(tf.constant(windows, tf.float32)).numpy()


def keras_corpus(model: keras.Model) -> Corpus | None:
    """What a log-mel model standardises its features with; None = it is another kind of model."""
    try:
        standardize = model.get_layer("standardize")
        return Corpus(np.asarray(standardize.mean), np.asarray(standardize.deviation))
    except (ValueError, AttributeError):
        return None
