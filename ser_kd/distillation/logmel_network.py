"""Training and running one log-mel network: a student, or a member of the teacher ensemble."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.config import (
    NO_DIMENSIONS,
    AudioConfig,
    AugmentConfig,
    DimensionsConfig,
    DistillConfig,
    FitConfig,
    LogMelConfig,
    StudentConfig,
)
from ser_kd.data import batching, clip_arrays
from ser_kd.distillation import fit_loop
from ser_kd.distillation.dimensional import TEACHER_DIMENSIONS
from ser_kd.distillation.distiller import Distiller, LiveTeaching
from ser_kd.distillation.multi_task import MultiTaskDistiller, categories_of
from ser_kd.distillation.projections import EmbeddingDistiller, spaces_of, with_projections
from ser_kd.students import initial_weights
from ser_kd.students.architectures import build_student, embedding_model
from ser_kd.students.heads import DIMENSIONS, multi_task_student

_BATCH = 128
_WINDOWS_OF_STATISTICS = 256


def train_logmel_network(
    arrays: clip_arrays.ClipArrays,
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
    validation: tuple[clip_arrays.ClipArrays, np.ndarray] | None = None,
    views: np.ndarray | None = None,
    dimensions: DimensionsConfig = NO_DIMENSIONS,
    live: LiveTeaching | None = None,
) -> keras.Model:
    """Trains a network, or goes on where that was interrupted.

    Args:
        arrays: Log-mel frames of the training clips' views. The feature statistics are those of
            the first view of each clip that has a label.
        targets: ``labels`` (probabilities ``[views, classes]``; zeros: the clip has no label) and,
            to learn from teachers, ``teacher_logits`` (``[views, classes]``) and what
            ``projections.embedding_targets`` gives; with continuous targets ``dimensions``
            (``[views, dimensions]``, -1..1, NaN: not rated) and, to learn what teachers say of
            them, ``teacher_dimensions`` (the same shape).
        network: Its architecture.
        fit: Epochs and learning rate.
        augment: Augmentation.
        distill: Weights and temperature.
        audio: The window.
        logmel: The front end of ``arrays``.
        seed: Of this network: initial weights, order of the clips, augmentation, dropout.
        name: For the reader's eyes.
        directory: Receives history and resuming state.
        validation: Log-mel frames and class indices of the clips that choose the epoch (by UA).
            Without it the last epoch is kept.
        views: int ``[clips, views per clip]``: where in ``arrays`` and ``targets`` each clip's
            views are; see ``data.training_batches``. None: every entry is a clip of its own.
        dimensions: Weights and dropout of the continuous targets, where there are some.
        live: Teachers that are asked at every step.

    Returns:
        The trained network; with continuous targets as ``heads.multi_task_student`` makes it.
    """
    views = np.arange(len(arrays))[:, np.newaxis] if views is None else views
    student = new_logmel_network(arrays, targets["labels"], views, network, audio, logmel, seed)
    model = student
    if DIMENSIONS in targets:
        model = multi_task_student(student, targets[DIMENSIONS].shape[1], dimensions.dropout)
    score = None
    if validation is not None:
        predictor = LogMelPredictor(student, Windowing.of(audio, logmel))
        score = functools.partial(predictor.score, *validation)
    fit_logmel_network(
        _distiller(model, distill, dimensions, targets, name, live),
        arrays,
        targets,
        fit,
        augment,
        logmel,
        distill.temperature,
        seed,
        name,
        directory,
        score,
        views,
    )
    return model


def new_logmel_network(
    arrays: clip_arrays.ClipArrays,
    labels: np.ndarray,
    views: np.ndarray,
    network: StudentConfig,
    audio: AudioConfig,
    logmel: LogMelConfig,
    seed: int,
) -> keras.Model:
    """An untrained network with the training clips' statistics; sets the seed of all that follows.

    Args:
        arrays: See ``train_logmel_network``, as for all that follows.
        labels: ``[views, classes]``; the clips without a label are left out of the statistics.
        views: See there.
        network: See there.
        audio: See there.
        logmel: See there.
        seed: See there.
    """
    keras.utils.set_random_seed(seed)
    window = logmel.frames(audio.window_samples)
    model = build_student(network, window, logmel.mels, labels.shape[1])
    first_views = views[:, 0]
    labelled = first_views[labels[first_views].sum(axis=1) > 0]
    mean, deviation = clip_arrays.feature_statistics(arrays.take(labelled))
    model.get_layer("standardize").set_statistics(mean, deviation)
    if network.initial_weights:
        some = np.random.default_rng(seed).permutation(labelled)[:_WINDOWS_OF_STATISTICS]
        initial_weights.begin(model, network, batching.first_windows(arrays.take(some), window))
    return model


def fit_logmel_network(
    distiller: Distiller,
    arrays: clip_arrays.ClipArrays,
    targets: Mapping[str, np.ndarray],
    fit: FitConfig,
    augment: AugmentConfig,
    logmel: LogMelConfig,
    temperature: float,
    seed: int,
    name: str,
    directory: Path,
    score: Callable[[], Mapping[str, float]] | None,
    views: np.ndarray,
    chosen_by: str = "ua",
) -> None:
    """Trains ``distiller.student``, a log-mel network, or goes on where that was interrupted.

    Args:
        distiller: Its student's weights are changed; masks and shifts are filled in with the mean
            of its layer ``standardize``.
        arrays: See ``train_logmel_network``, as for all that is not named here.
        targets: See there.
        fit: See there.
        augment: See there.
        logmel: See there.
        temperature: At which mixup mixes the teachers' predictions.
        seed: See there.
        name: See there.
        directory: See there.
        score: Scores of the model as it is; see ``fit_loop.fit``.
        views: See there.
        chosen_by: Which of the scores chooses the epoch.
    """
    model = distiller.student
    window, classes = model.input_shape[1], targets["labels"].shape[1]
    smooth = fit.label_smoothing
    has_label = targets["labels"].sum(axis=1, keepdims=True)  # [views, 1], 1 or 0
    labels = targets["labels"] * (1.0 - smooth) + has_label * (smooth / classes)
    mean_db = np.asarray(model.get_layer("standardize").mean)
    transform = batching.logmel_transform(augment, logmel, mean_db, temperature)
    roll = round(augment.shift_seconds / logmel.hop_seconds)

    def batches(epochs: range) -> tf.data.Dataset:
        return batching.training_batches(
            arrays,
            {**targets, "labels": labels},
            window,
            min(roll, window // 2),
            transform,
            fit.batch_size,
            seed,
            epochs,
            views,
        )

    fit_loop.fit(
        distiller,
        batches,
        max(1, len(views) // fit.batch_size),
        fit,
        directory,
        name,
        score,
        chosen_by=chosen_by,
    )


def _distiller(
    model: keras.Model,
    distill: DistillConfig,
    dimensions: DimensionsConfig,
    targets: Mapping[str, np.ndarray],
    name: str,
    live: LiveTeaching | None,
) -> Distiller:
    shared: dict[str, Any] = {
        "label_weight": distill.label_weight,
        "logit_weight": distill.logit_weight,
        "temperature": distill.temperature,
        "name": name,
    }
    if live is not None:
        shared |= {"teacher": live.network, "teacher_share": live.share}
    spaces = spaces_of(targets)
    if spaces:
        shared["embedding_weights"] = distill.embedding_weights
        shared["embedding_loss"] = distill.embedding_loss
    if DIMENSIONS in targets:
        both = with_projections(categories_of(model), spaces).output, model.output[DIMENSIONS]
        whole = keras.Model(model.input, both, name=model.name)
        taught = dimensions.teacher_weight if TEACHER_DIMENSIONS in targets else 0.0
        return MultiTaskDistiller(whole, dimensions.weight, taught, **shared)
    if spaces:
        return EmbeddingDistiller(with_projections(model, spaces), **shared)
    return Distiller(model, **shared)


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
