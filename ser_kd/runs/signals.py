"""The sound of a run's clips: samples and log-mel frames of any view."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.audio import decoding
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.views import make_view
from ser_kd.config import Config
from ser_kd.data import clip_arrays
from ser_kd.data.clip_arrays import ClipArrays, ClipView, InputKind
from ser_kd.progress import track
from ser_kd.runs.views import ViewIndex


@dataclass(frozen=True)
class Signals:
    """Samples and frames; views are made where they are asked for.

    Attributes:
        waveforms: Every clip that could be decoded, as int16 samples.
        logmel: The same clips through the front end.
        segments: Speech without labels, as int16 samples.
        views: Which views there are.
        config: Of the run.
    """

    waveforms: ClipArrays
    logmel: ClipArrays
    segments: ClipArrays
    views: ViewIndex
    config: Config

    def samples(self, clip_id: str) -> int:
        """Length of a clip or segment, of its view 0."""
        arrays, row = self._places[clip_id]
        return int(arrays.samples[row])

    def arrays(self, kind: InputKind, views: Sequence[ClipView]) -> ClipArrays:
        """Some views of clips and segments, in that order: int16 samples or log-mel frames."""
        ids = [clip_id for clip_id, _ in views]
        if kind == "waveform":
            parts = [self._waveform(*view) for view in views]
            samples = np.array([len(part) for part in parts], np.int64)
            return clip_arrays.join(ids, parts, samples, clip_arrays.NO_WAVEFORMS)
        places = [self._logmel_place(view) for view in views]
        return clip_arrays.join(
            ids,
            [arrays.clip(row) for arrays, row in places],
            np.array([arrays.samples[row] for arrays, row in places], np.int64),
            self.logmel,
        )

    @functools.cached_property
    def training_logmel(self) -> ClipArrays:
        """Log-mel frames of what a student learns from, kept in memory: ``views.for_students``.

        With V views beside each clip this is 1 + V times as much as the training clips' own frames.
        """
        logmel, parts, samples = LogMel(self.config.logmel), [], []
        views = self.views.for_students
        for clip_id, view in track(views, len(views), "log-mel of views and unlabelled speech"):
            if view == 0 and clip_id in self._logmel_rows:
                row = self._logmel_rows[clip_id]
                parts.append(self.logmel.clip(row))
                samples.append(int(self.logmel.samples[row]))
            else:
                waveform = decoding.to_float(self._waveform(clip_id, view))
                parts.append(clip_arrays.clip_logmel(logmel, waveform))
                samples.append(len(waveform))
        ids = [clip_id for clip_id, _ in views]
        return clip_arrays.join(ids, parts, np.array(samples, np.int64), self.logmel)

    @functools.cached_property
    def _places(self) -> Mapping[str, tuple[ClipArrays, int]]:
        """Clip or segment id -> where its samples are."""
        return {
            clip_id: (arrays, row)
            for arrays in (self.segments, self.waveforms)
            for row, clip_id in enumerate(arrays.ids)
        }

    @functools.cached_property
    def _logmel_rows(self) -> Mapping[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.logmel.ids)}

    def _waveform(self, clip_id: str, view: int) -> np.ndarray:
        """int16 ``[samples]``: what both kinds of networks are given of a view."""
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
        return self.training_logmel, self.views.row_of[view]
