"""Clip arrays -> ``tf.data`` batches of windows."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.audio.augment import VOICES, augment_logmel, mixup, moved_to_corpus
from ser_kd.audio.mel import mel_centres_hz
from ser_kd.audio.windows import Windowing, padded
from ser_kd.config import AugmentConfig, LogMelConfig
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.training_set import WEIGHT, TrainingSet

_INT16 = 32_768.0


Transform = Callable[[Any, Any, dict[str, Any], Any], tuple[Any, dict[str, Any]]]


def whole_windows(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    """A ``Transform`` that leaves windows as they are."""
    return windows, targets


def whole_rows(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    """A ``Transform`` for arrays with one cell per clip: that cell ``[batch, ...]``."""
    return windows[:, 0], targets


@dataclass(frozen=True)
class BatchPlan:
    """How batches are made of clips.

    Attributes:
        window: Length of a window along the arrays' first axis. Longer clips are cropped at random.
        transform: ``(windows, real lengths, targets, seed) -> (x, y)``.
        roll: Largest circular shift of the window, either way.
        batches_per_bucket: If above 0, the clips of so many batches at a time are sorted by length,
            so that a batch has clips of like length; the batches' order is random all the same.
            Batches then differ in shape.
    """

    window: int = 1
    transform: Transform = whole_rows
    roll: int = 0
    batches_per_bucket: int = 0


def training_batches(
    training_set: TrainingSet, plan: BatchPlan, batch_size: int, seed: int, epochs: range
) -> tf.data.Dataset:
    """Batches for ``epochs``, one epoch after the other, each in its own random order.

    Order, crops, views and augmentation depend on (seed, epoch, step) only: a run that is resumed
    at an epoch sees what an uninterrupted one sees. Each epoch has ``clips // batch_size`` full
    batches, in which a clip comes at most once, as one of its views, each drawn equally often.

    Args:
        training_set: Clips and targets.
        plan: How batches are made of them.
        batch_size: Clips per batch.
        seed: Of the whole run.
        epochs: Which epochs to yield.

    Returns:
        ``(x, y)``, ``y`` being a dict of targets, or ``(x, y, weights)`` where clips have weights.
    """
    arrays, window, roll = training_set.arrays, plan.window, plan.roll
    views = training_set.rows
    clips, views_per_clip = views.shape
    steps = max(1, clips // batch_size)
    batch_size = min(batch_size, clips)
    with tf.device("CPU:0"):  # where tf.data reads them, also beside a GPU
        values = tf.constant(arrays.values)
        offsets = tf.constant(arrays.offsets[:-1])
        lengths = tf.constant(arrays.lengths)
        tensors = training_set.tensors()
        constants = {name: tf.constant(value) for name, value in tensors.items()}
        places = tf.constant(views, tf.int64)

    def epoch_batches(epoch: Any) -> tf.data.Dataset:
        key = tf.stack([tf.constant(seed, tf.int64), epoch])
        order = tf.random.experimental.stateless_shuffle(tf.range(clips, dtype=tf.int64), seed=key)
        order = order[: steps * batch_size]
        if plan.batches_per_bucket:
            order = by_length(order)
        order = tf.reshape(order, [steps, batch_size])
        if plan.batches_per_bucket:
            order = tf.random.experimental.stateless_shuffle(order, seed=key + 1)
        numbers = epoch * steps + tf.range(steps, dtype=tf.int64)
        return tf.data.Dataset.from_tensor_slices((numbers, order))

    def by_length(order: Any) -> Any:
        bucket_size = plan.batches_per_bucket * batch_size
        bucket = tf.range(steps * batch_size, dtype=tf.int64) // bucket_size
        length = tf.gather(lengths, tf.gather(places[:, 0], order))
        longest = tf.reduce_max(length) + 1
        return tf.gather(order, tf.argsort(bucket * longest + length, stable=True))

    def draw_views(number: Any, chosen: Any) -> Any:
        if views_per_clip == 1:
            return tf.gather(places, chosen)[:, 0]
        key = tf.stack([tf.constant(seed + 2, tf.int64), number])
        view = tf.random.stateless_uniform([batch_size], key, 0, views_per_clip, dtype=tf.int64)
        return tf.gather_nd(places, tf.stack([chosen, view], axis=1))

    def batch(number: Any, chosen: Any) -> Any:
        chosen = draw_views(number, chosen)
        key = tf.stack([tf.constant(seed + 1, tf.int64), number])
        seeds = tf.random.experimental.stateless_split(key, 3)
        length = tf.gather(lengths, chosen)
        spare = tf.cast(tf.maximum(length - window, 0), tf.float32)
        start = tf.random.stateless_uniform([batch_size], seeds[0]) * (spare + 1.0)
        start = tf.minimum(tf.cast(start, tf.int64), tf.cast(spare, tf.int64))
        shift = tf.random.stateless_uniform([batch_size], seeds[1], -roll, roll + 1, dtype=tf.int64)
        cells = (tf.range(window, dtype=tf.int64) + shift[:, tf.newaxis]) % window
        windows = gather_windows(values, tf.gather(offsets, chosen), length, start, cells, arrays)
        windows.set_shape([batch_size, window, *arrays.values.shape[1:]])
        picked = {name: tf.gather(value, chosen) for name, value in constants.items()}
        real = tf.minimum(length - start, window)
        x, y = plan.transform(windows, real, picked, seeds[2])
        if WEIGHT not in y:
            return x, y
        y = dict(y)
        weights = y.pop(WEIGHT)
        return x, y, weights

    # No Python here depends on a tensor: to translate it would take a tenth of a short training.
    as_it_is = tf.autograph.experimental.do_not_convert
    return (
        tf.data.Dataset.range(epochs.start, epochs.stop)
        .flat_map(as_it_is(epoch_batches))
        .map(as_it_is(batch), num_parallel_calls=1, deterministic=True)
    )


def gather_windows(
    values: Any, offsets: Any, lengths: Any, starts: Any, cells: Any, arrays: ClipArrays
) -> Any:
    """Cells ``starts + cells`` of each clip; what lies behind its end is padding."""
    position = starts[:, tf.newaxis] + cells
    real = position < lengths[:, tf.newaxis]
    flat = tf.where(real, offsets[:, tf.newaxis] + position, 0)
    real = tf.reshape(real, tf.concat([tf.shape(real), [1] * (len(arrays.values.shape) - 1)], 0))
    return tf.where(real, tf.gather(values, flat), tf.cast(arrays.padding, values.dtype))


def first_windows(arrays: ClipArrays, cells: int) -> np.ndarray:
    """The first ``cells`` cells of every clip, padded: ``[clips, cells, ...]``."""
    clips = [arrays.clip(index)[:cells] for index in range(len(arrays))]
    return padded(clips, cells, arrays.padding)


def logmel_transform(
    augment: AugmentConfig,
    logmel: LogMelConfig,
    mean_db: np.ndarray,
    temperature: float,
) -> Transform:
    """What a log-mel network is trained on: augmented windows, mixed up.

    Where the targets hold ``voices`` (``speaker.voices``), some windows come as if their speaker
    was known.
    """
    centres_hz = mel_centres_hz(logmel)

    def transform(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
        seeds = tf.random.experimental.stateless_split(seed, 2)
        if VOICES in targets:
            targets = dict(targets)
            windows = moved_to_corpus(
                windows,
                targets.pop(VOICES),
                augment.known_speaker_probability,
                logmel.floor_db,
                tf.random.experimental.stateless_fold_in(seed, 2),
            )
        windows = augment_logmel(
            windows,
            augment,
            1.0 / logmel.hop_seconds,
            logmel.floor_db,
            mean_db,
            centres_hz,
            seeds[0],
        )
        if augment.mixup_alpha > 0:
            return mixup(windows, targets, augment.mixup_alpha, temperature, seeds[1])
        return windows, targets

    return transform


def waveform_transform(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    """What a waveform network is trained on: ``{"waveform", "samples"}``, unchanged."""
    waveform = tf.cast(windows, tf.float32) / _INT16
    return {"waveform": waveform, "samples": tf.cast(lengths, tf.int32)}, targets


def evaluation_batches(
    arrays: ClipArrays, windowing: Windowing, window: int, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """All windows of all clips.

    Args:
        arrays: Log-mel frames or samples.
        windowing: Where the windows lie.
        window: Cells of the arrays (frames or samples) per window.
        batch_size: Windows per batch.

    Yields:
        ``(clip indices [batch], windows [batch, window, ...], real lengths [batch])``; the last
        batch may be smaller.
    """
    places = [
        (index, int(start) // arrays.cell_samples)
        for index, samples in enumerate(arrays.samples)
        for start in windowing.starts(int(samples))
    ]
    for first in range(0, len(places), batch_size):
        chosen = places[first : first + batch_size]
        parts = [arrays.clip(index)[start : start + window] for index, start in chosen]
        windows = padded(parts, window, arrays.padding)
        lengths = np.array([len(part) for part in parts], np.int32)
        yield np.array([index for index, _ in chosen]), windows, lengths


def average_windows(
    arrays: ClipArrays, batches: Iterator[tuple[np.ndarray, np.ndarray]], width: int
) -> np.ndarray:
    """Mean over each clip's windows.

    Args:
        arrays: The clips.
        batches: ``(clip indices [batch], values [batch, width])``, as of ``evaluation_batches``.
        width: Values per window.

    Returns:
        float32 ``[clips, width]``.
    """
    total = np.zeros((len(arrays), width), np.float64)
    count = np.zeros((len(arrays), 1))
    for indices, values in batches:
        np.add.at(total, indices, values)
        np.add.at(count, indices, 1.0)
    return (total / np.maximum(count, 1.0)).astype(np.float32)
