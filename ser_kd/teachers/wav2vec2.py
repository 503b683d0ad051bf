"""Wav2Vec2 (arXiv 2006.11477) in Keras 3: the encoder, and an utterance classifier on top of it.

The numbers are those of Hugging Face's ``Wav2Vec2Model`` for the same weights; size and variant
come from ``transformers.Wav2Vec2Config``. Shapes in comments: b = batch, n = samples, t = frames,
c = channels, d = hidden size, h = heads.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from ser_kd.errors import UserError

if TYPE_CHECKING:
    from transformers import Wav2Vec2Config

# A masked key's attention logit. float16 still holds it, and float32's exp of it is exactly zero.
MASKED_LOGIT = -3e4

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_new": lambda x: ops.gelu(x, approximate=True),
    "relu": ops.relu,
    "silu": ops.silu,
    "swish": ops.silu,
}


def architecture(**overrides: Any) -> "Wav2Vec2Config":
    """The base architecture (95 M parameters) with some fields replaced.

    Args:
        **overrides: Fields of ``transformers.Wav2Vec2Config``, e.g. ``hidden_size=96``.

    Raises:
        UserError: A field that does not exist, or values that do not fit together.
    """
    from transformers import Wav2Vec2Config  # here, since importing it takes a second

    known = Wav2Vec2Config().to_dict()
    for key in overrides:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"unknown Wav2Vec2 architecture key {key!r}{hint}")
    try:
        config = Wav2Vec2Config(**overrides)
    except Exception as error:  # what it raises for a wrong value differs between versions
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"Wav2Vec2 architecture: {reason}") from error
    _check(config)
    return config


def _check(config: "Wav2Vec2Config") -> None:
    """Raises UserError where ``config`` asks for what cannot be built."""
    lengths = len(config.conv_dim), len(config.conv_kernel), len(config.conv_stride)
    if len(set(lengths)) != 1 or not lengths[0]:
        raise UserError(
            f"conv_dim, conv_kernel and conv_stride have {lengths} entries; give one per layer"
        )
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        if config.hidden_size % getattr(config, name):
            raise UserError(
                f"hidden_size {config.hidden_size} is not a multiple of {name} "
                f"{getattr(config, name)}"
            )
    if config.feat_extract_norm not in ("group", "layer"):
        raise UserError(f"feat_extract_norm {config.feat_extract_norm!r}: use 'group' or 'layer'")
    for name in ("hidden_act", "feat_extract_activation"):
        if getattr(config, name) not in ACTIVATIONS:
            raise UserError(
                f"{name} {getattr(config, name)!r} is unknown; use one of {', '.join(ACTIVATIONS)}"
            )
    if config.add_adapter or config.adapter_attn_dim is not None:
        raise UserError("adapters (add_adapter, adapter_attn_dim) are not supported")


def normalize(waveforms: Any, mask: Any = None) -> Any:
    """Zero mean and unit variance per clip over its real samples, zeros elsewhere.

    The same as ``Wav2Vec2FeatureExtractor`` with ``do_normalize``.

    Args:
        waveforms: float32 [batch, samples].
        mask: int [batch, samples], 1 = real; None = all.
    """
    waveforms = ops.convert_to_tensor(waveforms)
    if mask is None:
        mask = ops.ones_like(waveforms)
    mask = ops.cast(mask, waveforms.dtype)
    count = ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1)
    centred = (waveforms - ops.sum(waveforms * mask, axis=1, keepdims=True) / count) * mask
    variance = ops.sum(ops.square(centred), axis=1, keepdims=True) / count
    return centred * ops.rsqrt(variance + 1e-7)


def _uniform(fan_in: int) -> keras.initializers.Initializer:
    return keras.initializers.RandomUniform(-(fan_in**-0.5), fan_in**-0.5)


class ChannelNorm(layers.Layer):
    """Group normalisation with one channel per group: each channel over the clip's time.

    As in the reference, padding takes part in the statistics.
    """

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

    def __init__(self, config: "Wav2Vec2Config", index: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.inputs = config.conv_dim[index - 1] if index else 1
        self.outputs, kernel = config.conv_dim[index], config.conv_kernel[index]
        self.conv = layers.Conv1D(
            self.outputs,
            kernel,
            strides=config.conv_stride[index],
            use_bias=config.conv_bias,
            kernel_initializer="he_normal",
            bias_initializer=_uniform(self.inputs * kernel),
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
        return self.activation(x if self.norm is None else self.norm(x))


class FeatureEncoder(layers.Layer):
    """The strided convolutions that turn a waveform into frames (base: 20 ms apart)."""

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
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
    """Layer normalisation and a projection of the frames to the hidden size."""

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        inputs = config.conv_dim[-1]
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.dense = layers.Dense(
            config.hidden_size,
            kernel_initializer=_uniform(inputs),
            bias_initializer=_uniform(inputs),
            name="dense",
        )
        self.dropout = layers.Dropout(config.feat_proj_dropout)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.norm.build(input_shape)
        self.dense.build(input_shape)

    def call(self, x: Any, training: bool = False) -> Any:  # [b, t, c] -> [b, t, d]
        return self.dropout(self.dense(self.norm(x)), training=training)


class PositionalConvEmbedding(layers.Layer):
    """Relative positions from a wide grouped convolution; same length out as in.

    Kept as one kernel [width, d / groups, d] (the checkpoint's weight norm is folded into it), but
    run as one convolution per group: TensorFlow's grouped one costs three times as much on a CPU.
    """

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
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


class Attention(layers.Layer):
    """Multi-head self-attention with an additive bias on its logits."""

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = config.num_attention_heads
        self.query, self.key, self.value, self.output_dense = (
            _dense(config, config.hidden_size, name) for name in ("query", "key", "value", "output")
        )
        self.dropout = layers.Dropout(config.attention_dropout)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for dense in (self.query, self.key, self.value, self.output_dense):
            dense.build(input_shape)

    def _split_heads(self, x: Any) -> Any:
        frames, dim = ops.shape(x)[1], x.shape[-1]
        x = ops.reshape(x, (-1, frames, self.heads, dim // self.heads))
        return ops.transpose(x, (0, 2, 1, 3))  # [b, h, t, d/h]

    def call(self, x: Any, bias: Any = None, training: bool = False) -> Any:
        """``x`` [b, t, d], ``bias`` broadcasting against the logits [b, h, t, t] -> [b, t, d]."""
        frames, dim = ops.shape(x)[1], x.shape[-1]
        query = self._split_heads(self.query(x) * (dim // self.heads) ** -0.5)
        logits = ops.matmul(query, ops.transpose(self._split_heads(self.key(x)), (0, 1, 3, 2)))
        if bias is not None:
            logits = logits + ops.cast(bias, logits.dtype)
        weights = self.dropout(ops.softmax(logits, axis=-1), training=training)  # [b, h, t, t]
        x = ops.matmul(weights, self._split_heads(self.value(x)))  # [b, h, t, d/h]
        return self.output_dense(ops.reshape(ops.transpose(x, (0, 2, 1, 3)), (-1, frames, dim)))


class FeedForward(layers.Layer):
    """Two dense layers applied to every frame."""

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.intermediate = _dense(config, config.intermediate_size, "intermediate")
        self.output_dense = _dense(config, config.hidden_size, "output")
        self.activation = ACTIVATIONS[config.hidden_act]
        self.activation_dropout = layers.Dropout(config.activation_dropout)
        self.dropout = layers.Dropout(config.hidden_dropout)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.intermediate.build(input_shape)
        self.output_dense.build((*input_shape[:-1], self.intermediate.units))

    def call(self, x: Any, training: bool = False) -> Any:  # [b, t, d]
        x = self.activation_dropout(self.activation(self.intermediate(x)), training=training)
        return self.dropout(self.output_dense(x), training=training)


class EncoderLayer(layers.Layer):
    """Attention and feed-forward with residuals; norms after them, or before if ``pre_norm``."""

    def __init__(self, config: "Wav2Vec2Config", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.pre_norm = config.do_stable_layer_norm
        self.attention = Attention(config, name="attention")
        self.dropout = layers.Dropout(config.hidden_dropout)
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.feed_forward = FeedForward(config, name="feed_forward")
        self.final_norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="final")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        for layer in (self.attention, self.norm, self.feed_forward, self.final_norm):
            layer.build(input_shape)

    def call(self, x: Any, bias: Any = None, training: bool = False) -> Any:  # [b, t, d]
        heard = self.attention(self.norm(x) if self.pre_norm else x, bias=bias, training=training)
        x = x + self.dropout(heard, training=training)
        if self.pre_norm:
            return x + self.feed_forward(self.final_norm(x), training=training)
        x = self.norm(x)
        return self.final_norm(x + self.feed_forward(x, training=training))


def _dense(config: "Wav2Vec2Config", units: int, name: str) -> layers.Dense:
    init = keras.initializers.RandomNormal(0.0, config.initializer_range)
    return layers.Dense(units, kernel_initializer=init, name=name)


@keras.saving.register_keras_serializable(package="ser_kd")
class Wav2Vec2Encoder(keras.Model):
    """Waveforms to contextual frames (arXiv 2006.11477), as ``transformers.Wav2Vec2Model``.

    ``feat_extract_norm`` "group" and "layer", ``do_stable_layer_norm`` on and off, ``conv_bias``.
    The waveforms are expected normalised already (``normalize``). SpecAugment on the features
    (``mask_time_prob`` and its like) is not applied.

    Args:
        config: See ``architecture``; a mapping of its fields will do.

    Example:
        >>> encoder = Wav2Vec2Encoder(architecture(num_hidden_layers=1, conv_dim=[8] * 7))
        >>> encoder(keras.ops.zeros((1, 16000))).shape
        TensorShape([1, 49, 768])
    """

    def __init__(self, config: "Wav2Vec2Config | Mapping[str, Any]", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(config, Mapping):
            config = architecture(**config)
        _check(config)
        self.config = config
        self.feature_encoder = FeatureEncoder(config, name="feature_encoder")
        self.feature_projection = FeatureProjection(config, name="feature_projection")
        self.positional = PositionalConvEmbedding(config, name="positional")
        self.norm = layers.LayerNormalization(epsilon=config.layer_norm_eps, name="norm")
        self.dropout = layers.Dropout(config.hidden_dropout)
        self.encoder_layers = [
            EncoderLayer(config, name=f"layer_{i}") for i in range(config.num_hidden_layers)
        ]
        self.layerdrop_seed = keras.random.SeedGenerator()
        self.supports_masking = True  # or Keras warns that the mask is lost

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the config alone."""
        dim = self.config.hidden_size
        self.feature_encoder.build((None, None))
        self.feature_projection.build((None, None, self.config.conv_dim[-1]))
        for layer in (self.positional, self.norm, *self.encoder_layers):
            layer.build((None, None, dim))
        self.built = True

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: a mask of samples does not fit the frames that come out."""

    def frame_lengths(self, samples: Any) -> Any:
        """Frames that ``samples`` (int or int tensor) real samples give; at least one."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(samples, 1) if isinstance(samples, int) else ops.maximum(samples, 1)

    def frame_mask(self, mask: Any, frames: Any) -> Any:
        """Sample mask int [batch, samples] (1 = real) -> frame mask bool [batch, frames]."""
        lengths = self.frame_lengths(ops.sum(ops.cast(mask, "int32"), axis=1))
        return ops.arange(frames, dtype="int32")[None, :] < lengths[:, None]

    def hidden_states(self, waveforms: Any, mask: Any = None, training: bool = False) -> list[Any]:
        """What enters each transformer layer, and what leaves the last one.

        As in transformers 5, the last one is the encoder's output except where
        ``do_stable_layer_norm`` is set: there the output is its layer normalisation.

        Args:
            waveforms: float32 [batch, samples], 16 kHz, normalised.
            mask: int [batch, samples], 1 = real; None = all.
            training: Whether dropout and LayerDrop are drawn.

        Returns:
            ``num_hidden_layers + 1`` tensors [batch, frames, dim].
        """
        if not self.built:
            self.build()
        x = self.feature_encoder(ops.convert_to_tensor(waveforms))  # [b, t, c]
        x = self.feature_projection(x, training=training)  # [b, t, d]
        bias = None
        if mask is not None:
            real = self.frame_mask(mask, ops.shape(x)[1])  # [b, t]
            x = x * ops.cast(real, x.dtype)[:, :, None]
            bias = ops.where(real, 0.0, MASKED_LOGIT)[:, None, None, :]  # [b, 1, 1, t]
        x = x + self.positional(x)
        if not self.config.do_stable_layer_norm:
            x = self.norm(x)
        states = [self.dropout(x, training=training)]
        for layer in self.encoder_layers:
            states.append(self._run_layer(layer, states[-1], bias, training))
        return states

    def _run_layer(self, layer: EncoderLayer, x: Any, bias: Any, training: bool) -> Any:
        """``layer`` with LayerDrop (arXiv 1909.11556), drawn inside the graph at every step."""
        if not training or self.config.layerdrop <= 0:
            return layer(x, bias=bias, training=training)
        draw = keras.random.uniform((), seed=self.layerdrop_seed)
        return ops.cond(
            draw >= self.config.layerdrop,
            lambda: layer(x, bias=bias, training=True),
            lambda: x,
        )

    def call(self, waveforms: Any, mask: Any = None, training: bool = False) -> Any:
        """The last hidden state [batch, frames, dim]; arguments as of ``hidden_states``."""
        x = self.hidden_states(waveforms, mask=mask, training=bool(training))[-1]
        return self.norm(x) if self.config.do_stable_layer_norm else x

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "config": _config_to_dict(self.config)}


