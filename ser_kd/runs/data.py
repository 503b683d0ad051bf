"""A run's corpus, decoded and divided: the data that all stages share."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.audio import decoding
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.views import make_view
from ser_kd.config import Config
from ser_kd.corpora import Corpus
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.reader import Dimension
from ser_kd.corpora.splits import Splits
from ser_kd.data import clip_arrays
from ser_kd.data.clip_arrays import ClipArrays, ClipView, Hears
from ser_kd.data.unlabelled import Unlabelled
from ser_kd.progress import track


@dataclass(frozen=True)
class RunData:
    """A corpus, decoded and divided, and speech without labels beside it.

    Training clips have views (``config.views``, ``audio.views``), which are made where they are
    asked for; every other clip and all unlabelled speech has but view 0, itself.

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

    @property
    def labels(self) -> tuple[str, ...]:
        return self.corpus.labels

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

    def one_hot(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), classes]``; zeros for unlabelled segments."""
        without = set(self.unlabelled.ids)
        result = np.zeros((len(ids), len(self.labels)), np.float32)
        labelled = [row for row, clip_id in enumerate(ids) if clip_id not in without]
        result[labelled] = clip_arrays.one_hot(
            self.corpus.clips, [ids[row] for row in labelled], self.labels
        )
        return result

    @functools.cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The continuous targets that ``config.dimensions`` asks for."""
        if self.config.dimensions.weight == 0:
            return ()
        return dimensions_of(self.config.corpus.name, self.config.dimensions.ranges)

    @functools.cached_property
    def _ratings(self) -> Mapping[str, np.ndarray]:
        """Clip id -> float32 ``[dimensions]``."""
        clips = self.corpus.clips
        return {
            clip.id: row
            for clip, row in zip(clips, read_ratings(clips, self.dimensions), strict=True)
        }

    def ratings(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), dimensions]`` in -1..1; NaN where a clip or segment has no rating.

        Raises:
            UserError: A rating is out of range, or no clip has one.
        """
        nothing = np.full(len(self.dimensions), np.nan, np.float32)
        return np.array([self._ratings.get(clip_id, nothing) for clip_id in ids], np.float32)

    def views(self, part: str) -> list[ClipView]:
        """Every view of every clip of a part, clip by clip, from view 0 on."""
        count = self.config.views.count if part == "training" else 0
        return [(clip_id, view) for clip_id in self.ids(part) for view in range(count + 1)]

    def heard_by_teachers(self, view: ClipView) -> ClipView:
        """What teachers hear where the student hears ``view``: the same, or the clip as it is."""
        return view if self.config.views.teachers_hear == "view" else (view[0], 0)

    def teacher_views(self, part: str) -> list[ClipView]:
        """What teachers predict of a part, each view once."""
        return list(dict.fromkeys(map(self.heard_by_teachers, self.views(part))))

    @functools.cached_property
    def predicted_views(self) -> tuple[list[str], list[int]]:
        """Ids and views of what teachers predict for each of ``student_views``."""
        ids, views = zip(*map(self.heard_by_teachers, self.student_views), strict=True)
        return list(ids), list(views)

    def samples(self, clip_id: str) -> int:
        """Length of a clip or segment, of its view 0."""
        arrays, row = self._places[clip_id]
        return int(arrays.samples[row])

    def arrays(self, hears: Hears, views: Sequence[ClipView]) -> ClipArrays:
        """Some views of clips and segments, in that order: int16 samples or log-mel frames."""
        if hears == "waveform":
            parts = [self._waveform(*view) for view in views]
            samples = np.array([len(part) for part in parts], np.int64)
            return clip_arrays.join(
                [clip_id for clip_id, _ in views], parts, samples, clip_arrays.NO_WAVEFORMS
            )
        places = [self._logmel_place(view) for view in views]
        return clip_arrays.join(
            [clip_id for clip_id, _ in views],
            [arrays.clip(row) for arrays, row in places],
            np.array([arrays.samples[row] for arrays, row in places], np.int64),
            self.logmel,
        )

    @functools.cached_property
    def training_logmel(self) -> ClipArrays:
        """Log-mel frames of what a student learns from, kept in memory: ``student_views``.

        With V views beside each clip this is 1 + V times as much as the training clips' own frames.
        """
        logmel, parts, samples = LogMel(self.config.logmel), [], []
        for clip_id, view in track(
            self.student_views, len(self.student_views), "log-mel of views and unlabelled speech"
        ):
            if view == 0 and clip_id in self._logmel_rows:
                row = self._logmel_rows[clip_id]
                parts.append(self.logmel.clip(row))
                samples.append(int(self.logmel.samples[row]))
            else:
                waveform = decoding.to_float(self._waveform(clip_id, view))
                parts.append(clip_arrays.clip_logmel(logmel, waveform))
                samples.append(len(waveform))
        ids = [clip_id for clip_id, _ in self.student_views]
        return clip_arrays.join(ids, parts, np.array(samples, np.int64), self.logmel)

    @functools.cached_property
    def student_views(self) -> Sequence[ClipView]:
        """What a student can learn from: the views of the training clips, unlabelled segments."""
        return self.views("training") + self.views("unlabelled")

    def student_rows(self, with_unlabelled: bool) -> np.ndarray:
        """Where in ``student_views`` each clip's views are, int ``[clips, views]``.

        A segment without label has one view, whichever is drawn.
        """
        training, views = len(self.ids("training")), self.config.views.count + 1
        rows = np.arange(training * views).reshape(training, views)
        if not with_unlabelled:
            return rows
        segments = np.arange(rows.size, rows.size + len(self.unlabelled.ids))
        return np.concatenate([rows, np.repeat(segments[:, np.newaxis], views, axis=1)])

    @functools.cached_property
    def _places(self) -> Mapping[str, tuple[ClipArrays, int]]:
        """Clip or segment id -> where its samples are."""
        return {
            clip_id: (arrays, row)
            for arrays in (self.unlabelled.pieces, self.waveforms)
            for row, clip_id in enumerate(arrays.ids)
        }

    @functools.cached_property
    def _logmel_rows(self) -> Mapping[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.logmel.ids)}

    @functools.cached_property
    def _student_rows(self) -> Mapping[ClipView, int]:
        return {view: row for row, view in enumerate(self.student_views)}

    def _waveform(self, clip_id: str, view: int) -> np.ndarray:
        """int16 ``[samples]``: what both kinds of networks hear of a view."""
        arrays, row = self._places[clip_id]
        samples = arrays.clip(row)
        if view == 0:
            return samples
        config = self.config
        waveform = decoding.to_float(samples)
        rate_hz = config.audio.sample_rate_hz
        return decoding.to_int16(
            make_view(waveform, config.views, config.seed, clip_id, view, rate_hz)
        )

    def _logmel_place(self, view: ClipView) -> tuple[ClipArrays, int]:
        clip_id, number = view
        if number == 0 and clip_id in self._logmel_rows:
            return self.logmel, self._logmel_rows[clip_id]
        return self.training_logmel, self._student_rows[view]
