"""The encoder's building blocks.

Shapes in comments: b = batch, n = samples, t = frames, c = channels, d = hidden size, h = heads.

Whatever is random takes an explicit ``seed`` (int ``[2]``; None = nothing is drawn, as in
inference): a layer that is computed a second time, as gradient checkpointing does, draws the same.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from ser_kd.encoder.architecture import EncoderConfig, Transformer

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_new": lambda x: ops.gelu(x, approximate=True),
    "relu": ops.relu,
    "silu": ops.silu,
    "swish": ops.silu,
}


class _GivenSeed(keras.random.SeedGenerator):
    """A seed where Keras asks for a generator."""

    def __init__(self, seed: Any) -> None:
        self.seed = seed  # and no state, which the parent would make

    def next(self, ordered: bool = True) -> Any:
        return self.seed


def uniform(shape: Any, seed: Any) -> Any:
    """float32 in [0, 1), the same for the same ``seed`` (int ``[2]``)."""
    return keras.random.uniform(shape, dtype="float32", seed=_GivenSeed(seed))


def dropout(x: Any, rate: float, seed: Any) -> Any:
    """Drops elements of ``x``; with no seed, or rate 0, ``x`` as it is."""
    if seed is None or rate == 0:
        return x
    return keras.random.dropout(x, rate, seed=_GivenSeed(seed))


def derive(seed: Any, number: int) -> Any:
    """Another seed for each ``number``; None stays None."""
    return None if seed is None else seed + ops.convert_to_tensor([number, 0], dtype=seed.dtype)


def random_spans(seed: Any, lengths: Any, size: Any, share: float, span: int, at_least: int) -> Any:
    """SpecAugment's masks (arXiv 1904.08779), drawn as the reference implementation draws them.

    A row of length n gets about ``share * n / span`` spans (rounded up or down at random, the same
    way in every row), at least ``at_least``, at different starts; they may overlap.

    Args:
        seed: int [2].
        lengths: int [b], real entries per row.
        size: Entries per row, padding included.
        share: Of the entries, an upper bound since spans overlap.
        span: Entries per span.
        at_least: Spans per row.

    Returns:
        bool [b, size], True = masked.
    """
    rows = ops.shape(lengths)[0]
    lengths = ops.cast(lengths, "int32")
    rounding = uniform((), derive(seed, 1))
    count = ops.floor(share * ops.cast(lengths, "float32") / span + rounding)
    count = ops.maximum(ops.cast(count, "int32"), at_least)
    starts = ops.maximum(lengths - (span - 1), 0)  # where a span may begin
    count = ops.minimum(ops.minimum(count, size // span), starts)[:, None]  # [b, 1]
    cells = ops.arange(size, dtype="int32")[None, :]
    score = ops.where(cells < starts[:, None], uniform((rows, size), derive(seed, 2)), -1.0)
    rank = ops.argsort(ops.argsort(-score, axis=-1), axis=-1)  # [b, size]: 0 = highest score
    begun = ops.cumsum(ops.cast(ops.cast(rank, "int32") < count, "int32"), axis=-1)
    ended = ops.pad(begun, [[0, 0], [span, 0]])[:, :size]  # spans begun ``span`` entries ago
    return begun > ended


def _uniform_init(fan_in: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)


class ChannelNorm(layers.Layer):
    """Group normalisation with one channel per group: each channel over the clip's time.

    As in the reference, padding takes part in the statistics. Always in float32: squares of
    thousands of frames are summed.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def call(self, x: Any) -> Any:  # [b, t, c]
        # Means as products with a row of 1/t: over thousands of frames TensorFlow's own reduction
        # along this axis is four times less exact, which is the largest error of the encoder.
        frames = ops.shape(x)[1]
        row = ops.ones((1, frames), x.dtype) / ops.cast(frames, x.dtype)
        x = x - ops.matmul(row, x)
        variance = ops.matmul(row, ops.square(x))  # [b, 1, c]
        return x * (self.gamma * ops.rsqrt(variance + 1e-5)) + self.beta


