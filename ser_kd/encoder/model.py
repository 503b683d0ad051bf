"""The encoder: waveforms to contextual frames, with the reference implementation's numbers."""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from ser_kd.encoder.architecture import (
    EncoderConfig,
    config_to_dict,
    read_architecture,
    transformer,
)
from ser_kd.encoder.layers import (
    EncoderLayer,
    FeatureEncoder,
    FeatureProjection,
    PositionalConvEmbedding,
    RelativePositions,
    derive,
    dropout,
    random_spans,
    uniform,
)
from ser_kd.errors import UserError

# A masked key's attention logit. float16 still holds it, and float32's exp of it is exactly zero.
MASKED_LOGIT = -3e4


def normalize(waveforms: Any, mask: Any = None) -> Any:
    """Zero mean and unit variance per clip over its real samples, zeros elsewhere.

    The same as ``Wav2Vec2FeatureExtractor`` with ``do_normalize``.

    Args:
        waveforms: float32 [batch, samples].
        mask: int [batch, samples], 1 = real; None = all.
    """
    waveforms = ops.cast(ops.convert_to_tensor(waveforms), "float32")
    if mask is None:
        mask = ops.ones_like(waveforms)
    mask = ops.cast(mask, waveforms.dtype)
    count = ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1)
    centred = (waveforms - ops.sum(waveforms * mask, axis=1, keepdims=True) / count) * mask
    variance = ops.sum(ops.square(centred), axis=1, keepdims=True) / count
    return centred * ops.rsqrt(variance + 1e-7)


