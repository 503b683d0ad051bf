"""An utterance classifier on a speech encoder: combine layers, pool over time, classify."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
from keras import layers, ops

from ser_kd.encoder.architecture import encoder_class
from ser_kd.encoder.model import SpeechEncoder

Combine = Literal["last", "weighted"]
Pooling = Literal["mean", "attentive_statistics"]
Frozen = Literal["nothing", "feature_encoder", "encoder"]


class LayerSum(layers.Layer):
    """A learned weighted mean of the encoder's layers (as in SUPERB, arXiv 2105.01051)."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Expects layers on axis 1."""
        self.scores = self.add_weight(shape=(input_shape[1],), initializer="zeros", name="scores")

    def call(self, x: Any) -> Any:  # [b, layers, ..., d] -> [b, ..., d]
        return ops.einsum("l,bl...->b...", ops.softmax(self.scores), x)


class AttentiveStatistics(layers.Layer):
    """Mean and deviation over time, frames weighted by attention (arXiv 1803.10963)."""

    def __init__(self, hidden: int = 128, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        dtype = self.dtype_policy
        self.hidden = layers.Dense(hidden, activation="tanh", dtype=dtype, name="hidden")
        self.score = layers.Dense(1, use_bias=False, dtype=dtype, name="score")

    def build(self, input_shape: Sequence[int | None]) -> None:
        self.hidden.build(input_shape)
        self.score.build((None, None, self.hidden.units))

    def call(self, x: Any, real: Any) -> Any:  # [b, t, d], bool [b, t] -> [b, 2d]
        scores = ops.where(real[:, :, None], self.score(self.hidden(x)), -1e9)
        weights = ops.softmax(scores, axis=1)  # [b, t, 1]
        mean = ops.sum(weights * x, axis=1)
        variance = ops.sum(weights * ops.square(x - mean[:, None, :]), axis=1)
        return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, 1e-6))], axis=1)


def mean_over_time(x: Any, real: Any) -> Any:
    """Mean over the real frames: ``x`` [..., t, d], ``real`` [b, t] -> [..., d], float32."""
    weight = ops.cast(real, "float32")
    weight = weight / ops.sum(weight, axis=1, keepdims=True)
    return ops.einsum("bt,btd->bd", weight, ops.cast(x, "float32"))


@keras.saving.register_keras_serializable(package="ser_kd")
class ClassifierHead(keras.Model):
    """What is trained on top of the encoder; always in float32.

    Called on what a frozen encoder leaves to be kept: each layer's mean over time. Where the
    pooling is a mean, that is all that the head needs to know, since means and sums over layers
    can change places.

    Args:
        classes: Number of logits.
        dim: Hidden size of the encoder.
        layer_count: Layers that ``combine`` sees.
        combine: ``last`` layer, or a learned ``weighted`` mean of all.
        pooling: Over time: ``mean`` or ``attentive_statistics``.
        projection: Size of the embedding, after tanh.
        dropout: On the embedding.

    Inputs: float32 [batch, layers, dim], the layers' means over time.
    """

    def __init__(
        self,
        classes: int,
        dim: int,
        layer_count: int,
        combine: Combine = "last",
        pooling: Pooling = "mean",
        projection: int = 128,
        dropout: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.settings: dict[str, Any] = {
            "classes": classes,
            "dim": dim,
            "layer_count": layer_count,
            "combine": combine,
            "pooling": pooling,
            "projection": projection,
            "dropout": dropout,
        }
        self.layer_sum: LayerSum | None = None
        if combine == "weighted":
            self.layer_sum = LayerSum(name="layer_sum", dtype="float32")
        self.attention: AttentiveStatistics | None = None
        if pooling == "attentive_statistics":
            self.attention = AttentiveStatistics(name="attention", dtype="float32")
        self.projection = layers.Dense(
            projection, activation="tanh", name="projection", dtype="float32"
        )
        self.dropout = layers.Dropout(dropout, dtype="float32")
        self.logits = layers.Dense(classes, name="logits", dtype="float32")

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        dim, pooled = self.settings["dim"], self.settings["dim"]
        if self.layer_sum is not None:
            self.layer_sum.build((None, self.settings["layer_count"], dim))
        if self.attention is not None:
            self.attention.build((None, None, dim))
            pooled = 2 * dim
        self.projection.build((None, pooled))
        self.logits.build((None, self.projection.units))
        self.built = True

    def from_states(self, states: Sequence[Any], real: Any, training: bool) -> tuple[Any, Any]:
        """Logits and embedding from hidden states [batch, frames, dim] of each layer.

        Args:
            states: The last one alone where ``combine`` is ``last``.
            real: bool [batch, frames].
            training: Whether dropout is drawn.
        """
        if self.attention is None:
            means = ops.stack([mean_over_time(state, real) for state in states], axis=1)
            return self.from_means(means, training)
        stacked = ops.stack([ops.cast(state, "float32") for state in states], axis=1)
        return self._classify(self.attention(self._combine(stacked), real), training)

    def from_means(self, means: Any, training: bool) -> tuple[Any, Any]:
        """Logits and embedding from each layer's mean over time [batch, layers, dim]."""
        return self._classify(self._combine(ops.cast(means, "float32")), training)

    def call(self, means: Any, training: bool = False) -> Any:
        """Logits [batch, classes]."""
        return self.from_means(means, bool(training))[0]

    def _combine(self, x: Any) -> Any:
        return x[:, -1] if self.layer_sum is None else self.layer_sum(x)

    def _classify(self, pooled: Any, training: bool) -> tuple[Any, Any]:
        embedding = self.projection(pooled)
        return self.logits(self.dropout(embedding, training=training)), embedding

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings}


