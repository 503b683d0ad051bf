"""What is known of a run's clips: labels and ratings."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.config import Config
from ser_kd.corpora import Corpus
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.reader import Dimension


@dataclass(frozen=True)
class Truth:
    """Labels and ratings by clip id.

    Attributes:
        corpus: Labels and clips.
        unlabelled: Ids of segments that have neither.
        config: Of the run.
    """

    corpus: Corpus
    unlabelled: frozenset[str]
    config: Config

    def one_hot(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), classes]``; zeros for unlabelled segments."""
        result = np.zeros((len(ids), len(self.corpus.labels)), np.float32)
        for row, clip_id in enumerate(ids):
            if clip_id not in self.unlabelled:
                result[row, self._class_of[clip_id]] = 1.0
        return result

    @functools.cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The continuous targets that ``config.dimensions`` asks for."""
        if self.config.dimensions.weight == 0:
            return ()
        return dimensions_of(self.config.corpus.name, self.config.dimensions.ranges)

    def ratings(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), dimensions]`` in -1..1; NaN where a clip or segment has no rating.

        Raises:
            UserError: A rating is out of range, or no clip has one.
        """
        nothing = np.full(len(self.dimensions), np.nan, np.float32)
        return np.array([self._ratings.get(clip_id, nothing) for clip_id in ids], np.float32)

    @functools.cached_property
    def _class_of(self) -> Mapping[str, int]:
        place = {label: number for number, label in enumerate(self.corpus.labels)}
        return {c.id: place[c.emotion] for c in self.corpus.clips if c.emotion in place}

    @functools.cached_property
    def _ratings(self) -> Mapping[str, np.ndarray]:
        """Clip id -> float32 ``[dimensions]``."""
        clips = self.corpus.clips
        rows = read_ratings(clips, self.dimensions)
        return {clip.id: row for clip, row in zip(clips, rows, strict=True)}
