"""The clips that a model is scored on: which ones, read from disk and decoded."""

import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ser_kd.audio import decoding
from ser_kd.audio.decoding import AudioError, Waveform, to_float, to_int16
from ser_kd.config import CorpusConfig
from ser_kd.corpora import CORPORA, Clip, Corpus, crema_d, find_reader, load_corpus
from ser_kd.corpora.emotions import matched_labels
from ser_kd.corpora.splits import split_corpus
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Predictor
from ser_kd.progress import track

if TYPE_CHECKING:
    from ser_kd.runs.folder import Run

SPLITS = ("train", "validation", "test", "all")
_DECODING_THREADS = 2


@dataclass(frozen=True)
class Choice:
    """Which clips a model is to be scored on; None = as in the model's run.

    Attributes:
        corpus: Its name.
        data_dir: Where its clips are.
        metadata_dir: Where its tables are.
        split: One of ``SPLITS``; None = test if its clips are there, else validation; all where the
            corpus has no split of its own and the model is of no run on it.
        label_map: The corpus's labels -> the model's, beside names of the same emotion
            (``corpora.emotions``).
    """

    corpus: str | None = None
    data_dir: str | None = None
    metadata_dir: str | None = None
    split: str | None = None
    label_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ClipSet:
    """The clips that a model is scored on: those that could be decoded and whose class it knows.

    Attributes:
        corpus: Where they come from.
        split: Which part of it.
        clips: Their labels and attributes.
        truth: Class indices ``[clips]``, in the order of the model's labels.
        samples: Their audio, int16 ``[samples]`` each.
        unreadable: Clip id -> reason.
        dropped: The corpus's own label -> how many clips, for classes that the model lacks.
        clips_of_training_speakers: How many clips are of speakers that the model was trained on;
            None where that is not known.
        untrained: Classes of these clips that the model had no training clip of.
    """

    corpus: Corpus
    split: str
    clips: tuple[Clip, ...]
    truth: np.ndarray
    samples: tuple[np.ndarray, ...]
    unreadable: Mapping[str, str]
    dropped: Mapping[str, int]
    clips_of_training_speakers: int | None = None
    untrained: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def ids(self) -> list[str]:
        """Of the clips, in order."""
        return [clip.id for clip in self.clips]

    @property
    def speakers(self) -> list[str]:
        """The speaker of each clip."""
        return [clip.speaker for clip in self.clips]

    def waveform(self, index: int) -> Waveform:
        """float32 ``[samples]`` in -1..1."""
        return to_float(self.samples[index])

    def waveforms(self) -> Iterable[Waveform]:
        """``waveform`` of every clip, in order."""
        return map(self.waveform, range(len(self)))


def check_choice(choice: Choice, labels: Sequence[str], in_run: bool) -> None:
    """What can be said of a choice before any clip is looked for.

    Args:
        choice: Which clips.
        labels: The model's.
        in_run: Whether the model lies in a run's folder, whose corpus is then the default.

    Raises:
        UserError: There is no such split or class, or no corpus is given.
    """
    if choice.split is not None and choice.split not in SPLITS:
        raise UserError(f"unknown split {choice.split!r}: use {', '.join(SPLITS)}")
    if choice.corpus is None and not in_run:
        raise UserError(
            "which clips? The model lies in no run's folder: give --corpus (one of "
            f"{', '.join(CORPORA)}) and --data-dir"
        )
    for label, wanted in choice.label_map.items():
        if wanted and not matched_labels([wanted], labels):
            raise UserError(
                f"--label-map {label}={wanted}: the model has no class {wanted!r}; it has "
                f"{', '.join(labels)}"
            )


