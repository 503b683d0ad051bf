"""A teacher for machines where no pretrained checkpoint can be had: several log-mel networks."""

from pathlib import Path

from ser_kd.config import Config
from ser_kd.data.clip_arrays import ClipArrays, feature_statistics
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.logmel_network import fit_logmel_network, new_logmel_network
from ser_kd.distillation.terms import LabelTerm
from ser_kd.runs.data import RunData
from ser_kd.students import initial_weights
from ser_kd.teachers.base import TargetsOf, no_targets
from ser_kd.teachers.ensemble import EnsembleTeacher, Statistics
from ser_kd.teachers.settings import EnsembleTeacherConfig
from ser_kd.teachers.training import save_network


class LogMelEnsemble(EnsembleTeacher[EnsembleTeacherConfig]):
    """Networks of a student's kind, trained as a student is, from labels alone."""

    input_kind = "logmel"

    def __init__(
        self, name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
    ) -> None:
        super().__init__(name, config, run_data, targets_of)
        initial_weights.require_file(self.settings.student, config, run_data.labels)

    def all_frames(self, directory: Path) -> ClipArrays:
        """Log-mel frames of every clip."""
        return self.run_data.logmel

    def frames(self, arrays: ClipArrays, directory: Path) -> ClipArrays:
        """Log-mel frames as they are."""
        return arrays

    def statistics(self, frames: ClipArrays) -> Statistics:
        """Mean and deviation per mel band."""
        return feature_statistics(frames)

    def train_member(
        self, frames: ClipArrays, statistics: Statistics, path: Path, label: str
    ) -> None:
        """Trains one network."""
        settings, config = self.settings, self.config
        training_set = TrainingSet(frames, self.run_data.one_hot(frames.ids))
        seed = fit_loop.network_seed(config.seed, label)
        model = new_logmel_network(
            training_set, settings.student, config.audio, config.logmel, seed
        )
        fit_logmel_network(
            Distiller(model, [LabelTerm()], name="teacher"),
            training_set,
            fit_loop.Job(settings.fit, seed, label, path.with_suffix("")),
            settings.augment,
            config.logmel,
        )
        save_network(model, path)
