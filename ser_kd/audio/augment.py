"""Random changes of training windows, on log-mel spectrograms in dB.

Everything is drawn from stateless generators keyed by (seed, epoch, step), so a resumed run repeats
the same draws.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.audio import acoustics
from ser_kd.audio.acoustics import uniform
from ser_kd.config import AugmentConfig

VOICES = "voices"
"""Of the training targets' names: what ``speaker.voices`` draws. No input of the network."""


def augment_logmel(
    windows: tf.Tensor,
    config: AugmentConfig,
    frames_per_second: float,
    floor_db: float,
    mean_db: np.ndarray,
    centres_hz: np.ndarray,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Room, noise, other voices, microphone, bandwidth, gain, time and mel masks.

    Args:
        windows: ``[batch, frames, mels]`` in dB.
        config: Strengths; 0 turns a change off.
        frames_per_second: To turn seconds into frames.
        floor_db: The front end's floor; digital silence.
        mean_db: What masked cells are set to: the mean of the training clips, ``[mels]``.
        centres_hz: What the mel bands are centred on, ``[mels]``.
        seed: int ``[2]``.

    Returns:
        ``[batch, frames, mels]`` in dB.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    # Each change has its own draws: what another one does it does whether or not this one is on.
    room, microphone, babble, band = (
        tf.random.experimental.stateless_fold_in(seed, number) for number in (5, 6, 7, 4)
    )
    if config.room_probability > 0:
        windows = acoustics.add_room(
            windows,
            config.room_probability,
            config.reverberation_seconds,
            config.direct_to_reverberant_db,
            frames_per_second,
            floor_db,
            room,
        )
    if config.noise_probability > 0:
        windows = acoustics.add_noise(
            windows, config.noise_probability, config.noise_snr_db, floor_db, seeds[0]
        )
    if config.babble_probability > 0:
        windows = acoustics.add_babble(
            windows, config.babble_probability, config.babble_snr_db, floor_db, babble
        )
    if config.microphone_db > 0:
        windows = acoustics.microphone(windows, config.microphone_db, floor_db, microphone)
    if config.band_limit_probability > 0:
        windows = acoustics.limit_band(
            windows,
            config.band_limit_probability,
            config.low_cut_hz,
            config.high_cut_hz,
            centres_hz,
            floor_db,
            band,
        )
    if config.gain_db > 0:
        gain = uniform(seeds[1], (tf.shape(windows)[0], 1, 1), -config.gain_db, config.gain_db)
        # Digital silence, such as what follows a short clip, stays silent at any gain.
        louder = tf.maximum(windows + gain, floor_db)
        windows = tf.where(windows > floor_db, louder, windows)
    masked = tf.logical_or(
        _masks(
            tf.shape(windows)[0],
            windows.shape[1],
            config.time_masks,
            round(config.time_mask_seconds * frames_per_second),
            seeds[2],
        )[:, :, tf.newaxis],
        _masks(
            tf.shape(windows)[0],
            windows.shape[2],
            config.mel_masks,
            config.mel_mask_bins,
            seeds[3],
        )[:, tf.newaxis, :],
    )
    return tf.where(masked, mean_db.astype(np.float32), windows)


def moved_to_corpus(
    windows: tf.Tensor, voices: tf.Tensor, probability: float, floor_db: float, seed: Any
) -> tf.Tensor:
    """Normalises each window by one of its clip's draws of its speaker's statistics, or by none.

    Digital silence, such as what follows a short clip, stays silent.

    Args:
        windows: ``[batch, frames, mels]`` in dB.
        voices: ``[batch, draws, 2, mels]``: factor and summand per mel band, of each draw.
        probability: That the speaker is known.
        floor_db: The front end's floor.
        seed: int ``[2]``.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    batch, draws = tf.shape(windows)[0], voices.shape[1]
    chosen = tf.random.stateless_uniform([batch], seeds[0], 0, draws, dtype=tf.int32)
    voice = tf.gather(voices, chosen, batch_dims=1)  # [batch, 2, mels]
    known = tf.random.stateless_uniform([batch, 1, 1], seeds[1]) < probability
    moved = windows * voice[:, :1] + voice[:, 1:]
    return tf.where(tf.logical_and(known, windows > floor_db), moved, windows)


def mixup(
    windows: tf.Tensor, targets: dict[str, tf.Tensor], alpha: float, temperature: float, seed: Any
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    """Mixes every clip with another of its batch (Zhang et al., arXiv 1710.09412).

    ``labels`` are mixed linearly. ``teacher_logits`` are mixed as probabilities *at the
    distillation temperature* and turned back into logits, so that distilling from them is
    distilling from the mixture of both clips' softened predictions. Continuous targets
    (``dimensions``, ``teacher_dimensions``) are mixed linearly; the mixture is rated where both
    clips are. All else stays as it is, and ``share`` ``[batch, 1]`` (0.5 to 1) says how much of a
    mixture is the clip itself.

    Args:
        windows: ``[batch, frames, mels]``.
        targets: ``labels`` and possibly ``teacher_logits``, each ``[batch, classes]``, and
            ``dimensions``, ``teacher_dimensions``, each ``[batch, dimensions]``, NaN: not rated.
        alpha: Of Beta(alpha, alpha); the larger share stays with the clip itself.
        temperature: The distillation temperature.
        seed: int ``[2]``.
    """
    seeds = tf.random.experimental.stateless_split(seed, 2)
    batch = tf.shape(windows)[0]
    one, other = (
        tf.random.stateless_gamma([batch, 1], s, alpha=alpha) + 1e-20 for s in tf.unstack(seeds)
    )
    share = tf.maximum(one, other) / (one + other)  # [batch, 1]

    def mix(values: tf.Tensor) -> tf.Tensor:
        # The batch is in random order: its reverse is a random pairing.
        weight = tf.reshape(share, [batch] + [1] * (len(values.shape) - 1))
        return weight * values + (1.0 - weight) * tf.reverse(values, [0])

    # Embeddings of two teachers' networks have no mixture: they stay those of the clip itself.
    mixed = {**targets, "labels": mix(targets["labels"]), "share": share}
    for name in ("dimensions", "teacher_dimensions"):
        if name in targets:
            mixed[name] = mix(targets[name])
    if "teacher_logits" in targets:
        probs = tf.nn.softmax(targets["teacher_logits"] / temperature)
        mixed["teacher_logits"] = temperature * tf.math.log(mix(probs) + 1e-12)
    return mix(windows), mixed


def _masks(batch: Any, size: int, count: int, longest: int, seed: tf.Tensor) -> tf.Tensor:
    """``count`` random intervals of 0 to ``longest`` cells per clip: bool ``[batch, size]``."""
    if count == 0 or longest == 0:
        return tf.zeros([batch, size], tf.bool)
    seeds = tf.random.experimental.stateless_split(seed, 2)
    length = uniform(seeds[0], (batch, count, 1), 0.0, float(longest))
    start = uniform(seeds[1], (batch, count, 1), 0.0, 1.0) * (size - length)
    cells = tf.range(size, dtype=tf.float32)
    return tf.reduce_any(tf.logical_and(cells >= start, cells < start + length), axis=1)