def main_clips(
    predictor: Predictor, own_run: "Run | None", choice: Choice, notes: list[str]
) -> ClipSet:
    """The clips of one split of one corpus.

    Args:
        predictor: The model.
        own_run: The run that the model comes from, if that is known.
        choice: Which clips.
        notes: Sentences on them are added.

    Raises:
        UserError: There is no such corpus or split, or no clip can be used.
    """
    check_choice(choice, predictor.labels, own_run is not None)
    config, of_run = _corpus_config(predictor, own_run, choice, notes)
    wanted = choice.split
    if wanted is None and not of_run and not find_reader(config.name).has_fixed_split:
        wanted = "all"
    if wanted == "all":
        config = dataclasses.replace(config, allow_unknown_speakers=True)
    corpus = load_corpus(config)
    split, chosen = _part(corpus, config, wanted)
    clips = _read_clips(corpus, split, chosen, predictor, notes)
    if not of_run:
        notes.append("whether the model was trained on these speakers is not known")
        named = sum(crema_d.is_name(clip.path.stem) for clip in clips.clips)
        if named and set(predictor.labels) == set(crema_d.LABELS):
            notes.append(
                f"{named:,} of {len(clips):,} clips have names of CREMA-D, on which models with "
                "these classes are trained: the scores may be too good"
            )
        return clips
    training = split_corpus(corpus, config).training
    trained = {clip.speaker for clip in training}
    seen = sum(speaker in trained for speaker in clips.speakers)
    if config.split_by == "clip":
        seen = len(clips)
    untrained = {clip.emotion for clip in clips.clips} - {clip.emotion for clip in training}
    if untrained:
        names = ", ".join(sorted(untrained))
        notes.append(f"no training clip of {names}: it cannot be learned, its recall counts as 0")
    if seen:
        notes.append(
            f"{seen:,} of {len(clips):,} clips are of speakers that the model was trained on: "
            "the scores do not tell how well it does with others"
        )
        print(f"warning: {notes[-1]}", file=sys.stderr)
    elif split == "validation":
        notes.append("the model's best epoch was chosen on these same clips")
    return dataclasses.replace(
        clips, clips_of_training_speakers=seen, untrained=tuple(sorted(untrained))
    )


def cross_clips(text: str, predictor: Predictor, notes: list[str]) -> ClipSet:
    """All clips of another corpus.

    Args:
        text: ``NAME=DIR``.
        predictor: The model.
        notes: Sentences on them are added.

    Raises:
        UserError: There is no such corpus, or no clip can be used.
    """
    name, folder = split_cross(text)
    label_map = _label_map(name, predictor.labels, notes)
    corpus = load_corpus(
        CorpusConfig(name, data_dir=folder, label_map=label_map, allow_unknown_speakers=True)
    )
    return _read_clips(corpus, "all", corpus.clips, predictor, notes)


def split_cross(text: str) -> tuple[str, str]:
    """``NAME=DIR`` -> its two parts.

    Raises:
        UserError: It is something else.
    """
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise UserError(f"--cross {text!r}: give NAME=DIR, such as emodb=EmoDB/wav")
    return name, folder


def _corpus_config(
    predictor: Predictor, own_run: "Run | None", choice: Choice, notes: list[str]
) -> tuple[CorpusConfig, bool]:
    """How the corpus is read, and whether its splits are those that the model was trained with."""
    given = {
        name: value
        for name in ("data_dir", "metadata_dir")
        if (value := getattr(choice, name)) is not None
    }
    config = None if own_run is None else own_run.config.corpus
    if config is not None and choice.corpus in (None, config.name):
        of_run = find_reader(config.name).has_fixed_split or "data_dir" not in given
    else:
        assert choice.corpus is not None  # check_choice
        label_map = _label_map(choice.corpus, predictor.labels, notes)
        config, of_run = CorpusConfig(choice.corpus, label_map=label_map), False
    label_map = {**config.label_map, **choice.label_map}
    config = dataclasses.replace(config, **given, label_map=label_map)
    if not of_run:
        config = dataclasses.replace(config, cross_validation=False)
    return config, of_run


