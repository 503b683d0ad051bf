"""What a frozen encoder hears in each clip, computed once and kept on disk."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.progress import duration, say

_CLIPS_PER_FILE = 256
_LARGEST = float(np.finfo(np.float16).max)

Extract = Callable[[ClipArrays], np.ndarray]
"""Clips -> features ``[clips, ...]``."""


class FeatureStore:
    """Features by what a clip sounds like: the same samples are never heard twice.

    The key is a hash of the samples, so that all folds, views and shards share what is there, and
    a changed clip is computed anew. Files of ``_CLIPS_PER_FILE`` clips are written as they are
    done: an interrupted run goes on behind the last one.

    Args:
        directory: Belongs to one encoder.
        extract: Computes what is missing.
        name: For the reader's eyes.
    """

    def __init__(self, directory: Path, extract: Extract, name: str) -> None:
        self.directory, self.extract, self.name = directory, extract, name
        self._known: dict[str, np.ndarray] = {}
        self._files_read: set[Path] = set()

    def features(self, arrays: ClipArrays) -> np.ndarray:
        """float16 ``[clips, ...]`` of every clip, in order."""
        self._read()
        keys = [hashlib.sha256(arrays.clip(i).tobytes()).hexdigest() for i in range(len(arrays))]
        position = {key: index for index, key in enumerate(keys) if key not in self._known}
        # Long clips first: what does not fit into memory shows at once, and the time left is not
        # underestimated.
        missing = sorted(position, key=lambda key: -arrays.samples[position[key]])
        start, seconds = time.monotonic(), 0.0
        for first in range(0, len(missing), _CLIPS_PER_FILE):
            chosen = missing[first : first + _CLIPS_PER_FILE]
            clips = arrays.take([position[key] for key in chosen])
            values = np.clip(self.extract(clips), -_LARGEST, _LARGEST).astype(np.float16)
            path = self.directory / f"features_{chosen[0][:16]}.npz"
            files.write_npz(path, keys=np.array(chosen), values=values)
            self._files_read.add(path)
            self._known |= dict(zip(chosen, values, strict=True))
            done = first + len(chosen)
            seconds += float(clips.lengths.sum() * arrays.cell_samples) / 16_000
            spent = time.monotonic() - start
            left = spent / done * (len(missing) - done)
            say(
                f"  {self.name}: features of {done:,} of {len(missing):,} clips "
                f"({seconds / max(spent, 1e-9):.0f} s of speech per second, {duration(left)} left)"
            )
        return np.stack([self._known[key] for key in keys])

    def _read(self) -> None:
        for path in sorted(self.directory.glob("features_*.npz")):
            if path in self._files_read:
                continue
            with np.load(path) as stored:
                self._known |= dict(zip(stored["keys"].tolist(), stored["values"], strict=True))
            self._files_read.add(path)
