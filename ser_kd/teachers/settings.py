"""The kinds of teachers: one settings class and one row of ``TEACHER_KINDS`` for each.

Read with every recipe: nothing here imports what a teacher computes with.
"""
# ruff: noqa: RUF009 (the settings are frozen)

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast

from ser_kd.config import (
    AugmentConfig,
    DimensionsConfig,
    FitConfig,
    Problems,
    StudentConfig,
    TeacherConfig,
)
from ser_kd.config.fields import nearest, out_of_range, setting
from ser_kd.errors import UserError
from ser_kd.teachers.sources import ModalitySource

_VOTES = ("votes", "vote_intensities")
_FIT_ON_VECTORS = FitConfig(epochs=30, batch_size=64, learning_rate=1e-3)


@dataclass(frozen=True)
class TrainedTeacherConfig(TeacherConfig):
    """Kinds that train networks on the clips themselves, out of fold unless ``in_fold``."""

    folds: int = setting(5, at_least=2)
    in_fold: bool = False


@dataclass(frozen=True)
class MembersTeacherConfig(TrainedTeacherConfig):
    """Kinds with ``members`` networks per fold, which differ in seed.

    ``statistics``: what the features are standardised with. ``speaker`` = mean and deviation of
    each speaker's own clips, without labels.
    """

    members: int = setting(2, at_least=1)
    statistics: Literal["corpus", "speaker"] = "corpus"


@dataclass(frozen=True)
class EnsembleTeacherConfig(MembersTeacherConfig):
    """``logmel_ensemble``: log-mel networks, trained as a student is."""

    kind: Literal["logmel_ensemble"] = "logmel_ensemble"
    student: StudentConfig = StudentConfig(width=1.5, dropout=0.3)
    fit: FitConfig = FitConfig()
    augment: AugmentConfig = AugmentConfig()

    def problems(self) -> Problems:
        if self.student.initial_weights.endswith(".keras"):  # it may know clips that are held out
            yield "student.initial_weights", "empty or YAMNet (.tflite)"
        if self.augment.known_speaker_probability > 0:
            needed = "0: a teacher's statistics = 'speaker' is what it has"
            yield "augment.known_speaker_probability", needed


@dataclass(frozen=True)
class Wav2Vec2TeacherConfig(TrainedTeacherConfig):
    """``wav2vec2``: an encoder of that family (HuBERT, WavLM, Whisper too) and a classifier.

    ``checkpoint``: published weights, on the hub or in a folder; empty = a random start.
    ``architecture`` overrides fields of the base architecture (with a checkpoint: dropout,
    LayerDrop and SpecAugment only). ``combine``: the last layer, or a learned mean of all.
    ``frozen``: what training leaves as it is; empty = the convolutional ``feature_encoder`` with a
    checkpoint, else ``nothing``. The features of a frozen ``encoder`` are computed once.
    ``encoder_learning_rate``: None = ``fit.learning_rate``. ``precision`` is for GPUs.
    """

    kind: Literal["wav2vec2"] = "wav2vec2"
    checkpoint: str = setting("", path=".")
    architecture: dict[str, Any] = field(default_factory=dict)
    combine: Literal["last", "weighted"] = "last"
    pooling: Literal["mean", "attentive_statistics"] = "mean"
    projection: int = setting(128, at_least=1)
    dropout: float = setting(0.1, at_least=0, below=1)
    frozen: Literal["", "nothing", "feature_encoder", "encoder"] = ""
    encoder_learning_rate: float | None = setting(None, above=0)
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    fit: FitConfig = FitConfig(epochs=20, batch_size=16, learning_rate=1e-3, warmup_epochs=2.0)

    def problems(self) -> Problems:
        if self.frozen == "encoder" and self.pooling != "mean":
            yield "pooling", "'mean' with frozen = 'encoder', which keeps only means over time"


