"""A teacher for machines where no pretrained checkpoint can be had: several log-mel networks."""

import functools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from ser_kd import files
from ser_kd.audio.windows import Windowing
from ser_kd.config import LABELS_ONLY, Config, EnsembleTeacherConfig
from ser_kd.data.clip_arrays import ClipArrays, feature_statistics, restandardize
from ser_kd.distillation import fit_loop
from ser_kd.distillation.logmel_network import LogMelPredictor, train_logmel_network
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.teachers.prediction import Predictor


class LogMelEnsemble:
    """``members`` networks that differ in their seed; their probabilities are averaged."""

    hears: Literal["waveform", "logmel"] = "logmel"

    def __init__(
        self, name: str, teacher: EnsembleTeacherConfig, config: Config, run_data: RunData
    ) -> None:
        self.name, self.teacher, self.config, self.run_data = name, teacher, config, run_data
        if self._by_speaker and run_data.unlabelled.ids:
            raise UserError(
                f"teachers.{name}.statistics = 'speaker' needs to know who speaks, which "
                "corpus.unlabelled_dirs does not say; leave one of them out"
            )

    def network_paths(self, directory: Path) -> list[Path]:
        """The files of one fold's networks."""
        return [directory / f"member_{number}.keras" for number in range(self.teacher.members)]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains the members on the clips of ``ids``; finished ones are left as they are.

        Nothing but these clips is looked at: the feature statistics are theirs, and the weights are
        those of the last epoch, so no clip is needed to choose them.
        """
        arrays = self.run_data.logmel.select(ids)
        targets = {"labels": self.run_data.one_hot(arrays.ids)}
        if self._by_speaker:
            arrays = self._restandardize(arrays, *feature_statistics(arrays))
        for number, path in enumerate(self.network_paths(directory)):
            if path.exists():
                continue
            state = directory / path.stem
            name = f"{label}, member {number + 1} of {self.teacher.members}"
            model = train_logmel_network(
                arrays,
                targets,
                self.teacher.student,
                self.teacher.fit,
                self.teacher.augment,
                LABELS_ONLY,
                self.config.audio,
                self.config.logmel,
                fit_loop.network_seed(self.config.seed, name),
                name,
                state,
            )
            with files.atomic(path) as partial:
                model.save(partial)
            fit_loop.forget_state(state)

    def predictor(self, directory: Path) -> Predictor:
        """Log-mel -> probabilities ``[clips, classes]``, the members' embeddings side by side."""
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        models = [keras.models.load_model(path) for path in self.network_paths(directory)]
        members = [LogMelPredictor(model, windowing) for model in models]
        # All members were trained on the same clips: they have the same statistics.
        standardize = models[0].get_layer("standardize")
        mean, deviation = np.asarray(standardize.mean), np.asarray(standardize.deviation)

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            if self._by_speaker:
                arrays = self._restandardize(arrays, mean, deviation)
            predictions = [member.predict(arrays) for member in members]
            probs = np.mean([probs for probs, _ in predictions], axis=0)
            return probs, np.concatenate([embedding for _, embedding in predictions], axis=1)

        return predict

    @property
    def _by_speaker(self) -> bool:
        return self.teacher.statistics == "speaker"

    def _restandardize(
        self, arrays: ClipArrays, mean_db: np.ndarray, deviation_db: np.ndarray
    ) -> ClipArrays:
        speakers = [self.run_data.speakers[clip_id] for clip_id in arrays.ids]
        return restandardize(arrays, speakers, self._statistics, mean_db, deviation_db)

    @functools.cached_property
    def _statistics(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Speaker -> mean and deviation of all clips of theirs, labels unseen."""
        logmel, clips = self.run_data.logmel, defaultdict(list)
        for clip_id in logmel.ids:
            clips[self.run_data.speakers[clip_id]].append(clip_id)
        return {name: feature_statistics(logmel.select(ids)) for name, ids in clips.items()}
