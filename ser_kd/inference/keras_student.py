"""Students as .keras files: log-mel networks, run by TensorFlow."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.audio.logmel import LogMel
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.speaker.adaptation import LogMelAdaptation
from ser_kd.students.frontend import Frontend, no_categories
from ser_kd.students.saved import keras_corpus, keras_logits, load_keras
from ser_kd.teachers.saved import load_network


class KerasStudent:
    """A log-mel network; the front end is TensorFlow's, too.

    Args:
        path: The .keras file.
        frontend: Its front end.

    Raises:
        UserError: It is missing, damaged, no Keras model, or a student of dimensions.
    """

    def __init__(self, path: Path, frontend: Frontend) -> None:
        network = load_keras(path)
        if isinstance(network.output, dict):  # output_shape is a tuple where it has one entry
            raise no_categories(path)
        self.expected_input: tuple[int, ...] = (frontend.frames, frontend.mels)
        self.input_shape, self.output_shape = network.input_shape, network.output_shape
        self._logits, self._temperature = keras_logits(network), frontend.temperature
        self._layer = LogMel(frontend.logmel)
        corpus = keras_corpus(network)
        self.adaptation: LogMelAdaptation | None = None
        if corpus is not None:
            self.adaptation = LogMelAdaptation(
                corpus, frontend.floor_db, self._logmel, self._predict_logmel
            )

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Windows float32 ``[windows, samples]`` -> probabilities ``[windows, classes]``."""
        return self._predict_logmel(self._logmel(windows))

    def _logmel(self, windows: np.ndarray) -> np.ndarray:
        return np.asarray(self._layer(windows))

    def _predict_logmel(self, frames: np.ndarray) -> np.ndarray:
        return softmax(self._logits(frames) / self._temperature)


def timed_network(
    path: Path, example: np.ndarray | Mapping[str, np.ndarray] | None
) -> tuple[str, Callable[[], Any]]:
    """A network of any kind, teachers' included, for ``ser_kd.inference.measure``.

    Args:
        path: The .keras file.
        example: Its input; None = noise of the shape that it names.

    Returns:
        (runtime, one inference).

    Raises:
        UserError: It cannot be loaded, or does not name its input's shape.
    """
    network = load_network(path)
    if example is None:
        shape = getattr(network, "input_shape", None)  # subclassed models have none
        if not isinstance(shape, tuple) or None in shape[1:]:
            raise UserError(f"{path} does not name its input's shape: give an example")
        generator = np.random.default_rng(0)
        example = generator.normal(size=(1, *shape[1:])).astype(np.float32)
    inputs = tf.nest.map_structure(tf.constant, example)
    signature = tf.nest.map_structure(tf.TensorSpec.from_tensor, inputs)
    run = tf.function(lambda x: network(x, training=False), input_signature=[signature])
    return "Keras", lambda: run(inputs).numpy()