@dataclass(frozen=True)
class ProsodicTeacherConfig(MembersTeacherConfig):
    """``prosodic``: small networks over prosodic descriptors every 10 ms.

    ``features``: those of ``audio.prosody``, or eGeMAPS (needs the package opensmile). ``network``
    is ``units`` wide, with ``dropout`` after every layer. Statistics of pitch and of what else
    needs a voice are those of voiced frames.
    """

    kind: Literal["prosodic"] = "prosodic"
    features: Literal["descriptors", "egemaps"] = "descriptors"
    network: Literal["convolutional", "recurrent"] = "convolutional"
    units: int = setting(64, at_least=2)
    dropout: float = setting(0.3, at_least=0, below=1)
    fit: FitConfig = FitConfig()

    def problems(self) -> Problems:
        if self.units % 2:
            yield "units", "even: a recurrent network has one half for each direction"


@dataclass(frozen=True)
class LinguisticTeacherConfig(TrainedTeacherConfig):
    """``linguistic``: a text encoder of keras-hub and a classifier on it, over the transcripts.

    It reads ``text``, a column of a folder corpus's CSV. ``preset``: a name that keras-hub knows,
    downloaded once, or a folder that ``save_to_preset`` wrote. Of longer texts the first
    ``max_tokens`` tokens are read. With ``frozen`` the classifier alone learns (which takes a
    higher ``fit.learning_rate``). ``projection``: size of the embedding.
    """

    clip_attributes: ClassVar[tuple[str, ...]] = ("text",)
    kind: Literal["linguistic"] = "linguistic"
    preset: str = setting("bert_small_en_uncased", path=".")
    max_tokens: int = setting(64, at_least=3)  # a word between two marks
    frozen: bool = False
    projection: int = setting(128, at_least=1)
    dropout: float = setting(0.1, at_least=0, below=1)
    fit: FitConfig = FitConfig(5, 32, 5e-5, 0.0, "linear", warmup_epochs=0.5)

    def problems(self) -> Problems:
        if not self.preset:
            yield "preset", "a name that keras-hub knows, or a folder"


@dataclass(frozen=True)
class LiveTeacherConfig(TeacherConfig):
    """``live``: finished students of other runs, which predict the student's input at every step.

    ``models``: their .keras files, of the same front end and labels (``ser_kd.teachers.live``).
    """

    live: ClassVar[bool] = True
    kind: Literal["live"] = "live"
    models: tuple[str, ...] = setting((), path="")

    @property
    def in_fold(self) -> bool:
        """Its networks may have been trained on the clips that they predict."""
        return True

    def problems(self) -> Problems:
        if not self.models:
            yield "models", "one .keras file at least"


@dataclass(frozen=True)
class FileTeacherConfig(TeacherConfig):
    """``file``: predictions that were made elsewhere, keyed by clip id and view (.npz or .csv)."""

    may_predict_dimensions: ClassVar[bool] = True
    kind: Literal["file"] = "file"
    path: str = setting("", path="")

    @property
    def predictions_file(self) -> Path:
        """``path``."""
        return Path(self.path).expanduser()


@dataclass(frozen=True)
class VectorsTeacherConfig(TeacherConfig):
    """Kinds that learn from vectors of clips: other teachers' predictions, votes, files."""

    folds: int = setting(5, at_least=2)

    @property
    def spelt(self) -> Mapping[str, str]:
        """Name -> source, as a recipe spells it."""
        raise NotImplementedError

    @property
    def vectors(self) -> dict[str, ModalitySource]:
        """Name -> where the vectors come from; what is misspelt is left out."""
        return ModalitySource.parse_all(self.spelt)

    @property
    def teachers_needed(self) -> tuple[str, ...]:
        """Those that are among its sources."""
        named = self.vectors.values()
        return tuple(dict.fromkeys(source.name for source in named if source.kind == "teacher"))

    def check_vectors(self, where: str, key: str, teachers: Mapping[str, TeacherConfig]) -> None:
        """Asks the teachers that it learns from for its own folds, so that nothing leaks."""
        for name, text in self.spelt.items():
            if name not in self.vectors:
                raise UserError(
                    f"{where}.{key}.{name} = {text!r} is no source; there are votes:voice, "
                    "votes:face, votes:multimodal, teacher:<name>, teacher:<name>:embedding and "
                    "file:<path>.npz"
                )
        for name in self.teachers_needed:
            if (other := teachers.get(name)) is None:
                raise UserError(
                    f"{where} needs the teacher {name!r}{nearest(name, list(teachers))}, "
                    f"but the run's teachers are: {', '.join(teachers)}"
                )
            if other.predictions_file:
                continue  # the folds in its file are checked when it is read
            if other.live:
                raise UserError(
                    f"{where} learns from teachers.{name}, whose networks may have been trained "
                    "on the clips that they predict: name a teacher of another kind"
                )
            if other.in_fold:
                raise UserError(
                    f"{where} learns from teachers.{name}, which was trained on the clips that it "
                    f"predicts: set teachers.{name}.in_fold = false"
                )
            if other.folds != self.folds:
                raise UserError(
                    f"{where}.folds = {self.folds}, but teachers.{name}.folds = {other.folds}: "
                    "with other folds a network would learn from one that was trained on the "
                    "speakers it is kept from; give both the same"
                )
        for source in self.vectors.values():
            if source.embedding and not teachers[source.name].predictions_file:
                raise UserError(
                    f"{where} asks for the embedding of teachers.{source.name}, but each of its "
                    f"folds has an embedding space of its own: use 'teacher:{source.name}', its "
                    "logits"
                )


