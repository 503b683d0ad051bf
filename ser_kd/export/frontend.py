"""The front end as a phone computes it fast: the numbers of ``LogMel`` from matrix products.

TensorFlow Lite's FFT is a plain C loop; its matrix products use all that the processor has. So the
transform of a frame is split once (Cooley and Tukey, 1965): N = A * B samples become B transforms
of A samples, then A transforms of B samples, each a product with a constant matrix. Real input
needs only half of the second kind.
"""

import math

import numpy as np
import tensorflow as tf

from ser_kd.audio.mel import mel_filters
from ser_kd.config import LogMelConfig


class FrontEnd(tf.Module):
    """Waveform float32 ``[1, samples]`` -> log-mel float32 ``[1, frames, mels]``, static shapes.

    Args:
        config: As of the ``LogMel`` layer that the student was trained with.
        samples: Per window.
    """

    def __init__(self, config: LogMelConfig, samples: int) -> None:
        super().__init__()
        self.config, self.samples = config, samples
        self.frames = config.frames(samples)
        self.window = np.hanning(config.fft_samples + 1)[:-1].astype(np.float32)
        self.outer, self.inner = split(config.fft_samples)
        self.first, self.second, self.filters = _matrices(config, self.outer, self.inner)

    @tf.function
    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        frames, outer, inner = self.frames, self.outer, self.inner
        half = outer // 2 + 1
        x = self._framed(pcm) * self.window  # [frames, A * B]
        x = tf.transpose(tf.reshape(x, [frames, outer, inner]), [0, 2, 1])
        x = tf.matmul(tf.reshape(x, [frames * inner, outer]), self.first)
        x = tf.transpose(tf.reshape(x, [frames, inner, 2, half]), [3, 0, 2, 1])
        x = tf.matmul(tf.reshape(x, [half, frames, 2 * inner]), self.second)
        x = tf.square(x)
        power = x[:, :, :inner] + x[:, :, inner:]  # real and imaginary part: [half, frames, B]
        power = tf.reshape(tf.transpose(power, [1, 0, 2]), [frames, half * inner])
        mel_power = tf.matmul(power, self.filters)  # [frames, mels]
        floor = 10.0 ** (self.config.floor_db / 10.0)
        decibels = (10.0 / math.log(10.0)) * tf.math.log(tf.maximum(mel_power, floor))
        return tf.reshape(decibels, [1, frames, self.config.mels])

    def _framed(self, pcm: tf.Tensor) -> tf.Tensor:
        """Overlapping frames from blocks of a hop: copies of memory, no gathering."""
        fft, hop = self.config.fft_samples, self.config.hop_samples
        parts = -(-fft // hop)
        x = tf.reshape(pcm, [self.samples])
        wanted = (self.frames + parts - 1) * hop
        if wanted < self.samples:
            x = x[:wanted]
        elif wanted > self.samples:
            x = tf.pad(x, [[0, wanted - self.samples]])  # behind the last frame's end
        blocks = tf.reshape(x, [-1, hop])
        return tf.concat(
            [blocks[i : i + self.frames, : min(hop, fft - i * hop)] for i in range(parts)], axis=1
        )


def split(samples: int) -> tuple[int, int]:
    """``(A, B)`` with A * B = ``samples``, A even, and the fewest multiplications per frame."""

    def multiplications(outer: int) -> int:
        inner = samples // outer
        return inner * outer * (outer + 2) + (outer // 2 + 1) * (2 * inner) ** 2

    outer = min((a for a in range(2, samples + 1, 2) if samples % a == 0), key=multiplications)
    return outer, samples // outer


def _matrices(
    config: LogMelConfig, outer: int, inner: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The constants of the three products.

    With n = B a + b and k = c + A d the transform X[k] = sum over n of x[n] w^(k n) is
    sum over b of w^(b (c + A d)) times (sum over a of x[B a + b] w_A^(a c)).

    Returns:
        First ``[A, 2 * (A / 2 + 1)]``: cosines, then negative sines. Second ``[A / 2 + 1, 2 B,
        2 B]``: a complex product for each c, as a real matrix. Mel filters ``[(A / 2 + 1) * B,
        mels]``, rows in the order that the second product gives.
    """
    size, half = config.fft_samples, outer // 2 + 1
    c = np.arange(half)
    angle = 2 * np.pi * np.outer(np.arange(outer), c) / outer
    first = np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
    b, d = np.arange(inner)[:, np.newaxis], np.arange(inner)
    second = []
    for row in c:
        angle = -2 * np.pi * b * (row + outer * d) / size
        cos, sin = np.cos(angle), np.sin(angle)
        second.append(np.block([[cos, sin], [-sin, cos]]))
    bins = c[:, np.newaxis] + outer * d  # [half, B]
    mirrored = np.minimum(bins, size - bins).ravel()  # real input: X[N - k] is X[k] mirrored
    filters = np.zeros((half * inner, config.mels), np.float32)
    # A bin may come twice, as itself and as its mirror image: it counts once.
    numbers, places = np.unique(mirrored, return_index=True)
    filters[places] = mel_filters(config)[numbers]
    return first.astype(np.float32), np.array(second, np.float32), filters
