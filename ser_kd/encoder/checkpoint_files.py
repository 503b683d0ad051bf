"""A published PyTorch checkpoint's files: their names, their tensors, the folder they lie in.

Nothing here runs code from a checkpoint, and torch is not needed. safetensors and huggingface_hub
are loaded when a checkpoint asks for them.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd.encoder.torch_file import damaged, read_torch_file, refuse_placeholder
from ser_kd.errors import UserError
from ser_kd.registry import load_object

CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
MODEL_CARD = "README.md"
# In the order of preference. An index lists which shard holds which tensor.
WEIGHTS_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
OTHER_WEIGHTS_FILES = ("tf_model.h5", "flax_model.msgpack")
DEFAULT_REVISION = "main"
_READ_SAFETENSORS = "ser_kd.encoder.safetensors_file:read_safetensors"
_DOWNLOAD = "ser_kd.encoder.hub:download"


def read_tensors(folder: Path) -> dict[str, np.ndarray]:
    """All tensors of the first of ``WEIGHTS_FILES`` that is in ``folder``.

    Returns:
        Tensors by name, in the stored type but bfloat16, which becomes float32. They may be
        read-only views of a file.

    Raises:
        UserError: There are no weights, or a file of theirs is missing or damaged.
    """
    for name in WEIGHTS_FILES:
        if (folder / name).exists():
            return _read_shards(folder / name) if is_index(name) else _read_weights(folder / name)
    found = [name for name in OTHER_WEIGHTS_FILES if (folder / name).exists()]
    hint = f"; {' and '.join(found)} cannot be read" if found else ""
    raise UserError(
        f"{folder} has no weights (looked for {', '.join(WEIGHTS_FILES)}{hint}): "
        "put a safetensors or PyTorch file there"
    )


def is_index(name: str) -> bool:
    """Whether a weights file lists shards instead of holding tensors."""
    return name.endswith(".index.json")


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    is_torch = path.suffix != ".safetensors"
    read = read_torch_file if is_torch else load_object(_READ_SAFETENSORS)
    tensors: dict[str, np.ndarray] = read(path)
    return tensors


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors of all shards that ``index`` names."""
    promised = weight_map(index)
    tensors: dict[str, np.ndarray] = {}
    for name in sorted(set(promised.values())):
        path = index.parent / name
        if not path.exists():
            raise UserError(f"{path}, which {index.name} names, is missing: download it too")
        shard = _read_weights(path)
        if twice := sorted(shard.keys() & tensors.keys()):
            raise UserError(
                f"{twice[0]!r} is in {path} and in another shard of {index.name}: "
                "download the checkpoint again, into an empty folder"
            )
        tensors |= shard
    for tensor, name in promised.items():
        if tensor not in tensors:
            raise UserError(
                f"{index} promises {tensor!r}, which is not in {name}: "
                "download the index and the shards again"
            )
    return tensors


def weight_map(index: Path) -> dict[str, str]:
    """Shard by tensor. Every shard is a plain name: an index cannot point out of its folder."""
    refuse_placeholder(index)
    try:
        shards: Any = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = set(shards.values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise damaged(index, error) from error
    suffix = ".safetensors" if "safetensors" in index.name else ".bin"
    for name in names:
        if not isinstance(name, str) or set("/\\\0") & set(name) or Path(name).suffix != suffix:
            raise UserError(
                f"{index} names the shard {str(name)[:100]!r}; only {suffix} files beside it are "
                "read: download the checkpoint again, or mend the index"
            )
    return shards


def find_checkpoint(name_or_folder: str | Path) -> Path:
    """The folder of a checkpoint, downloaded if need be.

    Args:
        name_or_folder: A folder with config.json, or a model's name on the hub (``owner/name`` or
            ``name``), ``@`` and a branch, tag or commit behind it if not ``main``. A folder of
            that name takes precedence.

    Returns:
        The folder, or the snapshot in the hub's cache: config.json, preprocessor_config.json and
        model card if the model has them, and the first of ``WEIGHTS_FILES`` with its shards;
        nothing else is downloaded. What the hub cannot be asked for is taken from the cache.

    Raises:
        UserError: No such folder or model, no access to it, or neither network nor cached files.
    """
    text = os.fspath(name_or_folder)
    folder = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's own raises for unknown users)
    if text and folder.is_dir():
        if not (folder / CONFIG_FILE).is_file():
            raise UserError(f"{folder} has no {CONFIG_FILE}: give the folder of a whole checkpoint")
        return folder
    if folder.is_file():
        raise UserError(f"{folder} is a file: give the folder that holds it and {CONFIG_FILE}")
    name, at, revision = text.partition("@")
    if not name or name.startswith((".", "~", os.sep)) or name.count("/") > 1 or name.endswith("/"):
        raise UserError(f"no such folder: {text!r} (a model on the hub is called owner/name)")
    if at and not revision:
        raise UserError(f"{text!r} has no revision after the @: name one, or leave the @ out")
    snapshot: Path = load_object(_DOWNLOAD)(name, revision or DEFAULT_REVISION)
    return snapshot
