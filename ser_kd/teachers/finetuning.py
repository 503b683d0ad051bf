"""Fine-tuning a speech encoder on the clips' waveforms."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from ser_kd.audio.windows import Windowing
from ser_kd.config import AudioConfig, Config, TeacherConfig
from ser_kd.data import batching
from ser_kd.data.clip_arrays import ClipArrays, one_cell_per_clip
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.encoder.architecture import (
    SAMPLE_RATE_HZ,
    EncoderConfig,
    architecture,
    encoder_class,
    longest_seconds,
)
from ser_kd.encoder.checkpoint import Checkpoint, open_checkpoint
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.classifier import Frozen, SpeechClassifier
from ser_kd.teachers.clip_store import ClipStore
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import Wav2Vec2TeacherConfig
from ser_kd.teachers.training import Training, train_network
from ser_kd.teachers.waveform_batches import map_clips, trimmed

_BATCH = 16
_BATCHES_PER_BUCKET = 16
_CLIPS_PER_FILE = 256
_LARGEST = float(np.finfo(np.float16).max)


class Wav2Vec2Teacher(Teacher[Wav2Vec2TeacherConfig]):
    """One classifier on a speech encoder per fold.

    Raises:
        UserError: The checkpoint cannot be had, or does not go with the settings.
    """

    input_kind = "waveform"

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        settings = self.settings
        self.frozen: Frozen = settings.frozen or (
            "feature_encoder" if settings.checkpoint else "nothing"
        )
        self._checkpoint: Checkpoint | None = None
        if settings.checkpoint:
            if config.audio.sample_rate_hz != SAMPLE_RATE_HZ:
                raise UserError(
                    f"teachers.{name}.checkpoint takes {SAMPLE_RATE_HZ} Hz, but "
                    f"audio.sample_rate_hz = {config.audio.sample_rate_hz}"
                )
            self._checkpoint = open_checkpoint(settings.checkpoint, settings.architecture)
            self._encoder_config: EncoderConfig = self._checkpoint.config
        elif self.frozen == "encoder":
            raise UserError(
                f"teachers.{name}.frozen = 'encoder' needs a checkpoint: a random encoder that "
                "never learns is of no use"
            )
        else:
            self._encoder_config = architecture(**settings.architecture)
        longest = longest_seconds(self._encoder_config)
        if config.audio.window_seconds > longest:
            raise UserError(
                f"audio.window_seconds = {config.audio.window_seconds:g}, but the encoder of "
                f"teachers.{name} hears at most {longest:g} s: make the windows shorter"
            )
        self._notified: set[str] = set()
        self._store: ClipStore | None = None

    @classmethod
    def example_input(cls, settings: TeacherConfig, audio: AudioConfig) -> dict[str, np.ndarray]:
        """A window of noise."""
        samples = audio.window_samples
        noise = np.random.default_rng(0).normal(0.0, 0.1, (1, samples)).astype(np.float32)
        return {"waveform": noise, "samples": np.array([samples], np.int32)}

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory / "classifier.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains the classifier, and of the encoder what is not frozen."""
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        settings, audio = self.settings, self.config.audio
        arrays = self.run_data.waveforms.select(ids)
        labels = self.run_data.one_hot(arrays.ids)
        frozen, rate = self.frozen == "encoder", settings.encoder_learning_rate
        if frozen:
            arrays = one_cell_per_clip(arrays.ids, self._features(directory, arrays))

        weights = clip_weights(labels, settings.class_weights)
        training_set = TrainingSet(arrays, labels, weights=weights)

        def prepare() -> Training:
            model = self._build(labels.shape[1])
            if frozen:
                return Training(model, training_set, trained=model.head)
            inputs = trimmed(batching.waveform_transform, audio.sample_rate_hz)
            return Training(
                model,
                training_set,
                batching.BatchPlan(
                    audio.window_samples, inputs, batches_per_bucket=_BATCHES_PER_BUCKET
                ),
                rate_scale=None
                if rate is None
                else _EncoderRate(rate / settings.fit.learning_rate),
            )

        precision = self._precision()
        train_network(path, label, self.config.seed, settings.fit, prepare, precision)

    def _precision(self) -> str:
        """On a CPU, which would only lose by another one, float32."""
        name = self.settings.precision
        if name == "float32" or fit_loop.on_gpu():
            return name
        self._notify(f"  no GPU: precision = {name!r} is not used, the teacher trains in float32")
        return "float32"

    def _build(self, classes: int) -> SpeechClassifier:
        settings = self.settings
        model = SpeechClassifier(
            self._new_encoder(),
            classes,
            combine=settings.combine,
            pooling=settings.pooling,
            projection=settings.projection,
            dropout=settings.dropout,
            frozen=self.frozen,
        )
        model.build()
        return model

    def _new_encoder(self) -> SpeechEncoder:
        recompute = self.settings.gradient_checkpointing
        if self._checkpoint is not None:
            return self._checkpoint.encoder(recompute, self._notify)
        encoder: SpeechEncoder = encoder_class(self._encoder_config.model_type)(
            self._encoder_config, gradient_checkpointing=recompute, name="encoder"
        )
        return encoder

    def _notify(self, line: str) -> None:
        """Says every line once, not once a fold."""
        if line not in self._notified:
            self._notified.add(line)
            say(line)

    def _features(self, directory: Path, clips: ClipArrays) -> np.ndarray:
        """The frozen encoder's features of clips, which all folds share: float16 ``[clips, ...]``.

        A mean over time for each layer that is combined.
        """
        if self._store is None:
            # A classifier whose head is not looked at: means do not depend on it.
            model = self._build(classes=1)
            run = _compiled(model, lambda inputs: model.layer_means(inputs))
            shape = (model.head.settings["layer_count"], model.head.settings["dim"])

            def extract(groups: Iterable[ClipArrays], clips: int) -> Iterator[np.ndarray]:
                for group in groups:
                    means = self._map(run, group).reshape(len(group), *shape)
                    yield from np.clip(means, -_LARGEST, _LARGEST).astype(np.float16)

            assert self._checkpoint is not None  # nothing else can be frozen as a whole
            folder = directory.parent / f"features-{self._checkpoint.fingerprint}"
            what = f"{self.name}: features of"
            self._store = ClipStore(folder, extract, what, SAMPLE_RATE_HZ, _CLIPS_PER_FILE)
        return np.stack(self._store.of(clips))

    def _map(self, run: Any, clips: ClipArrays) -> np.ndarray:
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        return map_clips(run, clips, windowing, self.config.audio.sample_rate_hz, _BATCH)

    def predictor(self, directory: Path) -> Predictor:
        """Waveforms -> probabilities ``[clips, classes]``, embedding ``[clips, projection]``."""
        (path,) = self.network_paths(directory)
        model = cast(SpeechClassifier, keras.models.load_model(path))

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            if self.frozen == "encoder":
                means = self._features(directory, arrays)
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
