"""Which encoder: transformers' config classes, checked for what can be built here."""

import difflib
from collections.abc import Mapping
from typing import Any, TypeAlias

from ser_kd.errors import UserError
from ser_kd.registry import load_object

EncoderConfig: TypeAlias = Any
"""``Wav2Vec2Config``, ``HubertConfig`` or ``WavLMConfig`` of transformers, which has no types."""

FAMILIES = {
    "wav2vec2": "transformers:Wav2Vec2Config",
    "hubert": "transformers:HubertConfig",
    "wavlm": "transformers:WavLMConfig",
}
"""``model_type`` of the supported configs -> their class."""

ACTIVATIONS = ("gelu", "gelu_new", "relu", "silu", "swish")

REGULARIZATION = (
    "activation_dropout",
    "apply_spec_augment",
    "attention_dropout",
    "feat_proj_dropout",
    "hidden_dropout",
    "layerdrop",
    "mask_feature_length",
    "mask_feature_min_masks",
    "mask_feature_prob",
    "mask_time_length",
    "mask_time_min_masks",
    "mask_time_prob",
)
"""What fine-tuning may set anew for a checkpoint: none of it changes a weight's shape."""

_SHARES = {
    *("activation_dropout", "attention_dropout", "feat_proj_dropout", "hidden_dropout"),
    *("layerdrop", "mask_feature_prob", "mask_time_prob"),
}
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
_MOST_CHANNELS = 16_384
_MOST_BUCKETS = 65_536


def architecture(model_type: str = "wav2vec2", **overrides: Any) -> EncoderConfig:
    """The family's base architecture (95 M parameters) with some fields replaced.

    Args:
        model_type: ``wav2vec2``, ``hubert`` or ``wavlm``.
        **overrides: Fields of the family's class in transformers, e.g. ``hidden_size=96``.

    Raises:
        UserError: A field that does not exist, or values that do not fit together.
    """
    known = _config_class(model_type)().to_dict()
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
    config_class = _config_class(model_type)
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


def _config_class(model_type: Any) -> Any:
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        near = _nearest(model_type, FAMILIES) if isinstance(model_type, str) else ""
        raise UserError(
            f"model_type {model_type!r} is not supported{near}; supported: {', '.join(FAMILIES)}"
        )
    return load_object(FAMILIES[model_type])


def _nearest(word: str, known: Any) -> str:
    near = difflib.get_close_matches(word, known, 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _check(config: EncoderConfig) -> None:
    """Raises UserError where ``config`` asks for what cannot be built."""
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
    for name, most in _COUNTS.items():
        if not _is_count(getattr(config, name), most):
            raise UserError(
                f"{name} = {getattr(config, name)!r} needs an integer from 1 to {most:,}"
            )
    for name in sorted(_SHARES):
        share = getattr(config, name)
        if not isinstance(share, (int, float)) or not 0 <= share <= 1:
            raise UserError(f"{name} = {share!r} is out of range: from 0 to 1")
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


def _is_count(value: Any, most: int) -> bool:
    return isinstance(value, int) and 1 <= value <= most
