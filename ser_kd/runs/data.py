"""A run's corpus, decoded and divided: the data that all stages share."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.config import Config
from ser_kd.corpora import Corpus
from ser_kd.corpora.reader import Dimension
from ser_kd.corpora.splits import Splits
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.unlabelled import Unlabelled
from ser_kd.runs.signals import Signals
from ser_kd.runs.truth import Truth
from ser_kd.runs.views import ViewIndex

PARTS = ("training", "validation", "test", "unlabelled")


@dataclass(frozen=True)
class RunData:
    """A corpus, decoded and divided, and speech without labels beside it.

    What is known of the clips is in ``truth``, which views there are in ``views``, how any of them
    sounds in ``signals``.

    Attributes:
        corpus: Labels and clips.
        splits: By speaker.
        waveforms: Every clip that could be decoded, as int16 samples.
        logmel: The same clips through the front end.
        left_out: Clip id -> why it is not trained on: the corpus's own reasons, and digital
            silence.
        skipped: Clip id -> why it could not be decoded. Such clips take no part at all.
        config: Of the run.
        unlabelled: Segments for distillation alone, ``ids("unlabelled")``.
    """

    corpus: Corpus
    splits: Splits
    waveforms: ClipArrays
    logmel: ClipArrays
    left_out: Mapping[str, str]
    skipped: Mapping[str, str]
    config: Config
    unlabelled: Unlabelled

    @functools.cached_property
    def truth(self) -> Truth:
        """Labels and ratings."""
        return Truth(self.corpus, frozenset(self.unlabelled.ids), self.config)

    @functools.cached_property
    def views(self) -> ViewIndex:
        """Which views there are, and who is given which."""
        return ViewIndex(self.config.views, {part: self.ids(part) for part in PARTS})

    @functools.cached_property
    def signals(self) -> Signals:
        """Samples and log-mel frames of any view."""
        return Signals(self.waveforms, self.logmel, self.unlabelled.pieces, self.views, self.config)

    def ids(self, part: str) -> list[str]:
        """Clip ids of ``training``, ``validation`` or ``test``, as far as they can be decoded.

        ``training`` is the train split without ``left_out``. ``unlabelled`` is none of the
        corpus: those segments are for distillation alone.
        """
        if part == "unlabelled":
            return list(self.unlabelled.ids)
        clips = self.splits.train if part == "training" else getattr(self.splits, part)
        barred = self.left_out if part == "training" else {}
        return [c.id for c in clips if c.id not in self.skipped and c.id not in barred]

    @functools.cached_property
    def speakers(self) -> Mapping[str, str]:
        """Clip id -> speaker."""
        return {clip.id: clip.speaker for clip in self.corpus.clips}

    def emotions(self, part: str) -> list[str]:
        """The labels of ``ids(part)``."""
        emotion_of = {clip.id: clip.emotion for clip in self.corpus.clips}
        return [emotion_of[clip_id] for clip_id in self.ids(part)]

    @property
    def by_speaker(self) -> bool:
        """Whether the parts have different speakers (``corpus.split_by``)."""
        return self.config.corpus.split_by == "speaker"

    @property
    def cross_validated(self) -> bool:
        """Whether nothing is held out: all clips are trained on, and scored out of fold."""
        return self.config.corpus.cross_validation

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in output order."""
        return self.corpus.labels

    @property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The run's continuous targets; see ``Truth.dimensions``."""
        return self.truth.dimensions

    def one_hot(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), classes]``; see ``Truth.one_hot``."""
        return self.truth.one_hot(ids)

    def ratings(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), dimensions]``; see ``Truth.ratings``."""
        return self.truth.ratings(ids)
