"""Which encoder: transformers' config classes, checked for what can be built here."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from ser_kd.errors import UserError
from ser_kd.registry import load_object

SAMPLE_RATE_HZ = 16_000
"""What all encoders hear."""

EncoderConfig: TypeAlias = Any
"""``Wav2Vec2Config``, ``HubertConfig``, ``WavLMConfig`` or ``WhisperConfig`` of transformers, which
has no types."""


@dataclass(frozen=True)
class Family:
    """A row of ``FAMILIES``.

    Attributes:
        config: Place of the config's class.
        encoder: Place of the encoder's class.
        regularization: What fine-tuning may set anew for a checkpoint: none of it changes a
            weight's shape.
    """

    config: str
    encoder: str
    regularization: tuple[str, ...]


_SPEC_AUGMENT = (
    "apply_spec_augment",
    "mask_feature_length",
    "mask_feature_min_masks",
    "mask_feature_prob",
    "mask_time_length",
    "mask_time_min_masks",
    "mask_time_prob",
)
_WAV2VEC2 = (
    "ser_kd.encoder.model:SpeechEncoder",
    (
        "activation_dropout",
        "attention_dropout",
        "feat_proj_dropout",
        "hidden_dropout",
        "layerdrop",
        *_SPEC_AUGMENT,
    ),
)
_WHISPER = (
    "ser_kd.encoder.whisper:WhisperEncoder",
    ("activation_dropout", "attention_dropout", "dropout", "encoder_layerdrop", *_SPEC_AUGMENT),
)
FAMILIES = {
    "wav2vec2": Family("transformers:Wav2Vec2Config", *_WAV2VEC2),
    "hubert": Family("transformers:HubertConfig", *_WAV2VEC2),
    "wavlm": Family("transformers:WavLMConfig", *_WAV2VEC2),
    "whisper": Family("transformers:WhisperConfig", *_WHISPER),
}
"""The supported ``model_type`` of a config."""

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "swish")


@dataclass(frozen=True)
class Transformer:
    """The transformer layers, which the families' configs describe in words of their own.

    Attributes:
        layers: Their number.
        hidden_size: Width of a frame.
        heads: Of the attention.
        intermediate_size: Width inside the feed-forward part.
        activation: One of ``ACTIVATIONS``.
        pre_norm: Whether the norms stand before attention and feed-forward, or after them.
        norm_epsilon: Of the layer normalisations.
        key_bias: Whether the keys' projection has a bias.
        gated_positions: Whether the attention has WavLM's gated relative positions.
        dropout: Behind attention and feed-forward, and on what enters the first layer.
        activation_dropout: Behind the activation.
        attention_dropout: On the attention weights.
        layerdrop: Probability that a layer is skipped in a training step.
        initializer_range: Deviation of random weights.
    """

    layers: int
    hidden_size: int
    heads: int
    intermediate_size: int
    activation: str
    pre_norm: bool
    norm_epsilon: float
    key_bias: bool
    gated_positions: bool
    dropout: float
    activation_dropout: float
    attention_dropout: float
    layerdrop: float
    initializer_range: float


def transformer(config: EncoderConfig) -> Transformer:
    """The transformer layers of an encoder of any family."""
    shared = {
        "activation_dropout": config.activation_dropout,
        "attention_dropout": config.attention_dropout,
    }
    if config.model_type == "whisper":
        return Transformer(
            layers=config.encoder_layers,
            hidden_size=config.d_model,
            heads=config.encoder_attention_heads,
            intermediate_size=config.encoder_ffn_dim,
            activation=config.activation_function,
            pre_norm=True,
            norm_epsilon=1e-5,
            key_bias=False,
            gated_positions=False,
            dropout=config.dropout,
            layerdrop=config.encoder_layerdrop,
            initializer_range=config.init_std,
            **shared,
        )
    return Transformer(
        layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        activation=config.hidden_act,
        pre_norm=config.do_stable_layer_norm,
        norm_epsilon=config.layer_norm_eps,
        key_bias=True,
        gated_positions=config.model_type == "wavlm",
        dropout=config.hidden_dropout,
        layerdrop=config.layerdrop,
        initializer_range=config.initializer_range,
        **shared,
    )


# Far above every published model: what is beyond is a damaged file, not worth filling the memory.
_COUNTS = {
    "hidden_size": 16_384,
    "intermediate_size": 65_536,
    "mask_feature_length": 16_384,
    "mask_time_length": 100_000,
    "num_attention_heads": 1_024,
    "num_conv_pos_embedding_groups": 16_384,
    "num_conv_pos_embeddings": 16_384,
    "num_hidden_layers": 256,
}
_WHISPER_COUNTS = {
    "d_model": 16_384,
    "encoder_attention_heads": 1_024,
    "encoder_ffn_dim": 65_536,
    "encoder_layers": 256,
    "mask_feature_length": 16_384,
    "mask_time_length": 100_000,
    "max_source_positions": 100_000,
    "num_mel_bins": 1_024,
}
_MOST_CHANNELS = 16_384
_MOST_BUCKETS = 65_536


def longest_seconds(config: EncoderConfig) -> float:
    """How long a clip may be: infinite, but Whisper has positions for 30 s, one every 20 ms."""
    return config.max_source_positions * 0.02 if config.model_type == "whisper" else math.inf


def architecture(model_type: str = "wav2vec2", **overrides: Any) -> EncoderConfig:
    """The family's base architecture with some fields replaced (Whisper: tiny's).

    Args:
        model_type: ``wav2vec2``, ``hubert``, ``wavlm`` or ``whisper``.
        **overrides: Fields of the family's class in transformers, e.g. ``hidden_size=96``.

    Raises:
        UserError: A field that does not exist, or values that do not fit together.
    """
    known = load_object(family(model_type).config)().to_dict()
    for key in overrides:
        if key not in known:
            raise UserError(f"unknown {model_type} architecture key {key!r}{_nearest(key, known)}")
    return read_architecture({"model_type": model_type, **overrides})


def read_architecture(fields: Mapping[str, Any]) -> EncoderConfig:
    """Builds the config from the fields of a ``config.json``; foreign fields are kept unread.

    Raises:
        UserError: Unknown ``model_type``, a value of the wrong type or out of range, or a variant
            that cannot be built here.
    """
    model_type = fields.get("model_type")
    config_class = load_object(family(model_type).config)
    try:
        config = config_class.from_dict(dict(fields))
    except Exception as error:  # what it raises for a wrong value differs between versions
        reason = " ".join(str(error.__cause__ or error).split())
        raise UserError(f"{model_type} architecture: {reason}") from error
    _check(config)
    return config


def config_to_dict(config: EncoderConfig) -> dict[str, Any]:
    """What differs from the family's base architecture; ``read_architecture`` reads it back."""
    fields = config.to_diff_dict()
    fields = {key: value for key, value in fields.items() if key != "transformers_version"}
    return {**fields, "model_type": config.model_type}


