"""A transformer over a clip's modalities, any of which may be absent."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

_MASKED = -1e9  # its exponential is 0 exactly, whatever stands beside it
_SMALLEST_DEVIATION = 1e-3


class RowLayout:
    """What a clip is to the network: a row of numbers for itself and for each neighbour.

    A row has the vectors of all modalities side by side, then one flag per modality (1 = present),
    then one flag for whether the row's speaker is the clip's own.

    Args:
        sizes: Modality -> size of its vector.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = dict(sizes)
        ends = np.cumsum([*self.sizes.values()]).tolist()
        starts = [0, *ends[:-1]]
        self.columns = {
            name: slice(a, b) for name, a, b in zip(self.sizes, starts, ends, strict=True)
        }
        self.values = slice(0, ends[-1])
        self.flags = slice(ends[-1], ends[-1] + len(self.sizes))
        self.same_speaker = ends[-1] + len(self.sizes)
        self.width = self.same_speaker + 1


class ModalityTokens(layers.Layer):
    """Rows -> tokens: [CLS], then one per row and modality.

    A token is a linear projection of the standardised vector, plus learned embeddings of the
    modality and of the row's place in the dialogue.
    """

    def __init__(self, layout: RowLayout, rows: int, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.layout, self.rows, self.width = layout, rows, width
        self.projections = {
            name: layers.Dense(width, name=f"projection_{number}")
            for number, name in enumerate(layout.sizes)
        }

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        columns, count = self.layout.values.stop, len(self.layout.sizes)
        fixed = {"shape": (columns,), "trainable": False}
        self.mean = self.add_weight(initializer="zeros", name="mean", **fixed)
        self.deviation = self.add_weight(initializer="ones", name="deviation", **fixed)
        learned = {"initializer": keras.initializers.RandomNormal(stddev=0.02)}
        self.cls = self.add_weight(shape=(1, 1, self.width), name="cls", **learned)
        self.modality = self.add_weight(shape=(count, self.width), name="modality", **learned)
        self.place = self.add_weight(shape=(self.rows, 1, self.width), name="place", **learned)
        for name, projection in self.projections.items():
            projection.build((None, None, self.layout.sizes[name]))

    def set_statistics(self, mean: np.ndarray, deviation: np.ndarray) -> None:
        """What the vectors are standardised with, each ``[columns]``."""
        self.mean.assign(mean)
        # What hardly varies is not blown up.
        self.deviation.assign(np.where(deviation < _SMALLEST_DEVIATION, 1.0, deviation))

    def call(self, rows: Any) -> tuple[Any, Any]:
        """``[b, rows, row width]`` -> tokens ``[b, t, width]``, which are present ``[b, t]``."""
        layout, batch = self.layout, ops.shape(rows)[0]
        flags = rows[:, :, layout.flags] > 0.5  # [b, r, m]
        values = (rows[:, :, layout.values] - self.mean) / self.deviation
        tokens = []
        for number, (name, projection) in enumerate(self.projections.items()):
            # Not times 0, which would let through what is not a number.
            vector = ops.where(flags[:, :, number, None], values[:, :, layout.columns[name]], 0.0)
            tokens.append(projection(vector))
        x = ops.stack(tokens, axis=2) + self.modality + self.place  # [b, r, m, d]
        x = ops.reshape(x, (-1, self.rows * len(tokens), self.width))
        cls = ops.broadcast_to(self.cls, (batch, 1, self.width))
        present = ops.reshape(flags, (-1, self.rows * len(tokens)))
        present = ops.concatenate([ops.ones((batch, 1), dtype="bool"), present], axis=1)
        return ops.concatenate([cls, x], axis=1), present


class PreNormBlock(layers.Layer):
    """One transformer layer, norms before attention and feed-forward (arXiv 2002.04745)."""

    def __init__(self, width: int, heads: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.heads = width, heads
        self.norms = [layers.LayerNormalization(epsilon=1e-5, name=f"norm_{i}") for i in (0, 1)]
        self.query_key_value = layers.Dense(3 * width, name="query_key_value")
        self.out = layers.Dense(width, name="out")
        self.hidden = layers.Dense(2 * width, activation="gelu", name="hidden")
        self.back = layers.Dense(width, name="back")
        self.dropout = layers.Dropout(dropout)

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        for layer in (*self.norms, self.query_key_value, self.out, self.hidden):
            layer.build((None, None, self.width))
        self.back.build((None, None, 2 * self.width))

    def call(self, x: Any, present: Any, training: bool = False) -> Any:
        """``x`` ``[b, t, d]``, ``present`` bool ``[b, t]``: what may be attended to."""
        x = x + self.dropout(self._attend(self.norms[0](x), present), training=training)
        return x + self.dropout(self.back(self.hidden(self.norms[1](x))), training=training)

    def _attend(self, x: Any, present: Any) -> Any:
        count, size = x.shape[1], self.width // self.heads
        x = ops.reshape(self.query_key_value(x), (-1, count, 3, self.heads, size))
        query, key, value = (x[:, :, index] for index in range(3))  # [b, t, h, d/h]
        scores = ops.einsum("bqhd,bkhd->bhqk", query, key) * size**-0.5
        weights = ops.softmax(ops.where(present[:, None, None, :], scores, _MASKED), axis=-1)
        x = ops.einsum("bhqk,bkhd->bqhd", weights, value)
        return self.out(ops.reshape(x, (-1, count, self.width)))


class DialogueGraph(layers.Layer):
    """Messages from a clip's neighbours: a relational graph layer (arXiv 1703.06103).

    Four relations as in COGMEN (arXiv 2205.02455): before or after, same or another speaker. The
    layer is computed for the clip itself alone.
    """

    def __init__(self, width: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.own = layers.Dense(width, name="own")
        self.relations = [layers.Dense(width, use_bias=False, name=f"from_{i}") for i in range(4)]
        self.width = width

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        for layer in (self.own, *self.relations):
            layer.build((None, self.width))

    def call(self, nodes: Any, there: Any, same_speaker: Any) -> Any:
        """Messages to the middle node.

        Args:
            nodes: ``[b, n, d]``, in order of their turns.
            there: bool ``[b, n]``: which of them exist.
            same_speaker: bool ``[b, n]``: which have the middle node's speaker.

        Returns:
            ``[b, d]``.
        """
        count = nodes.shape[1]
        middle, order = count // 2, np.arange(count)
        total = self.own(nodes[:, middle])
        sides = [order < middle, order > middle]
        for number, relation in enumerate(self.relations):
            alike = same_speaker if number % 2 else ops.logical_not(same_speaker)
            chosen = ops.logical_and(there, alike)
            chosen = ops.logical_and(chosen, ops.convert_to_tensor(sides[number // 2]))
            total = total + relation(masked_mean(nodes, chosen))
        return ops.gelu(total)


def masked_mean(x: Any, chosen: Any) -> Any:
    """Mean over axis -2 of ``x`` ``[..., n, d]`` where ``chosen`` ``[..., n]``; 0 of nothing."""
    weight = ops.cast(chosen, x.dtype)
    weight = weight / ops.maximum(ops.sum(weight, axis=-1, keepdims=True), 1.0)
    return ops.sum(weight[..., None] * x, axis=-2)


@keras.saving.register_keras_serializable(package="ser_kd")
class FusionNetwork(keras.Model):
    """A clip's modalities -> class logits.

    What is absent has no influence: its values are replaced by zeros, and nothing attends to it.

    Args:
        sizes: Modality -> size of its vector.
        classes: Number of logits.
        width: Of every token.
        heads: Of attention; they divide ``width``.
        layer_count: Transformer layers.
        dropout: After attention and feed-forward, and on the embedding.
        context_clips: Neighbours on either side.
        graph: Whether a graph layer over the neighbours is added to the [CLS] token.

    Inputs: float32 ``[batch, 2 * context_clips + 1, layout.width]``, see ``RowLayout``.
    """

    def __init__(
        self,
        sizes: Mapping[str, int],
        classes: int,
        width: int = 64,
        heads: int = 4,
        layer_count: int = 1,
        dropout: float = 0.2,
        context_clips: int = 0,
        graph: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.settings: dict[str, Any] = {
            "sizes": dict(sizes),
            "classes": classes,
            "width": width,
            "heads": heads,
            "layer_count": layer_count,
            "dropout": dropout,
            "context_clips": context_clips,
            "graph": graph,
        }
        self.layout, self.rows = RowLayout(sizes), 2 * context_clips + 1
        self.tokens = ModalityTokens(self.layout, self.rows, width, name="tokens")
        self.blocks = [
            PreNormBlock(width, heads, dropout, name=f"block_{i}") for i in range(layer_count)
        ]
        self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        self.graph: DialogueGraph | None = DialogueGraph(width, name="graph") if graph else None
        self.dropout = layers.Dropout(dropout)
        self.logits = layers.Dense(classes, name="logits")

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return (None, self.rows, self.layout.width)

    @property
    def classes(self) -> int:
        return int(self.settings["classes"])

    def build(self, input_shape: Sequence[int | None] | None = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        width = self.settings["width"]
        self.tokens.build()
        for block in self.blocks:
            block.build()
        self.norm.build((None, None, width))
        if self.graph is not None:
            self.graph.build()
        self.logits.build((None, width))
        self.built = True

    def logits_and_embedding(self, rows: Any, training: bool = False) -> tuple[Any, Any]:
        """Logits ``[batch, classes]`` and embedding ``[batch, width]``."""
        x, present = self.tokens(rows)
        for block in self.blocks:
            x = block(x, present, training=training)
        x = self.norm(x)
        embedding = x[:, 0]
        if self.graph is not None:
            per_row = (-1, self.rows, len(self.layout.sizes))
            there = ops.reshape(present[:, 1:], per_row)  # [b, r, m]
            nodes = ops.reshape(x[:, 1:], (*per_row, self.settings["width"]))
            same_speaker = rows[:, :, self.layout.same_speaker] > 0.5
            nodes = masked_mean(nodes, there)  # [b, r, d]
            embedding = embedding + self.graph(nodes, ops.any(there, axis=-1), same_speaker)
        return self.logits(self.dropout(embedding, training=training)), embedding

    def call(self, rows: Any, training: bool = False) -> Any:
        """Logits ``[batch, classes]``."""
        return self.logits_and_embedding(rows, bool(training))[0]

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, **self.settings, "sizes": dict(self.layout.sizes)}
