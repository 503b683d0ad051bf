"""A teacher for machines where no pretrained checkpoint can be had: several log-mel networks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import keras
import numpy as np

from ser_kd import files, fitting
from ser_kd.config import LABELS_ONLY, Config, EnsembleTeacherConfig
from ser_kd.data import ClipArrays, Windowing
from ser_kd.logmel_network import LogMelPredictor, train_logmel_network
from ser_kd.run import RunData
from ser_kd.teachers.prediction import Predictor


class LogMelEnsemble:
    """``members`` networks that differ in their seed; their probabilities are averaged."""

    hears: Literal["waveform", "logmel"] = "logmel"

    def __init__(
        self, name: str, teacher: EnsembleTeacherConfig, config: Config, run_data: RunData
    ) -> None:
        self.name, self.teacher, self.config, self.run_data = name, teacher, config, run_data

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
                fitting.network_seed(self.config.seed, name),
                name,
                state,
            )
            with files.atomic(path) as partial:
                model.save(partial)
            fitting.forget_state(state)

    def predictor(self, directory: Path) -> Predictor:
        """Log-mel -> probabilities ``[clips, classes]``, the members' embeddings side by side."""
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        members = [
            LogMelPredictor(keras.models.load_model(path), windowing)
            for path in self.network_paths(directory)
        ]

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            predictions = [member.predict(arrays) for member in members]
            probs = np.mean([probs for probs, _ in predictions], axis=0)
            return probs, np.concatenate([embedding for _, embedding in predictions], axis=1)

        return predict