def _label_map(name: str, labels: Sequence[str], notes: list[str]) -> dict[str, str]:
    """How another corpus's labels are to be read for a model of CREMA-D's classes.

    A label for which that model has no class keeps its own name, so that its clips are counted
    among those that are left out.
    """
    reader = find_reader(name)
    if reader.to_crema_d is None or set(labels) != set(crema_d.LABELS):
        return {}
    own = reader.label_map or {}
    changed = {
        label: emotion
        for label, emotion in reader.to_crema_d.items()
        if emotion and emotion != own.get(label)
    }
    notes += [f"{name}: {label!r} counts as {emotion}" for label, emotion in changed.items()]
    return changed


def _part(corpus: Corpus, config: CorpusConfig, wanted: str | None) -> tuple[str, tuple[Clip, ...]]:
    """A split's name and its clips."""
    if wanted == "all":
        return wanted, corpus.clips
    unknown = sum(not clip.speaker for clip in corpus.clips)
    if unknown:
        raise UserError(
            f"{unknown:,} of {len(corpus.clips):,} clips of corpus {corpus.name!r} have no "
            "speaker, so that it has no splits: use --split all"
        )
    splits = split_corpus(corpus, config)
    if wanted is None:
        wanted = "test" if splits.test else "validation"
    splits.require(wanted)
    return wanted, getattr(splits, wanted)


def _read_clips(
    corpus: Corpus, split: str, clips: Sequence[Clip], predictor: Predictor, notes: list[str]
) -> ClipSet:
    labels, name = predictor.labels, corpus.name
    matched = matched_labels(corpus.labels, labels)
    notes += [
        f"{name}: {label!r} counts as {theirs}"
        for label, theirs in matched.items()
        if label != theirs
    ]
    clips = [
        dataclasses.replace(clip, emotion=matched.get(clip.emotion, clip.emotion)) for clip in clips
    ]
    known = [clip for clip in clips if clip.emotion in labels]
    if not known:
        classes = ", ".join(sorted({clip.emotion for clip in clips}))
        raise UserError(
            f"corpus {name!r} has the classes {classes}, the model {', '.join(labels)}: none is "
            "the same, so that nothing can be scored; say which is which: --label-map "
            f"{clips[0].emotion}={labels[0]}"
        )
    own = _own_labels(name)
    dropped = Counter(own.get(c.emotion, c.emotion) for c in clips if c.emotion not in labels)
    notes += [
        f"{name}: {count:,} clips are left out: {label!r} is no class of the model"
        for label, count in sorted(dropped.items())
    ]
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        decoded = pool.map(lambda clip: _decode(clip, predictor.frontend.sample_rate_hz), known)
        results = list(track(decoded, len(known), f"decoding {name}"))
    pairs = list(zip(known, results, strict=True))
    unreadable = {clip.id: result for clip, result in pairs if isinstance(result, str)}
    read = [(clip, result) for clip, result in pairs if not isinstance(result, str)]
    if unreadable:
        notes.append(f"{name}: {len(unreadable):,} clips could not be read")
    if not read:
        reason = next(iter(unreadable.values()))
        raise UserError(f"none of {len(known)} clips can be read; the first: {reason}")
    if not all(clip.speaker_known for clip, _ in read):
        notes.append(
            f"{name}: a clip without a speaker counts as a speaker of its own; the intervals are "
            "too narrow then, and babble may hold the same voice"
        )
    if len({clip.speaker for clip, _ in read}) == 1:
        notes.append(f"{name}: one speaker only, so there are no intervals")
    return ClipSet(
        corpus,
        split,
        tuple(clip for clip, _ in read),
        np.array([labels.index(clip.emotion) for clip, _ in read]),
        tuple(samples for _, samples in read),
        unreadable,
        dropped,
    )


def _decode(clip: Clip, rate_hz: int) -> np.ndarray | str:
    """int16 samples, or why there are none."""
    try:
        return to_int16(decoding.decode(clip.path, rate_hz))
    except AudioError as error:
        return str(error)


def _own_labels(corpus: str) -> dict[str, str]:
    """Class -> the corpus's own labels for it."""
    own: dict[str, str] = {}
    for label, name in (find_reader(corpus).label_map or {}).items():
        own[name] = f"{own[name]}, {label}" if name in own else label
    return own
