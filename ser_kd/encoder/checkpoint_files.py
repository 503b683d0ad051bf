"""Where a PyTorch checkpoint's files come from: a folder, or the Hugging Face hub and its cache.

Nothing here runs code from a checkpoint, and torch is not needed.
"""

import json
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ser_kd.encoder.torch_file import damaged, read_torch_file, refuse_placeholder
from ser_kd.errors import UserError

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
# For the hub's first answer; HF_HUB_ETAG_TIMEOUT, its own setting, takes precedence.
HUB_TIMEOUT_SECONDS = 5


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
            return _read_shards(folder / name) if _is_index(name) else _read_weights(folder / name)
    found = [name for name in OTHER_WEIGHTS_FILES if (folder / name).exists()]
    hint = f"; {' and '.join(found)} cannot be read" if found else ""
    raise UserError(
        f"{folder} has no weights (looked for {', '.join(WEIGHTS_FILES)}{hint}): "
        "put a safetensors or PyTorch file there"
    )


def _is_index(name: str) -> bool:
    return name.endswith(".index.json")


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    return _read_safetensors(path) if path.suffix == ".safetensors" else read_torch_file(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    refuse_placeholder(path)
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, error) from error
    # safetensors asks NumPy for the type by its name. "bfloat16" is known because this module
    # imports ml_dtypes; for float8, safetensors 0.8 looks in the wrong place.
    except (AttributeError, TypeError) as error:
        raise UserError(
            f"{path} has tensors of a type that NumPy lacks ({error}): save them as float32, "
            "float16 or bfloat16"
        ) from error
    return {
        name: tensor.astype(np.float32) if tensor.dtype == ml_dtypes.bfloat16 else tensor
        for name, tensor in tensors.items()
    }


def _read_shards(index: Path) -> dict[str, np.ndarray]:
    """The tensors of all shards that ``index`` names."""
    promised = _weight_map(index)
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


def _weight_map(index: Path) -> dict[str, str]:
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
    return _Hub(name, revision or DEFAULT_REVISION).download()


class _Hub:
    """One model on the hub, or what the cache has of it."""

    def __init__(self, name: str, revision: str) -> None:
        self.name = name
        self.revision = revision
        self.label = name if revision == DEFAULT_REVISION else f"{name}@{revision}"
        # Why the hub cannot be asked, None if it can.
        self.unreachable = self._knock()

    def download(self) -> Path:
        config = self._fetch(CONFIG_FILE, self.revision)
        if config is None:
            raise self._absent(CONFIG_FILE)
        # From here on by commit: should the branch move meanwhile, the files still fit together.
        folder, commit = config.parent, config.parent.name
        for name in (PREPROCESSOR_FILE, MODEL_CARD):
            self._fetch(name, commit)
        for name in WEIGHTS_FILES:
            weights = self._fetch(name, commit)
            if weights is None:
                continue
            for shard in sorted(set(_weight_map(weights).values())) if _is_index(name) else ():
                if self._fetch(shard, commit) is None:
                    raise self._absent(shard)
            return folder
        raise self._absent(" or ".join(WEIGHTS_FILES))

    def _knock(self) -> str | None:
        """Asks the hub for the model, once and with a time-out; returns why that is impossible.

        hf_hub_download alone would retry for 23 s where there is no network, and through six
        time-outs of a minute where packets vanish. Neither can be set.
        """
        from huggingface_hub import constants, model_info

        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set"
        own = "HF_HUB_ETAG_TIMEOUT" in os.environ
        timeout = constants.HF_HUB_ETAG_TIMEOUT if own else HUB_TIMEOUT_SECONDS
        try:
            model_info(self.name, revision=self.revision, timeout=timeout)
        # The classes of connection errors depend on the HTTP library of huggingface_hub's version.
        except Exception as error:
            if refusal := self._refusal(error):
                raise refusal from error
            return f"{constants.ENDPOINT} does not answer: {_reason(error)}"
        return None

    def _fetch(self, file: str, revision: str) -> Path | None:
        """The file in the cache, downloaded if need be; None if there is none."""
        from huggingface_hub import errors, hf_hub_download

        try:
            return Path(
                hf_hub_download(
                    self.name,
                    file,
                    revision=revision,
                    local_files_only=self.unreachable is not None,
                )
            )
        except errors.EntryNotFoundError as error:
            # Not on the hub, or, with the hub out of reach, not in the cache.
            if self.unreachable is None and isinstance(error, errors.LocalEntryNotFoundError):
                raise self._broken_off(file, error) from error
            return None
        except Exception as error:
            raise self._refusal(error) or self._broken_off(file, error) from error

    def _refusal(self, error: Exception) -> UserError | None:
        """The hub's no in the user's terms, None if ``error`` is something else."""
        from huggingface_hub import constants, errors

        match error:
            case errors.HFValidationError():
                return UserError(
                    f"{self.name!r} is neither a folder nor a model's name: {_reason(error)}"
                )
            case errors.GatedRepoError():
                return UserError(
                    f"{self.name} is open only to those who accepted its terms: do so at "
                    f"{constants.ENDPOINT}/{self.name}, then run 'hf auth login'"
                )
            case errors.RepositoryNotFoundError():
                return UserError(
                    f"there is no folder and no model {self.name!r} on the hub: check the name; "
                    "if the model is private, run 'hf auth login'"
                )
            case errors.RevisionNotFoundError():
                return UserError(
                    f"{self.name} has no revision {self.revision!r}: give one of its branches, "
                    "tags or commits, or leave the @ out"
                )
        return None

    def _broken_off(self, file: str, error: Exception) -> UserError:
        return UserError(
            f"{self.label}: the download of {file} failed: {_reason(error)}; run again"
        )

    def _absent(self, file: str) -> UserError:
        if self.unreachable is None:
            return UserError(
                f"{self.label} on the hub has no {file}: take a model with PyTorch or safetensors "
                "weights"
            )
        return UserError(
            f"{self.label}: {file} is not in the cache, and {self.unreachable}. Connect once "
            "(without HF_HUB_OFFLINE) to download it, or give a folder"
        )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
