"""Training and running one log-mel network: a student, or a member of the teacher ensemble."""

from collections.abc import Callable, Mapping

import keras
import numpy as np
import tensorflow as tf

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.config import AudioConfig, AugmentConfig, LogMelConfig, StudentConfig
from ser_kd.data import batching, clip_arrays
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.students import initial_weights
from ser_kd.students.architectures import build_student, embedding_model

_BATCH = 128
_WINDOWS_OF_STATISTICS = 256


def new_logmel_network(
    training_set: TrainingSet,
    network: StudentConfig,
    audio: AudioConfig,
    logmel: LogMelConfig,
    seed: int,
) -> keras.Model:
    """An untrained network that standardises with the statistics of the training clips.

    Sets the global seed: of the network's initial weights and of whatever is built after it.

    Args:
        training_set: The statistics are those of the first view of each clip that has a label.
        network: Architecture, and what it begins with.
        audio: The window.
        logmel: The front end of the clips.
        seed: Of this network.
    """
    keras.utils.set_random_seed(seed)
    window = logmel.frames(audio.window_samples)
    model = build_student(network, window, logmel.mels, training_set.classes)
    arrays, labelled = training_set.arrays, training_set.labelled_rows
    statistics = clip_arrays.feature_statistics(arrays.take(labelled))
    model.get_layer("standardize").set_statistics(*statistics)
    if network.initial_weights:
        some = np.random.default_rng(seed).permutation(labelled)[:_WINDOWS_OF_STATISTICS]
        initial_weights.begin(model, network, batching.first_windows(arrays.take(some), window))
    return model


def fit_logmel_network(
    distiller: Distiller,
    training_set: TrainingSet,
    job: fit_loop.Job,
    augment: AugmentConfig,
    logmel: LogMelConfig,
    temperature: float = 1.0,
    score: Callable[[], Mapping[str, float]] | None = None,
) -> None:
    """Trains ``distiller.student``, a log-mel network, or goes on where that was interrupted.

    Args:
        distiller: Its student's weights are changed; masks and shifts are filled in with the mean
            of its layer ``standardize``.
        training_set: Log-mel frames and targets.
        job: Settings, seed, name, folder.
        augment: Augmentation.
        logmel: The front end of the clips.
        temperature: At which mixup mixes the teachers' predictions.
        score: Scores of the student as it is, by which the epoch is chosen; None: the last epoch.
    """
    model = distiller.student
    window = model.input_shape[1]
    mean_db = np.asarray(model.get_layer("standardize").mean)
    roll = round(augment.shift_seconds / logmel.hop_seconds)
    transform = batching.logmel_transform(augment, logmel, mean_db, temperature)
    plan = batching.BatchPlan(window, transform, min(roll, window // 2))
    fit_loop.fit(distiller, training_set, plan, job, score)


class LogMelPredictor:
    """Runs a network over whole clips: all windows of each, averaged.

    Made once per network and kept, because tracing its graph takes longer than running it. Logits
    are divided by ``temperature`` before softmax.
    """

    def __init__(self, model: keras.Model, windowing: Windowing, temperature: float = 1.0) -> None:
        self.windowing = windowing
        self.window, self.classes = model.input_shape[1], model.output_shape[-1]
        self.width = self.classes + model.get_layer("embedding").output.shape[-1]
        both = embedding_model(model)

        @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
        def run(features: tf.Tensor) -> tf.Tensor:
            logits, embedding = both(features, training=False)
            return tf.concat([tf.nn.softmax(logits / temperature), embedding], axis=1)

        # The one graph: TensorFlow warns of retracing where several networks are evaluated.
        self._run = run.get_concrete_function()

    def predict(self, arrays: clip_arrays.ClipArrays) -> tuple[np.ndarray, np.ndarray]:
        """Class probabilities ``[clips, classes]`` and embedding ``[clips, channels]``, float32."""
        batches = batching.evaluation_batches(arrays, self.windowing, self.window, _BATCH)
        runs = ((clips, self._run(windows).numpy()) for clips, windows, _ in batches)
        values = batching.average_windows(arrays, runs, self.width)
        return values[:, : self.classes], values[:, self.classes :]

    def score(self, arrays: clip_arrays.ClipArrays, truth: np.ndarray) -> dict[str, float]:
        """WA, UA and macro-F1; ``truth`` is class indices ``[clips]``."""
        probs, _ = self.predict(arrays)
        return metrics.scores(truth, probs.argmax(1))
