"""All settings of a run."""
# ruff: noqa: RUF009 (the sections are frozen)

from dataclasses import dataclass

from ser_kd.config import settings
from ser_kd.config.fields import check, nearest, setting
from ser_kd.config.teachers import TeacherConfig, teacher_order
from ser_kd.errors import UserError


@dataclass(frozen=True)
class Config:
    """A whole run.

    ``deterministic``: the same seed on the same machine gives the same networks, to the bit.
    """

    name: str = "demo"
    seed: int = setting(0, at_least=0, below=2**32)
    deterministic: bool = True
    corpus: settings.CorpusConfig = settings.CorpusConfig()
    audio: settings.AudioConfig = settings.AudioConfig()
    logmel: settings.LogMelConfig = settings.LogMelConfig()
    augment: settings.AugmentConfig = settings.AugmentConfig()
    views: settings.ViewsConfig = settings.ViewsConfig()
    teachers: dict[str, TeacherConfig] = setting({})
    student: settings.StudentConfig = settings.StudentConfig()
    fit: settings.FitConfig = settings.FitConfig()
    distill: settings.DistillConfig = settings.DistillConfig()
    dimensions: settings.DimensionsConfig = settings.DimensionsConfig()
    export: settings.ExportConfig = settings.ExportConfig()

    def problems(self) -> settings.Problems:
        """What concerns several sections, and the name: of a folder and on a card."""
        if not self.name.strip() or any(sign in self.name for sign in '/\\:"$\n'):
            yield "name", 'a name without / \\ : " $ and line breaks'
        audio, logmel, dimensions = self.audio, self.logmel, self.dimensions
        if logmel.sample_rate_hz != audio.sample_rate_hz:
            yield "logmel.sample_rate_hz", "audio.sample_rate_hz"
        if logmel.max_hz > logmel.sample_rate_hz / 2:
            yield "logmel.max_hz", "at most half of logmel.sample_rate_hz"
        if logmel.hop_seconds > audio.window_hop_seconds:
            yield "logmel.hop_seconds", "at most audio.window_hop_seconds"
        if logmel.fft_samples > audio.window_seconds * audio.sample_rate_hz:
            yield "logmel.fft_samples", "at most a window"
        predicted = any(teacher.may_predict_dimensions for teacher in self.teachers.values())
        if dimensions.teacher_weight > 0 and not predicted:
            needed = "0 without a teacher of kind 'dimensional', or a file that has dimensions"
            yield "dimensions.teacher_weight", needed
        weights = self.distill.logit_weight, dimensions.teacher_weight
        if self.corpus.unlabelled_dirs and not (self.teachers and max(weights) > 0):
            why = "no teachers, or distill.logit_weight and dimensions.teacher_weight are 0"
            yield "corpus.unlabelled_dirs", f"empty where no teacher is learned from ({why})"

        if self.corpus.cross_validation and (self.teachers or dimensions.weight > 0):
            yield "corpus.cross_validation", "false in a run with teachers or dimensions"
        if self.student.transfer == "best" and not self.corpus.cross_validation:
            yield "student.transfer", "another than 'best' where corpus.cross_validation is false"

    def check(self) -> None:
        """Raises ``UserError`` at the first value that some later stage could not work with."""
        check(self)
        for name, teacher in self.teachers.items():
            teacher.check_in_run(f"teachers.{name}", self.teachers, self.dimensions)
        teacher_order(self.teachers)
        for key in ("teachers", "embedding_weights"):
            unknown = [name for name in getattr(self.distill, key) if name not in self.teachers]
            if unknown:
                near = nearest(unknown[0], list(self.teachers))
                raise UserError(
                    f"distill.{key} names {unknown[0]!r}{near}, but the run's teachers are: "
                    f"{', '.join(self.teachers) or 'none'}"
                )
