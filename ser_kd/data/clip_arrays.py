"""Clips as arrays in memory: samples or log-mel frames, stored end to end."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ser_kd import files
from ser_kd.audio import decoding
from ser_kd.audio.logmel import LogMel
from ser_kd.config import AudioConfig, LogMelConfig
from ser_kd.corpora.clip import Clip
from ser_kd.errors import UserError
from ser_kd.progress import say, track

_DECODING_THREADS = 4

ClipView = tuple[str, int]
"""A clip's id and the number of one of its views; view 0 is the clip itself (``audio.views``)."""
InputKind = Literal["waveform", "logmel"]
"""What a network is given."""


@dataclass(frozen=True)
class ClipArrays:
    """One array per clip, stored end to end.

    Attributes:
        ids: Clip ids.
        values: ``[sum of lengths, ...]``: int16 samples, or float32 log-mel frames ``[.., mels]``.
        offsets: int64 ``[clips + 1]``: clip i is ``values[offsets[i]:offsets[i + 1]]``.
        samples: int64 ``[clips]``: the clips' lengths in samples.
        cell_samples: Samples from one entry of ``values`` to the next (1, or the front end's hop).
        padding: What follows a clip that is shorter than the window (digital silence).
    """

    ids: tuple[str, ...]
    values: np.ndarray
    offsets: np.ndarray
    samples: np.ndarray
    cell_samples: int
    padding: float

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> np.ndarray:
        """Cells of every clip, int64 ``[clips]``."""
        return np.diff(self.offsets)

    def clip(self, index: int) -> np.ndarray:
        """The values of one clip, ``[cells, ...]``."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def select(self, ids: Sequence[str]) -> "ClipArrays":
        """The clips of ``ids``, in that order; ids that are absent (unreadable) are passed over."""
        position = {clip_id: index for index, clip_id in enumerate(self.ids)}
        return self.take([position[clip_id] for clip_id in ids if clip_id in position])

    def take(self, rows: Sequence[int] | np.ndarray) -> "ClipArrays":
        """The clips at the places ``rows``, in that order."""
        parts = [self.clip(row) for row in rows]
        return join([self.ids[row] for row in rows], parts, self.samples[rows], self)


NO_WAVEFORMS = ClipArrays(
    (), np.empty(0, np.int16), np.zeros(1, np.int64), np.zeros(0, np.int64), 1, 0.0
)


def no_logmel(config: LogMelConfig) -> ClipArrays:
    """Log-mel frames of no clip, to be joined to."""
    values = np.empty((0, config.mels), np.float32)
    hop, floor_db = config.hop_samples, config.floor_db
    return replace(NO_WAVEFORMS, values=values, cell_samples=hop, padding=floor_db)


def join(
    ids: Sequence[str], parts: Sequence[np.ndarray], samples: np.ndarray, like: ClipArrays
) -> ClipArrays:
    """Clips from their arrays.

    Args:
        ids: Clip ids.
        parts: One array per clip.
        samples: int ``[clips]``: their lengths in samples.
        like: What the arrays are: samples or log-mel frames.
    """
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    values = np.concatenate(parts) if parts else like.values[:0]
    return replace(like, ids=tuple(ids), values=values, offsets=offsets, samples=samples)


def one_cell_per_clip(ids: Sequence[str], values: np.ndarray) -> ClipArrays:
    """Values ``[clips, ...]``, one entry for each clip, in the form that batches are made from."""
    count = len(ids)
    return ClipArrays(tuple(ids), values, np.arange(count + 1), np.ones(count, np.int64), 1, 0.0)


def load_waveforms(
    clips: Sequence[Clip], config: AudioConfig, cache_dir: Path
) -> tuple[ClipArrays, dict[str, str]]:
    """Decodes the clips once and keeps them in ``cache_dir`` as 16-bit samples.

    The cache is found again by the clips' ids, paths, sizes and times and by the audio settings.

    Returns:
        The clips' samples (int16), and clip id -> reason for those that cannot be decoded.

    Raises:
        UserError: No clip could be decoded.
    """
    key = _cache_key(clips, config)
    values_path, index_path = cache_dir / f"{key}.npy", cache_dir / f"{key}.json"
    if not (index_path.exists() and values_path.exists()):
        ids, parts, skipped = [], [], {}
        with ThreadPoolExecutor(_DECODING_THREADS) as pool:
            decoded = pool.map(lambda clip: _decode(clip, config), clips)
            for clip, result in track(zip(clips, decoded, strict=True), len(clips), "decoding"):
                if isinstance(result, str):
                    skipped[clip.id] = result
                else:
                    ids.append(clip.id)
                    parts.append(result)
        if not ids:
            reason = next(iter(skipped.values()), "there are no clips")
            raise UserError(f"none of {len(clips)} clips could be decoded; the first: {reason}")
        arrays = join(ids, parts, np.array([len(part) for part in parts]), NO_WAVEFORMS)
        with files.atomic(values_path) as partial, partial.open("wb") as file:
            np.save(file, arrays.values)
        # Written last: its presence says that the pair is whole.
        files.write_json(
            index_path, {"ids": ids, "offsets": arrays.offsets.tolist(), "skipped": skipped}
        )
        say(f"  decoded audio is kept in {cache_dir}, which may be deleted")
    index = files.read_json(index_path)
    offsets = np.array(index["offsets"])
    values = np.load(values_path, mmap_mode="r")
    arrays = ClipArrays(tuple(index["ids"]), values, offsets, np.diff(offsets), 1, 0.0)
    return arrays, index["skipped"]


def _decode(clip: Clip, config: AudioConfig) -> np.ndarray | str:
    try:
        waveform = decoding.decode(clip.path, config.sample_rate_hz, config.decoder)
    except decoding.AudioError as error:
        return str(error)
    return decoding.to_int16(waveform)


def _cache_key(clips: Sequence[Clip], config: AudioConfig) -> str:
    facts: list[list[Any]] = [[config.sample_rate_hz, config.decoder]]
    for clip in clips:
        try:
            stat = clip.path.stat()
        except OSError:  # gone since it was listed: decoding says so
            facts.append([clip.id, str(clip.path)])
        else:
            facts.append([clip.id, str(clip.path), stat.st_size, stat.st_mtime_ns])
    return "audio-" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def logmel_arrays(waveforms: ClipArrays, config: LogMelConfig) -> ClipArrays:
    """The log-mel frames of every clip: all that cover at least one of its samples."""
    logmel = LogMel(config)
    parts = [
        clip_logmel(logmel, decoding.to_float(waveforms.clip(index)))
        for index in track(range(len(waveforms)), len(waveforms), "log-mel")
    ]
    return join(waveforms.ids, parts, waveforms.samples, no_logmel(config))


def clip_logmel(logmel: LogMel, waveform: np.ndarray) -> np.ndarray:
    """Log-mel frames ``[frames, mels]`` of a whole clip ``[samples]`` that is followed by zeros.

    A window of the padded waveform that starts at frame s has exactly the frames from s on (the
    front end looks into a window only), padded with the floor.
    """
    config = logmel.logmel
    frames = max(1, -(-len(waveform) // config.hop_samples))
    padded = np.zeros((frames - 1) * config.hop_samples + config.fft_samples, np.float32)
    padded[: len(waveform)] = waveform[: len(padded)]
    return np.asarray(logmel(padded[np.newaxis])[0])


def feature_statistics(arrays: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation per mel band over all real frames, each ``[mels]`` in dB."""
    values = arrays.values.astype(np.float64)
    return values.mean(0).astype(np.float32), (values.std(0) + 1e-3).astype(np.float32)


def restandardize(
    arrays: ClipArrays,
    groups: Sequence[str],
    statistics: Mapping[str, tuple[np.ndarray, np.ndarray]],
    wanted: tuple[np.ndarray, np.ndarray],
    counts: Callable[[np.ndarray], np.ndarray] | None = None,
) -> ClipArrays:
    """Frames in which every group (speaker) has the same mean and deviation per column.

    Padding is left out of it: it stays what it is.

    Args:
        arrays: Frames ``[.., columns]``; further columns behind these stay what they are.
        groups: The group of each clip, ``[clips]``.
        statistics: Group -> its mean and deviation, each ``[columns]``.
        wanted: Mean and deviation that all groups have afterwards.
        counts: Frames ``[n, columns]`` -> bool, which values move; None: all.
    """
    values, (wanted_mean, wanted_deviation) = arrays.values.copy(), wanted
    for index, group in enumerate(groups):
        place = slice(arrays.offsets[index], arrays.offsets[index + 1])
        rows = values[place, : len(wanted_mean)]
        mean, deviation = statistics[group]
        moved = (rows - mean) * (wanted_deviation / deviation) + wanted_mean
        rows[:] = moved if counts is None else np.where(counts(rows), moved, rows)
    return replace(arrays, values=values)