@keras.saving.register_keras_serializable(package="ser_kd")
class SpeechEncoder(keras.Model):
    """Wav2Vec2 (arXiv 2006.11477), HuBERT (2106.07447) or WavLM (2110.13900), without heads.

    Whisper's is ``ser_kd.encoder.whisper.WhisperEncoder``, which has another front end.

    For the same weights the numbers are those of transformers' ``Wav2Vec2Model``, ``HubertModel``
    and ``WavLMModel``. The waveforms are expected as the checkpoint's preprocessor leaves them:
    see ``preprocess``.

    In training: dropout, LayerDrop (arXiv 1909.11556) and SpecAugment on the features
    (``mask_time_prob``, ``mask_feature_prob``), all drawn inside the graph at every step.

    Args:
        config: See ``architecture``; a mapping of its fields will do (``model_type`` among them).
        normalize_input: What ``preprocess`` does.
        gradient_checkpointing: Whether the transformer layers are computed a second time in the
            backward pass instead of keeping what is inside them: less memory, a third more time.

    Example:
        >>> encoder = SpeechEncoder(architecture(num_hidden_layers=1, conv_dim=[8] * 7))
        >>> encoder(keras.ops.zeros((1, 16000))).shape
        TensorShape([1, 49, 768])
    """

    def __init__(
        self,
        config: EncoderConfig | Mapping[str, Any],
        normalize_input: bool = True,
        gradient_checkpointing: bool = False,
        **kwargs: Any,
    ) -> None:
        # Sums over a clip's samples are beyond float16: inputs come as they are.
        super().__init__(**{"autocast": False, **kwargs})
        if isinstance(config, Mapping):
            config = read_architecture(config)
        self.config = config
        self.transformer = transformer(config)
        self.normalize_input = normalize_input
        self.gradient_checkpointing = gradient_checkpointing
        self._add_front_end()
        self.norm = layers.LayerNormalization(epsilon=self.transformer.norm_epsilon, name="norm")
        self.encoder_layers = [
            EncoderLayer(self.transformer, name=f"layer_{i}")
            for i in range(self.transformer.layers)
        ]
        self.seeds = keras.random.SeedGenerator()
        self.supports_masking = True  # or Keras warns that the mask is lost

    def _add_front_end(self) -> None:
        """Makes the layers that turn waveforms into what enters the transformer."""
        config = self.config
        self.feature_encoder = FeatureEncoder(config, name="feature_encoder")
        self.feature_projection = FeatureProjection(config, name="feature_projection")
        self.positional = PositionalConvEmbedding(config, name="positional")
        self.relative: RelativePositions | None = None
        if config.model_type == "wavlm":
            self.relative = RelativePositions(config, name="relative")

    def build(self, input_shape: Any = None) -> None:
        """Makes all weights: their shapes follow from the config alone."""
        self._build_front_end()
        for layer in (self.norm, *self.encoder_layers):
            layer.build((None, None, self.transformer.hidden_size))
        self.built = True

    def _build_front_end(self) -> None:
        dim = self.transformer.hidden_size
        self.masked_embedding = self.add_weight(
            shape=(dim,),
            initializer=keras.initializers.RandomUniform(0.0, 1.0),
            # Without time masks nothing teaches it, and an optimizer would only let it decay.
            trainable=self._masks(self.config.mask_time_prob),
            name="masked_embedding",
        )
        self.feature_encoder.build((None, None))
        self.feature_projection.build((None, None, self.config.conv_dim[-1]))
        self.positional.build((None, None, dim))
        if self.relative is not None:
            self.relative.build()

    def __call__(
        self, waveforms: Any, mask: Any = None, training: bool | None = None, **kwargs: Any
    ) -> Any:
        # Keras takes nothing but tensors by position, and no None for a mask.
        given = {"mask": mask, "training": training}
        kwargs |= {name: value for name, value in given.items() if value is not None}
        return super().__call__(waveforms, **kwargs)

    def compute_mask(self, inputs: Any, previous_mask: Any = None) -> None:
        """None: a mask of samples does not fit the frames that come out."""

    @property
    def receptive_field_samples(self) -> int:
        """Samples that one frame depends on: the shortest possible input."""
        samples = 1
        config = self.config
        for kernel, stride in zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True):
            samples = (samples - 1) * stride + kernel
        return samples

    def frame_lengths(self, samples: Any) -> Any:
        """Frames that ``samples`` (int or int tensor) real samples give; at least one."""
        for kernel, stride in zip(self.config.conv_kernel, self.config.conv_stride, strict=True):
            samples = (samples - kernel) // stride + 1
        return max(samples, 1) if isinstance(samples, int) else ops.maximum(samples, 1)

    def frame_mask(self, mask: Any, frames: Any) -> Any:
        """Sample mask int [batch, samples] (1 = real) -> frame mask bool [batch, frames]."""
        lengths = self.frame_lengths(ops.sum(ops.cast(mask, "int32"), axis=1))
        return ops.arange(frames, dtype="int32")[None, :] < lengths[:, None]

    def preprocess(self, waveforms: Any, mask: Any = None) -> Any:
        """What the checkpoint's ``preprocessor_config.json`` asks for: ``normalize``, or nothing.

        Args:
            waveforms: float32 [batch, samples], 16 kHz, in -1..1.
            mask: int [batch, samples], 1 = real; None = all.
        """
        return normalize(waveforms, mask) if self.normalize_input else waveforms

    def hidden_states(self, waveforms: Any, mask: Any = None, training: bool = False) -> list[Any]:
        """What enters each transformer layer, and what leaves the last one.

        As in transformers 5, the last one is the encoder's output except where
        ``do_stable_layer_norm`` is set: there the output is its layer normalisation.

        Args:
            waveforms: float32 [batch, samples], 16 kHz, preprocessed.
            mask: int [batch, samples], 1 = real; None = all.
            training: Whether dropout, LayerDrop and SpecAugment are drawn.

        Returns:
            ``num_hidden_layers + 1`` tensors [batch, frames, dim].

        Raises:
            UserError: Waveforms of another rank or type, too short for a frame, or a mask of
                another shape.
        """
        if not self.built:
            self.build()
        waveforms = ops.convert_to_tensor(waveforms)
        mask = None if mask is None else ops.convert_to_tensor(mask)
        self._check(waveforms, mask)
        seed = self.seeds.next() if training else None
        x, real = self._embed(waveforms, mask, seed)  # [b, t, d], [b, t]
        bias = None
        if real is not None:
            bias = ops.where(real, 0.0, MASKED_LOGIT)[:, None, None, :]  # [b, 1, 1, t]
        states = [dropout(x, self.transformer.dropout, derive(seed, 2))]
        positions = self._positions(x)
        for number, layer in enumerate(self.encoder_layers):
            layer_seed = derive(seed, 16 * (number + 1))
            states.append(self._run_layer(layer, states[-1], bias, positions, layer_seed))
        return states

    def _embed(self, waveforms: Any, mask: Any, seed: Any) -> tuple[Any, Any]:
        """What enters the transformer [b, t, d], and which frames are real: bool [b, t], or None.

        ``waveforms`` [b, n] and ``mask`` [b, n] are checked; ``seed`` is None without training.
        """
        x = self.feature_projection(self.feature_encoder(waveforms), seed=derive(seed, 1))
        real = None if mask is None else self.frame_mask(mask, ops.shape(x)[1])
        if seed is not None:
            x = self._mask_features(x, real, seed)
        if real is not None:
            x = x * ops.cast(real, x.dtype)[:, :, None]
        x = x + self.positional(x)
        return (x if self.transformer.pre_norm else self.norm(x)), real

    def _positions(self, x: Any) -> Any:
        """Relative positions [h, t, t] for the frames ``x`` [b, t, d], or None."""
        return None if self.relative is None else self.relative(x)

    def output_of(self, states: list[Any]) -> Any:
        """The encoder's output [batch, frames, dim], of its ``hidden_states``."""
        return self.norm(states[-1]) if self.config.do_stable_layer_norm else states[-1]

    def call(self, waveforms: Any, mask: Any = None, training: bool = False) -> Any:
        """The last hidden state [batch, frames, dim]; arguments as of ``hidden_states``."""
        return self.output_of(self.hidden_states(waveforms, mask=mask, training=bool(training)))

    def _check(self, waveforms: Any, mask: Any) -> None:
        shape = tuple(waveforms.shape)
        if len(shape) != 2:
            raise UserError(f"waveforms have shape {shape}; give [batch, samples]")
        if "float" not in keras.backend.standardize_dtype(waveforms.dtype):
            raise UserError(
                f"waveforms are {keras.backend.standardize_dtype(waveforms.dtype)}; give floats in "
                "-1..1, preprocessed"
            )
        if shape[1] is not None and shape[1] < self.receptive_field_samples:
            raise UserError(
                f"waveforms of {shape[1]} samples are too short: a frame takes "
                f"{self.receptive_field_samples}; pad with zeros and give a mask"
            )
        masked = shape if mask is None else tuple(mask.shape)
        known = zip(masked, shape, strict=False)
        if len(masked) != 2 or any(None not in pair and pair[0] != pair[1] for pair in known):
            raise UserError(f"the mask has shape {masked}, the waveforms have {shape}")

    def _masks(self, share: float) -> bool:
        return bool(self.config.apply_spec_augment and share > 0)

    def _mask_features(self, x: Any, real: Any, seed: Any) -> Any:
        """SpecAugment: spans of frames become ``masked_embedding``, spans of channels zero."""
        config, (batch, frames), channels = self.config, ops.shape(x)[:2], x.shape[-1]
        if self._masks(config.mask_time_prob):
            lengths = ops.full((batch,), frames, dtype="int32")
            if real is not None:
                lengths = ops.sum(ops.cast(real, "int32"), axis=1)
            masked = random_spans(
                derive(seed, 3),
                lengths,
                frames,
                config.mask_time_prob,
                config.mask_time_length,
                config.mask_time_min_masks,
            )
            embedding = ops.cast(ops.convert_to_tensor(self.masked_embedding), x.dtype)
            x = ops.where(masked[:, :, None], embedding, x)
        if self._masks(config.mask_feature_prob):
            masked = random_spans(
                derive(seed, 6),
                ops.full((batch,), channels, dtype="int32"),
                channels,
                config.mask_feature_prob,
                config.mask_feature_length,
                getattr(config, "mask_feature_min_masks", 0),  # WavLM's has none
            )
            x = ops.where(masked[:, None, :], ops.zeros_like(x), x)
        return x

    def _run_layer(self, layer: EncoderLayer, x: Any, bias: Any, positions: Any, seed: Any) -> Any:
        """``layer``, or ``x`` where LayerDrop skips it."""

        def run(x: Any, positions: Any = None) -> Any:
            def whole() -> Any:
                return layer(x, bias=bias, positions=positions, seed=seed)

            if seed is None or self.transformer.layerdrop == 0:
                return whole()
            kept = uniform((), derive(seed, 9)) >= self.transformer.layerdrop
            return ops.cond(kept, whole, lambda: x)

        if seed is not None and self.gradient_checkpointing:
            # Gradients flow through arguments only, not through what the function captures.
            run = keras.remat(run)
        return run(x) if positions is None else run(x, positions)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "config": config_to_dict(self.config),
            "normalize_input": self.normalize_input,
            "gradient_checkpointing": self.gradient_checkpointing,
        }
