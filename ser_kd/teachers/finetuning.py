"""Training a Wav2Vec2 teacher on the clips' waveforms."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ser_kd import data, files, fitting
from ser_kd.config import Config, Wav2Vec2TeacherConfig
from ser_kd.distiller import Distiller
from ser_kd.errors import UserError
from ser_kd.run import RunData
from ser_kd.teachers.wav2vec2 import Wav2Vec2Classifier, architecture

_BATCH = 16


class Wav2Vec2Teacher:
    """One classifier on a Wav2Vec2 encoder per fold."""

    def __init__(
        self, name: str, teacher: Wav2Vec2TeacherConfig, config: Config, run_data: RunData
    ) -> None:
        if teacher.checkpoint:
            raise UserError(
                f"teachers.{name}.checkpoint = {teacher.checkpoint!r}: loading published weights "
                "is not there yet; leave it empty for a random start, or bring the predictions of "
                "a teacher trained elsewhere (kind = 'file')"
            )
        self.name, self.teacher, self.config, self.run_data = name, teacher, config, run_data
        self.architecture = architecture(**teacher.architecture)

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory / "classifier.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains on the clips of ``ids`` and on nothing else; keeps the last epoch."""
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        teacher, config = self.teacher, self.config
        seed = fitting.network_seed(config.seed, label)
        keras.utils.set_random_seed(seed)
        arrays = self.run_data.waveforms.select(ids)
        labels = self.run_data.one_hot(arrays.ids)
        model = self._build(labels.shape[1])
        distiller = Distiller(model, label_weight=1.0, logit_weight=0.0, name="teacher")
        smooth = teacher.fit.label_smoothing
        targets = {"labels": labels * (1.0 - smooth) + smooth / labels.shape[1]}

        def batches(epochs: range) -> tf.data.Dataset:
            return data.training_batches(
                arrays,
                targets,
                config.audio.window_samples,
                0,
                data.waveform_transform,
                teacher.fit.batch_size,
                seed,
                epochs,
            )

        steps = max(1, len(arrays) // teacher.fit.batch_size)
        fitting.fit(distiller, batches, steps, teacher.fit, directory / path.stem, label)
        with files.atomic(path) as partial:
            model.save(partial)
        fitting.forget_state(directory / path.stem)

    def _build(self, classes: int) -> Wav2Vec2Classifier:
        # Random filters hear nothing useful: without pretraining the front end has to learn too.
        freeze = self.teacher.freeze_feature_encoder
        model = Wav2Vec2Classifier(
            self.architecture,
            classes,
            self.teacher.projection,
            self.teacher.dropout,
            freeze_feature_encoder=bool(self.teacher.checkpoint) if freeze is None else freeze,
        )
        model.build()
        return model

    def predict(self, ids: Sequence[str], directory: Path) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities ``[clips, classes]`` and embedding ``[clips, projection]``."""
        (path,) = self.network_paths(directory)
        model = keras.models.load_model(path)
        arrays = self.run_data.waveforms.select(ids)
        windowing = data.Windowing.of(self.config.audio, self.config.logmel)

        @tf.function(reduce_retracing=True)
        def run(waveform: tf.Tensor, samples: tf.Tensor) -> tf.Tensor:
            inputs = {"waveform": waveform, "samples": samples}
            logits, embedding = model.logits_and_embedding(inputs)
            return tf.concat([tf.nn.softmax(logits), embedding], axis=1)

        batches = data.evaluation_batches(
            arrays, windowing, self.config.audio.window_samples, _BATCH
        )
        values = data.average_windows(
            arrays,
            (
                (clips, run(data.to_float(windows), lengths).numpy())
                for clips, windows, lengths in batches
            ),
            model.classes + model.projection.units,
        )
        return values[:, : model.classes], values[:, model.classes :]
