"""A teacher that predicts the student's input at every step: finished students of other runs.

Stored predictions are of a clip as it is. What a student is given is cropped, masked, noisy, and a
mixture of two clips; a live teacher predicts exactly that ("consistent teaching", Beyer et al.,
arXiv 2106.05237). Its networks may have been trained on the same clips. Several are combined by the
mean of their log-probabilities: the geometric mean of Hinton et al. (arXiv 1503.02531), which the
student matches by matching each of them.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from ser_kd import files
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.targets import softmax
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.initial_weights import require_same_input
from ser_kd.students.saved import load_keras
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import LiveTeacherConfig

_LEAST_PROBABILITY = 1e-12


class LiveTeacher(Teacher[LiveTeacherConfig]):
    """Copies its networks into the run, and predicts whole clips with them, for the report.

    Raises:
        UserError: A model is missing, or has another front end or other labels.
    """

    input_kind = "logmel"

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        for number, text in enumerate(self.settings.models):
            where, path = f"teachers.{name}.models[{number}]", Path(text).expanduser()
            load_keras(path)
            require_same_input(where, path, config, run_data.labels, frames=True)

    def network_paths(self, directory: Path) -> list[Path]:
        """One file for each model."""
        return [directory / f"member_{number}.keras" for number in range(len(self.settings.models))]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Takes a copy of each network: nothing of the run depends on other runs from now on."""
        for source, path in zip(self.settings.models, self.network_paths(directory), strict=True):
            with files.atomic(path) as partial:
                shutil.copy(Path(source).expanduser(), partial)

    def predictor(self, directory: Path) -> Predictor:
        """Log-mel -> probabilities ``[clips, classes]``, embeddings side by side."""
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        members = [
            LogMelPredictor(load_keras(path), windowing) for path in self.network_paths(directory)
        ]

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            predictions = [member.predict(arrays) for member in members]
            log_probs = np.log([probs + _LEAST_PROBABILITY for probs, _ in predictions])
            embeddings = [embedding for _, embedding in predictions]
            return softmax(log_probs.mean(axis=0)), np.concatenate(embeddings, axis=1)

        return predict


@dataclass(frozen=True)
class LiveTeaching:
    """What a student's training asks at every step.

    Attributes:
        network: Log-mel ``[batch, frames, mels]`` -> logits ``[batch, classes]``, the logarithm of
            a mean of probabilities.
        share: Of its softened predictions beside stored ones, 0 to 1.
    """

    network: keras.Model
    share: float


def live_teaching(run: Run, weights: Mapping[str, float]) -> LiveTeaching | None:
    """The live ones among the teachers that a student learns from, as one network.

    Args:
        run: Has its targets made.
        weights: Of all these teachers.

    Returns:
        None if none of them is live.
    """
    live = [name for name in weights if run.config.teachers[name].live]
    if not live:
        return None
    all_of_them = sum(weights[name] for name in live)
    inputs, summands = None, []
    for name in live:
        paths = sorted((run.teacher_dir(name) / "fold_0").glob("member_*.keras"))
        for path in paths:
            model = load_keras(path)
            model.name = f"{name}_{path.stem}"  # within one model names are unique
            if inputs is None:
                inputs = keras.Input(model.input_shape[1:], name="logmel")
            share = weights[name] / all_of_them / len(paths)
            summands.append(share * ops.log_softmax(model(inputs, training=False)))
    logits = layers.Add()(summands) if len(summands) > 1 else summands[0]
    network = keras.Model(inputs, logits, name="live_teachers")
    network.trainable = False
    return LiveTeaching(network, all_of_them / sum(weights.values()))
