"""A small network from several encoders' vectors to dimensions and categories.

Every output weighs the sources for itself, so that the weights can be read: which encoder serves
which dimension.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ser_kd.students.heads import DIMENSIONS, LOGITS, CutOff
from ser_kd.students.layers import Standardize

EMBEDDING = "embedding"
SOURCE_WEIGHTS = "source_weights"
"""Name of the layer that has the weights, and part of their variable's path."""


@keras.saving.register_keras_serializable(package="ser_kd")
class WeightedSources(layers.Layer):
    """The concatenation of all sources, once for each output, with the output's own weights.

    An output's weights of the sources are a softmax, begin equal and sum to 1. So that they alone
    decide how much a source counts, all sources enter with the same energy, whatever the size of
    their vectors; with equal weights the vector as a whole keeps the energy that it comes with.

    Args:
        sizes: Of the sources' vectors, which stand side by side.
        outputs: How many.

    Inputs: float32 ``[batch, sum of sizes]``, standardised.

    Returns:
        float32 ``[batch, outputs, sum of sizes]``.
    """

    def __init__(self, sizes: Sequence[int], outputs: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sizes, self.outputs = list(sizes), outputs
        energy = len(self.sizes) * np.sqrt(np.mean(self.sizes) / np.array(self.sizes))
        columns = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self._columns = (np.eye(len(self.sizes))[:, columns] * energy[columns]).astype(np.float32)

    def build(self, input_shape: Any) -> None:
        shape = (self.outputs, len(self.sizes))
        self.scores = self.add_weight(shape=shape, initializer="zeros", name="scores")

    @property
    def weights_of_outputs(self) -> np.ndarray:
        """float32 ``[outputs, sources]``; each output's weights sum to 1."""
        return np.asarray(self._shares())

    def call(self, inputs: Any) -> Any:
        return ops.expand_dims(inputs, 1) * ops.matmul(self._shares(), self._columns)

    def _shares(self) -> Any:
        # A softmax; Keras' own warns where there is but one source.
        return ops.exp(self.scores - ops.logsumexp(self.scores, axis=-1, keepdims=True))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "sizes": self.sizes, "outputs": self.outputs}


def dimensional_network(
    sizes: Mapping[str, int], classes: int, dimensions: int, width: int, dropout: float
) -> keras.Model:
    """Makes the network.

    One dense layer is shared by all outputs; what differs is how they weigh the sources, and a
    linear layer for each. The categories are one more output with weights of its own.

    Dropout is where most weights are, in front of the dense layer: without it a network that has
    overfitted finds all sources equally good, and its weights do not show which one is.

    Args:
        sizes: Source -> size of its vector.
        classes: Number of logits.
        dimensions: How many.
        width: Of the dense layer.
        dropout: Share of the sources' components that is left out in training.

    Returns:
        A model from float32 ``[batch, sum of sizes]`` to all outputs, side by side in one
        tensor; ``outputs_of`` takes it apart.
    """
    inputs = keras.Input((sum(sizes.values()),), name="sources")
    x = Standardize(name="standardize")(inputs)
    x = WeightedSources([*sizes.values()], dimensions + 1, name=SOURCE_WEIGHTS)(x)
    x = layers.Dropout(dropout)(x)
    x = layers.Dense(width, activation="gelu", name="projection")(x)  # [b, dimensions + 1, width]
    values = layers.EinsumDense(
        "bdw,dw->bd", output_shape=(dimensions,), bias_axes="d", name="dimension_values"
    )(x[:, :dimensions])
    outputs = [
        layers.Dense(classes, name=LOGITS)(x[:, dimensions]),
        CutOff(name=DIMENSIONS)(values),
        layers.Flatten(name=EMBEDDING)(x),
    ]
    return keras.Model(inputs, layers.Concatenate(name="all")(outputs), name="dimensional")


def outputs_of(model: keras.Model) -> dict[str, Any]:
    """The network's outputs by name, as Keras tensors to make a model of.

    Args:
        model: As ``dimensional_network`` makes it.

    Returns:
        ``logits`` ``[batch, classes]``; ``dimensions`` ``[batch, dimensions]``, -1..1;
        ``embedding`` ``[batch, (dimensions + 1) * width]``: the fused vectors of all outputs,
        projected by the dense layer.
    """
    return {name: model.get_layer(name).output for name in (LOGITS, DIMENSIONS, EMBEDDING)}
