"""A multimodal teacher: several modalities of a clip in one network.

It is trained with modalities masked, so that one network serves every subset of them, the audio
alone included (after Muaz, Paull & Malagavalli, whose teacher is COGMEN, arXiv 2205.02455).
"""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import keras
import numpy as np
import tensorflow as tf

from ser_kd.config import Config
from ser_kd.corpora.dialogues import Neighbour, neighbours
from ser_kd.data import clip_arrays
from ser_kd.data.batching import BatchPlan
from ser_kd.data.clip_arrays import ClipArrays, ClipView
from ser_kd.data.training_set import TrainingSet
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.fusion_network import FusionNetwork, RowLayout
from ser_kd.teachers.modalities import (
    Modality,
    kept_modalities,
    stored_modality,
    teacher_modality,
)
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import FusionTeacherConfig
from ser_kd.teachers.training import Training, train_network


class FusionTeacher(Teacher[FusionTeacherConfig]):
    """One fusion network per fold, or those of another fusion teacher with fewer modalities.

    Raises:
        UserError: A modality that no training clip has; clips without audio; no dialogues.
    """

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        # Whose networks these are, and with them all other settings.
        self.owner = self.settings.network_of or name
        self.network = cast(FusionTeacherConfig, config.teachers[self.owner])
        self._notes: list[str] = []
        self._around = self._neighbours()
        # What is wrong with these shows before any training; other teachers come later.
        self._known: dict[str, Modality] = {}
        for key, source in self.network.vectors.items():
            if source.kind != "teacher":
                self._add(key, stored_modality(source, run_data.corpus.clips))

    def network_paths(self, directory: Path) -> list[Path]:
        """The file of one fold's network."""
        return [directory.parents[1] / self.owner / directory.name / "fusion.keras"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains on the clips of ``ids`` and on nothing else; keeps the last epoch."""
        (path,) = self.network_paths(directory)
        if path.exists():
            return
        if self.owner != self.name:
            self.targets_of(self.owner)  # trains them
            return
        # Before the seed is set: other teachers may be trained for it.
        arrays = clip_arrays.one_cell_per_clip(ids, self._rows([(clip_id, 0) for clip_id in ids]))
        labels = self.run_data.one_hot(ids)

        def prepare() -> Training:
            model = self._build(labels.shape[1])
            model.tokens.set_statistics(*self._statistics(arrays.values, label))
            plan = BatchPlan(transform=self._masked)
            return Training(model, TrainingSet(arrays, labels), plan)

        train_network(path, label, self.config.seed, self.network.fit, prepare)

    def predictor(self, directory: Path) -> Predictor:
        """Rows of ``arrays`` -> probabilities ``[clips, classes]``, embedding ``[clips, width]``.

        Raises:
            UserError: The networks are gone, or were trained on vectors of another size.
        """
        (path,) = self.network_paths(directory)
        if not path.is_file():
            raise UserError(
                f"{path} is gone, which teacher {self.name!r} predicts with; delete "
                f"{path.parents[1]} to train teacher {self.owner!r} again"
            )
        model = cast(FusionNetwork, keras.models.load_model(path, compile=False))
        before, now = model.layout.sizes, self._layout.sizes
        for key in now:
            if before.get(key) != now[key]:
                raise UserError(
                    f"teachers.{self.owner}.modalities.{key}: vectors of size {now[key]}, but the "
                    f"network was trained on size {before.get(key)}; give back the earlier file or "
                    f"delete {path.parents[1]}"
                )

        @tf.function(input_signature=[tf.TensorSpec(model.input_shape)])
        def run(rows: tf.Tensor) -> tf.Tensor:
            logits, embedding = model.logits_and_embedding(rows)
            return tf.concat([tf.nn.softmax(logits), embedding], axis=1)

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            values = run(tf.constant(arrays.values)).numpy()
            return values[:, : model.classes], values[:, model.classes :]

        return predict

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays:
        """What the predictor is given of some views: one row per clip and neighbour.

        Modalities that are not in ``modalities_at_prediction`` are absent.
        """
        shown = self.settings.modalities_at_prediction or tuple(self.network.modalities)
        rows = self._rows(views)
        rows[:, :, self._layout.flags] *= [float(key in shown) for key in self._layout.sizes]
        return clip_arrays.one_cell_per_clip([clip_id for clip_id, _ in views], rows)

    def _build(self, classes: int) -> FusionNetwork:
        network = self.network
        model = FusionNetwork(
            self._layout.sizes,
            classes,
            network.width,
            network.heads,
            network.layers,
            network.dropout,
            network.context_clips,
            network.graph,
        )
        model.build()
        return model

    def _masked(
        self, windows: Any, lengths: Any, targets: dict[str, Any], seed: Any
    ) -> tuple[Any, dict[str, Any]]:
        """A training batch with one scenario of masking for each clip, its neighbours included."""
        rows, flags = windows[:, 0], self._layout.flags  # [b, r, width]
        audio = [key in self.network.audio for key in self._layout.sizes]
        present = tf.reduce_any(rows[:, :, flags] > 0.5, axis=1)  # in any row
        kept = kept_modalities(present, audio, self.network.masking, seed)
        shown = rows[:, :, flags] * tf.cast(kept, rows.dtype)[:, tf.newaxis]
        rows = tf.concat([rows[:, :, : flags.start], shown, rows[:, :, flags.stop :]], axis=2)
        return rows, targets

    @functools.cached_property
    def _modalities(self) -> Mapping[str, Modality]:
        """All of them, in order; asks for the other teachers' targets."""
        for key, source in self.network.vectors.items():
            if source.kind == "teacher":
                targets = self.targets_of(source.name)
                self._known[key] = teacher_modality(
                    targets, source.name, self.all_views, self.fold_of_clip, source.embedding
                )
        for note in self._notes if self.owner == self.name else ():
            say(f"  {self.name}: {note}")
        modalities = {key: self._known[key] for key in self.network.modalities}
        heard = [modalities[key].of(self.all_views)[1] for key in self.network.audio]
        without = ~np.any(heard, axis=0)
        if without.any():
            clip_id, _ = self.all_views[int(np.argmax(without))]
            raise UserError(
                f"teachers.{self.owner}.audio = {list(self.network.audio)} is absent for "
                f"{int(without.sum())} clips, the first is {clip_id!r}; every clip needs it"
            )
        return modalities

    @functools.cached_property
    def _layout(self) -> RowLayout:
        return RowLayout({key: modality.size for key, modality in self._modalities.items()})

    def _add(self, key: str, modality: Modality) -> None:
        """Keeps a modality that some training clip has."""
        ids = self.run_data.ids("training")
        has = modality.of([(clip_id, 0) for clip_id in ids])[1]
        self._require(key, has, "the run")
        self._known[key] = modality
        if not has.all():
            self._notes.append(f"{key} is absent for {int((~has).sum())} of {len(ids)} clips")

    def _require(self, key: str, has: np.ndarray, what: str) -> None:
        source = self.network.vectors[key]
        if has.any():
            return
        mend = {
            "votes": "CREMA-D's tabulatedVotes.csv was not found: give its folder "
            "(corpus.metadata_dir)",
            "file": f"its ids have to be clip ids, such as {self.run_data.ids('training')[0]!r}",
            "teacher": "leave it out",
        }[source.kind]
        raise UserError(
            f"teachers.{self.owner}.modalities.{key} = {self.network.modalities[key]!r} is absent "
            f"for all {len(has)} training clips of {what}; {mend}"
        )

    def _neighbours(self) -> Mapping[str, tuple[Neighbour | None, ...]]:
        if not self.network.context_clips:
            return {}
        run_data = self.run_data
        group_of: dict[str, object] = {**self.fold_of_clip}
        for part in ("validation", "test"):
            group_of |= dict.fromkeys(run_data.ids(part), part)
        found = neighbours(run_data.corpus.clips, group_of, self.network.context_clips)
        empty = sum(not any(around) for around in found.values())
        if empty:
            self._notes.append(f"{empty} of {len(found)} clips have no neighbour in their fold")
        return found

    def _rows(self, views: Sequence[ClipView]) -> np.ndarray:
        """float32 ``[views, 2 * context_clips + 1, row width]``; neighbours in view 0."""
        layout, count = self._layout, self.network.context_clips
        rows = np.zeros((len(views), 2 * count + 1, layout.width), np.float32)
        nobody: tuple[Neighbour | None, ...] = (None,) * (2 * count)
        around = [self._around.get(clip_id, nobody) for clip_id, _ in views]
        for place in range(2 * count + 1):
            if place == count:
                chosen: list[ClipView | None] = list(views)
                rows[:, place, layout.same_speaker] = 1.0
            else:
                others = [clips[place - (place > count)] for clips in around]
                chosen = [(other.id, 0) if other else None for other in others]
                same = [other is not None and other.same_speaker for other in others]
                rows[:, place, layout.same_speaker] = same
            for number, (key, modality) in enumerate(self._modalities.items()):
                values, present = modality.of(chosen)
                rows[:, place, layout.columns[key]] = values
                rows[:, place, layout.flags.start + number] = present
        return rows

    def _statistics(self, values: np.ndarray, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation of every column over the clips that have it."""
        layout, own = self._layout, values[:, self.network.context_clips].astype(np.float64)
        mean, deviation = np.zeros(layout.values.stop), np.ones(layout.values.stop)
        for number, (key, columns) in enumerate(layout.columns.items()):
            has = own[:, layout.flags.start + number] > 0.5
            self._require(key, has, label)
            mean[columns] = own[has][:, columns].mean(axis=0)
            deviation[columns] = own[has][:, columns].std(axis=0)
        return mean.astype(np.float32), deviation.astype(np.float32)
