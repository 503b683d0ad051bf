"""Clips' waveforms in batches of like length, for networks that take any length."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.audio.decoding import to_float
from ser_kd.audio.windows import Windowing, padded
from ser_kd.data.batching import Transform, average_windows
from ser_kd.data.clip_arrays import ClipArrays

PADDING_SECONDS = 0.5
"""Windows are padded to a multiple of this. A window's padding depends on its own length alone, not
on its neighbours in the batch: where padding has an influence (in the encoder's "group" norm), a
clip gets the same prediction in every batch."""


def padded_samples(samples: int, sample_rate_hz: int, window: int) -> int:
    """What a window of ``samples`` real samples is padded to, at most ``window``."""
    grid = round(PADDING_SECONDS * sample_rate_hz)
    return min(window, -(-max(samples, 1) // grid) * grid)


def trimmed(transform: Transform, sample_rate_hz: int) -> Transform:
    """``transform``, after cutting off the padding that no clip of the batch needs."""
    grid = round(PADDING_SECONDS * sample_rate_hz)

    def trim(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
        longest = tf.cast(tf.reduce_max(lengths), tf.int32)
        needed = tf.minimum(-(-longest // grid) * grid, tf.shape(windows)[1])
        return transform(windows[:, :needed], lengths, targets, seed)

    return trim


def batches_by_length(
    arrays: ClipArrays, windowing: Windowing, sample_rate_hz: int, batch_size: int
) -> Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]:
    """All windows of all clips; the windows of a batch are padded to the same length.

    Yields:
        ``(clip indices [batch], {"waveform": float32 [batch, samples], "samples": int32 [batch]})``
    """
    window = windowing.window_samples
    groups: dict[int, list[tuple[int, int, int]]] = {}
    for index, samples in enumerate(arrays.samples):
        for start in windowing.starts(int(samples)):
            real = min(int(samples) - int(start), window)
            length = padded_samples(real, sample_rate_hz, window)
            groups.setdefault(length, []).append((index, int(start), real))
    for length, places in sorted(groups.items()):
        for first in range(0, len(places), batch_size):
            chosen = places[first : first + batch_size]
            parts = [arrays.clip(index)[start : start + real] for index, start, real in chosen]
            windows = padded(parts, length)
            lengths = np.array([real for _, _, real in chosen], np.int32)
            inputs = {"waveform": to_float(windows), "samples": lengths}
            yield np.array([index for index, _, _ in chosen]), inputs


def map_clips(
    run: Any, arrays: ClipArrays, windowing: Windowing, sample_rate_hz: int, batch_size: int
) -> np.ndarray:
    """``run(inputs) -> [batch, width]`` on every window, averaged per clip: float32 [clips, width].

    Raises:
        ValueError: There are no clips.
    """

    def values() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for clips, inputs in batches_by_length(arrays, windowing, sample_rate_hz, batch_size):
            yield clips, run(_tensors(inputs)).numpy()

    stream = values()
    first = next(stream, None)
    if first is None:
        raise ValueError("no clips")

    def all_values() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield first
        yield from stream

    return average_windows(arrays, all_values(), first[1].shape[1])


def _tensors(inputs: Mapping[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {name: tf.convert_to_tensor(value) for name, value in inputs.items()}
