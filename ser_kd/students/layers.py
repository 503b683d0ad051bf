"""Keras layers that several models share."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf


@keras.saving.register_keras_serializable(package="ser_kd")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """``BatchNormalization`` that trains with TensorFlow's fused kernel, and averages from batch 1.

    Keras 3 composes the training path of batch normalisation from single operations on the
    TensorFlow backend, which on a CPU takes five times as long as the fused kernel. Evaluation is
    the parent's, so that files and conversion stay those of a plain Keras layer. Input: ``[batch,
    height, width, channels]``.

    The moving statistics have no initial value in them: after n batches they are the mean of those
    n, until the momentum's exponential average has as long a memory. Its bias towards variance 1
    would be 0.6 % of the average after 100 batches, but a channel's variance may be a thousandth,
    and the errors of all layers multiply. ``batches_seen`` is a state of training, not a weight:
    files do not hold it, and a layer that is trained further begins its averages anew.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the parent's weights and the counter."""
        super().build(input_shape)
        self.batches_seen = self.add_weight(
            shape=(),
            initializer="zeros",
            trainable=False,
            autocast=False,
            dtype="float32",
            name="batches_seen",
        )

    @property
    def weights(self) -> list[Any]:
        """The parent's: scale, offset, moving mean and variance, ``[channels]`` each."""
        return [weight for weight in super().weights if weight is not self.batches_seen]

    def save_own_variables(self, store: Any) -> None:
        """Saves the weights, as the parent does."""
        for index, weight in enumerate(self.weights):
            store[str(index)] = weight

    def load_own_variables(self, store: Any) -> None:
        """Loads the weights, as the parent does.

        Raises:
            ValueError: The file has another number of them.
        """
        if len(store.keys()) != len(self.weights):
            raise ValueError(f"{self.name}: {len(self.weights)} weights, file: {len(store.keys())}")
        for index, weight in enumerate(self.weights):
            weight.assign(store[str(index)])

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Normalised inputs, of the same shape."""
        if not training or not self.trainable:
            return super().call(inputs, training=training, mask=mask)
        outputs, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            inputs, self.gamma, self.beta, epsilon=self.epsilon, is_training=True
        )[:3]
        seen = tf.convert_to_tensor(self.batches_seen)
        momentum = tf.minimum(seen / (seen + 1.0), self.momentum)
        for moving, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            moving.assign(moving * momentum + batch * (1.0 - momentum))
        self.batches_seen.assign(seen + 1.0)
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
