"""A teacher of prosody: small networks over low-level descriptors, not over the spectrum."""

from pathlib import Path

import numpy as np

from ser_kd.audio import prosody
from ser_kd.config import Config
from ser_kd.data.batching import BatchPlan, whole_windows
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.training_set import TrainingSet
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.teachers.base import TargetsOf, no_targets
from ser_kd.teachers.descriptors import Descriptors
from ser_kd.teachers.ensemble import EnsembleTeacher, Statistics
from ser_kd.teachers.prosodic_network import build_network, frame_statistics, means_something
from ser_kd.teachers.settings import ProsodicTeacherConfig
from ser_kd.teachers.training import Training, train_network


class ProsodicTeacher(EnsembleTeacher[ProsodicTeacherConfig]):
    """Networks over frames of prosodic descriptors, which all folds share.

    Raises:
        UserError: The sampling rate is too low, or a package is missing.
    """

    input_kind = "waveform"

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        rate_hz = config.audio.sample_rate_hz
        if rate_hz < prosody.MIN_SAMPLE_RATE_HZ:
            raise UserError(
                f"teachers.{name} needs audio.sample_rate_hz of {prosody.MIN_SAMPLE_RATE_HZ} or "
                f"more, got {rate_hz}"
            )
        prosody.require(self.settings.features)
        self._columns = prosody.FEATURES[self.settings.features][0]
        self._descriptors: Descriptors | None = None

    def all_frames(self, directory: Path) -> ClipArrays:
        """Of the whole corpus at once, so that the time left is told for all of it."""
        return self.frames(self.run_data.waveforms, directory)

    def frames(self, arrays: ClipArrays, directory: Path) -> ClipArrays:
        """Descriptors of waveforms, and a column of ones."""
        if self._descriptors is None:
            features = self.settings.features
            folder = directory.parent / f"{features}-{prosody.VERSION}"
            rate_hz = self.config.audio.sample_rate_hz
            self._descriptors = Descriptors(folder, features, rate_hz, self.name)
        return self._descriptors.frames(arrays)

    def statistics(self, frames: ClipArrays) -> Statistics:
        """Of what needs a voice over the voiced frames."""
        return frame_statistics(frames.values, self._columns)

    def counts(self, frames: np.ndarray) -> np.ndarray:
        """What needs a voice counts in voiced frames."""
        return means_something(frames, self._columns)

    def train_member(
        self, frames: ClipArrays, statistics: Statistics, path: Path, label: str
    ) -> None:
        """Trains one network."""
        labels = self.run_data.one_hot(frames.ids)
        window = -(-self.config.audio.window_samples // frames.cell_samples)

        def prepare() -> Training:
            model = build_network(self.settings, window, self._columns, labels.shape[1])
            model.get_layer("standardize").set_statistics(*statistics)
            return Training(model, TrainingSet(frames, labels), BatchPlan(window, whole_windows))

        train_network(path, label, self.config.seed, self.settings.fit, prepare)
