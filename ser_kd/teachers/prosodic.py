"""A teacher of prosody: small networks over low-level descriptors, not over the spectrum."""

import contextlib
import functools
import hashlib
import multiprocessing
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.audio import decoding, prosody
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config, ProsodicTeacherConfig
from ser_kd.data import batching, clip_arrays
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.progress import duration, say
from ser_kd.runs.data import RunData
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.prosodic_network import (
    Statistics,
    build_network,
    frame_statistics,
    means_something,
)

_CLIPS_PER_FILE = 64
# Not threads: pYIN holds Python's lock. Two, so that a laptop stays usable.
_PROCESSES = 2
# A process takes as long to start as 30 clips take.
_CLIPS_FOR_PROCESSES = 256
_SECONDS_BETWEEN_LINES = 5.0


class ProsodicTeacher:
    """``members`` networks that differ in their seed; their probabilities are averaged."""

    hears: Literal["waveform", "logmel"] = "waveform"

    def __init__(
        self, name: str, teacher: ProsodicTeacherConfig, config: Config, run_data: RunData
    ) -> None:
        self.name, self.teacher, self.config, self.run_data = name, teacher, config, run_data
        rate_hz = config.audio.sample_rate_hz
        if rate_hz < prosody.MIN_SAMPLE_RATE_HZ:
            raise UserError(
                f"teachers.{name} needs audio.sample_rate_hz of {prosody.MIN_SAMPLE_RATE_HZ} or "
                f"more, got {rate_hz}"
            )
        prosody.require(teacher.features)
        if self._by_speaker and run_data.unlabelled.ids:
            raise UserError(
                f"teachers.{name}.statistics = 'speaker' needs to know who speaks, which "
                "corpus.unlabelled_dirs does not say; leave one of them out"
            )
        self._store: DescriptorStore | None = None
        # Speaker -> statistics of all clips of theirs, labels unseen.
        self._speakers: Mapping[str, Statistics] | None = None

    def network_paths(self, directory: Path) -> list[Path]:
        """The files of one fold's networks."""
        return [directory / f"member_{number}.keras" for number in range(self.teacher.members)]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains the members on the clips of ``ids``; finished ones are left as they are.

        Nothing but these clips is looked at, feature statistics included; the weights are those of
        the last epoch.
        """
        if all(path.exists() for path in self.network_paths(directory)):
            return
        arrays = self._all_frames(directory).select(ids)
        statistics = frame_statistics(arrays.values, self._columns)
        if self._by_speaker:
            arrays = self._restandardize(arrays, statistics, directory)
        for number, path in enumerate(self.network_paths(directory)):
            if path.exists():
                continue
            name = f"{label}, member {number + 1} of {self.teacher.members}"
            model = self._train_member(arrays, statistics, name, directory / path.stem)
            with files.atomic(path) as partial:
                model.save(partial)
            fit_loop.forget_state(directory / path.stem)

    def _train_member(
        self, arrays: ClipArrays, statistics: Statistics, name: str, state: Path
    ) -> keras.Model:
        fit, seed = self.teacher.fit, fit_loop.network_seed(self.config.seed, name)
        keras.utils.set_random_seed(seed)
        labels = self.run_data.one_hot(arrays.ids)
        classes = labels.shape[1]
        window = -(-self.config.audio.window_samples // arrays.cell_samples)
        model = build_network(self.teacher, window, self._columns, classes)
        model.get_layer("standardize").set_statistics(*statistics)
        smooth = fit.label_smoothing
        targets = {"labels": labels * (1.0 - smooth) + smooth / classes}

        def batches(epochs: range) -> tf.data.Dataset:
            return batching.training_batches(
                arrays, targets, window, 0, _unchanged, fit.batch_size, seed, epochs
            )

        distiller = Distiller(model, label_weight=1.0, logit_weight=0.0, name="teacher")
        steps = max(1, len(arrays) // fit.batch_size)
        fit_loop.fit(distiller, batches, steps, fit, state, name)
        return model

    def predictor(self, directory: Path) -> Predictor:
        """Waveforms -> probabilities ``[clips, classes]``, the members' embeddings side by side."""
        windowing = Windowing.of(self.config.audio, self.config.logmel)
        models = [keras.models.load_model(path) for path in self.network_paths(directory)]
        # It runs windows of frames, whatever their columns.
        members = [LogMelPredictor(model, windowing) for model in models]
        # All members were trained on the same clips: they have the same statistics.
        standardize = models[0].get_layer("standardize")
        statistics = np.asarray(standardize.mean), np.asarray(standardize.deviation)

        def predict(waveforms: ClipArrays) -> tuple[np.ndarray, np.ndarray]:
            arrays = self._frames(directory).frames(waveforms)
            if self._by_speaker:
                arrays = self._restandardize(arrays, statistics, directory)
            predictions = [member.predict(arrays) for member in members]
            probs = np.mean([probs for probs, _ in predictions], axis=0)
            return probs, np.concatenate([embedding for _, embedding in predictions], axis=1)

        return predict

    @property
    def _columns(self) -> tuple[prosody.Descriptor, ...]:
        return prosody.FEATURES[self.teacher.features][0]

    @property
    def _by_speaker(self) -> bool:
        return self.teacher.statistics == "speaker"

    def _frames(self, directory: Path) -> "DescriptorStore":
        """The descriptors, which all folds share."""
        if self._store is None:
            folder = f"{self.teacher.features}-{prosody.VERSION}"
            self._store = DescriptorStore(
                directory.parent / folder,
                self.teacher.features,
                self.config.audio.sample_rate_hz,
                self.name,
            )
        return self._store

    def _all_frames(self, directory: Path) -> ClipArrays:
        """Of the whole corpus at once, so that the time left is told for all of it."""
        return self._frames(directory).frames(self.run_data.waveforms)

    def _restandardize(
        self, arrays: ClipArrays, statistics: Statistics, directory: Path
    ) -> ClipArrays:
        """Gives every speaker's descriptors the same mean and deviation, ``statistics``."""
        if self._speakers is None:
            clips, whole = defaultdict(list), self._all_frames(directory)
            for clip_id in whole.ids:
                clips[self.run_data.speakers[clip_id]].append(clip_id)
            self._speakers = {
                name: frame_statistics(whole.select(ids).values, self._columns)
                for name, ids in clips.items()
            }
        mean, deviation = statistics
        values = arrays.values.copy()
        for index, clip_id in enumerate(arrays.ids):
            rows = values[arrays.offsets[index] : arrays.offsets[index + 1], :-1]
            own_mean, own_deviation = self._speakers[self.run_data.speakers[clip_id]]
            moved = (rows - own_mean) * (deviation / own_deviation) + mean
            rows[:] = np.where(means_something(rows, self._columns), moved, rows)
        return replace(arrays, values=values)


