"""Random changes of training windows, on log-mel spectrograms in dB.

Everything is drawn from stateless generators keyed by (seed, epoch, step), so a resumed run repeats
the same draws.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.config import AugmentConfig

_DB = 10.0 / np.log(10.0)
_ATTENUATION_DB = (10.0, 70.0)
VOICES = "voices"
"""Of the training targets' names: what ``ser_kd.voices`` draws. The network never sees it."""


def augment_logmel(
    windows: tf.Tensor,
    config: AugmentConfig,
    frames_per_second: float,
    floor_db: float,
    mean_db: np.ndarray,
    centres_hz: np.ndarray,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Noise, limited bandwidth, gain, time and mel masks.

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
    if config.noise_probability > 0:
        windows = _add_noise(windows, config, floor_db, seeds[0])
    if config.band_limit_probability > 0:
        band_seed = tf.random.experimental.stateless_fold_in(seed, len(seeds))
        windows = _limit_band(windows, config, floor_db, centres_hz, band_seed)
    if config.gain_db > 0:
        gain = _uniform(seeds[1], (tf.shape(windows)[0], 1, 1), -config.gain_db, config.gain_db)
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
    """Moves each window as one of its clip's draws says, or leaves it as it is.

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


def _uniform(seed: tf.Tensor, shape: Any, low: float, high: float) -> tf.Tensor:
    return tf.random.stateless_uniform(shape, seed, low, high)


def _add_noise(
    windows: tf.Tensor, config: AugmentConfig, floor_db: float, seed: tf.Tensor
) -> tf.Tensor:
    """Adds stationary noise of random colour (white to brown) at a random SNR.

    Independent signals add in power, so the sum is formed in the mel domain; the mel power of
    Gaussian noise scatters by about 3 dB from frame to frame.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    drawn = tf.random.stateless_uniform(tf.shape(windows)[:1], seeds[3])
    chosen = tf.where(drawn < config.noise_probability)  # [noisy, 1]; the other clips cost nothing
    clean = tf.gather_nd(windows, chosen)
    batch, mels = tf.shape(clean)[0], windows.shape[2]
    power = tf.exp(clean / _DB)
    # Mean level of the louder half of the frames: the speech, not the pauses or the padding.
    frame_power = tf.reduce_mean(power, axis=2)
    half = windows.shape[1] // 2
    speech = tf.reduce_mean(tf.math.top_k(frame_power, half).values, axis=1)  # [batch]
    snr = _uniform(seeds[0], (batch,), *config.noise_snr_db)
    level = _DB * tf.math.log(speech) - snr
    slope = _uniform(seeds[1], (batch, 1, 1), 0.0, 20.0)  # dB over the mel range
    tilt = slope * np.linspace(0.5, -0.5, mels, dtype=np.float32)
    scatter = 3.0 * tf.random.stateless_normal(tf.shape(clean), seeds[2])
    noise = tf.exp((level[:, tf.newaxis, tf.newaxis] + tilt + scatter) / _DB)
    noisy = tf.maximum(_DB * tf.math.log(power + noise), floor_db)
    noisy = tf.where(clean > floor_db, noisy, clean)  # what follows a short clip stays silent
    return tf.tensor_scatter_nd_update(windows, chosen, noisy)


def _limit_band(
    windows: tf.Tensor,
    config: AugmentConfig,
    floor_db: float,
    centres_hz: np.ndarray,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Takes away what a telephone, a codec or a small microphone does: lows, highs, or both.

    Each edge is drawn evenly on a logarithmic scale; beyond it everything is attenuated alike.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    batch = tf.shape(windows)[0]

    def edge(seed: tf.Tensor, limits_hz: tuple[float, float]) -> tf.Tensor:
        return tf.exp(_uniform(seed, (batch, 1), *np.log(limits_hz)))

    low_hz, high_hz = edge(seeds[0], config.low_cut_hz), edge(seeds[1], config.high_cut_hz)
    centres = tf.constant(centres_hz, tf.float32)
    outside = tf.logical_or(centres < low_hz, centres > high_hz)  # [batch, mels]
    limited = _uniform(seeds[2], (batch, 1), 0.0, 1.0) < config.band_limit_probability
    attenuation = _uniform(seeds[3], (batch, 1), *_ATTENUATION_DB)
    loss = tf.where(tf.logical_and(limited, outside), attenuation, 0.0)[:, tf.newaxis, :]
    return tf.maximum(windows - loss, floor_db)


def _masks(batch: Any, size: int, count: int, longest: int, seed: tf.Tensor) -> tf.Tensor:
    """``count`` random intervals of 0 to ``longest`` cells per clip: bool ``[batch, size]``."""
    if count == 0 or longest == 0:
        return tf.zeros([batch, size], tf.bool)
    seeds = tf.random.experimental.stateless_split(seed, 2)
    length = _uniform(seeds[0], (batch, count, 1), 0.0, float(longest))
    start = _uniform(seeds[1], (batch, count, 1), 0.0, 1.0) * (size - length)
    cells = tf.range(size, dtype=tf.float32)
    return tf.reduce_any(tf.logical_and(cells >= start, cells < start + length), axis=1)
