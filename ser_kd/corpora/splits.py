"""Speaker-disjoint splits: TFDS for CREMA-D, k-fold for the rest, folds for cross-fitting."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.readers import CORPORA, find_reader
from ser_kd.errors import UserError

_SPLIT_SEED = 0
_NAMES = {"train": "training"}


@dataclass(frozen=True)
class Splits:
    """The clips of each part, in order of id. No speaker is in two parts (``clip_folds`` aside).

    In a cross-validation train and validation are both the whole corpus.

    Attributes:
        train: With the clips that are not trained on; see ``training``.
        validation: All of them, flawed ones too, as the official counts have them.
        test: Likewise. Empty where the corpus on disk lacks its test speakers.
        left_out: Clip id -> reason, as in the corpus.
    """

    train: tuple[Clip, ...]
    validation: tuple[Clip, ...]
    test: tuple[Clip, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def training(self) -> tuple[Clip, ...]:
        """The clips to train on: ``train`` without those in ``left_out``."""
        return tuple(clip for clip in self.train if clip.id not in self.left_out)

    def require(self, *parts: str) -> None:
        """Checks that the named parts hold clips.

        Args:
            parts: Of ``"train"``, ``"validation"``, ``"test"``.

        Raises:
            UserError: one is empty.
        """
        for part in parts:
            if not getattr(self, part):
                raise UserError(
                    f"the {part} split is empty: none of its speakers is in the data folder; add "
                    "their clips, or use another corpus or fold"
                )


def tfds_speakers_split(
    speaker_ids: Iterable[str],
) -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """Splits speakers as TFDS does for ``crema_d`` 1.0.0: 70 / 10 / 20 % after a fixed shuffle.

    Args:
        speaker_ids: Any order; repeats count once.

    Returns:
        Train, validation and test speakers.
    """
    speakers = sorted(set(speaker_ids))
    np.random.RandomState(0).shuffle(speakers)
    # Whole numbers: .7 + .1 is below .8 as a float, which for 10 speakers would leave none for
    # validation. For CREMA-D's 91 speakers both give 63 / 9 / 19.
    first, second = len(speakers) * 7 // 10, len(speakers) * 8 // 10
    return (
        frozenset(speakers[:first]),
        frozenset(speakers[first:second]),
        frozenset(speakers[second:]),
    )


def split_corpus(corpus: Corpus, config: CorpusConfig) -> Splits:
    """Divides a corpus into train, validation and test by speaker.

    A corpus's reader may have a split of its own (CREMA-D: that of TFDS; MSP-Podcast: its own
    partition; IEMOCAP: a fold for each session). All others get ``config.folds`` folds of speakers,
    balanced by clip count; fold ``config.fold`` is the test set, the next one validation. With
    ``config.split_by = "clip"`` they are folds of clips. With ``config.cross_validation`` nothing
    is held out.

    Raises:
        UserError: a speaker is unknown and ``config.allow_unknown_speakers`` is not set, too few
            speakers, or ``folds``/``fold`` out of range.
    """
    if config.cross_validation:
        return Splits(corpus.clips, corpus.clips, (), corpus.left_out)
    unknown = [clip for clip in corpus.clips if not clip.speaker]
    if unknown:
        raise UserError(
            f"{len(unknown)} of {len(corpus.clips)} clips have no speaker (first: "
            f"{unknown[0].id}), so that train and test could share one: name the speakers "
            "(<emotion>/<speaker>/ folders or a CSV column), or set "
            "corpus.allow_unknown_speakers = true"
        )
    own_split = find_reader(corpus.name).split if corpus.name in CORPORA else None
    if config.split_by == "clip":
        own_split = None
    train, validation = (own_split or _fold_speakers)(corpus, config)
    parts: dict[str, list[Clip]] = {"train": [], "validation": [], "test": []}
    for clip in corpus.clips:
        in_validation = "validation" if clip.speaker in validation else "test"
        parts["train" if clip.speaker in train else in_validation].append(clip)
    return Splits(
        train=tuple(parts["train"]),
        validation=tuple(parts["validation"]),
        test=tuple(parts["test"]),
        left_out=corpus.left_out,
    )


def speaker_folds(clips: Sequence[Clip], folds: int, seed: int) -> tuple[frozenset[str], ...]:
    """Deals speakers into folds of about equal clip count.

    Args:
        clips: Every one with a speaker.
        folds: At least 2, at most the number of speakers.
        seed: Decides between speakers of equal clip count; the same seed and clips (in any order)
            give the same folds.

    Returns:
        One set of speakers per fold; every speaker is in exactly one, none is empty.

    Raises:
        UserError: too few folds, fewer speakers than folds, or a clip without a speaker.
    """
    if folds < 2:
        raise UserError(f"folds = {folds}: at least 2 are needed")
    counts = Counter(clip.speaker for clip in clips)
    if "" in counts:
        raise UserError(f"{counts['']} clips have no speaker: folds by speaker cannot be made")
    if len(counts) < folds:
        raise UserError(
            f"folds = {folds}, but there are only {len(counts)} speakers: use fewer folds"
        )
    speakers = sorted(counts)
    np.random.RandomState(seed).shuffle(speakers)
    speakers.sort(key=lambda speaker: -counts[speaker])  # stable: the shuffle breaks ties
    members: list[set[str]] = [set() for _ in range(folds)]
    sizes = [0] * folds
    for speaker in speakers:
        smallest = sizes.index(min(sizes))
        members[smallest].add(speaker)
        sizes[smallest] += counts[speaker]
    return tuple(frozenset(fold) for fold in members)


def clip_folds(clips: Sequence[Clip], folds: int, seed: int) -> tuple[frozenset[str], ...]:
    """Deals clips into folds, each class evenly, whoever speaks.

    A speaker is in several folds: what is scored so tells nothing of new voices.

    Args:
        clips: In any order.
        folds: At least 2, at most the number of clips.
        seed: Of the order within a class.

    Returns:
        One set of clip ids per fold; every clip is in exactly one, none is empty.

    Raises:
        UserError: Too few folds, or fewer clips than folds.
    """
    if not 2 <= folds <= len(clips):
        raise UserError(f"folds = {folds}: {len(clips)} clips make 2 to {len(clips)}")
    dealt = sorted(clips, key=lambda clip: clip.id)
    np.random.RandomState(seed).shuffle(dealt)  # type: ignore[arg-type]
    dealt.sort(key=lambda clip: clip.emotion)  # stable: the shuffle stays within a class
    return tuple(frozenset(clip.id for clip in dealt[fold::folds]) for fold in range(folds))


def class_gaps(parts: Mapping[str, Sequence[str]], labels: Sequence[str]) -> list[str]:
    """Sentences on classes that a part of a corpus lacks.

    Args:
        parts: ``train``, ``validation``, ``test`` -> labels of its clips; an empty part is passed
            over.
        labels: Class names.
    """
    lines = []
    for part, found in parts.items():
        missing = [label for label in labels if label not in found]
        if found and missing:
            meaning = "UA is over the other classes"
            if part == "train":
                meaning = "they cannot be learned, and their recall counts as 0"
            lines.append(f"no {_NAMES.get(part, part)} clip of {', '.join(missing)}: {meaning}")
    return lines


def speakers_with(corpus: Corpus, attribute: str, *values: Any) -> frozenset[str]:
    """The speakers of the clips whose ``attribute`` is one of ``values``."""
    return frozenset(
        clip.speaker for clip in corpus.clips if clip.attributes.get(attribute) in values
    )


def _fold_speakers(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    """Train and validation speakers of fold ``config.fold``."""
    if config.folds < 3:
        raise UserError(
            f"folds = {config.folds}: at least 3 are needed (one to test, one to validate, the "
            "rest to train)"
        )
    if not 0 <= config.fold < config.folds:
        raise UserError(
            f"fold = {config.fold}: use 0 to {config.folds - 1} (folds = {config.folds})"
        )
    folds = _folds(corpus, config)
    test, validation = config.fold, (config.fold + 1) % config.folds
    train = frozenset[str]().union(
        *(fold for index, fold in enumerate(folds) if index not in (test, validation))
    )
    return train, folds[validation]


def _folds(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], ...]:
    """The speakers of every fold."""
    if config.split_by == "clip":
        speaker_of = {clip.id: clip.speaker for clip in corpus.clips}
        of_clips = clip_folds(corpus.clips, config.folds, _SPLIT_SEED)
        return tuple(frozenset(speaker_of[clip_id] for clip_id in fold) for fold in of_clips)
    speakers = sorted({clip.speaker for clip in corpus.clips})
    if len(speakers) < 3:
        raise UserError(
            f"{len(speakers)} speaker{'s'[: len(speakers) != 1]} ({', '.join(speakers)}) cannot be "
            "divided into train, validation and test: add clips of others, or set "
            'corpus.split_by = "clip" (its scores tell nothing of new voices), or train on all '
            "clips by cross-validation (ser-kd train DIR; corpus.cross_validation = true)"
        )
    if len(speakers) < config.folds:
        raise UserError(
            f"folds = {config.folds}, but there are only {len(speakers)} speakers: set "
            f"corpus.folds = {len(speakers)}"
        )
    return speaker_folds(corpus.clips, config.folds, _SPLIT_SEED)