def _config_to_dict(config: "Wav2Vec2Config") -> dict[str, Any]:
    """The fields that differ from the base architecture."""
    fields = config.to_diff_dict()
    return {key: value for key, value in fields.items() if key != "transformers_version"}


@keras.saving.register_keras_serializable(package="ser_kd")
class Wav2Vec2Classifier(keras.Model):
    """Raw clips to class logits: normalise, encode, mean over the real frames, project, classify.

    Args:
        config: The encoder's; see ``architecture``. A mapping of its fields will do.
        classes: Number of logits.
        projection: Size of the embedding, after tanh.
        dropout: On the embedding.
        freeze_feature_encoder: Whether the convolutions stay as they are, as usual with
            pretrained weights; with random ones they have to be trained.

    Inputs: ``{"waveform": float32 [batch, samples], "samples": int [batch]}``, 16 kHz;
    ``samples`` counts each clip's real samples, after which the waveform is zeros.
    """

    def __init__(
        self,
        config: "Wav2Vec2Config | Mapping[str, Any]",
        classes: int,
        projection: int = 128,
        dropout: float = 0.1,
        freeze_feature_encoder: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.classes = classes
        self.freeze_feature_encoder = freeze_feature_encoder
        self.encoder = Wav2Vec2Encoder(config, name="encoder")
        self.encoder.feature_encoder.trainable = not freeze_feature_encoder
        self.projection = layers.Dense(projection, activation="tanh", name="projection")
        self.dropout = layers.Dropout(dropout)
        self.head = layers.Dense(classes, name="logits")

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the arguments alone."""
        self.encoder.build()
        self.projection.build((None, self.encoder.config.hidden_size))
        self.head.build((None, self.projection.units))
        self.built = True

    def logits_and_embedding(
        self, inputs: Mapping[str, Any], training: bool = False
    ) -> tuple[Any, Any]:
        """Logits [batch, classes] and embedding [batch, projection]."""
        if not self.built:
            self.build()
        waveforms = ops.convert_to_tensor(inputs["waveform"])  # [b, n]
        samples = ops.cast(inputs["samples"], "int32")  # [b]
        mask = ops.arange(ops.shape(waveforms)[1], dtype="int32")[None, :] < samples[:, None]
        x = self.encoder(normalize(waveforms, mask), mask=mask, training=training)  # [b, t, d]
        real = ops.cast(self.encoder.frame_mask(mask, ops.shape(x)[1]), x.dtype)[:, :, None]
        pooled = ops.sum(x * real, axis=1) / ops.sum(real, axis=1)  # [b, d]
        embedding = self.projection(pooled)
        return self.head(self.dropout(embedding, training=training)), embedding

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> Any:
        """Logits [batch, classes]."""
        return self.logits_and_embedding(inputs, training=bool(training))[0]

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": _config_to_dict(self.encoder.config),
            "classes": self.classes,
            "projection": self.projection.units,
            "dropout": self.dropout.rate,
            "freeze_feature_encoder": self.freeze_feature_encoder,
        }
