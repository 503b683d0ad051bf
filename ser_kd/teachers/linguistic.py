"""A teacher of words: a pretrained text encoder of keras-hub over the clips' transcripts.

It reads ``Clip.attributes["text"]`` and no sound: its prediction is the same for all views.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from ser_kd.config import AudioConfig, Config, TeacherConfig
from ser_kd.data.clip_arrays import ClipArrays, ClipView, one_cell_per_clip
from ser_kd.data.training_set import TrainingSet
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.linguistic_network import TextClassifier, token_encoder
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import LinguisticTeacherConfig
from ser_kd.teachers.training import Training, train_network

_BATCH = 64
_FEW_TEXTS = 50


class LinguisticTeacher(Teacher[LinguisticTeacherConfig]):
    """One classifier on a text encoder per fold.

    Raises:
        UserError: Clips without transcript; keras-hub or the preset is missing.
    """

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        settings = self.settings
        self._texts = self._transcripts()
        self._tokenize = _from_preset(
            name, settings, "TextClassifierPreprocessor", sequence_length=settings.max_tokens
        )
        self._noted = False

    @classmethod
    def example_input(cls, settings: TeacherConfig, audio: AudioConfig) -> np.ndarray:
        """A full row of some token."""
        return np.ones((1, 2, cast(LinguisticTeacherConfig, settings).max_tokens), np.int32)

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory / "text_classifier.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains on the transcripts of ``ids``."""
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        self._note()
        labels = self.run_data.one_hot(ids)

        def prepare() -> Training:
            arrays = self.arrays([(clip_id, 0) for clip_id in ids])
            return Training(self._build(labels.shape[1]), TrainingSet(arrays, labels))

        train_network(path, label, self.config.seed, self.settings.fit, prepare)

    def _build(self, classes: int) -> TextClassifier:
        settings = self.settings
        backbone = _from_preset(self.name, settings, "Backbone", dtype="float32")
        longest = getattr(backbone, "max_sequence_length", None)
        if longest is not None and settings.max_tokens > longest:
            raise UserError(
                f"teachers.{self.name}.max_tokens = {settings.max_tokens}, but {settings.preset!r} "
                f"reads {longest} at most"
            )
        model = TextClassifier(
            token_encoder(backbone),
            classes,
            settings.max_tokens,
            settings.projection,
            settings.dropout,
            settings.frozen,
        )
        model.build()
        return model

    def predictor(self, directory: Path) -> Predictor:
        """Tokens of ``arrays`` -> probabilities ``[clips, classes]``, embedding ``[.., size]``."""
        (path,) = self.network_paths(directory)
        model = cast(TextClassifier, keras.models.load_model(path))
        classes = model.classes

        @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.int32)])
        def run(tokens: tf.Tensor) -> tf.Tensor:
            logits, embedding = model.logits_and_embedding(tokens)
            return tf.concat([tf.nn.softmax(logits), embedding], axis=1)

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            # Many clips say the same.
            different, row_of = np.unique(arrays.values, axis=0, return_inverse=True)
            values = np.concatenate(
                [
                    run(tf.constant(different[first : first + _BATCH])).numpy()
                    for first in range(0, len(different), _BATCH)
                ]
            )[row_of.reshape(-1)]
            return values[:, :classes], values[:, classes:]

        return predict

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays:
        """What the networks are given of some views: int32 ``[clips, 2, max_tokens]``.

        Tokens, and 1 where there is one.
        """
        texts = sorted({self._texts[clip_id] for clip_id, _ in views})
        tokens = self._tokenize(texts)
        rows = np.stack(
            [np.asarray(tokens[key]).astype(np.int32) for key in ("token_ids", "padding_mask")],
            axis=1,
        )
        place = {text: row for row, text in enumerate(texts)}
        ids = [clip_id for clip_id, _ in views]
        return one_cell_per_clip(ids, rows[[place[self._texts[clip_id]] for clip_id in ids]])

    def _transcripts(self) -> dict[str, str]:
        """Clip id -> what is said, of every clip that takes part."""
        run_data = self.run_data
        if run_data.unlabelled.ids:
            raise UserError(
                f"teachers.{self.name} reads transcripts, which corpus.unlabelled_dirs has none "
                "of; leave one of them out"
            )
        text_of = {c.id: str(c.attributes.get("text", "")).strip() for c in run_data.corpus.clips}
        ids = [i for part in ("training", "validation", "test") for i in run_data.ids(part)]
        without = [clip_id for clip_id in ids if not text_of[clip_id]]
        if without:
            raise UserError(
                f"teachers.{self.name} reads transcripts, but {len(without):,} of {len(ids):,} "
                f"clips have none, the first is {without[0]!r}; give a folder corpus a CSV with a "
                "column 'text' that is filled in every row, or leave this teacher out"
            )
        return {clip_id: text_of[clip_id] for clip_id in ids}

    def _note(self) -> None:
        """Says once that acted corpora have little to read."""
        texts = len(set(self._texts.values()))
        if not self._noted and texts <= _FEW_TEXTS:
            say(
                f"  {self.name}: only {texts} different texts in {len(self._texts):,} clips; where "
                "each is said in every emotion, as by actors, reading them tells nothing"
            )
        self._noted = True


def _from_preset(name: str, teacher: LinguisticTeacherConfig, kind: str, **settings: Any) -> Any:
    """``keras_hub.models.<kind>.from_preset``, whose errors are many and long.

    Raises:
        UserError: keras-hub is not installed, or the preset cannot be had.
    """
    try:
        keras_hub = importlib.import_module("keras_hub")
    except ImportError:
        raise UserError(
            f"teachers.{name} needs the package keras-hub: pip install 'ser-kd[text]' (or pip "
            "install keras-hub)"
        ) from None
    preset = teacher.preset
    if preset.startswith((".", "/", "~")) and not Path(preset).expanduser().is_dir():
        raise UserError(f"teachers.{name}.preset: no such folder: {preset!r}")
    local = Path(preset).expanduser()
    try:
        found = getattr(keras_hub.models, kind)
        return found.from_preset(str(local) if local.is_dir() else preset, **settings)
    except Exception as error:  # of keras-hub, of whatever it downloads with, of damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"teachers.{name}.preset = {preset!r} cannot be loaded ({_shortened(reason)}); give a "
            "text preset of keras-hub (a name needs the network the first time), or a folder that "
            "save_to_preset wrote"
        ) from None


def _shortened(text: str, size: int = 160) -> str:
    return text if len(text) <= size else text[:size].rsplit(" ", 1)[0] + " ..."
