"""Prosodic descriptors of clips, computed by several processes and kept on disk."""

import contextlib
import functools
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np

from ser_kd.audio import decoding, prosody
from ser_kd.data import clip_arrays
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.errors import UserError
from ser_kd.teachers.clip_store import ClipStore

_CLIPS_PER_FILE = 64
# Not threads: pYIN holds Python's lock. Two, so that a laptop stays usable.
_PROCESSES = 2
# A process takes as long to start as 30 clips take.
_CLIPS_FOR_PROCESSES = 256


class Descriptors:
    """The frames of clips' descriptors.

    Args:
        directory: Belongs to one set of features and one sampling rate.
        features: A name in ``prosody.FEATURES``.
        sample_rate_hz: Of the clips.
        name: For the reader's eyes.
    """

    def __init__(self, directory: Path, features: str, sample_rate_hz: int, name: str) -> None:
        self.features, self.sample_rate_hz = features, sample_rate_hz
        what = f"{name}: described"
        self._store = ClipStore(
            directory, self._describe, what, sample_rate_hz, _CLIPS_PER_FILE, untimed=1
        )

    def frames(self, waveforms: ClipArrays) -> ClipArrays:
        """Descriptors of every clip, in order.

        Args:
            waveforms: int16 samples.

        Returns:
            float32 ``[frames, columns + 1]`` per clip; the last column is 1, as padding is 0.
        """
        parts = self._store.of(waveforms)
        return clip_arrays.join(waveforms.ids, parts, waveforms.samples, self._nothing)

    @functools.cached_property
    def _nothing(self) -> ClipArrays:
        hop = prosody.hop_samples(self.sample_rate_hz)
        values = np.empty((0, len(prosody.FEATURES[self.features][0]) + 1), np.float32)
        return replace(clip_arrays.NO_WAVEFORMS, values=values, cell_samples=hop)

    def _describe(self, groups: Iterable[ClipArrays], clips: int) -> Iterator[np.ndarray]:
        compute = functools.partial(prosody.compute, self.features, self.sample_rate_hz)
        apart = self.features in prosody.APART and clips > 0
        with _workers(clips, apart) as run:
            for group in groups:
                waveforms = [decoding.to_float(group.clip(row)) for row in range(len(group))]
                for values in run(compute, waveforms):
                    yield np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)


@contextlib.contextmanager
def _workers(clips: int, apart: bool) -> Iterator[Callable[..., Iterable[np.ndarray]]]:
    """A ``map`` over so many clips, by several processes where starting them pays.

    Args:
        clips: How many there are.
        apart: Whether this process must not do it itself.

    Raises:
        UserError: One of the processes ended.
    """
    many = clips >= _CLIPS_FOR_PROCESSES
    if not many and not apart:
        yield map
        return
    pool = ProcessPoolExecutor(
        _PROCESSES if many else 1,
        multiprocessing.get_context("spawn"),  # TensorFlow's threads do not survive a fork
        signal.signal,  # Ctrl-C is for this process, which ends them
        (signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield functools.partial(pool.map, chunksize=4)
    except BrokenProcessPool:
        raise UserError(
            "a process that describes clips ended early (is there memory enough? does the script "
            "start its work under if __name__ == '__main__'?); begin again: what is done is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
