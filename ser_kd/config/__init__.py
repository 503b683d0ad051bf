"""Every setting of a run: frozen dataclasses, read from TOML recipes and ``--set`` overrides.

A recipe is a TOML file with one table per section below; what it does not name keeps the default.
Units stand in the names.
"""

import dataclasses
import difflib
import json
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from ser_kd.errors import UserError


@dataclass(frozen=True)
class CorpusConfig:
    """Where the clips are and how they are divided.

    ``folds``/``fold`` serve corpora without an official split: fold ``fold`` is the test set, the
    next one validation, the others train. ``label_map`` maps the corpus's own labels to the classes
    of this run (an empty target drops the label); empty = the reader's documented default.

    ``unlabelled_dirs`` are folders of further speech, which the teachers label for the distilled
    student and which takes part in nothing else; see ``ser_kd.data.unlabelled``.
    """

    name: str = "demo"
    data_dir: str = ""
    metadata_dir: str = ""
    folds: int = 5
    fold: int = 0
    label_map: dict[str, str] = field(default_factory=dict)
    allow_unknown_speakers: bool = False
    keep_flawed: bool = False
    unlabelled_dirs: tuple[str, ...] = ()


@dataclass(frozen=True)
class AudioConfig:
    """Decoding, and the window that every model sees.

    A clip shorter than ``window_seconds`` is followed by zeros; a longer one is cut into windows
    every ``window_hop_seconds`` (the last one ends with the clip) and the windows' probabilities
    are averaged.
    """

    decoder: Literal["soundfile", "tensorflow_io"] = "soundfile"
    sample_rate_hz: int = 16_000
    window_seconds: float = 3.0
    window_hop_seconds: float = 1.0

    @property
    def window_samples(self) -> int:
        return round(self.window_seconds * self.sample_rate_hz)


