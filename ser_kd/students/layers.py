"""Keras layers that several models share."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ser_kd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """``BatchNormalization`` that trains with TensorFlow's fused kernel.

    Keras 3 composes the training path of batch normalisation from single operations on the
    TensorFlow backend, which on a CPU takes five times as long as the fused kernel. Evaluation is
    the parent's, so that files and conversion stay those of a plain Keras layer. Input: ``[batch,
    height, width, channels]``.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalised inputs, of the same shape."""
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )[:3]
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
        return outputs


@keras.saving.register_keras_serializable(package="ser_kd")
class Standardize(keras.layers.Layer):
    """``(log-mel - mean) / deviation`` per mel band, with statistics of the training clips.

    The statistics are weights (not trained), so they travel with the model's file.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the statistics, ``[mels]`` each."""
        mels = input_shape[-1]
        self.mean = self.add_weight(
            shape=(mels,), initializer="zeros", trainable=False, name="mean"
        )
        self.deviation = self.add_weight(
            shape=(mels,), initializer="ones", trainable=False, name="deviation"
        )

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """``mean`` and ``deviation`` in dB, ``[mels]``."""
        self.mean.assign(mean)
        self.deviation.assign(deviation)

    def call(self, features: Any) -> Any:
        """Standardised features, of the same shape."""
        return (features - self.mean) / self.deviation
