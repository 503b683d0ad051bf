"""The tensors of a published checkpoint -> the encoder's weights."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ser_kd.encoder.model import SpeechEncoder
from ser_kd.encoder.whisper import WhisperEncoder
from ser_kd.errors import UserError

HEADS = (
    "classifier.",
    "feature_extractor.bias",  # of the speaker verification head, whose last layer has this name
    "feature_extractor.weight",
    "label_embs_concat",
    "layer_weights",
    "lm_head.",
    "objective.",
    "project_hid.",
    "project_q.",
    "projector.",
    "quantizer.",
    "tdnn.",
)
"""Names, or their beginnings, of what the task and pretraining models put on top of the encoder."""

_MASKED_EMBEDDING = "masked_spec_embed"
_OLD_MASKED_EMBEDDING = "mask_time_emb_vector"  # in what was published before 2021-06
_ANCHOR = "feature_projection.projection.weight"
"""Every encoder has it, no head has: what stands before it is the prefix of the encoder's names."""
_WRAPPERS = re.compile(r"(_fsdp_wrapped_module|_checkpoint_wrapped_module|_orig_mod)\.")
"""What PyTorch's wrappers (FSDP, activation checkpointing, ``torch.compile``) put into names."""
_NAMED = 6
_POSITIONAL = "encoder.pos_conv_embed.conv."
# The spellings of weight norm: torch.nn.utils.weight_norm's, and torch.nn.utils.parametrizations'.
_SPELLINGS = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}

_WHISPER_ANCHOR = "conv1.weight"
_WHISPER_HEADS = ("classifier.", "decoder.", "layer_weights", "proj_out.", "projector.")
"""Names, or their beginnings, of what Whisper's task models have beside the encoder."""

Slot = tuple[tuple[int, ...], Callable[[np.ndarray], None]]
"""The shape that a tensor must have, and what puts it into its place."""


def load_weights(encoder: SpeechEncoder, tensors: Mapping[str, np.ndarray]) -> list[str]:
    """Sets every weight of ``encoder``.

    Args:
        encoder: Of the checkpoint's architecture.
        tensors: By the names that transformers gives them, of a bare model or of one with a head.

    Returns:
        Notices: heads that were dropped, a masked embedding that stays random.

    Raises:
        UserError: Tensors are missing, unexpected, misshapen or not finite. All are listed, and no
            weight has been changed.
    """
    if not encoder.built:
        encoder.build()
    if isinstance(encoder, WhisperEncoder):
        slots, (found, dropped) = _whisper_slots(encoder), _whisper_tensors(tensors)
    else:
        slots = _slots(encoder)
        found, dropped = _encoder_tensors(tensors, encoder.config.model_type)
    notices = []
    if dropped:
        heads = sorted({name.split(".")[0] for name in dropped})
        notices.append(f"left out, not part of the encoder: {', '.join(heads)}")
    if _MASKED_EMBEDDING in slots and _MASKED_EMBEDDING not in found:
        del slots[_MASKED_EMBEDDING]
        notices.append(
            f"{_MASKED_EMBEDDING} is not in the checkpoint: it starts at random (it is only used "
            "in training, if mask_time_prob is above 0)"
        )
    faults = {
        "missing": [name for name in slots if name not in found],
        "unexpected": [name for name in found if name not in slots],
        "misshapen": [],
        "not finite floats": [],
    }
    for name in sorted(slots.keys() & found.keys()):
        tensor, (shape, _) = found[name], slots[name]
        if tensor.shape != shape:
            faults["misshapen"].append(f"{name} {list(tensor.shape)} instead of {list(shape)}")
        elif not np.issubdtype(tensor.dtype, np.floating):
            faults["not finite floats"].append(f"{name} ({tensor.dtype})")
        elif not _is_finite(tensor):
            faults["not finite floats"].append(name)
    if not slots.keys() & found.keys():
        raise UserError(
            f"no tensor has a name of {encoder.config.model_type}'s in transformers; the first is "
            f"{min(tensors, default='none')}: convert the checkpoint to transformers' format first"
        )
    direction = f"{_POSITIONAL}weight_v"
    if direction in slots and not any(faults.values()) and not _is_finite(_folded(found)):
        faults["not finite floats"].append(f"{direction} (a direction of length 0)")
    listed = [f"{kind}: {_some(names)}" for kind, names in faults.items() if names]
    if listed:
        raise UserError(
            f"the tensors do not fit config.json ({encoder.config.model_type}): {'; '.join(listed)}"
        )
    for name, (_, assign) in slots.items():
        assign(found[name].astype(np.float32))
    return notices


