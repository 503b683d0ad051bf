"""Fine-tuning a speech encoder on the clips' waveforms."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config, Wav2Vec2TeacherConfig
from ser_kd.data import batching, clip_arrays
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.encoder.architecture import architecture
from ser_kd.encoder.checkpoint import SAMPLE_RATE_HZ, Checkpoint, open_checkpoint
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.teachers.classifier import Frozen, SpeechClassifier
from ser_kd.teachers.feature_store import FeatureStore
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.waveform_batches import map_clips, trimmed

_BATCH = 16
_BATCHES_PER_BUCKET = 16


class Wav2Vec2Teacher:
    """One classifier on a speech encoder per fold."""

    hears: Literal["waveform", "logmel"] = "waveform"

    def __init__(
        self, name: str, teacher: Wav2Vec2TeacherConfig, config: Config, run_data: RunData
    ) -> None:
        self.name, self.teacher, self.config, self.run_data = name, teacher, config, run_data
        self.frozen: Frozen = teacher.frozen or (
            "feature_encoder" if teacher.checkpoint else "nothing"
        )
        # What is wrong with either shows before any training.
        self._checkpoint: Checkpoint | None = None
        if teacher.checkpoint:
            if config.audio.sample_rate_hz != SAMPLE_RATE_HZ:
                raise UserError(
                    f"teachers.{name}.checkpoint hears {SAMPLE_RATE_HZ} Hz, but "
                    f"audio.sample_rate_hz = {config.audio.sample_rate_hz}"
                )
            self._checkpoint = open_checkpoint(teacher.checkpoint, teacher.architecture)
        elif self.frozen == "encoder":
            raise UserError(
                f"teachers.{name}.frozen = 'encoder' needs a checkpoint: a random encoder that "
                "never learns hears nothing"
            )
        else:
            architecture(**teacher.architecture)
        self._notified: set[str] = set()
        self._store: FeatureStore | None = None

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory / "classifier.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains on the clips of ``ids`` and on nothing else; keeps the last epoch."""
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        teacher, config = self.teacher, self.config
        seed = fit_loop.network_seed(config.seed, label)
        keras.utils.set_random_seed(seed)
        arrays = self.run_data.waveforms.select(ids)
        labels = self.run_data.one_hot(arrays.ids)
        with precision(teacher.precision, self._notify):
            model = self._build(labels.shape[1])
            student = model.head if self.frozen == "encoder" else model
            # Its policy decides whether the loss is scaled, which float16 gradients need.
            distiller = Distiller(student, label_weight=1.0, logit_weight=0.0, name="teacher")
        targets = {
            "labels": labels * (1.0 - teacher.fit.label_smoothing)
            + teacher.fit.label_smoothing / labels.shape[1],
            "weight": clip_weights(labels, teacher.class_weights),
        }
        rate_scale = None
        window, bucket = config.audio.window_samples, 0
        transform: batching.Transform = _waveform_inputs
        if self.frozen == "encoder":
            means = self._features(directory).features(arrays)
            arrays = clip_arrays.one_cell_per_clip(arrays.ids, means)
            window, transform = 1, _feature_inputs
        else:
            transform = trimmed(transform, config.audio.sample_rate_hz)
            bucket = _BATCHES_PER_BUCKET
            if teacher.encoder_learning_rate is not None:
                rate_scale = _EncoderRate(teacher.encoder_learning_rate / teacher.fit.learning_rate)

        def batches(epochs: range) -> tf.data.Dataset:
            return batching.training_batches(
                arrays,
                targets,
                window,
                0,
                transform,
                teacher.fit.batch_size,
                seed,
                epochs,
                batches_per_bucket=bucket,
            )

        steps = max(1, len(arrays) // teacher.fit.batch_size)
        fit_loop.fit(
            distiller,
            batches,
            steps,
            teacher.fit,
            directory / path.stem,
            label,
            rate_scale=rate_scale,
            varying_shapes=True,
        )
        with files.atomic(path) as partial:
            model.save(partial)
        fit_loop.forget_state(directory / path.stem)

    def _build(self, classes: int) -> SpeechClassifier:
        teacher = self.teacher
        model = SpeechClassifier(
            self._new_encoder(),
            classes,
            combine=teacher.combine,
            pooling=teacher.pooling,
            projection=teacher.projection,
            dropout=teacher.dropout,
            frozen=self.frozen,
        )
        model.build()
        return model

    def _new_encoder(self) -> SpeechEncoder:
        recompute = self.teacher.gradient_checkpointing
        if self._checkpoint is not None:
            return self._checkpoint.encoder(recompute, self._notify)
        return SpeechEncoder(
            architecture(**self.teacher.architecture),
            gradient_checkpointing=recompute,
            name="encoder",
        )

    def _notify(self, line: str) -> None:
        """Says every line once, not once a fold."""
        if line not in self._notified:
            self._notified.add(line)
            say(line)

    def _features(self, directory: Path) -> FeatureStore:
        """The frozen encoder's features, which all folds share."""
        if self._store is None:
            # A classifier whose head is not looked at: means do not depend on it.
            model = self._build(classes=1)
            run = _compiled(model, lambda inputs: model.layer_means(inputs))
            shape = (model.head.settings["layer_count"], model.head.settings["dim"])

            def extract(clips: clip_arrays.ClipArrays) -> np.ndarray:
                return self._map(run, clips).reshape(len(clips), *shape)

            assert self._checkpoint is not None  # nothing else can be frozen as a whole
            folder = directory.parent / f"features-{self._checkpoint.fingerprint}"
            self._store = FeatureStore(folder, extract, self.name)
        return self._store

    def _map(self, run: Any, clips: clip_arrays.ClipArrays) -> np.ndarray:
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        return map_clips(run, clips, windowing, self.config.audio.sample_rate_hz, _BATCH)

    def predictor(self, directory: Path) -> Predictor:
        """Waveforms -> probabilities ``[clips, classes]``, embedding ``[clips, projection]``."""
        (path,) = self.network_paths(directory)
        model = cast(SpeechClassifier, keras.models.load_model(path))

        def predict(arrays: clip_arrays.ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            if self.frozen == "encoder":
                means = self._features(directory).features(arrays)
                values = _joined(*model.head.from_means(tf.constant(means), training=False)).numpy()
            else:
                values = self._map(run, arrays)
            return values[:, : model.classes], values[:, model.classes :]

        run = _compiled(model, lambda inputs: _joined(*model.logits_and_embedding(inputs)))
        return predict


class _EncoderRate:
    """Variable path -> factor on the learning rate: ``scale`` in the encoder, else 1."""

    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, path: str) -> float:
        return self.scale if "encoder" in path.split("/") else 1.0


def clip_weights(labels: np.ndarray, class_weights: str) -> np.ndarray:
    """Weight of each clip in the loss, float32 ``[clips]``, 1 on average.

    Args:
        labels: One-hot ``[clips, classes]``.
        class_weights: ``none``, or ``balanced``: every class that occurs counts alike.
    """
    clips_per_class = labels.sum(axis=0)
    if class_weights == "none":
        return np.ones(len(labels), np.float32)
    present = np.count_nonzero(clips_per_class)
    weight = len(labels) / (present * np.maximum(clips_per_class, 1.0))
    return weight[labels.argmax(axis=1)].astype(np.float32)


def _joined(logits: Any, embedding: Any) -> Any:
    return tf.concat([tf.nn.softmax(logits), tf.cast(embedding, tf.float32)], axis=1)


def _compiled(model: SpeechClassifier, function: Any) -> Any:
    """``function(inputs) -> [batch, ...]`` as one graph for all shapes, flattened to a matrix."""
    signature = {
        "waveform": tf.TensorSpec((None, None), tf.float32),
        "samples": tf.TensorSpec((None,), tf.int32),
    }

    @tf.function(input_signature=[signature])
    def run(inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        values = function(inputs)
        return tf.reshape(values, [tf.shape(values)[0], -1])

    return run


def _waveform_inputs(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    x, y = batching.waveform_transform(windows, lengths, targets, seed)
    return x, {"labels": y["labels"]}, y["weight"]


def _feature_inputs(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    return windows[:, 0], {"labels": targets["labels"]}, targets["weight"]


@contextlib.contextmanager
def precision(name: str, notify: Callable[[str], None]) -> Iterator[None]:
    """Layers made inside compute in this precision; on a CPU, which would only lose, in float32."""
    if name != "float32" and not fit_loop.on_gpu():
        notify(f"  no GPU: precision = {name!r} is not used, the teacher trains in float32")
        name = "float32"
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
