"""Loading a class by its place, where a table names what only some runs need."""

import importlib
from typing import Any


def load_object(place: str) -> Any:
    """The object at ``package.module:name``.

    A registry row holds such a place instead of the object itself, so that reading a table of
    kinds does not import TensorFlow, transformers or a sound card's driver.

    Raises:
        ValueError: ``place`` is not written as ``package.module:name``.

    Example:
        >>> load_object("pathlib:Path").__name__
        'Path'
    """
    module, separator, name = place.partition(":")
    if not (module and separator and name):
        raise ValueError(f"a place is written as package.module:name, got {place!r}")
    return getattr(importlib.import_module(module), name)
