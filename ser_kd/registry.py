"""Loading a class by its place, where a table names what only some runs need."""

import importlib
from typing import Any

from ser_kd.errors import UserError


class MissingPackageError(UserError, ImportError):
    """A package of an extra is not installed; the message names the extra."""


EXTRAS = {
    "train": (
        "tensorflow",
        "keras",
        "tensorboard",
        "transformers",
        "huggingface_hub",
        "safetensors",
        "ml_dtypes",
        "librosa",
        "sklearn",
        "scipy",
        "jinja2",
        "matplotlib",
        "flatbuffers",
    ),
    "demo": ("espeakng_loader",),
    "android": ("adbutils",),
    "listen": ("sounddevice",),
    "prosody": ("opensmile",),
    "text": ("keras_hub",),
    "aac": ("av",),
}
"""The packages that an extra of ``pip install 'ser-kd[EXTRA]'`` brings along, as imported."""


def load_object(place: str) -> Any:
    """The object at ``package.module:name``.

    A registry row holds such a place instead of the object itself, so that reading a table of
    kinds does not import TensorFlow, transformers or a sound card's driver.

    Raises:
        ValueError: ``place`` is not written as ``package.module:name``.
        MissingPackageError: The module needs a package of an extra that is not installed.

    Example:
        >>> load_object("pathlib:Path").__name__
        'Path'
    """
    module, separator, name = place.partition(":")
    if not (module and separator and name):
        raise ValueError(f"a place is written as package.module:name, got {place!r}")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        missing = missing_extra(error)
        if missing is None:
            raise
        raise missing from error


def missing_extra(error: ModuleNotFoundError) -> MissingPackageError | None:
    """What to install, if a package of an extra is missing; None = it is something else."""
    package = (error.name or "").partition(".")[0]
    for extra, packages in EXTRAS.items():
        if package in packages:
            return MissingPackageError(
                f"the package {package} is not installed: pip install 'ser-kd[{extra}]'"
            )
    return None