def _unchanged(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    return windows, targets


class DescriptorStore:
    """Descriptors by what a clip sounds like: the same samples are never described twice.

    The key is a hash of the samples, as in ``feature_store.FeatureStore``. Files of 64 clips are
    written as they are done: an interrupted run goes on behind the last one.

    Args:
        directory: Belongs to one set of features and one sampling rate.
        features: A name in ``prosody.FEATURES``.
        sample_rate_hz: Of the clips.
        name: For the reader's eyes.
    """

    def __init__(self, directory: Path, features: str, sample_rate_hz: int, name: str) -> None:
        self.directory, self.features, self.name = directory, features, name
        self.sample_rate_hz = sample_rate_hz
        self._known: dict[str, np.ndarray] = {}
        self._files_read: set[Path] = set()

    def frames(self, waveforms: ClipArrays) -> ClipArrays:
        """Descriptors of every clip, in order.

        Args:
            waveforms: int16 samples.

        Returns:
            float32 ``[frames, columns + 1]`` per clip; the last column is 1, as padding is 0.
        """
        self._read()
        clips = [waveforms.clip(index) for index in range(len(waveforms))]
        keys = [hashlib.sha256(clip.tobytes()).hexdigest() for clip in clips]
        missing = {k: c for k, c in zip(keys, clips, strict=True) if k not in self._known}
        self._describe(missing)
        return clip_arrays.join(
            waveforms.ids, [self._known[key] for key in keys], waveforms.samples, self._nothing
        )

    @functools.cached_property
    def _nothing(self) -> ClipArrays:
        hop = prosody.hop_samples(self.sample_rate_hz)
        values = np.empty((0, len(prosody.FEATURES[self.features][0]) + 1), np.float32)
        return replace(clip_arrays.NO_WAVEFORMS, values=values, cell_samples=hop)

    def _describe(self, missing: Mapping[str, np.ndarray]) -> None:
        # Long clips first, so that the time left is not underestimated.
        order = sorted(missing, key=lambda key: (-len(missing[key]), key))
        progress = _Progress(self.name, len(order), self.sample_rate_hz)
        compute = functools.partial(prosody.compute, self.features, self.sample_rate_hz)
        apart = self.features in prosody.APART and bool(order)
        with _workers(len(order), apart) as run:
            for first in range(0, len(order), _CLIPS_PER_FILE):
                chosen = order[first : first + _CLIPS_PER_FILE]
                parts: list[np.ndarray] = []
                for values in run(compute, [decoding.to_float(missing[key]) for key in chosen]):
                    real = np.ones((len(values), 1), np.float32)
                    progress.add(len(missing[chosen[len(parts)]]))
                    parts.append(np.concatenate([values, real], axis=1))
                path = self.directory / f"frames_{chosen[0][:16]}.npz"
                lengths = [len(part) for part in parts]
                files.write_npz(
                    path, keys=np.array(chosen), lengths=lengths, values=np.concatenate(parts)
                )
                self._files_read.add(path)
                self._known |= dict(zip(chosen, parts, strict=True))
        progress.end()

    def _read(self) -> None:
        for path in sorted(self.directory.glob("frames_*.npz")):
            if path in self._files_read:
                continue
            with np.load(path) as stored:
                parts = np.split(stored["values"], np.cumsum(stored["lengths"])[:-1])
                self._known |= dict(zip(stored["keys"].tolist(), parts, strict=True))
            self._files_read.add(path)


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


class _Progress:
    """Says how fast it goes: at most one line in 5 s, and one at the end."""

    def __init__(self, name: str, clips: int, sample_rate_hz: int) -> None:
        self.name, self.clips, self.rate_hz = name, clips, sample_rate_hz
        self.done, self.timed_samples = 0, 0
        self.start = self.said = time.monotonic()

    def add(self, samples: int) -> None:
        now, self.done = time.monotonic(), self.done + 1
        if self.done == 1:  # processes had to start, and pYIN to be compiled
            self.start = self.said = now
            return
        self.timed_samples += samples
        if now - self.said < _SECONDS_BETWEEN_LINES or self.done == self.clips:
            return
        self.said = now
        left = (now - self.start) / (self.done - 1) * (self.clips - self.done)
        say(f"  {self.name}: {self._so_far(now)}, {duration(left)} left")

    def end(self) -> None:
        if self.clips:
            say(f"  {self.name}: {self._so_far(time.monotonic())}")

    def _so_far(self, now: float) -> str:
        speed = self.timed_samples / self.rate_hz / max(now - self.start, 1e-9)
        return (
            f"described {self.done:,} of {self.clips:,} clips, {speed:.0f} s of speech per second"
        )
