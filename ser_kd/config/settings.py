"""The sections of a recipe that hold no teachers. Units stand in the names."""
# ruff: noqa: RUF009 (``setting`` makes a field)

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from ser_kd.config.fields import setting

Problems = Iterator[tuple[str, str]]
"""Of a section: the dotted name of a setting, and what it must be."""


@dataclass(frozen=True)
class CorpusConfig:
    """Where the clips are and how they are divided.

    ``folds``/``fold`` serve corpora without an official split: fold ``fold`` is the test set, the
    next one validation, the others train. ``label_map`` maps the corpus's labels to this run's (an
    empty target drops the label); empty = the reader's default. ``unlabelled_dirs``: further speech
    that the teachers label for the distilled student (``ser_kd.data.unlabelled``).
    ``split_by = "clip"`` divides clips whatever their speakers are, for one or two speakers: its
    scores tell nothing of new voices. ``cross_validation``, for small corpora: nothing is held out.
    The scores are those of one student per fold, trained without it; the student that is exported
    is trained on all clips.
    """

    name: str = "demo"
    data_dir: str = setting("", path="")
    metadata_dir: str = setting("", path="")
    folds: int = setting(5, at_least=3)
    fold: int = setting(0, at_least=0, below="folds")
    split_by: Literal["speaker", "clip"] = "speaker"
    cross_validation: bool = False
    label_map: dict[str, str] = setting({})
    allow_unknown_speakers: bool = False
    keep_flawed: bool = False
    unlabelled_dirs: tuple[str, ...] = setting((), path="")


@dataclass(frozen=True)
class AudioConfig:
    """Decoding, and the window that every model is given.

    A shorter clip is followed by zeros; a longer one is cut into windows every
    ``window_hop_seconds`` (the last one ends with the clip), whose probabilities are averaged.
    """

    decoder: Literal["soundfile", "tensorflow_io"] = "soundfile"
    sample_rate_hz: int = setting(16_000, at_least=1_000)
    window_seconds: float = setting(3.0, above=0.1, at_most=60)
    window_hop_seconds: float = setting(1.0, above=0, at_most="window_seconds")

    @property
    def window_samples(self) -> int:
        """Samples of a window."""
        return round(self.window_seconds * self.sample_rate_hz)


@dataclass(frozen=True)
class LogMelConfig:
    """The front end: see ``ser_kd.audio.logmel.LogMel``."""

    sample_rate_hz: int = 16_000
    fft_samples: int = setting(512, at_least=2)
    hop_seconds: float = setting(0.020, at_least=0.001)
    mels: int = setting(64, at_least=1)
    min_hz: float = setting(60.0, at_least=0, below="max_hz")
    max_hz: float = setting(7_800.0)
    floor_db: float = setting(-80.0)

    @property
    def hop_samples(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_seconds * self.sample_rate_hz)

    def frames(self, samples: int) -> int:
        """Frames in ``samples`` samples: every frame lies inside the window, none is padded."""
        return 1 + (samples - self.fft_samples) // self.hop_samples


@dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training windows, drawn anew every step (``ser_kd.audio.augment``).

    ``noise_snr_db``, ``babble_snr_db``: ratio of mean powers (``ser_kd.audio.acoustics.add_noise``)
    to stationary noise and to babble (four to seven other clips of the batch). A band limit removes
    what lies below an edge drawn from ``low_cut_hz`` and above one from ``high_cut_hz``.
    ``microphone_db``: deviation of a random frequency response. Of a known speaker the window is
    normalised with the speaker's own statistics (``ser_kd.speaker.voices``); of students alone.
    """

    shift_seconds: float = setting(1.0, at_least=0)
    gain_db: float = setting(6.0, at_least=0)
    noise_probability: float = setting(0.0, at_least=0, at_most=1)
    # Both ranges do to 200 clips of CREMA-D, on average, what 5 to 30 dB did by the mean level in
    # dB that was taken for the noise's power until 2026-11 (1.5 dB less, 0.8 dB more).
    noise_snr_db: tuple[float, float] = setting((3.5, 28.5))
    babble_probability: float = setting(0.0, at_least=0, at_most=1)
    babble_snr_db: tuple[float, float] = setting((5.8, 30.8))
    room_probability: float = setting(0.0, at_least=0, at_most=1)
    reverberation_seconds: tuple[float, float] = setting((0.2, 1.0), at_least=0.05, at_most=20)
    direct_to_reverberant_db: tuple[float, float] = setting((-3.0, 15.0), at_least=-60, at_most=60)
    microphone_db: float = setting(0.0, at_least=0)
    band_limit_probability: float = setting(0.0, at_least=0, at_most=1)
    low_cut_hz: tuple[float, float] = setting((50.0, 500.0), above=0)
    high_cut_hz: tuple[float, float] = setting((3_000.0, 8_000.0), above=0)
    time_masks: int = setting(2, at_least=0)
    time_mask_seconds: float = setting(0.2, at_least=0)
    mel_masks: int = setting(2, at_least=0)
    mel_mask_bins: int = setting(6, at_least=0)
    mixup_alpha: float = setting(0.2, at_least=0)
    known_speaker_probability: float = setting(0.0, at_least=0, at_most=1)


@dataclass(frozen=True)
class ViewsConfig:
    """Views: degraded copies of the training clips' waveforms (``ser_kd.audio.views.make_view``).

    Teachers predict each of them, and the student is given the very view whose prediction it learns
    (consistent teaching: Beyer et al., arXiv 2106.05237; CED, arXiv 2308.11957); ``[augment]``
    comes on top, for the student only. With ``teachers_hear = "clip"`` teachers predict the clip as
    it is, and the student learns that from every view (Li et al., arXiv 1708.05466), so predictions
    from a file serve, too. Live teachers are given the student's input, whatever is set here.
    ``count``: views per training clip beside the clip itself. ``gain_db``: largest gain either way.
    ``speed``: largest change of speed and pitch. ``noise_snr_db``: relative to the speech's level.
    Of codecs, one in four is a telephone, the others Opus within ``opus_bits_per_second``.
    """

    count: int = setting(0, at_least=0, at_most=100)
    teachers_hear: Literal["view", "clip"] = "view"
    gain_db: float = setting(6.0, at_least=0, at_most=60)
    speed: float = setting(0.0, at_least=0, at_most=0.5)
    noise_probability: float = setting(0.5, at_least=0, at_most=1)
    noise_snr_db: tuple[float, float] = setting((10.0, 30.0), at_least=-60, at_most=120)
    codec_probability: float = setting(0.0, at_least=0, at_most=1)
    opus_bits_per_second: tuple[float, float] = setting(
        (6_000.0, 32_000.0), at_least=6_000, at_most=256_000
    )


@dataclass(frozen=True)
class FitConfig:
    """One network's training: AdamW, linear warm-up, decay to ``final_learning_rate``.

    The gradients of ``accumulation_steps`` batches make one update. ``epochs``, ``batch_size``:
    0 = by the number of clips (``for_clips``).
    """

    epochs: int = setting(0, at_least=0)
    batch_size: int = setting(0, at_least=0)
    learning_rate: float = setting(2e-3, above=0)
    final_learning_rate: float = setting(2e-5, at_least=0, at_most="learning_rate")
    decay: Literal["cosine", "linear"] = "cosine"
    warmup_epochs: float = setting(2.0, at_least=0)
    weight_decay: float = setting(1e-2, at_least=0)
    label_smoothing: float = setting(0.0, at_least=0, below=1)
    accumulation_steps: int = setting(1, at_least=1)

    def for_clips(self, clips: int) -> "FitConfig":
        """The same with epochs and batch size, where they are 0, for so many training clips.

        Few clips make few batches, and a network needs a number of updates, whatever the number of
        clips: an epoch has ten batches, of 8 to 32 clips each, and there are 40 epochs, or up to
        200 where fewer do not make 600 batches. From 480 clips on it is 40 epochs of batches of 32.
        """
        batch_size = self.batch_size or min(32, max(8, clips // 10))
        batches = max(1, clips // batch_size)
        epochs = self.epochs or min(200, max(40, math.ceil(600 / batches)))
        return replace(self, epochs=epochs, batch_size=batch_size)


@dataclass(frozen=True)
class StudentConfig:
    """The network that goes onto the phone (``ser_kd.students.architectures``).

    Of kind ``yamnet``: ``blocks`` of YAMNet's 13, each with at most ``most_channels`` channels.
    ``initial_weights``: see ``ser_kd.students.initial_weights``; empty = at random. ``transfer``:
    what is made of a finished student's: ``all`` of them are begun with, the labels being the
    same; ``head``: a new head is fitted on its body, which stays as it is; ``fine_tuning``: then
    all layers are trained (Kumar et al., arXiv 2202.10054); ``best``: what scores best in a
    cross-validation, the finished student itself among them where it knows all labels.
    """

    kind: Literal["mobilenet", "yamnet", "cnn", "crnn"] = "mobilenet"
    width: float = setting(1.0, above=0, at_most=16)
    dropout: float = setting(0.2, at_least=0, below=1)
    blocks: int = setting(7, at_least=1, at_most=13)
    most_channels: int = setting(1024, at_least=8)
    initial_weights: str = setting("", path="")
    transfer: Literal["all", "head", "fine_tuning", "best"] = "all"

    def problems(self) -> Problems:
        yamnet = ".tflite" if self.kind == "yamnet" and self.width == 1 else ".keras"
        if self.initial_weights and not self.initial_weights.endswith((".keras", yamnet)):
            tflite = "with student.kind = 'yamnet' and student.width = 1.0, YAMNet (.tflite)"
            yield "initial_weights", f"empty, a finished student (.keras) or, {tflite}"
        if self.transfer != "all" and not self.initial_weights.endswith(".keras"):
            yield "transfer", "'all' where student.initial_weights is no finished student (.keras)"


@dataclass(frozen=True)
class DistillConfig:
    """``label_weight * CE + logit_weight * T^2 * KL + embedding_weights . embedding_loss``.

    ``teachers``: weights of the teachers whose predictions are mixed; empty = all, equally.
    ``embedding_weights``: of those whose embeddings are learnt (``distillation.projections``).
    """

    label_weight: float = setting(0.1, at_least=0)
    logit_weight: float = setting(0.9, at_least=0)
    temperature: float = setting(2.0, above=0)
    teachers: dict[str, float] = setting({}, above=0)
    embedding_weights: dict[str, float] = setting({}, at_least=0)
    embedding_loss: Literal["mse", "cosine"] = "mse"

    def problems(self) -> Problems:
        if self.label_weight + self.logit_weight == 0:
            yield "logit_weight", "above 0 where distill.label_weight is 0"


LABELS_ONLY = DistillConfig(label_weight=1.0, logit_weight=0.0, temperature=1.0)
"""Plain supervised training: the baseline's, and that of the teachers' own networks."""


@dataclass(frozen=True)
class DimensionsConfig:
    """Continuous targets that the student learns beside the categories, or ``alone``.

    ``weight``: of 1 - CCC in the loss; 0 = there are none. ``ranges``: name -> ends of the raters'
    scale, such as ``valence = [1, 7]``; empty = all that the corpus has (``corpora.ratings``).
    ``dropout``: before their head. ``teacher_weight``: of 1 - CCC with the mean of the teachers'
    dimensions; 0 = ratings alone. ``alone``: see ``ser_kd.pipeline.dimensions_only``.
    """

    weight: float = setting(0.0, at_least=0)
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    dropout: float = setting(0.2, at_least=0, below=1)
    teacher_weight: float = setting(0.0, at_least=0)
    alone: bool = False

    def problems(self) -> Problems:
        if self.weight == 0 and self.teacher_weight > 0:
            yield "teacher_weight", "0 where dimensions.weight is 0: the run has no dimensions"


NO_DIMENSIONS = DimensionsConfig()


@dataclass(frozen=True)
class ExportConfig:
    """What an exported file may differ by, on the validation clips.

    Beyond that a run fails at its end, where the clips can tell (``export.limits``).

    ``min_agreement`` and ``max_ua_drop``: against the Keras model. ``min_runtime_agreement`` (share
    of windows with the same label) and ``max_runtime_steps`` (of int8 outputs): between the
    installed interpreters; ``min_kernel_agreement``: between those and XNNPACK's kernels. int8's
    ranges are taken from ``representative_clips`` training clips.
    """

    representative_clips: int = 500
    min_agreement: float = 0.97
    max_ua_drop: float = 0.015
    min_runtime_agreement: float = 0.995
    max_runtime_steps: int = 2
    min_kernel_agreement: float = 0.95