@dataclass(frozen=True)
class MaskingConfig:
    """Which modalities a fusion teacher's training shows: four scenarios, drawn for every clip.

    Probabilities, which sum to 1. ``audio_and_one``: one of the others that the clip has, each
    equally often. ``random_subset``: each of the others with probability 1/2. The audio is in all.
    """

    all_present: float = setting(0.4, at_least=0, at_most=1)
    audio_only: float = setting(0.3, at_least=0, at_most=1)
    audio_and_one: float = setting(0.15, at_least=0, at_most=1)
    random_subset: float = setting(0.15, at_least=0, at_most=1)


@dataclass(frozen=True)
class FusionTeacherConfig(VectorsTeacherConfig):
    """``fusion``: a transformer over several modalities of a clip, any of which may be absent.

    ``modalities``: name -> source (``teachers.modalities``). ``audio`` names those that a student
    is given, too; they are never masked. ``modalities_at_prediction``: what the targets are made
    from, the audio among it; empty = everything. ``network_of``: another fusion teacher, whose
    networks this one predicts with; only ``folds`` and ``modalities_at_prediction`` are its own.
    ``context_clips``: how many clips of the same dialogue are taken in on either side; ``graph``
    adds a relational graph layer over them.
    """

    clip_attributes: ClassVar[tuple[str, ...]] = (*_VOTES, "dialogue", "turn", "turn_speaker")
    kind: Literal["fusion"] = "fusion"
    modalities: dict[str, str] = setting({}, path="file:")
    audio: tuple[str, ...] = ()
    modalities_at_prediction: tuple[str, ...] = ()
    network_of: str = ""
    masking: MaskingConfig = MaskingConfig()
    width: int = setting(64, at_least=1)
    heads: int = setting(4, at_least=1)
    layers: int = setting(1, at_least=1, at_most=12)
    dropout: float = setting(0.2, at_least=0, below=1)
    context_clips: int = setting(0, at_least=0, at_most=100)
    graph: bool = False
    fit: FitConfig = _FIT_ON_VECTORS

    @property
    def spelt(self) -> Mapping[str, str]:
        """The modalities."""
        return self.modalities

    @property
    def teachers_needed(self) -> tuple[str, ...]:
        """Those of the modalities, or the one whose networks these are."""
        return (self.network_of,) if self.network_of else super().teachers_needed

    def problems(self) -> Problems:
        total, names = sum(dataclasses.astuple(self.masking)), list(self.modalities)
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            yield "masking", f"four probabilities that sum to 1, not to {total:g}"
        if self.width % self.heads:
            yield "width", f"a multiple of heads = {self.heads}"
        if self.graph and not self.context_clips:
            yield "graph", "false where context_clips is 0"
        if self.network_of:
            return
        if len(names) < 2:
            example = "{ voice = 'teacher:ensemble', face = 'votes:face' }"
            yield "modalities", f"a table of two or more, such as {example}"
        if not self.audio or not {*self.audio} <= {*names}:
            modalities = f"those of the modalities ({', '.join(names)})"
            yield "audio", f"{modalities} that a student is given, at least one"

    def check_in_run(
        self, where: str, teachers: Mapping[str, TeacherConfig], dimensions: DimensionsConfig
    ) -> None:
        self.check_vectors(where, "modalities", teachers)
        fused = self
        if self.network_of:
            fused, plain = cast(FusionTeacherConfig, teachers[self.network_of]), type(self)()
            if fused.kind != self.kind or fused.network_of:
                raise UserError(
                    f"{where}.network_of = {self.network_of!r} is no fusion teacher that has "
                    "networks of its own"
                )
            free = ("network_of", "folds", "modalities_at_prediction")
            for key in (item.name for item in dataclasses.fields(plain) if item.name not in free):
                if getattr(self, key) != getattr(plain, key):
                    raise UserError(
                        f"{where}.{key} has no effect: the networks are those of "
                        f"teachers.{self.network_of}; set it there"
                    )
        shown, audio = self.modalities_at_prediction, fused.audio
        if shown and not {*audio} <= {*shown} <= {*fused.vectors}:
            raise UserError(
                f"{where}.modalities_at_prediction = {list(shown)}: name some of "
                f"{', '.join(fused.vectors)}, among them the audio ({', '.join(audio)}), "
                "without which no network was trained"
            )