def encoder_class(model_type: str) -> Any:
    """``SpeechEncoder``, or the class derived from it that builds encoders of this family."""
    return load_object(family(model_type).encoder)


def family(model_type: Any) -> Family:
    """The row of ``FAMILIES``.

    Raises:
        UserError: There is none.
    """
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        near = _nearest(model_type, FAMILIES) if isinstance(model_type, str) else ""
        raise UserError(
            f"model_type {model_type!r} is not supported{near}; supported: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check(config: EncoderConfig) -> None:
    """Raises UserError where ``config`` asks for what cannot be built."""
    if config.model_type == "whisper":
        _check_whisper(config)
    else:
        _check_wav2vec2(config)


def _check_wav2vec2(config: EncoderConfig) -> None:
    # Types too: older transformers take whatever they are given.
    for name in ("conv_dim", "conv_kernel", "conv_stride"):
        sizes = getattr(config, name)
        if not isinstance(sizes, (list, tuple)) or not all(
            _is_count(size, _MOST_CHANNELS) for size in sizes
        ):
            raise UserError(
                f"{name} = {sizes!r} needs integers from 1 to {_MOST_CHANNELS:,}, one per layer"
            )
    lengths = len(config.conv_dim), len(config.conv_kernel), len(config.conv_stride)
    if len(set(lengths)) != 1 or not lengths[0]:
        raise UserError(
            f"conv_dim, conv_kernel and conv_stride have {lengths} entries; give one per layer"
        )
    _check_counts(config, _COUNTS)
    _check_shares(config)
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        _check_multiple(config, "hidden_size", name)
    if config.feat_extract_norm not in ("group", "layer"):
        raise UserError(f"feat_extract_norm {config.feat_extract_norm!r}: use 'group' or 'layer'")
    for name in ("hidden_act", "feat_extract_activation"):
        _check_activation(config, name)
    if config.model_type == "wavlm":
        buckets, distance = config.num_buckets, config.max_bucket_distance
        fitting = _is_count(buckets, _MOST_BUCKETS) and _is_count(distance, 1_000_000)
        if not fitting or not 4 <= buckets < 4 * distance:
            raise UserError(
                f"num_buckets = {buckets!r} and max_bucket_distance = {distance!r} do not fit: at "
                f"least 4 buckets, at most {_MOST_BUCKETS:,}, and fewer than 4 times the distance"
            )
    for name in ("add_adapter", "adapter_attn_dim", "conv_pos_batch_norm"):
        if getattr(config, name, None):
            raise UserError(f"{name} = {getattr(config, name)} is not supported")


def _check_whisper(config: EncoderConfig) -> None:
    _check_counts(config, _WHISPER_COUNTS)
    _check_shares(config)
    _check_multiple(config, "d_model", "encoder_attention_heads")
    _check_activation(config, "activation_function")


def _check_counts(config: EncoderConfig, most: Mapping[str, int]) -> None:
    for name, limit in most.items():
        if not _is_count(getattr(config, name), limit):
            raise UserError(
                f"{name} = {getattr(config, name)!r} needs an integer from 1 to {limit:,}"
            )


def _check_shares(config: EncoderConfig) -> None:
    names = family(config.model_type).regularization
    for name in (name for name in names if name.endswith(("drop", "dropout", "prob"))):
        share = getattr(config, name)
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise UserError(f"{name} = {share!r} is out of range: from 0 to 1")


def _check_multiple(config: EncoderConfig, whole: str, part: str) -> None:
    if getattr(config, whole) % getattr(config, part):
        raise UserError(
            f"{whole} {getattr(config, whole)} is not a multiple of {part} {getattr(config, part)}"
        )


def _check_activation(config: EncoderConfig, name: str) -> None:
    if getattr(config, name) not in ACTIVATIONS:
        raise UserError(
            f"{name} {getattr(config, name)!r} is unknown; use one of {', '.join(ACTIVATIONS)}"
        )


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and 1 <= value <= most
