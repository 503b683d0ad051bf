"""What is computed once for every clip, whatever the fold, and kept on disk."""

import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.progress import Progress

Compute = Callable[[Iterable[ClipArrays], int], Iterable[np.ndarray]]
"""Groups of clips, and how many clips -> one array for each clip, in order, of one width."""


class ClipStore:
    """One array per clip, found again by a hash of the clip's samples.

    All folds, views and shards share what is there; a changed clip is computed anew. Each group of
    clips is written to a file as soon as it is done: an interrupted run goes on behind the last.

    Args:
        directory: Belongs to one way of computing.
        compute: Is given what is missing, long clips first: what does not fit into memory shows at
            once, and the time left is not underestimated.
        what: For the reader's eyes, such as ``hubert: features of``.
        sample_rate_hz: Of the clips.
        clips_per_file: In a group.
        untimed: How many clips take longer than the others because workers start.
    """

    def __init__(
        self,
        directory: Path,
        compute: Compute,
        what: str,
        sample_rate_hz: int,
        clips_per_file: int,
        untimed: int = 0,
    ) -> None:
        self.directory, self.compute, self.what = directory, compute, what
        self.sample_rate_hz, self.clips_per_file = sample_rate_hz, clips_per_file
        self.untimed = untimed
        self._known: dict[str, np.ndarray] = {}
        self._files_read: set[Path] = set()

    def of(self, waveforms: ClipArrays) -> list[np.ndarray]:
        """The arrays of some clips, int16 samples, in order."""
        self._read()
        count = len(waveforms)
        keys = [hashlib.sha256(waveforms.clip(i).tobytes()).hexdigest() for i in range(count)]
        place = {key: index for index, key in enumerate(keys) if key not in self._known}
        missing = sorted(place, key=lambda key: -waveforms.samples[place[key]])
        size = self.clips_per_file
        groups = [missing[first : first + size] for first in range(0, len(missing), size)]
        clips = (waveforms.take([place[key] for key in group]) for group in groups)
        progress = Progress(self.what, len(missing), "clips", self.untimed)
        results = iter(self.compute(clips, len(missing)))
        for group in groups:
            parts = []
            for key in group:
                parts.append(next(results))
                progress.add(1, float(waveforms.samples[place[key]]) / self.sample_rate_hz)
            path = self.directory / f"clips_{group[0][:16]}.npz"
            lengths = [len(part) for part in parts]
            values = np.concatenate(parts)
            files.write_npz(path, keys=np.array(group), lengths=lengths, values=values)
            self._files_read.add(path)
            self._known |= dict(zip(group, parts, strict=True))
        next(results, None)  # it may have something to close
        progress.end()
        return [self._known[key] for key in keys]

    def _read(self) -> None:
        for path in sorted({*self.directory.glob("clips_*.npz")} - self._files_read):
            with np.load(path) as stored:
                parts = np.split(stored["values"], np.cumsum(stored["lengths"])[:-1])
                self._known |= dict(zip(stored["keys"].tolist(), parts, strict=True))
            self._files_read.add(path)