class ConvLayer(layers.Layer):
    """Convolution over time, normalisation of the chosen kind, activation."""

    def __init__(self, config: EncoderConfig, index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = config.conv_dim[index - 1] if index else 1
        self.outputs, kernel = config.conv_dim[index], config.conv_kernel[index]
        self.conv = layers.Conv1D(
            self.outputs,
            kernel,
            strides=config.conv_stride[index],
            use_bias=config.conv_bias,
            kernel_initializer="he_normal",
            bias_initializer=_uniform_init(self.inputs * kernel),
            name="conv",
        )
        self.norm: layers.Layer | None = None
        if config.feat_extract_norm == "layer":
            self.norm = layers.LayerNormalization(epsilon=1e-5, name="norm")
        elif index == 0:
            self.norm = ChannelNorm(name="norm")
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.conv.build((None, None, self.inputs))
        if self.norm is not None:
            self.norm.build((None, None, self.outputs))

    def call(self, x: Any) -> Any:  # [b, t, c]
        x = self.conv(x)
        return self.activation(x if self.norm is None else ops.cast(self.norm(x), x.dtype))


class FeatureEncoder(layers.Layer):
    """The strided convolutions that turn a waveform into frames (base: 20 ms apart)."""

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.conv_layers = [
            ConvLayer(config, i, name=f"conv_{i}") for i in range(len(config.conv_dim))
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in self.conv_layers:
            layer.build((None, None, layer.inputs))

    def call(self, waveforms: Any) -> Any:
        x = ops.expand_dims(waveforms, -1)  # [b, n, 1]
        for layer in self.conv_layers:
            x = layer(x)
        return x  # [b, t, c]


class FeatureProjection(layers.Layer):
    """Layer normalisation (HuBERT: if the config asks for it), projection to the hidden size."""

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inputs = config.conv_dim[-1]
        self.norm: layers.Layer | None = None
        if getattr(config, "feat_proj_layer_norm", True):
            self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.dense = layers.Dense(
            config.hidden_size,
            kernel_initializer=_uniform_init(inputs),
            bias_initializer=_uniform_init(inputs),
            name="dense",
        )
        self.dropout = config.feat_proj_dropout

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        if self.norm is not None:
            self.norm.build(input_shape)
        self.dense.build(input_shape)

    def call(self, x: Any, seed: Any = None) -> Any:  # [b, t, c] -> [b, t, d]
        return dropout(self.dense(x if self.norm is None else self.norm(x)), self.dropout, seed)


class PositionalConvEmbedding(layers.Layer):
    """Relative positions from a wide grouped convolution; same length out as in.

    Kept as one kernel [width, d / groups, d] (the checkpoint's weight norm is folded into it), but
    run as one convolution per group: TensorFlow's grouped one costs three times as much on a CPU.
    """

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = config.num_conv_pos_embeddings
        self.groups = config.num_conv_pos_embedding_groups
        self.activation = ACTIVATIONS[config.feat_extract_activation]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        dim = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(self.width, dim // self.groups, dim),
            initializer=keras.initializers.RandomNormal(0.0, 2 * (self.width * dim) ** -0.5),
            name="kernel",
        )
        self.bias = self.add_weight(shape=(dim,), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:  # [b, t, d]
        # An even width would give one frame too many, of which the reference drops the last.
        before, after = self.width // 2, (self.width - 1) // 2
        x = ops.pad(x, [[0, 0], [before, after], [0, 0]])
        pairs = zip(
            ops.split(x, self.groups, axis=-1),
            ops.split(ops.convert_to_tensor(self.kernel), self.groups, axis=-1),
            strict=True,
        )
        x = ops.concatenate([ops.conv(part, kernel) for part, kernel in pairs], axis=-1)
        return self.activation(x + self.bias)


class RelativePositions(layers.Layer):
    """WavLM's bias for each distance between two frames (arXiv 2110.13900), for every layer.

    Near distances have a bucket each, far ones share buckets of logarithmic width (as in T5).
    """

    def __init__(self, config: EncoderConfig, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.buckets, self.heads = config.num_buckets, config.num_attention_heads
        self.bucket_of_distance = distance_buckets(config.num_buckets, config.max_bucket_distance)

    def build(self, input_shape: Any = None) -> None:
        self.embedding = self.add_weight(
            shape=(self.buckets, self.heads),
            initializer=keras.initializers.RandomNormal(),
            name="embedding",
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """``x`` [b, t, d], of which only the number of frames matters -> [h, t, t]."""
        frames = ops.shape(x)[1]
        distances = ops.arange(2 * frames - 1, dtype="int32") - (frames - 1)  # key - query
        farthest = len(self.bucket_of_distance) - 1
        table = ops.convert_to_tensor(self.bucket_of_distance)
        bucket = ops.take(table, ops.minimum(ops.abs(distances), farthest))
        bucket = bucket + ops.where(distances > 0, self.buckets // 2, 0)
        # As a product: a lookup's gradient would be sparse, which not every optimizer takes.
        chosen = ops.one_hot(bucket, self.buckets, dtype=self.compute_dtype)
        bias = ops.matmul(chosen, self.embedding)  # [2t-1, h]
        frame = ops.arange(frames, dtype="int32")
        position = frame[None, :] - frame[:, None] + (frames - 1)
        return ops.take(ops.transpose(bias), position, axis=1)  # [h, t, t]


def distance_buckets(buckets: int, max_distance: int) -> np.ndarray:
    """Bucket of each distance 0, 1, ... to one side, up to where all farther ones share the last.

    Args:
        buckets: Both sides together.
        max_distance: In frames; from here on the last bucket.

    Returns:
        int32 [max_distance + 1].
    """
    one_side = buckets // 2
    exact = one_side // 2
    distance = np.arange(max_distance + 1)
    # float32 in the reference's order of operations: it decides on which side of a border one is.
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / np.float32(exact))
    ratio = ratio / np.float32(math.log(max_distance / exact)) * np.float32(one_side - exact)
    far = np.minimum(exact + ratio.astype(np.int64), one_side - 1)
    return np.where(distance < exact, distance, far).astype(np.int32)


class PositionGate(layers.Layer):
    """How much of the position bias each query takes (WavLM's gate)."""

    def __init__(self, transformer: Transformer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads, self.head_size = transformer.heads, transformer.hidden_size // transformer.heads
        self.dense = _dense(transformer, 8, "dense")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.dense.build((None, None, None, self.head_size))
        self.scale = self.add_weight(shape=(self.heads,), initializer="ones", name="scale")

    def call(self, x: Any) -> Any:  # [b, t, d] -> [b, h, t, 1]
        frames, dim = ops.shape(x)[1], x.shape[-1]
        x = self.dense(ops.reshape(x, (-1, frames, self.heads, dim // self.heads)))
        x = ops.sum(ops.reshape(x, (-1, frames, self.heads, 2, 4)), axis=-1)  # [b, t, h, 2]
        x = ops.transpose(ops.sigmoid(x), (0, 2, 1, 3))  # [b, h, t, 2]
        scale = ops.reshape(self.scale, (self.heads, 1, 1))
        return x[..., :1] * (x[..., 1:] * scale - 1.0) + 2.0


class Attention(layers.Layer):
    """Multi-head self-attention with a bias on its logits; WavLM's positions where gated."""

    def __init__(self, transformer: Transformer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = transformer.heads
        dim = transformer.hidden_size
        self.query = _dense(transformer, dim, "query")
        self.key = _dense(transformer, dim, "key", use_bias=transformer.key_bias)
        self.value = _dense(transformer, dim, "value")
        self.output_dense = _dense(transformer, dim, "output")
        self.gate: PositionGate | None = None
        if transformer.gated_positions:
            self.gate = PositionGate(transformer, name="gate")
        self.dropout = transformer.attention_dropout

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        parts = [self.query, self.key, self.value, self.output_dense]
        for layer in parts if self.gate is None else [*parts, self.gate]:
            layer.build(input_shape)

    def _split_heads(self, x: Any) -> Any:
        frames, dim = ops.shape(x)[1], x.shape[-1]
        x = ops.reshape(x, (-1, frames, self.heads, dim // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))  # [b, h, t, d/h]

    def call(self, x: Any, bias: Any = None, positions: Any = None, seed: Any = None) -> Any:
        """``x`` [b, t, d], ``bias`` [b, 1, 1, t], ``positions`` [h, t, t] -> [b, t, d]."""
        frames, dim = ops.shape(x)[1], x.shape[-1]
        query = self._split_heads(self.query(x) * (dim // self.heads) ** -0.5)
        logits = ops.matmul(query, ops.transpose(self._split_heads(self.key(x)), (0, 1, 3, 2)))
        if self.gate is not None:
            logits = logits + self.gate(x) * ops.cast(positions, logits.dtype)
        if bias is not None:
            logits = logits + ops.cast(bias, logits.dtype)
        weights = dropout(ops.softmax(logits, axis=-1), self.dropout, seed)  # [b, h, t, t]
        x = ops.matmul(weights, self._split_heads(self.value(x)))  # [b, h, t, d/h]
        return self.output_dense(ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, frames, dim)))


class FeedForward(layers.Layer):
    """Two dense layers applied to every frame."""

    def __init__(self, transformer: Transformer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intermediate = _dense(transformer, transformer.intermediate_size, "intermediate")
        self.output_dense = _dense(transformer, transformer.hidden_size, "output")
        self.activation = ACTIVATIONS[transformer.activation]
        self.activation_dropout = transformer.activation_dropout
        self.dropout = transformer.dropout

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.intermediate.build(input_shape)
        self.output_dense.build((*input_shape[:-1], self.intermediate.units))

    def call(self, x: Any, seed: Any = None) -> Any:  # [b, t, d]
        x = self.activation(self.intermediate(x))
        x = dropout(x, self.activation_dropout, derive(seed, 1))
        return dropout(self.output_dense(x), self.dropout, derive(seed, 2))


class EncoderLayer(layers.Layer):
    """Attention and feed-forward with residuals; norms after them, or before if ``pre_norm``."""

    def __init__(self, transformer: Transformer, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pre_norm = transformer.pre_norm
        self.attention = Attention(transformer, name="attention")
        self.dropout = transformer.dropout
        self.norm = layers.LayerNormalization(epsilon=transformer.norm_epsilon, name="norm")
        self.feed_forward = FeedForward(transformer, name="feed_forward")
        self.final_norm = layers.LayerNormalization(epsilon=transformer.norm_epsilon, name="final")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in (self.attention, self.norm, self.feed_forward, self.final_norm):
            layer.build(input_shape)

    def call(self, x: Any, bias: Any = None, positions: Any = None, seed: Any = None) -> Any:
        attended = self.attention(  # [b, t, d]
            self.norm(x) if self.pre_norm else x,
            bias=bias,
            positions=positions,
            seed=derive(seed, 1),
        )
        x = x + dropout(attended, self.dropout, derive(seed, 2))
        if self.pre_norm:
            return x + self.feed_forward(self.final_norm(x), seed=derive(seed, 3))
        x = self.norm(x)
        return self.final_norm(x + self.feed_forward(x, seed=derive(seed, 3)))


def _dense(transformer: Transformer, units: int, name: str, use_bias: bool = True) -> layers.Dense:
    init = keras.initializers.RandomNormal(0.0, transformer.initializer_range)
    return layers.Dense(units, use_bias=use_bias, kernel_initializer=init, name=name)