def _some(names: Sequence[str]) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(sorted(names)[:_NAMED]) + more


def _encoder_tensors(
    tensors: Mapping[str, np.ndarray], model_type: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The encoder's own tensors without prefix and in one spelling; the names of the heads'."""
    bare = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    prefix = _prefix(bare, _ANCHOR)
    # Around the encoder and its heads alike: DataParallel's, Lightning's, a model of one's own.
    wrapper = prefix.removesuffix(f"{model_type}.")
    found, dropped = {}, []
    for name, tensor in bare.items():
        own, head = name.removeprefix(prefix), name.removeprefix(wrapper)
        beside = not name.startswith(prefix)  # whoever trained it put it beside the encoder
        if beside or (prefix == wrapper and head.startswith(HEADS) and not _is_conv(head)):
            dropped.append(head)
            continue
        own = _MASKED_EMBEDDING if own == _OLD_MASKED_EMBEDDING else own
        for spelling, usual in _SPELLINGS.items():
            if own == _POSITIONAL + spelling:
                own = _POSITIONAL + usual
        if own in found:
            own = f"{name} (a second spelling)"
        found[own] = tensor
    return found, dropped


def _prefix(tensors: Mapping[str, np.ndarray], anchor: str) -> str:
    """What the names of the encoder's tensors begin with, such as ``module.wav2vec2.``.

    Raises:
        UserError: There are several encoders.
    """
    prefixes = sorted(name.removesuffix(anchor) for name in tensors if name.endswith(anchor))
    if len(prefixes) > 1:
        names = _some([prefix or "(no prefix)" for prefix in prefixes])
        raise UserError(
            f"there are {len(prefixes)} encoders in it ({names}): keep the tensors of one"
        )
    return prefixes[0] if prefixes else ""


def _is_conv(name: str) -> bool:
    return name.startswith("feature_extractor.conv_layers.")


def _whisper_tensors(
    tensors: Mapping[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The encoder's own tensors without prefix; the names of the decoder's and the heads'."""
    bare = {_WRAPPERS.sub("", name): tensor for name, tensor in tensors.items()}
    prefix = _prefix(bare, _WHISPER_ANCHOR)
    wrapper = prefix.removesuffix("encoder.")
    found, dropped = {}, []
    for name, tensor in bare.items():
        head = name.removeprefix(wrapper)
        if not name.startswith(prefix) or head.startswith(_WHISPER_HEADS):
            dropped.append(head)
        else:
            found[name.removeprefix(prefix)] = tensor
    return found, dropped


class _Slots(dict[str, Slot]):
    """Every tensor that an encoder needs, by the name that transformers gives it."""

    def put(
        self,
        name: str,
        variable: Any,
        shape: tuple[int, ...] | None = None,
        turn: Callable[[np.ndarray], np.ndarray] = np.asarray,
    ) -> None:
        self[name] = (shape or tuple(variable.shape), lambda x: variable.assign(turn(x)))

    def norm(self, name: str, layer: Any) -> None:
        self.put(f"{name}.weight", layer.gamma)
        self.put(f"{name}.bias", layer.beta)

    def kernel(self, name: str, layer: keras.layers.Dense | keras.layers.Conv1D) -> None:
        """[in, out] or [width, in, out], there [out, in] or [out, in, width]."""
        self.put(f"{name}.weight", layer.kernel, tuple(layer.kernel.shape)[::-1], np.transpose)
        if layer.use_bias:
            self.put(f"{name}.bias", layer.bias)


def _slots(encoder: SpeechEncoder) -> _Slots:
    slots = _Slots()
    slots.put(_MASKED_EMBEDDING, encoder.masked_embedding)
    for number, conv in enumerate(encoder.feature_encoder.conv_layers):
        name = f"feature_extractor.conv_layers.{number}"
        slots.kernel(f"{name}.conv", conv.conv)
        if conv.norm is not None:
            slots.norm(f"{name}.layer_norm", conv.norm)
    if encoder.feature_projection.norm is not None:
        slots.norm("feature_projection.layer_norm", encoder.feature_projection.norm)
    slots.kernel("feature_projection.projection", encoder.feature_projection.dense)
    slots.update(_positional_slots(encoder.positional))
    slots.norm("encoder.layer_norm", encoder.norm)
    if encoder.relative is not None:
        slots.put("encoder.layers.0.attention.rel_attn_embed.weight", encoder.relative.embedding)
    for number, layer in enumerate(encoder.encoder_layers):
        name, attention = f"encoder.layers.{number}", layer.attention
        slots.kernel(f"{name}.attention.q_proj", attention.query)
        slots.kernel(f"{name}.attention.k_proj", attention.key)
        slots.kernel(f"{name}.attention.v_proj", attention.value)
        slots.kernel(f"{name}.attention.out_proj", attention.output_dense)
        if attention.gate is not None:
            scale = attention.gate.scale
            shape = (1, scale.shape[0], 1, 1)
            slots.put(f"{name}.attention.gru_rel_pos_const", scale, shape, np.ravel)
            slots.kernel(f"{name}.attention.gru_rel_pos_linear", attention.gate.dense)
        slots.norm(f"{name}.layer_norm", layer.norm)
        slots.kernel(f"{name}.feed_forward.intermediate_dense", layer.feed_forward.intermediate)
        slots.kernel(f"{name}.feed_forward.output_dense", layer.feed_forward.output_dense)
        slots.norm(f"{name}.final_layer_norm", layer.final_norm)
    return slots


def _whisper_slots(encoder: WhisperEncoder) -> _Slots:
    slots = _Slots()
    for number, conv in enumerate(encoder.feature_encoder.conv_layers, start=1):
        slots.kernel(f"conv{number}", conv)
    slots.put("embed_positions.weight", encoder.positional.embedding)
    for number, layer in enumerate(encoder.encoder_layers):
        name, attention = f"layers.{number}", layer.attention
        slots.kernel(f"{name}.self_attn.q_proj", attention.query)
        slots.kernel(f"{name}.self_attn.k_proj", attention.key)
        slots.kernel(f"{name}.self_attn.v_proj", attention.value)
        slots.kernel(f"{name}.self_attn.out_proj", attention.output_dense)
        slots.norm(f"{name}.self_attn_layer_norm", layer.norm)
        slots.kernel(f"{name}.fc1", layer.feed_forward.intermediate)
        slots.kernel(f"{name}.fc2", layer.feed_forward.output_dense)
        slots.norm(f"{name}.final_layer_norm", layer.final_norm)
    slots.norm("layer_norm", encoder.norm)
    return slots


def _positional_slots(positional: Any) -> dict[str, Slot]:
    """Weight norm has a direction and, per tap, a length: folded into the kernel."""
    width, inputs, outputs = positional.kernel.shape
    parts: dict[str, np.ndarray] = {}

    def fold(name: str) -> Callable[[np.ndarray], None]:
        def keep(tensor: np.ndarray) -> None:
            parts[_POSITIONAL + name] = tensor
            if len(parts) == 2:
                positional.kernel.assign(_folded(parts).transpose(2, 1, 0))

        return keep

    return {
        f"{_POSITIONAL}weight_g": ((1, 1, width), fold("weight_g")),
        f"{_POSITIONAL}weight_v": ((outputs, inputs, width), fold("weight_v")),
        f"{_POSITIONAL}bias": ((outputs,), positional.bias.assign),
    }


def _folded(tensors: Mapping[str, np.ndarray]) -> np.ndarray:
    """``[out, in, width]``."""
    length, direction = (tensors[f"{_POSITIONAL}weight_{part}"] for part in "gv")
    direction = direction.astype(np.float32)
    size = np.sqrt(np.square(direction).sum(axis=(0, 1), keepdims=True))
    with np.errstate(all="ignore"):
        folded: np.ndarray = direction * (length.astype(np.float32) / size)
    return folded


def _is_finite(tensor: np.ndarray) -> bool:
    with np.errstate(all="ignore"):  # what is too large for float32 becomes infinite
        return bool(np.isfinite(tensor.astype(np.float32)).all())
