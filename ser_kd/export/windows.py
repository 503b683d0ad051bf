"""The windows of clips that exported files are quantised with and compared on."""

from collections.abc import Iterator

import numpy as np

from ser_kd.audio import decoding
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config
from ser_kd.data import batching, clip_arrays
from ser_kd.errors import UserError


def representative_windows(
    logmel: clip_arrays.ClipArrays, training_ids: list[str], config: Config
) -> np.ndarray:
    """What int8 takes its ranges from: windows of some training clips, drawn by the run's seed.

    ``config.export.representative_clips`` says of how many. They are cut as in evaluation, zeros
    after short clips included, for that is what the model will see.

    Returns:
        float32 ``[windows, frames, mels]``.

    Raises:
        UserError: There is no clip to take ranges from.
    """
    count = min(config.export.representative_clips, len(training_ids))
    if count < 1:
        raise UserError(
            f"int8 takes its ranges from training clips: export.representative_clips = "
            f"{config.export.representative_clips}, training clips: {len(training_ids)}"
        )
    chosen = np.random.default_rng(config.seed).choice(len(training_ids), count, replace=False)
    arrays = logmel.select([training_ids[index] for index in sorted(chosen)])
    return all_windows(arrays, config)[1]


def all_windows(arrays: clip_arrays.ClipArrays, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Clip index ``[windows]`` and features ``[windows, frames, mels]``, as in evaluation."""
    windowing = Windowing.of(config.audio, config.logmel)
    frames = config.logmel.frames(config.audio.window_samples)
    batches = list(batching.evaluation_batches(arrays, windowing, frames, 256))
    return (
        np.concatenate([clips for clips, _, _ in batches]),
        np.concatenate([windows for _, windows, _ in batches]),
    )


def pcm_batches(waveforms: clip_arrays.ClipArrays, config: Config) -> Iterator[np.ndarray]:
    """The windows of ``all_windows`` in the same order, as float32 samples ``[.., samples]``."""
    windowing = Windowing.of(config.audio, config.logmel)
    for _, windows, _ in batching.evaluation_batches(
        waveforms, windowing, config.audio.window_samples, 64
    ):
        yield decoding.to_float(windows)