@dataclass(frozen=True)
class LogMelConfig:
    """The front end: see ``ser_kd.audio.logmel.LogMel``."""

    sample_rate_hz: int = 16_000
    fft_samples: int = 512
    hop_seconds: float = 0.020
    mels: int = 64
    min_hz: float = 60.0
    max_hz: float = 7_800.0
    floor_db: float = -80.0

    @property
    def hop_samples(self) -> int:
        return round(self.hop_seconds * self.sample_rate_hz)

    def frames(self, samples: int) -> int:
        """Frames in ``samples`` samples: every frame lies inside the window, none is padded."""
        return 1 + (samples - self.fft_samples) // self.hop_samples


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training windows, drawn anew every step; see ``ser_kd.audio.augment``.

    ``noise_snr_db``, ``babble_snr_db``: signal-to-noise ratio of stationary noise and of other
    voices, a ratio of mean powers (``ser_kd.audio.acoustics.add_noise``).
    ``band_limit_probability``: of a clip that loses what lies below an edge drawn from
    ``low_cut_hz`` and above one from ``high_cut_hz``. ``babble_probability``: of a clip that comes
    with four to seven others of its batch. ``room_probability``: of a
    clip that echoes. ``microphone_db``: standard deviation of a random frequency response.
    ``known_speaker_probability``: of a clip that comes as if its speaker's own statistics were
    known (``ser_kd.speaker.voices``); of students alone.
    """

    shift_seconds: float = 1.0
    gain_db: float = 6.0
    noise_probability: float = 0.0
    # Both ranges do to 200 clips of CREMA-D, on average, what 5 to 30 dB did by the mean level in
    # dB that was taken for the noise's power until 2026-11 (1.5 dB less, 0.8 dB more).
    noise_snr_db: tuple[float, float] = (3.5, 28.5)
    babble_probability: float = 0.0
    babble_snr_db: tuple[float, float] = (5.8, 30.8)
    room_probability: float = 0.0
    reverberation_seconds: tuple[float, float] = (0.2, 1.0)
    direct_to_reverberant_db: tuple[float, float] = (-3.0, 15.0)
    microphone_db: float = 0.0
    band_limit_probability: float = 0.0
    low_cut_hz: tuple[float, float] = (50.0, 500.0)
    high_cut_hz: tuple[float, float] = (3_000.0, 8_000.0)
    time_masks: int = 2
    time_mask_seconds: float = 0.2
    mel_masks: int = 2
    mel_mask_bins: int = 6
    mixup_alpha: float = 0.2
    known_speaker_probability: float = 0.0


@dataclass(frozen=True)
class ViewsConfig:
    """Views: changed copies of the training clips' waveforms; see ``ser_kd.audio.views.make_view``.

    Teachers predict each of them, and the student is shown the very view whose prediction it
    learns (consistent teaching: Beyer et al., arXiv 2106.05237; CED, arXiv 2308.11957). Whatever
    ``[augment]`` asks for is done on top of that, to the student's input only: for strictly
    consistent teaching set its strengths to 0. With ``teachers_hear = "clip"`` the teachers predict
    the clip as it is, and the student learns that from every view of it, spoilt ones included (Li
    et al., arXiv 1708.05466); so predictions from a file serve, too. Live teachers hear what the
    student hears, whatever is set here.

    ``count`` is the number of views per training clip beside the clip as it is (0 = no views).
    ``gain_db`` is the largest gain either way. ``speed`` is the largest change of speed and with
    it of pitch, as of a tape: 0.1 = from 0.9 to 1.1 times as fast and as high. ``noise_snr_db`` is
    relative to the level of the speech. ``codec_probability`` is that of a codec: Opus with a bit
    rate within ``opus_bits_per_second``, or, in one case of four, a telephone.
    """

    count: int = 0
    teachers_hear: Literal["view", "clip"] = "view"
    gain_db: float = 6.0
    speed: float = 0.0
    noise_probability: float = 0.5
    noise_snr_db: tuple[float, float] = (10.0, 30.0)
    codec_probability: float = 0.0
    opus_bits_per_second: tuple[float, float] = (6_000.0, 32_000.0)


@dataclass(frozen=True)
class FitConfig:
    """One network's training: AdamW, linear warm-up, decay to ``final_learning_rate``.

    With ``accumulation_steps`` above 1 the gradients of so many batches make one update.
    """

    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 2e-3
    final_learning_rate: float = 2e-5
    decay: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: float = 2.0
    weight_decay: float = 1e-2
    label_smoothing: float = 0.0
    accumulation_steps: int = 1


@dataclass(frozen=True)
class StudentConfig:
    """The network that goes onto the phone: see ``ser_kd.students.architectures``.

    Of kind ``yamnet``, ``blocks`` says how many of YAMNet's 13 blocks there are, ``most_channels``
    how many channels a block has at most (YAMNet's later ones have 512 and 1024).
    ``initial_weights``: what it begins with (``students.initial_weights``): a finished student
    of the same architecture (.keras) or, of kind ``yamnet``, YAMNet's file; empty = at random.
    """

    kind: Literal["mobilenet", "yamnet", "cnn", "crnn"] = "mobilenet"
    width: float = 1.0
    dropout: float = 0.2
    blocks: int = 7
    most_channels: int = 1024
    initial_weights: str = ""


@dataclass(frozen=True)
class DistillConfig:
    """``label_weight * CE + logit_weight * T^2 * KL + embedding_weights . embedding_loss``.

    ``teachers`` names the teachers whose predictions are learnt with their weights (a mixture of
    the softened predictions); empty = every teacher of the run, equally. ``embedding_weights``
    names those whose embeddings are learnt; see ``ser_kd.distillation.projections``.
    """

    label_weight: float = 0.1
    logit_weight: float = 0.9
    temperature: float = 2.0
    teachers: dict[str, float] = field(default_factory=dict)
    embedding_weights: dict[str, float] = field(default_factory=dict)
    embedding_loss: Literal["mse", "cosine"] = "mse"


LABELS_ONLY = DistillConfig(label_weight=1.0, logit_weight=0.0, temperature=1.0)
"""Plain supervised training: the baseline's, and that of the teachers' own networks."""


@dataclass(frozen=True)
class DimensionsConfig:
    """Continuous targets that the student learns beside the categories, or ``alone``.

    ``weight``: of 1 - CCC in the loss; 0 = there are none. ``ranges``: name -> ends of the raters'
    scale, such as ``valence = [1, 7]``, of the columns of one's own CSV, or of some of the corpus's
    own dimensions; empty = all that the corpus has. ``dropout``: before their head.
    ``teacher_weight``: of 1 - CCC with what the teachers say of the dimensions, the mean of all
    that have them; 0 = the ratings alone are learnt. See ``ser_kd.corpora.ratings``.

    ``alone``: the run makes a student without categories: see ``ser_kd.pipeline.dimensions_only``.
    """

    weight: float = 0.0
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    dropout: float = 0.2
    teacher_weight: float = 0.0
    alone: bool = False


NO_DIMENSIONS = DimensionsConfig()


@dataclass(frozen=True)
class ExportConfig:
    """What an exported file may differ by, on the validation clips, before the export fails.

    ``min_agreement`` and ``max_ua_drop``: against the Keras model. ``min_runtime_agreement`` (share
    of windows with the same label) and ``max_runtime_steps`` (of int8 outputs): between the
    interpreters that are installed, each with its own kernels. ``min_kernel_agreement`` (share of
    windows): between those kernels and XNNPACK, whose int8 rounds differently. int8 is calibrated
    on ``calibration_clips`` training clips.
    """

    calibration_clips: int = 500
    min_agreement: float = 0.97
    max_ua_drop: float = 0.015
    min_runtime_agreement: float = 0.995
    max_runtime_steps: int = 2
    min_kernel_agreement: float = 0.95


@dataclass(frozen=True)
class EnsembleTeacherConfig:
    """``logmel_ensemble``: ``members`` log-mel networks per fold, differing in seed.

    ``statistics``: what the features are standardised with. ``speaker`` = mean and deviation of
    each speaker's own clips, without labels: a teacher hears many clips of a person, a student one.
    """

    kind: Literal["logmel_ensemble"] = "logmel_ensemble"
    folds: int = 5
    in_fold: bool = False
    members: int = 2
    statistics: Literal["corpus", "speaker"] = "corpus"
    student: StudentConfig = StudentConfig(width=1.5, dropout=0.3)
    fit: FitConfig = FitConfig()
    augment: AugmentConfig = AugmentConfig()


@dataclass(frozen=True)
class Wav2Vec2TeacherConfig:
    """``wav2vec2``: an encoder of that family (HuBERT and WavLM too) and a classifier on it.

    ``checkpoint`` names published weights, on the hub or in a folder; empty = a random start, for
    which ``architecture`` overrides fields of the base architecture (``model_type`` among them).
    With a checkpoint ``architecture`` may set dropout, LayerDrop and SpecAugment only.

    ``combine``: the last layer, or a learned weighted mean of all. ``pooling``: over time.
    ``frozen``: what training leaves as it is; empty = the convolutional ``feature_encoder`` with a
    checkpoint, ``nothing`` without (random filters have to learn). With ``encoder`` its features
    are computed once and kept, which takes minutes on a CPU. ``encoder_learning_rate``: of what is
    not the classifier; None = ``fit.learning_rate``. ``precision`` other than float32 is for GPUs.
    """

    kind: Literal["wav2vec2"] = "wav2vec2"
    folds: int = 5
    in_fold: bool = False
    checkpoint: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    combine: Literal["last", "weighted"] = "last"
    pooling: Literal["mean", "attentive_statistics"] = "mean"
    projection: int = 128
    dropout: float = 0.1
    frozen: Literal["", "nothing", "feature_encoder", "encoder"] = ""
    encoder_learning_rate: float | None = None
    class_weights: Literal["none", "balanced"] = "none"
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    gradient_checkpointing: bool = False
    fit: FitConfig = FitConfig(epochs=20, batch_size=16, learning_rate=1e-3, warmup_epochs=2.0)


@dataclass(frozen=True)
class ProsodicTeacherConfig:
    """``prosodic``: ``members`` small networks per fold over prosodic descriptors every 10 ms.

    ``features``: those of ``audio.prosody.DESCRIPTORS``, or eGeMAPS (needs the package opensmile).
    ``network``: ``convolutional`` or ``recurrent``, ``units`` wide; ``dropout`` after every layer.
    ``statistics``: as in ``logmel_ensemble``, pitch and what else needs a voice over voiced frames.
    """

    kind: Literal["prosodic"] = "prosodic"
    folds: int = 5
    in_fold: bool = False
    members: int = 2
    features: Literal["descriptors", "egemaps"] = "descriptors"
    network: Literal["convolutional", "recurrent"] = "convolutional"
    units: int = 64
    dropout: float = 0.3
    statistics: Literal["corpus", "speaker"] = "corpus"
    fit: FitConfig = FitConfig()


@dataclass(frozen=True)
class LinguisticTeacherConfig:
    """``linguistic``: a text encoder of keras-hub and a classifier on it, over the transcripts.

    It reads ``text``, a column of a folder corpus's CSV; of CREMA-D the sentences are known, but
    each is said in every emotion: there is nothing in them to learn. ``preset``: a name that
    keras-hub knows, downloaded once, or a folder that ``save_to_preset`` wrote. Of longer texts the
    first ``max_tokens`` tokens are read. With ``frozen`` the encoder is left as it is, and the
    classifier alone learns (which takes a higher ``fit.learning_rate``). ``projection``: size of
    the embedding.
    """

    kind: Literal["linguistic"] = "linguistic"
    folds: int = 5
    in_fold: bool = False
    preset: str = "bert_small_en_uncased"
    max_tokens: int = 64
    frozen: bool = False
    projection: int = 128
    dropout: float = 0.1
    fit: FitConfig = FitConfig(
        epochs=5,
        learning_rate=5e-5,
        final_learning_rate=0.0,
        decay="linear",
        warmup_epochs=0.5,
    )


@dataclass(frozen=True)
class LiveTeacherConfig:
    """``live``: finished students of other runs, which hear what the student hears, at every step.

    ``models``: their .keras files, of the same front end and labels (``ser_kd.teachers.live``).
    """

    kind: Literal["live"] = "live"
    models: tuple[str, ...] = ()

    @property
    def in_fold(self) -> bool:
        """Always: its networks may have been trained on the clips that they predict."""
        return True


@dataclass(frozen=True)
class VotesTeacherConfig:
    """``votes``: what CREMA-D's crowd answered, as soft labels (``ser_kd.teachers.votes``).

    ``channel``: what the crowd was given. ``prior_votes``: further votes of every clip, shared
    equally by all labels, so that nothing is said to be impossible after ten answers.
    """

    kind: Literal["votes"] = "votes"
    channel: Literal["voice", "face", "multimodal"] = "voice"
    prior_votes: float = 1.0

    @property
    def in_fold(self) -> bool:
        """Never: no network is trained."""
        return False


@dataclass(frozen=True)
class FileTeacherConfig:
    """``file``: predictions that were made elsewhere, keyed by clip id and view (.npz or .csv)."""

    kind: Literal["file"] = "file"
    path: str = ""


@dataclass(frozen=True)
class MaskingConfig:
    """Which modalities a fusion teacher's training shows: four scenarios, drawn for every clip.

    Probabilities, which sum to 1. ``audio_and_one``: one of the others that the clip has, each
    equally often. ``random_subset``: each of the others with probability 1/2. The audio is in all.
    """

    all_present: float = 0.4
    audio_only: float = 0.3
    audio_and_one: float = 0.15
    random_subset: float = 0.15


@dataclass(frozen=True)
class ModalitySource:
    """Where a modality's vectors come from, as ``modalities`` spells it.

    Attributes:
        kind: ``votes``, ``teacher`` or ``file``.
        name: The channel, the teacher or the path.
        embedding: Whether a teacher's embedding is wanted beside its logits.
    """

    kind: Literal["votes", "teacher", "file"]
    name: str
    embedding: bool = False

    @classmethod
    def parse(cls, text: str) -> "ModalitySource | None":
        """Reads ``votes:<channel>``, ``teacher:<name>[:embedding]`` or ``file:<path>.npz``."""
        kind, _, name = text.partition(":")
        if kind == "votes" and name in ("voice", "face", "multimodal"):
            return cls("votes", name)
        if kind == "teacher" and name.removesuffix(":embedding"):
            return cls("teacher", name.removesuffix(":embedding"), name.endswith(":embedding"))
        return cls("file", name) if kind == "file" and name.endswith(".npz") else None

    @classmethod
    def parse_all(cls, texts: Mapping[str, str]) -> "dict[str, ModalitySource]":
        """Name -> where it comes from; what is misspelt is left out."""
        read = {name: cls.parse(text) for name, text in texts.items()}
        return {name: source for name, source in read.items() if source is not None}


@dataclass(frozen=True)
class FusionTeacherConfig:
    """``fusion``: a transformer over several modalities of a clip, any of which may be absent.

    ``modalities``: name -> source (``teachers.modalities``). ``audio`` names those that are what a
    student hears; they are never masked. ``modalities_at_prediction``: what the targets are made
    from, the audio among it; empty = everything.

    ``network_of`` names another fusion teacher, whose networks this one predicts with: nothing is
    trained, and no other setting but ``folds`` (the same) and ``modalities_at_prediction`` is
    looked at.

    ``width``, ``heads``, ``layers``: of the transformer. ``context_clips``: how many clips of the
    same dialogue are looked at on either side; ``graph`` adds a relational graph layer over them.
    """

    kind: Literal["fusion"] = "fusion"
    folds: int = 5
    modalities: dict[str, str] = field(default_factory=dict)
    audio: tuple[str, ...] = ()
    modalities_at_prediction: tuple[str, ...] = ()
    network_of: str = ""
    masking: MaskingConfig = MaskingConfig()
    width: int = 64
    heads: int = 4
    layers: int = 1
    dropout: float = 0.2
    context_clips: int = 0
    graph: bool = False
    fit: FitConfig = FitConfig(epochs=30, batch_size=64, learning_rate=1e-3)

    @property
    def in_fold(self) -> bool:
        """Never: its targets are always out of fold."""
        return False

    @property
    def sources(self) -> dict[str, ModalitySource]:
        """Modality -> where it comes from; what is misspelt is left out."""
        return ModalitySource.parse_all(self.modalities)

    @property
    def teachers_needed(self) -> tuple[str, ...]:
        """The teachers that come before this one."""
        named = [source.name for source in self.sources.values() if source.kind == "teacher"]
        return tuple(dict.fromkeys([self.network_of] if self.network_of else named))


@dataclass(frozen=True)
class DimensionalTeacherConfig:
    """``dimensional``: several encoders' vectors of a clip, fused for each dimension by itself.

    ``sources``: name -> source, spelt as a fusion teacher's modalities (``teachers.modalities``);
    every clip needs all of them. One dense layer of ``width`` units on their concatenation, with
    learned weights of the sources for each dimension; ``dropout``: share of the sources' components
    that is left out in training. ``dimension_weight``: of 1 - CCC in the loss; ``label_weight``: of
    the categories, of which every teacher has to say something.
    """

    kind: Literal["dimensional"] = "dimensional"
    folds: int = 5
    sources: dict[str, str] = field(default_factory=dict)
    width: int = 64
    dropout: float = 0.5
    dimension_weight: float = 1.0
    label_weight: float = 0.5
    fit: FitConfig = FitConfig(epochs=30, batch_size=64, learning_rate=1e-3)

    @property
    def in_fold(self) -> bool:
        """Never: its targets are always out of fold."""
        return False

    @property
    def parsed_sources(self) -> dict[str, ModalitySource]:
        """Name -> where it comes from; what is misspelt is left out."""
        return ModalitySource.parse_all(self.sources)

    @property
    def teachers_needed(self) -> tuple[str, ...]:
        """The teachers that come before this one."""
        named = self.parsed_sources.values()
        return tuple(dict.fromkeys(source.name for source in named if source.kind == "teacher"))


TeacherConfig = (
    EnsembleTeacherConfig
    | Wav2Vec2TeacherConfig
    | ProsodicTeacherConfig
    | LinguisticTeacherConfig
    | FusionTeacherConfig
    | DimensionalTeacherConfig
    | LiveTeacherConfig
    | VotesTeacherConfig
    | FileTeacherConfig
)


_LEARN_FROM_TEACHERS = FusionTeacherConfig | DimensionalTeacherConfig
_TELL_DIMENSIONS = DimensionalTeacherConfig | FileTeacherConfig
"""Of these, a file may."""


def teacher_order(teachers: Mapping[str, TeacherConfig]) -> list[str]:
    """Files first, then as given, but the teachers that another one names come before it.

    Raises:
        UserError: Some name each other in a circle.
    """
    needs = {
        name: teacher.teachers_needed
        for name, teacher in teachers.items()
        if isinstance(teacher, _LEARN_FROM_TEACHERS)
    }
    order: list[str] = []

    def add(name: str, asking: tuple[str, ...]) -> None:
        if name in asking:
            circle = " -> ".join([*asking[asking.index(name) :], name])
            raise UserError(f"teachers learn from each other in a circle ({circle}); cut it")
        for other in needs.get(name, ()):
            add(other, (*asking, name))
        if name not in order:
            order.append(name)

    for name in sorted(
        teachers, key=lambda name: not isinstance(teachers[name], FileTeacherConfig)
    ):
        add(name, ())
    return order


@dataclass(frozen=True)
class Config:
    """A whole run.

    ``expected_minutes`` is only told to the reader: the recipe's measured time on 2 CPU cores.
    ``deterministic``: the same seed on the same machine gives the same networks, to the bit.
    """

    name: str = "demo"
    seed: int = 0
    deterministic: bool = True
    expected_minutes: float = 0.0
    corpus: CorpusConfig = CorpusConfig()
    audio: AudioConfig = AudioConfig()
    logmel: LogMelConfig = LogMelConfig()
    augment: AugmentConfig = AugmentConfig()
    views: ViewsConfig = ViewsConfig()
    teachers: dict[str, TeacherConfig] = field(default_factory=dict)
    student: StudentConfig = StudentConfig()
    fit: FitConfig = FitConfig()
    distill: DistillConfig = DistillConfig()
    dimensions: DimensionsConfig = DimensionsConfig()
    export: ExportConfig = ExportConfig()


TEACHER_KINDS: dict[str, type[Any]] = {
    "logmel_ensemble": EnsembleTeacherConfig,
    "wav2vec2": Wav2Vec2TeacherConfig,
    "prosodic": ProsodicTeacherConfig,
    "linguistic": LinguisticTeacherConfig,
    "live": LiveTeacherConfig,
    "votes": VotesTeacherConfig,
    "file": FileTeacherConfig,
    "fusion": FusionTeacherConfig,
    "dimensional": DimensionalTeacherConfig,
}

_T = TypeVar("_T")


def load_config(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a recipe and applies ``section.key=value`` overrides.

    Args:
        recipe: The name of a shipped recipe (``demo``) or the path of a TOML file.
        overrides: As given to ``--set``; values are written as in TOML, bare words are strings.

    Returns:
        The config, named after the recipe unless the recipe names itself.

    Raises:
        UserError: Unknown recipe, unknown key (with the nearest match), wrong type.
    """
    path, table = _read_recipe(recipe)
    table.setdefault("name", path.stem)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise UserError(f"--set {override!r}: write it as section.key=value")
        _set_in(table, key.strip().split("."), parse_value(text.strip()), override)
    return config_from_dict(table)


def recipe_names() -> list[str]:
    """The shipped recipes."""
    folder = resources.files("ser_kd") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def config_from_dict(table: Mapping[str, Any]) -> Config:
    """Builds the config from plain values, as in a recipe or in ``config.json``.

    Raises:
        UserError: Unknown key, wrong type or a value out of range.
    """
    config: Config = _build(Config, table, "")
    _check(config)
    return config


def read_run_config(path: Path) -> Config:
    """The config of a run, from its ``config.json``, which may be an older one.

    Settings that are no more are passed over where they had no effect; those that are newer than
    the run have their defaults.

    Raises:
        UserError: It is no such file; as ``config_from_dict``; a removed setting was in use.
    """
    try:
        table = dict(json.loads(path.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a run's config.json; restore or delete it") from None
    return config_from_dict(_without_removed(table))


_REMOVED: dict[str, dict[str, Any]] = {
    "": {"quantization": {"epochs": 0, "learning_rate": 1e-4}},
    "fit": {"averaged_epochs": 0},
    "distill": {"logit_loss": "kl"},
}
"""Section -> settings that were removed in 2026-11, and their values without effect."""


def _without_removed(table: Mapping[str, Any], section: str = "") -> dict[str, Any]:
    removed = _REMOVED.get(section, {})
    return {
        key: _without_removed(value, key) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if key not in removed or value != removed[key]
    }


def flat_settings(table: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested tables as one: ``{"fit": {"epochs": 3}}`` -> ``{"fit.epochs": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        flat |= flat_settings(value, name) if isinstance(value, dict) and value else {name: value}
    return flat


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain values for JSON; ``config_from_dict`` reads them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _read_recipe(recipe: str) -> tuple[Path, dict[str, Any]]:
    path = Path(recipe)
    if path.suffix != ".toml":
        if recipe not in recipe_names():
            raise UserError(
                f"no recipe {recipe!r}{_nearest(recipe, recipe_names())}; "
                f"shipped: {', '.join(recipe_names())}; or give the path of a .toml file"
            )
        path = Path(str(resources.files("ser_kd") / "recipes" / f"{recipe}.toml"))
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {str(path)!r} is not valid TOML: {error}") from None


def parse_value(text: str) -> Any:
    """The value of an override: as in TOML, or the bare word itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _set_in(table: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {override!r}: {key!r} is a value, not a section")
    table[keys[-1]] = value


def _nearest(word: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _build(cls: type[_T], table: Any, where: str) -> _T:
    if not isinstance(table, Mapping):
        raise UserError(f"{where} is a section, got {table!r}")
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in hints:
            raise UserError(
                f"unknown key {_join(where, key)!r}{_nearest(key, list(hints))}; "
                f"known here: {', '.join(hints)}"
            )
    values = {key: _convert(hints[key], value, _join(where, key)) for key, value in table.items()}
    return cls(**values)


def _build_teacher(table: Any, where: str) -> Any:
    if not isinstance(table, Mapping) or "kind" not in table:
        raise UserError(f"{where} needs a kind: one of {', '.join(TEACHER_KINDS)}")
    kind = str(table["kind"])
    if kind not in TEACHER_KINDS:
        raise UserError(
            f"{where}.kind = {kind!r}{_nearest(kind, list(TEACHER_KINDS))}; "
            f"known: {', '.join(TEACHER_KINDS)}"
        )
    return _build(TEACHER_KINDS[kind], table, where)


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Checks ``value`` against a type hint and turns tables and lists into what the hint names."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _build(hint, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is a table, got {value!r}")
        if arguments[1] == TeacherConfig:
            return {key: _build_teacher(item, _join(where, key)) for key, item in value.items()}
        return {k: _convert(arguments[1], item, _join(where, k)) for k, item in value.items()}
    if origin is tuple and arguments[-1] is ...:  # of any length
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where} is a list, got {value!r}")
        return tuple(_convert(arguments[0], item, where) for item in value)
    if origin is tuple:
        if not isinstance(value, (list, tuple)) or len(value) != len(arguments):
            raise UserError(f"{where} needs {len(arguments)} values, got {value!r}")
        return tuple(_convert(a, v, where) for a, v in zip(arguments, value, strict=True))
    if origin is Literal:
        if value not in arguments:
            raise UserError(
                f"{where} = {value!r}{_nearest(str(value), [str(a) for a in arguments])}; "
                f"one of {', '.join(map(str, arguments))}"
            )
        return value
    if origin is types.UnionType:
        return None if value is None else _convert(arguments[0], value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{where} needs a value of type {hint.__name__}, got {value!r}")
    return value


def _check(config: Config) -> None:
    """Ranges that every later stage relies on."""
    audio, logmel, distill, corpus = config.audio, config.logmel, config.distill, config.corpus
    rules = [
        ("seed", 0 <= config.seed < 2**32, "a whole number of at least 0 and below 2**32"),
        ("audio.window_seconds", 0.1 < audio.window_seconds <= 60, "above 0.1 and at most 60"),
        (
            "audio.window_hop_seconds",
            0 < audio.window_hop_seconds <= audio.window_seconds,
            "above 0 and at most audio.window_seconds",
        ),
        (
            "logmel.sample_rate_hz",
            logmel.sample_rate_hz == audio.sample_rate_hz >= 1_000,
            "audio.sample_rate_hz, and at least 1000",
        ),
        (
            "logmel.hop_seconds",
            0.001 <= logmel.hop_seconds <= audio.window_hop_seconds,
            "at least 0.001 and at most audio.window_hop_seconds",
        ),
        (
            "logmel.fft_samples",
            2 <= logmel.fft_samples <= audio.window_seconds * audio.sample_rate_hz,
            "at least 2 and at most a window",
        ),
        ("logmel.mels", logmel.mels >= 1, "at least 1"),
        ("logmel.min_hz", 0 <= logmel.min_hz < logmel.max_hz, "at least 0, below logmel.max_hz"),
        (
            "logmel.max_hz",
            logmel.max_hz <= logmel.sample_rate_hz / 2,
            "at most half of logmel.sample_rate_hz",
        ),
        ("distill.temperature", 0 < distill.temperature < math.inf, "above 0"),
        ("distill.label_weight", 0 <= distill.label_weight < math.inf, "at least 0"),
        (
            "distill.logit_weight",
            distill.logit_weight >= 0
            and 0 < distill.label_weight + distill.logit_weight < math.inf,
            "at least 0, and above 0 if distill.label_weight is 0",
        ),
        ("corpus.folds", corpus.folds >= 3, "at least 3"),
        ("corpus.fold", 0 <= corpus.fold < corpus.folds, "from 0 to corpus.folds - 1"),
        *(
            (f"distill.teachers.{name}", 0 < weight < math.inf, "above 0")
            for name, weight in distill.teachers.items()
        ),
        *(
            (f"distill.embedding_weights.{name}", 0 <= weight < math.inf, "at least 0")
            for name, weight in distill.embedding_weights.items()
        ),
        *_network_rules("", config.student, config.fit, config.augment),
        *_view_rules(config.views),
        *_dimension_rules(config),
        (
            "corpus.unlabelled_dirs",
            not corpus.unlabelled_dirs or _learns_from_teachers(config),
            "empty where no teacher is learned from (no teachers, or distill.logit_weight and "
            "dimensions.teacher_weight are 0)",
        ),
    ]
    for name, teacher in config.teachers.items():
        where = f"teachers.{name}."
        if isinstance(teacher, FileTeacherConfig):
            continue
        if isinstance(teacher, LiveTeacherConfig):
            rules.append((f"{where}models", bool(teacher.models), "one .keras file at least"))
            continue
        if isinstance(teacher, VotesTeacherConfig):
            holds = 0 < teacher.prior_votes < math.inf
            rules.append((f"{where}prior_votes", holds, "above 0"))
            continue
        rules.append((f"{where}folds", teacher.folds >= 2, "at least 2"))
        if isinstance(teacher, EnsembleTeacherConfig):
            rules.append((f"{where}members", teacher.members >= 1, "at least 1"))
            rules += _network_rules(where, teacher.student, teacher.fit, teacher.augment)
        elif isinstance(teacher, ProsodicTeacherConfig):
            rules += _prosodic_rules(where, teacher)
        elif isinstance(teacher, LinguisticTeacherConfig):
            rules += _linguistic_rules(where, teacher)
        elif isinstance(teacher, FusionTeacherConfig):
            rules += _fusion_rules(where, teacher)
        elif isinstance(teacher, DimensionalTeacherConfig):
            rules += _dimensional_rules(where, teacher, config.dimensions)
        else:
            rules += _wav2vec2_rules(where, teacher)
    for where, holds, needed in rules:
        if not holds:
            value: Any = config
            for key in where.split("."):
                value = value[key] if isinstance(value, dict) else getattr(value, key)
            raise UserError(f"{where} = {value!r} is out of range: it must be {needed}")
    for name, teacher in config.teachers.items():
        if isinstance(teacher, FusionTeacherConfig):
            _check_what_it_fuses(name, teacher, config.teachers)
        elif isinstance(teacher, DimensionalTeacherConfig):
            _check_sources(f"teachers.{name}", "sources", teacher.sources, teacher, config.teachers)
    teacher_order(config.teachers)
    for key in ("teachers", "embedding_weights"):
        unknown = [name for name in getattr(config.distill, key) if name not in config.teachers]
        if unknown:
            near = _nearest(unknown[0], list(config.teachers))
            raise UserError(
                f"distill.{key} names {unknown[0]!r}{near}, but the run's teachers are: "
                f"{', '.join(config.teachers) or 'none'}"
            )


_Rule = tuple[str, bool, str]


def _learns_from_teachers(config: Config) -> bool:
    weights = config.distill.logit_weight, config.dimensions.teacher_weight
    return bool(config.teachers) and max(weights) > 0


def _dimension_rules(config: Config) -> list[_Rule]:
    dimensions, weight = config.dimensions, config.dimensions.teacher_weight
    may_have_them = [isinstance(teacher, _TELL_DIMENSIONS) for teacher in config.teachers.values()]
    return [
        ("dimensions.weight", 0 <= dimensions.weight < math.inf, "at least 0"),
        ("dimensions.dropout", 0 <= dimensions.dropout < 1, "at least 0 and below 1"),
        ("dimensions.teacher_weight", 0 <= weight < math.inf, "at least 0"),
        (
            "dimensions.teacher_weight",
            weight == 0 or dimensions.weight > 0,
            "0 where dimensions.weight is 0: the run has no dimensions",
        ),
        (
            "dimensions.teacher_weight",
            weight == 0 or any(may_have_them),
            "0 without a teacher of kind 'dimensional', or one of kind 'file' that has dimensions",
        ),
    ]


def _network_rules(
    where: str, student: StudentConfig, fit: FitConfig, augment: AugmentConfig
) -> list[_Rule]:
    strengths = ["shift_seconds", "gain_db", "time_masks", "time_mask_seconds", "mel_masks"]
    strengths += ["mel_mask_bins", "mixup_alpha", "microphone_db"]
    shares = ["noise", "babble", "room", "band_limit"]
    begins = student.initial_weights
    yamnet_allowed = begins.endswith(".tflite") and student.kind == "yamnet" and student.width == 1
    # A teacher's network begins with no finished student: that may have heard its held-out clips.
    student_allowed = not where and begins.endswith(".keras")
    return [
        (f"{where}student.width", 0 < student.width <= 16, "above 0 and at most 16"),
        (f"{where}student.dropout", 0 <= student.dropout < 1, "at least 0 and below 1"),
        (f"{where}student.blocks", 1 <= student.blocks <= 13, "from 1 to 13"),
        (f"{where}student.most_channels", student.most_channels >= 8, "at least 8"),
        (
            f"{where}student.initial_weights",
            not begins or student_allowed or yamnet_allowed,
            f"empty{'' if where else ', a finished student (.keras)'} or, with student.kind = "
            "'yamnet' and student.width = 1.0, YAMNet (.tflite)",
        ),
        *_fit_rules(where, fit),
        *(
            (f"{where}augment.{key}", 0 <= getattr(augment, key) < math.inf, "at least 0")
            for key in strengths
        ),
        *(
            (
                f"{where}augment.{name}_probability",
                0 <= getattr(augment, f"{name}_probability") <= 1,
                "from 0 to 1",
            )
            for name in shares
        ),
        *(
            (f"{where}augment.{key}", -math.inf < low <= high < math.inf, "lowest, highest")
            for key, (low, high) in (
                ("noise_snr_db", augment.noise_snr_db),
                ("babble_snr_db", augment.babble_snr_db),
            )
        ),
        (
            f"{where}augment.known_speaker_probability",
            0 <= augment.known_speaker_probability <= (0 if where else 1),
            "0: a teacher's statistics = 'speaker' is what it has" if where else "from 0 to 1",
        ),
        (
            f"{where}augment.direct_to_reverberant_db",
            -60 <= augment.direct_to_reverberant_db[0] <= augment.direct_to_reverberant_db[1] <= 60,
            "lowest, highest, within -60 to 60",
        ),
        (
            f"{where}augment.reverberation_seconds",
            0.05 <= augment.reverberation_seconds[0] <= augment.reverberation_seconds[1] <= 20,
            "shortest, longest, within 0.05 to 20",
        ),
        *(
            (f"{where}augment.{key}", 0 < edges[0] <= edges[1] < math.inf, "lowest, highest in Hz")
            for key, edges in (
                ("low_cut_hz", augment.low_cut_hz),
                ("high_cut_hz", augment.high_cut_hz),
            )
        ),
    ]


def _view_rules(views: ViewsConfig) -> list[_Rule]:
    low, high = views.noise_snr_db
    least_bits, most_bits = views.opus_bits_per_second
    return [
        ("views.count", 0 <= views.count <= 100, "from 0 to 100"),
        ("views.gain_db", 0 <= views.gain_db <= 60, "from 0 to 60"),
        ("views.speed", 0 <= views.speed <= 0.5, "from 0 to 0.5"),
        ("views.noise_probability", 0 <= views.noise_probability <= 1, "from 0 to 1"),
        ("views.noise_snr_db", -60 <= low <= high <= 120, "lowest, highest, within -60 to 120"),
        ("views.codec_probability", 0 <= views.codec_probability <= 1, "from 0 to 1"),
        (
            "views.opus_bits_per_second",
            6_000 <= least_bits <= most_bits <= 256_000,
            "lowest, highest, within 6000 to 256000",
        ),
    ]


def _wav2vec2_rules(where: str, teacher: Wav2Vec2TeacherConfig) -> list[_Rule]:
    rate, frozen = teacher.encoder_learning_rate, teacher.frozen == "encoder"
    return [
        (f"{where}dropout", 0 <= teacher.dropout < 1, "at least 0 and below 1"),
        (f"{where}projection", teacher.projection >= 1, "at least 1"),
        (
            f"{where}encoder_learning_rate",
            rate is None or 0 < rate < math.inf,
            "above 0 (to leave the encoder as it is, set frozen = 'encoder')",
        ),
        (
            f"{where}pooling",
            teacher.pooling == "mean" or not frozen,
            "'mean' with frozen = 'encoder', which keeps nothing but means over time",
        ),
        *_fit_rules(where, teacher.fit),
    ]


def _prosodic_rules(where: str, teacher: ProsodicTeacherConfig) -> list[_Rule]:
    return [
        (f"{where}members", teacher.members >= 1, "at least 1"),
        (
            f"{where}units",
            teacher.units >= 2 and teacher.units % 2 == 0,
            "even, and at least 2: a recurrent network has one half for each direction",
        ),
        (f"{where}dropout", 0 <= teacher.dropout < 1, "at least 0 and below 1"),
        *_fit_rules(where, teacher.fit),
    ]


def _linguistic_rules(where: str, teacher: LinguisticTeacherConfig) -> list[_Rule]:
    return [
        (f"{where}preset", bool(teacher.preset), "a name that keras-hub knows, or a folder"),
        (f"{where}max_tokens", teacher.max_tokens >= 3, "at least 3: a word between two marks"),
        (f"{where}projection", teacher.projection >= 1, "at least 1"),
        (f"{where}dropout", 0 <= teacher.dropout < 1, "at least 0 and below 1"),
        *_fit_rules(where, teacher.fit),
    ]


def _fusion_rules(where: str, teacher: FusionTeacherConfig) -> list[_Rule]:
    masking, names = teacher.masking, list(teacher.modalities)
    probabilities = dataclasses.asdict(masking)
    heads, layers, context = teacher.heads, teacher.layers, teacher.context_clips
    return [
        *(
            (f"{where}masking.{key}", 0 <= value <= 1, "a probability, from 0 to 1")
            for key, value in probabilities.items()
        ),
        (
            f"{where}masking",
            math.isclose(sum(probabilities.values()), 1.0, abs_tol=1e-6),
            f"four probabilities that sum to 1, not to {sum(probabilities.values()):g}",
        ),
        (f"{where}layers", 1 <= layers <= 12, "from 1 to 12"),
        (f"{where}heads", heads >= 1, "at least 1"),
        (
            f"{where}width",
            heads >= 1 and teacher.width >= 1 and teacher.width % heads == 0,
            f"a multiple of heads = {heads}",
        ),
        (f"{where}dropout", 0 <= teacher.dropout < 1, "at least 0 and below 1"),
        (f"{where}context_clips", 0 <= context <= 100, "from 0 to 100"),
        (f"{where}graph", context > 0 or not teacher.graph, "false where context_clips is 0"),
        (
            f"{where}modalities",
            bool(teacher.network_of) or len(names) >= 2,
            "a table of two or more, such as { ear = 'teacher:ensemble', face = 'votes:face' }",
        ),
        (
            f"{where}audio",
            bool(teacher.network_of) or (bool(teacher.audio) and {*teacher.audio} <= {*names}),
            f"those of the modalities ({', '.join(names)}) that a student hears, at least one",
        ),
        *_fit_rules(where, teacher.fit),
    ]


def _dimensional_rules(
    where: str, teacher: DimensionalTeacherConfig, dimensions: DimensionsConfig
) -> list[_Rule]:
    return [
        (
            f"{where}kind",
            dimensions.weight > 0,
            "another one where dimensions.weight is 0: the run has no dimensions",
        ),
        (
            f"{where}sources",
            bool(teacher.sources),
            "a table, such as { hubert = 'file:hubert.npz', wavlm = 'file:wavlm.npz' }",
        ),
        (f"{where}width", teacher.width >= 1, "at least 1"),
        (f"{where}dropout", 0 <= teacher.dropout < 1, "at least 0 and below 1"),
        (f"{where}dimension_weight", 0 < teacher.dimension_weight < math.inf, "above 0"),
        (
            f"{where}label_weight",
            0 < teacher.label_weight < math.inf,
            "above 0: every teacher is asked for the categories, too",
        ),
        *_fit_rules(where, teacher.fit),
    ]


def _check_sources(
    where: str,
    key: str,
    texts: Mapping[str, str],
    teacher: FusionTeacherConfig | DimensionalTeacherConfig,
    teachers: Mapping[str, TeacherConfig],
) -> None:
    """What a teacher asks of those among its sources: folds that are its own, so nothing leaks."""
    sources = ModalitySource.parse_all(texts)
    for source_name, text in texts.items():
        if source_name not in sources:
            raise UserError(
                f"{where}.{key}.{source_name} = {text!r} is no source; there are votes:voice, "
                "votes:face, votes:multimodal, teacher:<name>, teacher:<name>:embedding and "
                "file:<path>.npz"
            )
    for other_name in teacher.teachers_needed:
        other = teachers.get(other_name)
        if other is None:
            raise UserError(
                f"{where} needs the teacher {other_name!r}{_nearest(other_name, list(teachers))}, "
                f"but the run's teachers are: {', '.join(teachers)}"
            )
        if isinstance(other, FileTeacherConfig):
            continue  # what its file says of folds is checked when it is read
        if isinstance(other, LiveTeacherConfig):
            raise UserError(
                f"{where} learns from teachers.{other_name}, whose networks may have heard the "
                "clips that they predict: name a teacher of another kind"
            )
        if isinstance(other, VotesTeacherConfig):
            raise UserError(
                f"{where} learns from teachers.{other_name}, which is a crowd: give its votes "
                f"themselves, 'votes:{other.channel}'"
            )
        if other.in_fold:
            raise UserError(
                f"{where} learns from teachers.{other_name}, which was trained on the clips that "
                f"it predicts: set teachers.{other_name}.in_fold = false"
            )
        if other.folds != teacher.folds:
            raise UserError(
                f"{where}.folds = {teacher.folds}, but teachers.{other_name}.folds = "
                f"{other.folds}: with other folds a network would learn from one that heard the "
                "speakers it is kept from; give both the same"
            )
    for source in sources.values():
        other = teachers.get(source.name) if source.kind == "teacher" else None
        if source.embedding and not isinstance(other, FileTeacherConfig):
            raise UserError(
                f"{where} asks for the embedding of teachers.{source.name}, but each of its folds "
                f"has an embedding space of its own: use 'teacher:{source.name}', its logits"
            )


def _check_what_it_fuses(
    name: str, teacher: FusionTeacherConfig, teachers: Mapping[str, TeacherConfig]
) -> None:
    """What a fusion teacher asks of its sources, and of the teacher whose networks it has."""
    where = f"teachers.{name}"
    _check_sources(where, "modalities", teacher.modalities, teacher, teachers)
    fused = teacher
    if teacher.network_of:
        other = teachers[teacher.network_of]
        if not isinstance(other, FusionTeacherConfig) or other.network_of:
            raise UserError(
                f"{where}.network_of = {teacher.network_of!r} is no fusion teacher that has "
                "networks of its own"
            )
        fused, plain = other, FusionTeacherConfig()
        free = ("network_of", "folds", "modalities_at_prediction")
        for key in (item.name for item in dataclasses.fields(plain) if item.name not in free):
            if getattr(teacher, key) != getattr(plain, key):
                raise UserError(
                    f"{where}.{key} has no effect: the networks are those of "
                    f"teachers.{teacher.network_of}; set it there"
                )
    shown = teacher.modalities_at_prediction
    unknown = [key for key in shown if key not in fused.modalities]
    if unknown or (shown and not {*fused.audio} <= {*shown}):
        raise UserError(
            f"{where}.modalities_at_prediction = {list(shown)}: name some of "
            f"{', '.join(fused.modalities)}, among them the audio ({', '.join(fused.audio)}), "
            "without which no network was trained"
        )


def _fit_rules(where: str, fit: FitConfig) -> list[_Rule]:
    return [
        (f"{where}fit.accumulation_steps", fit.accumulation_steps >= 1, "at least 1"),
        (f"{where}fit.epochs", fit.epochs >= 1, "at least 1"),
        (f"{where}fit.batch_size", fit.batch_size >= 1, "at least 1"),
        (f"{where}fit.learning_rate", 0 < fit.learning_rate < math.inf, "above 0"),
        (
            f"{where}fit.final_learning_rate",
            0 <= fit.final_learning_rate <= fit.learning_rate,
            "from 0 to fit.learning_rate",
        ),
        (
            f"{where}fit.warmup_epochs",
            0 <= fit.warmup_epochs < math.inf,
            "at least 0",
        ),
        (f"{where}fit.weight_decay", 0 <= fit.weight_decay < math.inf, "at least 0"),
        (f"{where}fit.label_smoothing", 0 <= fit.label_smoothing < 1, "at least 0 and below 1"),
    ]
