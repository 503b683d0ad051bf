"""A text classifier on an encoder of keras-hub."""

import importlib
from typing import Any

import keras
from keras import layers, ops

from ser_kd.errors import UserError

_INPUTS = {"token_ids", "padding_mask", "segment_ids"}


def token_encoder(backbone: Any) -> keras.Model:
    """A backbone of keras-hub without what it has beside the tokens' states, such as a summary.

    Args:
        backbone: With the inputs ``token_ids``, ``padding_mask`` and perhaps ``segment_ids``.

    Returns:
        A model from a dict of those to the last layer's states ``[batch, tokens, dim]``.

    Raises:
        UserError: It reads something else.
    """
    names = {tensor.name for tensor in backbone.inputs}
    if not {"token_ids"} <= names <= _INPUTS:
        raise UserError(
            f"{type(backbone).__name__} is no text encoder (its inputs are "
            f"{', '.join(sorted(names))}); choose a preset such as 'bert_small_en_uncased'"
        )
    states = backbone.output
    states = states["sequence_output"] if isinstance(states, dict) else states
    return keras.Model(backbone.input, states, name="encoder")


@keras.saving.register_keras_serializable(package="ser_kd")
class TextClassifier(keras.Model):
    """Mean of the encoder's states over the tokens, projection, classifier.

    Args:
        encoder: As ``token_encoder`` makes it.
        classes: Number of logits.
        max_tokens: Of a text.
        projection: Size of the embedding, after tanh.
        dropout: On the embedding.
        frozen: Whether the encoder stays as it is. Its dropout is then off, so that a text
            always has the same features.

    Inputs: int32 ``[batch, 2, max_tokens]``: token ids, and 1 where there is one.
    """

    def __init__(
        self,
        encoder: Any,
        classes: int,
        max_tokens: int,
        projection: int = 128,
        dropout: float = 0.1,
        frozen: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.settings: dict[str, Any] = {
            "classes": classes,
            "max_tokens": max_tokens,
            "projection": projection,
            "dropout": dropout,
            "frozen": frozen,
        }
        self.encoder = encoder
        self.encoder.trainable = not frozen
        self.mean = layers.GlobalAveragePooling1D()
        self.projection = layers.Dense(projection, activation="tanh", name="projection")
        self.dropout = layers.Dropout(dropout)
        self.logits = layers.Dense(classes, name="logits")

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, 2, self.settings["max_tokens"])

    @property
    def classes(self) -> int:
        return int(self.settings["classes"])

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        self.projection.build((None, self.encoder.output_shape[-1]))
        self.logits.build((None, self.settings["projection"]))
        self.built = True

    def logits_and_embedding(self, tokens: Any, training: bool = False) -> tuple[Any, Any]:
        """Logits ``[batch, classes]`` and embedding ``[batch, projection]``."""
        known = {
            "token_ids": tokens[:, 0],
            "padding_mask": tokens[:, 1],
            "segment_ids": ops.zeros_like(tokens[:, 0]),  # one text, no second one beside it
        }
        inputs = {tensor.name: known[tensor.name] for tensor in self.encoder.inputs}
        states = self.encoder(inputs, training=training and not self.settings["frozen"])
        embedding = self.projection(self.mean(states, mask=tokens[:, 1] > 0))
        return self.logits(self.dropout(embedding, training=training)), embedding

    def call(self, tokens: Any, training: bool = False) -> Any:
        """Logits ``[batch, classes]``."""
        return self.logits_and_embedding(tokens, bool(training))[0]

    def get_config(self) -> dict[str, Any]:
        encoder = keras.saving.serialize_keras_object(self.encoder)
        return {"name": self.name, "encoder": encoder, **self.settings}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "TextClassifier":
        importlib.import_module("keras_hub")  # registers the encoder's classes
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**{**config, "encoder": encoder})
