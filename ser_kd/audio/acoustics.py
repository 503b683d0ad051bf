"""What places, microphones and lines do to speech, on log-mel spectrograms in dB.

Signals that have nothing to do with each other add in power, so noise, other voices and a room's
late echoes are added in the mel domain, without any waveform. What follows a short clip (cells at
the front end's floor) stays silent: nothing was recorded there.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

_DB = 10.0 / np.log(10.0)
_ATTENUATION_DB = (10.0, 70.0)
_TALKERS = (4, 7)
_WAVES = 4
_LEAST_POWER = 1e-20


def add_noise(
    windows: tf.Tensor,
    probability: float,
    snr_db: tuple[float, float],
    floor_db: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Adds stationary noise of random colour (white to brown) at a random signal-to-noise ratio.

    The mel power of Gaussian noise scatters by about 3 dB from frame to frame.

    Args:
        windows: ``[batch, frames, mels]`` in dB.
        probability: Of a clip's being changed.
        snr_db: The lowest and the highest ratio of the speech's power to the noise's, in dB. Both
            are means of linear power over mel cells: of the noise over the clip's frames, of the
            speech over the louder half of them, so that pauses do not lower it. Frames that are
            digital silence throughout, such as what follows a short clip, do not count.
        floor_db: The front end's floor; digital silence.
        seed: int ``[2]``.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)

    def noisy(clean: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        mels = windows.shape[2]
        slope = uniform(seeds[1], (tf.shape(clean)[0], 1, 1), 0.0, 20.0)  # dB over the mel range
        tilt = slope * np.linspace(0.5, -0.5, mels, dtype=np.float32)
        noise = _power(tilt + 3.0 * tf.random.stateless_normal(tf.shape(clean), seeds[2]))
        return _mixed(clean, noise, snr_db, floor_db, seeds[0])

    return _some(windows, probability, floor_db, seeds[3], noisy)


def add_babble(
    windows: tf.Tensor,
    probability: float,
    snr_db: tuple[float, float],
    floor_db: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Adds four to seven other clips of the batch, all equally loud, at a random ratio.

    In a small batch the others come more than once, each time from another place.

    Args:
        windows: See ``add_noise``, as for all that follows.
        probability: See there.
        snr_db: See there.
        floor_db: See there.
        seed: See there.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    batch, frames = tf.shape(windows)[0], tf.shape(windows)[1]
    others = tf.maximum(batch - 1, 1)
    power = _power(windows)
    power /= _speech_power(power, _recorded(windows, floor_db))[:, tf.newaxis, tf.newaxis]

    def noisy(clean: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        draws = tf.random.stateless_uniform(
            [tf.shape(chosen)[0], _TALKERS[1] + 1], seeds[1], 0.0, 1.0
        )
        talkers = _TALKERS[0] + tf.cast(
            draws[:, 0] * (_TALKERS[1] - _TALKERS[0] + 1), tf.int32
        )  # of each chosen clip
        babble = tf.zeros_like(clean)
        for other in range(_TALKERS[1]):
            # The batch is in random order: the clips that follow are a random choice.
            voice = tf.gather(power, (chosen + 1 + other % others) % batch)
            start = tf.cast(draws[:, other + 1] * tf.cast(frames, tf.float32), tf.int32)
            turned = (tf.range(frames) + start[:, tf.newaxis]) % frames
            speaks = tf.cast(other < talkers, tf.float32)[:, tf.newaxis, tf.newaxis]
            babble += speaks * tf.gather(voice, turned, batch_dims=1)
        return _mixed(clean, babble, snr_db, floor_db, seeds[0])

    return _some(windows, probability, floor_db, seeds[3], noisy)


def add_room(
    windows: tf.Tensor,
    probability: float,
    reverberation_seconds: tuple[float, float],
    direct_to_reverberant_db: tuple[float, float],
    frames_per_second: float,
    floor_db: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Adds a room's late echoes: power that falls exponentially, as after Polack.

    A cell receives what its mel band had in each earlier frame, less by 60 dB for each
    reverberation time that has gone by since. The echo of the same frame is the direct sound's own;
    colours of rooms are left to ``microphone``. (The model: Lebart, Boucher and Denbigh, "A new
    method based on spectral subtraction for speech dereverberation", Acta Acustica 87, 2001.)

    Args:
        windows: See ``add_noise``.
        probability: Of a clip's being changed.
        reverberation_seconds: The shortest and the longest time for a fall by 60 dB; drawn evenly
            on a logarithmic scale.
        direct_to_reverberant_db: The least and the most by which the direct sound's energy exceeds
            that of all its echoes.
        frames_per_second: Of the windows.
        floor_db: See ``add_noise``.
        seed: See ``add_noise``.
    """
    seeds = tf.random.experimental.stateless_split(seed, 3)
    frames = windows.shape[1]
    later = np.arange(frames)[:, np.newaxis] - np.arange(frames)  # [to, from]

    def echoing(clean: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
        shape = (tf.shape(clean)[0], 1, 1)
        seconds = tf.exp(uniform(seeds[0], shape, *np.log(reverberation_seconds)))
        direct_db = uniform(seeds[1], shape, *direct_to_reverberant_db)
        fall_db = 60.0 / (seconds * frames_per_second)  # from one frame to the next
        kept = _power(-fall_db)
        first = (1.0 - kept) / kept * _power(-direct_db)  # all echoes together: -direct_db
        echoes = first * _power(-fall_db * np.maximum(later, 0).astype(np.float32))
        echoes = tf.where(later > 0, echoes, 0.0)
        power = _power(clean)
        return _db(power + echoes @ power)

    return _some(windows, probability, floor_db, seeds[2], echoing)


def microphone(
    windows: tf.Tensor, strength_db: float, floor_db: float, seed: tf.Tensor
) -> tf.Tensor:
    """Gives every clip a smooth frequency response of its own; its level stays.

    A sum of the first four cosines over the mel range, normal amplitudes.

    Args:
        windows: See ``add_noise``.
        strength_db: Standard deviation of a response, over its bands and over clips.
        floor_db: See ``add_noise``.
        seed: See ``add_noise``.
    """
    mels = windows.shape[2]
    waves = np.arange(1, _WAVES + 1)[:, np.newaxis]
    basis = np.cos(np.pi * waves * (np.arange(mels) + 0.5) / mels).astype(np.float32)
    amplitudes = tf.random.stateless_normal([tf.shape(windows)[0], _WAVES], seed)
    response = strength_db * np.sqrt(2.0 / _WAVES) * (amplitudes @ basis)
    return _audible(windows, windows + response[:, tf.newaxis, :], floor_db)


def limit_band(
    windows: tf.Tensor,
    probability: float,
    low_cut_hz: tuple[float, float],
    high_cut_hz: tuple[float, float],
    centres_hz: np.ndarray,
    floor_db: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """Takes away what a telephone, a codec or a small microphone does: lows, highs, or both.

    Each edge is drawn evenly on a logarithmic scale; beyond it everything is attenuated alike.

    Args:
        windows: See ``add_noise``.
        probability: Of a clip's being changed.
        low_cut_hz: The least and the largest lower edge.
        high_cut_hz: The least and the largest upper edge.
        centres_hz: What the mel bands are centred on, ``[mels]``.
        floor_db: See ``add_noise``.
        seed: See ``add_noise``.
    """
    seeds = tf.random.experimental.stateless_split(seed, 4)
    batch = tf.shape(windows)[0]

    def edge(seed: tf.Tensor, limits_hz: tuple[float, float]) -> tf.Tensor:
        return tf.exp(uniform(seed, (batch, 1), *np.log(limits_hz)))

    low_hz, high_hz = edge(seeds[0], low_cut_hz), edge(seeds[1], high_cut_hz)
    centres = tf.constant(centres_hz, tf.float32)
    outside = tf.logical_or(centres < low_hz, centres > high_hz)  # [batch, mels]
    limited = uniform(seeds[2], (batch, 1), 0.0, 1.0) < probability
    attenuation = uniform(seeds[3], (batch, 1), *_ATTENUATION_DB)
    loss = tf.where(tf.logical_and(limited, outside), attenuation, 0.0)[:, tf.newaxis, :]
    return tf.maximum(windows - loss, floor_db)


def uniform(seed: tf.Tensor, shape: Any, low: float, high: float) -> tf.Tensor:
    """Numbers from ``low`` to ``high``, of one seed always the same."""
    return tf.random.stateless_uniform(shape, seed, low, high)


def _some(
    windows: tf.Tensor,
    probability: float,
    floor_db: float,
    seed: tf.Tensor,
    change: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
) -> tf.Tensor:
    """Changes randomly chosen clips; ``change`` gets them and their places ``[chosen]``."""
    drawn = tf.random.stateless_uniform(tf.shape(windows)[:1], seed)
    chosen = tf.where(drawn < probability)  # [chosen, 1]
    clean = tf.gather_nd(windows, chosen)
    changed = change(clean, tf.cast(chosen[:, 0], tf.int32))
    return tf.tensor_scatter_nd_update(windows, chosen, _audible(clean, changed, floor_db))


def _audible(clean: tf.Tensor, changed: tf.Tensor, floor_db: float) -> tf.Tensor:
    return tf.where(clean > floor_db, tf.maximum(changed, floor_db), clean)


def _mixed(
    clean: tf.Tensor,
    noise: tf.Tensor,
    snr_db: tuple[float, float],
    floor_db: float,
    seed: tf.Tensor,
) -> tf.Tensor:
    """``clean`` in dB and ``noise`` as a power of any scale, mixed at a random ratio; in dB."""
    power, recorded = _power(clean), _recorded(clean, floor_db)
    snr = uniform(seed, (tf.shape(clean)[0],), *snr_db)
    noise = tf.where(clean > floor_db, noise, 0.0)  # what the clip will have of it
    frames = tf.cast(recorded, tf.float32)
    noise_power = tf.reduce_sum(frames * tf.reduce_mean(noise, axis=2), axis=1)
    noise_power /= tf.maximum(tf.reduce_sum(frames, axis=1), 1.0)
    scale = _speech_power(power, recorded) * _power(-snr) / tf.maximum(noise_power, _LEAST_POWER)
    return _db(power + scale[:, tf.newaxis, tf.newaxis] * noise)


def _recorded(windows: tf.Tensor, floor_db: float) -> tf.Tensor:
    """Frames that are more than digital silence, bool ``[batch, frames]``."""
    return tf.reduce_any(windows > floor_db, axis=2)


def _speech_power(power: tf.Tensor, recorded: tf.Tensor) -> tf.Tensor:
    """Mean over the louder half of the recorded frames ``[batch]``: speech without its pauses."""
    frame_power = tf.where(recorded, tf.reduce_mean(power, axis=2), 0.0)
    count = tf.maximum(tf.reduce_sum(tf.cast(recorded, tf.int32), axis=1) // 2, 1)
    louder = tf.range(power.shape[1]) < count[:, tf.newaxis]
    loudest_first = tf.where(louder, tf.sort(frame_power, direction="DESCENDING"), 0.0)
    mean = tf.reduce_sum(loudest_first, axis=1) / tf.cast(count, tf.float32)
    return tf.maximum(mean, _LEAST_POWER)


def _power(decibels: tf.Tensor) -> tf.Tensor:
    return tf.exp(decibels / _DB)


def _db(power: tf.Tensor) -> tf.Tensor:
    return _DB * tf.math.log(power)