@dataclass(frozen=True)
class DimensionalTeacherConfig(VectorsTeacherConfig):
    """``dimensional``: several encoders' vectors of a clip, fused for each dimension by itself.

    ``sources``: name -> source, as a fusion teacher's modalities; every clip needs all of them. One
    dense layer of ``width`` units on their concatenation, with learned weights of the sources for
    each dimension; ``dropout``: of the sources' components. ``dimension_weight``: of 1 - CCC in the
    loss; ``label_weight``: of the categories, which every teacher predicts.
    """

    may_predict_dimensions: ClassVar[bool] = True
    clip_attributes: ClassVar[tuple[str, ...]] = _VOTES
    kind: Literal["dimensional"] = "dimensional"
    sources: dict[str, str] = setting({}, path="file:")
    width: int = setting(64, at_least=1)
    dropout: float = setting(0.5, at_least=0, below=1)
    dimension_weight: float = setting(1.0, above=0)
    label_weight: float = setting(0.5, above=0)
    fit: FitConfig = _FIT_ON_VECTORS

    @property
    def spelt(self) -> Mapping[str, str]:
        """The sources."""
        return self.sources

    def problems(self) -> Problems:
        if not self.sources:
            example = "{ hubert = 'file:hubert.npz', wavlm = 'file:wavlm.npz' }"
            yield "sources", f"a table, such as {example}"

    def check_in_run(
        self, where: str, teachers: Mapping[str, TeacherConfig], dimensions: DimensionsConfig
    ) -> None:
        if dimensions.weight == 0:
            needed = "another one where dimensions.weight is 0: the run has no dimensions"
            raise out_of_range(self, where, "kind", needed)
        self.check_vectors(where, "sources", teachers)


class TeacherKind(NamedTuple):
    """A row of ``TEACHER_KINDS``: settings, and the ``module:Class`` that does the work, if any."""

    settings: type[TeacherConfig]
    implementation: str = ""


TEACHER_KINDS: dict[str, TeacherKind] = {
    "logmel_ensemble": TeacherKind(
        EnsembleTeacherConfig, "ser_kd.teachers.logmel_ensemble:LogMelEnsemble"
    ),
    "wav2vec2": TeacherKind(Wav2Vec2TeacherConfig, "ser_kd.teachers.finetuning:Wav2Vec2Teacher"),
    "prosodic": TeacherKind(ProsodicTeacherConfig, "ser_kd.teachers.prosodic:ProsodicTeacher"),
    "linguistic": TeacherKind(
        LinguisticTeacherConfig, "ser_kd.teachers.linguistic:LinguisticTeacher"
    ),
    "live": TeacherKind(LiveTeacherConfig, "ser_kd.teachers.live:LiveTeacher"),
    "file": TeacherKind(FileTeacherConfig),
    "fusion": TeacherKind(FusionTeacherConfig, "ser_kd.teachers.fusion:FusionTeacher"),
    "dimensional": TeacherKind(
        DimensionalTeacherConfig, "ser_kd.teachers.dimensional:DimensionalTeacher"
    ),
}