@keras.saving.register_keras_serializable(package="ser_kd")
class SpeechClassifier(keras.Model):
    """Raw clips to class logits: preprocess, encode, classify.

    Args:
        encoder: Its weights are kept as they are given.
        classes: Number of logits.
        combine: See ``ClassifierHead``, like the following.
        pooling: Over time.
        projection: Size of the embedding.
        dropout: On the embedding.
        frozen: What training leaves as it is: ``nothing``, the convolutional ``feature_encoder``
            (usual with pretrained weights), or the whole ``encoder``.

    Inputs: ``{"waveform": float32 [batch, samples], "samples": int [batch]}``, 16 kHz;
    ``samples`` counts each clip's real samples, after which the waveform is zeros.
    """

    def __init__(
        self,
        encoder: SpeechEncoder,
        classes: int,
        combine: Combine = "last",
        pooling: Pooling = "mean",
        projection: int = 128,
        dropout: float = 0.1,
        frozen: Frozen = "feature_encoder",
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"autocast": False, **kwargs})  # see SpeechEncoder
        self.frozen = frozen
        self.encoder = encoder
        layer_count = encoder.transformer.layers + 1 if combine == "weighted" else 1
        self.head = ClassifierHead(
            classes,
            encoder.transformer.hidden_size,
            layer_count,
            combine,
            pooling,
            projection,
            dropout,
            name="head",
        )
        encoder.trainable = frozen != "encoder"
        encoder.feature_encoder.trainable = frozen == "nothing"

    @property
    def classes(self) -> int:
        return int(self.head.settings["classes"])

    @property
    def embedding_size(self) -> int:
        return int(self.head.settings["projection"])

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        for part in (self.encoder, self.head):
            if not part.built:
                part.build()
        self.built = True

    def states(self, inputs: Mapping[str, Any], training: bool = False) -> tuple[list[Any], Any]:
        """Hidden states that the head combines, each [batch, frames, dim], and real frames.

        The last one is the encoder's output.
        """
        if not self.built:
            self.build()
        waveforms = ops.convert_to_tensor(inputs["waveform"])  # [b, n]
        samples = ops.cast(inputs["samples"], "int32")  # [b]
        mask = ops.arange(ops.shape(waveforms)[1], dtype="int32")[None, :] < samples[:, None]
        waveforms = self.encoder.preprocess(waveforms, mask)
        # A frozen encoder is a fixed function: nothing is drawn in it.
        training = training and self.frozen != "encoder"
        states = self.encoder.hidden_states(waveforms, mask=mask, training=training)
        last = self.encoder.output_of(states)
        states = [last] if self.head.layer_sum is None else [*states[:-1], last]
        return states, self.encoder.frame_mask(mask, ops.shape(last)[1])

    def layer_means(self, inputs: Mapping[str, Any]) -> Any:
        """Each combined layer's mean over time [batch, layers, dim]: what the head is called on."""
        states, real = self.states(inputs)
        return ops.stack([mean_over_time(state, real) for state in states], axis=1)

    def logits_and_embedding(
        self, inputs: Mapping[str, Any], training: bool = False
    ) -> tuple[Any, Any]:
        """Logits [batch, classes] and embedding [batch, projection]."""
        states, real = self.states(inputs, training)
        return self.head.from_states(states, real, training)

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Logits [batch, classes]."""
        return self.logits_and_embedding(inputs, training=bool(training))[0]

    def get_config(self) -> dict[str, Any]:
        head = {
            key: value
            for key, value in self.head.settings.items()
            if key not in ("dim", "layer_count")
        }
        encoder = self.encoder.get_config()
        return {"name": self.name, "encoder": encoder, "frozen": self.frozen, **head}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "SpeechClassifier":
        fields = config["encoder"]
        encoder = encoder_class(fields["config"]["model_type"]).from_config(fields)
        return cls(**{**config, "encoder": encoder})
