"""A checkpoint on the Hugging Face hub, or what its cache has of it."""

import os
from pathlib import Path

from huggingface_hub import constants, errors, hf_hub_download, model_info

from ser_kd.encoder.checkpoint_files import (
    CONFIG_FILE,
    DEFAULT_REVISION,
    MODEL_CARD,
    PREPROCESSOR_FILE,
    WEIGHTS_FILES,
    is_index,
    weight_map,
)
from ser_kd.errors import UserError

# For the hub's first answer; HF_HUB_ETAG_TIMEOUT, its own setting, takes precedence.
TIMEOUT_SECONDS = 5


def download(name: str, revision: str) -> Path:
    """The snapshot of a model in the hub's cache, downloaded if need be.

    Raises:
        UserError: No such model or revision, no access to it, or neither network nor cached files.
    """
    return _Hub(name, revision).download()


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
            for shard in sorted(set(weight_map(weights).values())) if is_index(name) else ():
                if self._fetch(shard, commit) is None:
                    raise self._absent(shard)
            return folder
        raise self._absent(" or ".join(WEIGHTS_FILES))

    def _knock(self) -> str | None:
        """Asks the hub for the model, once and with a time-out; returns why that is impossible.

        hf_hub_download alone would retry for 23 s where there is no network, and through six
        time-outs of a minute where packets vanish. Neither can be set.
        """
        if constants.HF_HUB_OFFLINE:
            return "HF_HUB_OFFLINE is set"
        own = "HF_HUB_ETAG_TIMEOUT" in os.environ
        timeout = constants.HF_HUB_ETAG_TIMEOUT if own else TIMEOUT_SECONDS
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
