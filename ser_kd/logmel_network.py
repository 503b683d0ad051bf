"""Training and running one log-mel network: a student, or a member of the teacher ensemble."""

from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ser_kd import data, fitting, metrics
from ser_kd.config import AudioConfig, AugmentConfig, DistillConfig, FitConfig, LogMelConfig
from ser_kd.distiller import Distiller
from ser_kd.student import StudentConfig, build_student, embedding_model

_BATCH = 128


def train_logmel_network(
    arrays: data.ClipArrays,
    targets: Mapping[str, np.ndarray],
    network: StudentConfig,
    fit: FitConfig,
    augment: AugmentConfig,
    distill: DistillConfig,
    audio: AudioConfig,
    logmel: LogMelConfig,
    seed: int,
    name: str,
    directory: Path,
    score: Callable[[keras.Model], Mapping[str, float]] | None = None,
) -> keras.Model:
    """Trains a network, or goes on where that was interrupted.

    Args:
        arrays: Log-mel frames of the training clips; the feature statistics are theirs.
        targets: ``labels`` (probabilities ``[clips, classes]``) and, to learn from a teacher,
            ``teacher_logits`` (``[clips, classes]``).
        network: Its architecture.
        fit: Epochs and learning rate.
        augment: Augmentation.
        distill: Weights and temperature.
        audio: The window.
        logmel: The front end of ``arrays``.
        seed: Of the run; each name makes its own random numbers of it.
        name: Distinguishes the networks of a run.
        directory: Receives history and resuming state.
        score: Validation scores, ``ua`` among them; the best epoch is kept. Without it the last.

    Returns:
        The trained network.
    """
    seed = fitting.set_seed(seed, name)
    window = logmel.frames(audio.window_samples)
    classes = targets["labels"].shape[1]
    model = build_student(network, window, logmel.mels, classes)
    mean, deviation = data.feature_statistics(arrays)
    model.get_layer("standardize").set_statistics(mean, deviation)
    distiller = Distiller(
        model, distill.label_weight, distill.logit_weight, distill.temperature, name=name
    )
    labels = targets["labels"] * (1.0 - fit.label_smoothing) + fit.label_smoothing / classes
    transform = data.logmel_transform(augment, logmel, mean, distill.temperature)
    roll = round(augment.shift_seconds / logmel.hop_seconds)

    def batches(epochs: range) -> tf.data.Dataset:
        return data.training_batches(
            arrays,
            {**targets, "labels": labels},
            window,
            min(roll, window // 2),
            transform,
            fit.batch_size,
            seed,
            epochs,
        )

    fitting.fit(
        distiller,
        batches,
        max(1, len(arrays) // fit.batch_size),
        fit,
        directory,
        name,
        None if score is None else lambda: score(model),
    )
    return model


def predict_logmel(
    model: keras.Model, arrays: data.ClipArrays, windowing: data.Windowing
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities and embedding of every clip, averaged over its windows.

    Returns:
        float32 ``[clips, classes]`` and ``[clips, channels]``.
    """
    both = embedding_model(model)
    window, classes = model.input_shape[1], model.output_shape[-1]

    @tf.function(reduce_retracing=True)
    def run(features: tf.Tensor) -> tf.Tensor:
        logits, embedding = both(features, training=False)
        return tf.concat([tf.nn.softmax(logits), embedding], axis=1)

    batches = data.evaluation_batches(arrays, windowing, window, _BATCH)
    width = classes + model.get_layer("embedding").output.shape[-1]
    values = data.average_windows(
        arrays, ((clips, run(windows).numpy()) for clips, windows, _ in batches), width
    )
    return values[:, :classes], values[:, classes:]


def score_logmel(
    model: keras.Model, arrays: data.ClipArrays, windowing: data.Windowing, truth: np.ndarray
) -> dict[str, float]:
    """WA, UA and macro-F1 of a network; ``truth`` is class indices ``[clips]``."""
    probs, _ = predict_logmel(model, arrays, windowing)
    return metrics.scores(truth, probs.argmax(1), probs.shape[1])
