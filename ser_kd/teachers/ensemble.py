"""Teachers of several networks over frames of features that differ in their seed."""

import abc
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from ser_kd.audio.windows import Windowing
from ser_kd.config import Config
from ser_kd.data.clip_arrays import ClipArrays, restandardize
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.teachers.base import TargetsOf, Teacher, no_targets
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import MembersTeacherConfig

Settings = TypeVar("Settings", bound=MembersTeacherConfig)
Statistics = tuple[np.ndarray, np.ndarray]
"""Mean and deviation of every column of the frames, float32 ``[columns]``."""


def mean_prediction(
    members: Sequence[LogMelPredictor], frames: ClipArrays
) -> tuple[np.ndarray, np.ndarray]:
    """The mean of the members' probabilities, and their embeddings side by side."""
    predictions = [member.predict(frames) for member in members]
    probs = np.mean([probs for probs, _ in predictions], axis=0)
    return probs, np.concatenate([embedding for _, embedding in predictions], axis=1)


class EnsembleTeacher(Teacher[Settings]):
    """``members`` networks per fold, whose probabilities are averaged.

    With ``statistics = "speaker"`` all speakers' frames are given the same mean and deviation,
    those of the fold's training clips; that takes all clips of a speaker, but no labels.
    """

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        self._by_speaker = self.settings.statistics == "speaker"
        if self._by_speaker and run_data.unlabelled.ids:
            raise UserError(
                f"teachers.{name}.statistics = 'speaker' needs to know who speaks, which "
                "corpus.unlabelled_dirs does not say; leave one of them out"
            )
        # Speaker -> statistics of all clips of theirs, labels unseen.
        self._speakers: Mapping[str, Statistics] | None = None

    @abc.abstractmethod
    def all_frames(self, directory: Path) -> ClipArrays:
        """The frames of the whole corpus."""

    @abc.abstractmethod
    def frames(self, arrays: ClipArrays, directory: Path) -> ClipArrays:
        """The frames of what the predictor is given."""

    @abc.abstractmethod
    def statistics(self, frames: ClipArrays) -> Statistics:
        """Mean and deviation of every column."""

    @abc.abstractmethod
    def train_member(
        self, frames: ClipArrays, statistics: Statistics, path: Path, label: str
    ) -> None:
        """Trains one network and writes it to ``path``."""

    def counts(self, frames: np.ndarray) -> np.ndarray:
        """Which values of frames ``[n, columns]`` are standardised, bool."""
        return np.ones(frames.shape, bool)

    def network_paths(self, directory: Path) -> list[Path]:
        """One file for each member."""
        return [directory / f"member_{number}.keras" for number in range(self.settings.members)]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains the members that are missing."""
        paths = self.network_paths(directory)
        if all(path.exists() for path in paths):
            return
        frames = self.all_frames(directory).select(ids)
        statistics = self.statistics(frames)
        if self._by_speaker:
            frames = self._restandardized(frames, statistics, directory)
        for number, path in enumerate(paths, 1):
            name = f"{label}, member {number} of {len(paths)}"
            if not path.exists():
                self.train_member(frames, statistics, path, name)

    def predictor(self, directory: Path) -> Predictor:
        """Probabilities ``[clips, classes]``, the members' embeddings side by side."""
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        models: list[Any] = [keras.models.load_model(p) for p in self.network_paths(directory)]
        # It runs windows of frames, whatever their columns.
        members = [LogMelPredictor(model, windowing) for model in models]
        # All members were trained on the same clips: they have the same statistics.
        standardize = models[0].get_layer("standardize")
        statistics = np.asarray(standardize.mean), np.asarray(standardize.deviation)

        def predict(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            frames = self.frames(arrays, directory)
            if self._by_speaker:
                frames = self._restandardized(frames, statistics, directory)
            return mean_prediction(members, frames)

        return predict

    def _restandardized(
        self, frames: ClipArrays, statistics: Statistics, directory: Path
    ) -> ClipArrays:
        speaker_of = self.run_data.speakers
        if self._speakers is None:
            clips, whole = defaultdict(list), self.all_frames(directory)
            for clip_id in whole.ids:
                clips[speaker_of[clip_id]].append(clip_id)
            self._speakers = {
                speaker: self.statistics(whole.select(ids)) for speaker, ids in clips.items()
            }
        speakers = [speaker_of[clip_id] for clip_id in frames.ids]
        return restandardize(frames, speakers, self._speakers, statistics, self.counts)
