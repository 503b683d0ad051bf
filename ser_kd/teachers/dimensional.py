"""A teacher of dimensions: several pretrained encoders' vectors of a clip, fused and learnt from.

The encoders are left as they are; their vectors of a clip come from files. Concatenating such
embeddings for valence, arousal and dominance follows Mitra, Nie & Azemi (arXiv 2312.16180); here
each dimension learns how much each encoder counts.
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.config import Config
from ser_kd.data.clip_arrays import ClipArrays, ClipView, one_cell_per_clip
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation.terms import ConcordanceTerm, LabelTerm
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.students.heads import DIMENSIONS, LOGITS
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.dimensional_network import (
    EMBEDDING,
    SOURCE_WEIGHTS,
    dimensional_network,
    outputs_of,
)
from ser_kd.teachers.modalities import Modality, require_all, stored_modality, teacher_modality
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.saved import load_network
from ser_kd.teachers.settings import DimensionalTeacherConfig
from ser_kd.teachers.training import Training, train_network

WEIGHTS_FILE = "source_weights.json"
# A softmax's scores have a way of several units to go, a layer's weights one of hundredths.
_RATE_OF_SOURCE_WEIGHTS = 10.0
_SMALLEST_DEVIATION = 1e-3


class DimensionalTeacher(Teacher[DimensionalTeacherConfig]):
    """One network per fold, from all sources' vectors to dimensions and categories.

    It is trained on ratings with 1 - CCC, and on labels.

    Raises:
        UserError: A source is damaged, or lacks a clip.
    """

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        # What is wrong with these shows before any training; other teachers come later.
        self._stored: dict[str, Modality] = {}
        for key, source in self.settings.vectors.items():
            if source.kind != "teacher":
                where = f"teachers.{name}.sources.{key} = {self.settings.sources[key]!r}"
                self._stored[key] = stored_modality(source, run_data.corpus.clips)
                require_all(self._stored[key], self.all_views, where)

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory / "dimensional.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains on the clips of ``ids`` and on nothing else; keeps the last epoch.

        Writes ``source_weights.json`` beside the network: output -> source -> weight, which sum to
        1 for each of the dimensions and for ``categories``.

        Raises:
            UserError: None of the clips has a rating of one of the dimensions.
        """
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        settings, names = self.settings, self._dimension_names
        ratings = self.run_data.ratings(ids)
        unrated = np.isnan(ratings).all(axis=0)
        if unrated.any():
            raise UserError(
                f"{label}: none of its {len(ids)} training clips has a rating of "
                f"{names[int(np.argmax(unrated))]!r}; give it fewer folds, or leave out that "
                "dimension (dimensions.ranges)"
            )
        # Before the seed is set: other teachers may be trained for it.
        arrays, labels = self.arrays([(clip_id, 0) for clip_id in ids]), self.run_data.one_hot(ids)

        def prepare() -> Training:
            model = dimensional_network(
                {key: source.size for key, source in self._sources.items()},
                labels.shape[1],
                len(names),
                settings.width,
                settings.dropout,
            )
            values = arrays.values.astype(np.float64)
            deviation = values.std(axis=0)
            # What hardly varies is not blown up.
            deviation[deviation < _SMALLEST_DEVIATION] = 1.0
            model.get_layer("standardize").set_statistics(values.mean(axis=0), deviation)
            found = outputs_of(model)
            outputs = {name: found[name] for name in (LOGITS, DIMENSIONS)}
            return Training(
                model,
                TrainingSet(arrays, labels, dimensions=ratings),
                terms=[
                    LabelTerm(settings.label_weight),
                    ConcordanceTerm(settings.dimension_weight),
                ],
                trained=keras.Model(model.input, outputs),
                rate_scale=_faster_source_weights,
            )

        model = train_network(path, label, self.config.seed, settings.fit, prepare)
        self._write_weights(model, directory, label)

    def predictor(self, directory: Path) -> Predictor:
        """Rows of ``arrays`` -> probabilities, embedding, dimensions ``[clips, dimensions]``.

        Raises:
            UserError: The network was trained on vectors of other sizes.
        """
        (path,) = self.network_paths(directory)
        model = load_network(path)
        before, now = (
            model.get_layer(SOURCE_WEIGHTS).sizes,
            [s.size for s in self._sources.values()],
        )
        if before != now:
            raise UserError(
                f"teachers.{self.name}.sources: vectors of sizes {now}, but the network was "
                f"trained on sizes {before}; give back the earlier files or delete "
                f"{path.parents[1]}"
            )

        named = keras.Model(model.input, outputs_of(model))

        @tf.function(input_signature=[tf.TensorSpec(model.input_shape)])
        def run(rows: tf.Tensor) -> tuple[tf.Tensor, ...]:
            outputs = named(rows, training=False)
            return tf.nn.softmax(outputs[LOGITS]), outputs[EMBEDDING], outputs[DIMENSIONS]

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, ...]:
            return tuple(values.numpy() for values in run(tf.constant(arrays.values)))

        return predict

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays:
        """All sources' vectors of some views side by side: one row of numbers per view."""
        rows = np.concatenate([source.of(views)[0] for source in self._sources.values()], axis=1)
        return one_cell_per_clip([clip_id for clip_id, _ in views], rows)

    @property
    def _dimension_names(self) -> list[str]:
        return [dimension.name for dimension in self.run_data.dimensions]

    @functools.cached_property
    def _sources(self) -> Mapping[str, Modality]:
        """All of them, in order; asks for the other teachers' targets."""
        found = {}
        for key, source in self.settings.vectors.items():
            if source.kind == "teacher":
                targets = self.targets_of(source.name)
                found[key] = teacher_modality(
                    targets, source.name, self.all_views, self.fold_of_clip, source.embedding
                )
            else:
                found[key] = self._stored[key]
        return found

    def _write_weights(self, model: keras.Model, directory: Path, label: str) -> None:
        rows = model.get_layer(SOURCE_WEIGHTS).weights_of_outputs.tolist()
        weights = {
            output: dict(zip(self._sources, row, strict=True))
            for output, row in zip([*self._dimension_names, "categories"], rows, strict=True)
        }
        files.write_json(directory / WEIGHTS_FILE, weights)
        told = (
            f"{output} = " + " + ".join(f"{share:.2f} {key}" for key, share in row.items())
            for output, row in weights.items()
        )
        say(f"  {label}: {', '.join(told)}")


def _faster_source_weights(path: str) -> float:
    return _RATE_OF_SOURCE_WEIGHTS if SOURCE_WEIGHTS in path else 1.0
