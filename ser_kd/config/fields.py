"""Settings as frozen dataclasses: ranges stand on the fields, one check reads them.

Nothing here knows what any setting means.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from ser_kd.errors import UserError

T = TypeVar("T")
FolderOf = Callable[[str], Path | None]
"""Dotted name of a setting -> the folder that its relative paths start from; None = as written."""


@dataclass(frozen=True)
class Range:
    """The finite numbers within some bounds; all of them where none is given."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        if self.at_least is not None and self.at_most is not None:
            return f"from {self.at_least} to {self.at_most}"
        bounds = {name.replace("_", " "): bound for name, bound in vars(self).items()}
        found = [f"{name} {bound}" for name, bound in bounds.items() if bound is not None]
        return " and ".join(found) or "a finite number"


def setting(default: Any, *, path: str | None = None, **bounds: float) -> Any:
    """A dataclass field with a range.

    Args:
        default: Its value where a recipe does not name it.
        path: How texts begin that name a file or folder (``""``: all do). With a colon at its end
            the beginning is no part of the path.
        bounds: Of ``Range``; for every number of a table, and of a pair, which is in order.
    """
    metadata = {"range": Range(**bounds), "path": path}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], table: Any, where: str = "", folder_of: FolderOf = lambda _: None) -> T:
    """A settings class from plain values.

    A class may choose one of its subclasses: its ``class_for(table, where)`` is asked for it.

    Args:
        cls: A dataclass.
        table: Its settings by name; what is not named keeps its default.
        where: The table's dotted name, for messages.
        folder_of: For settings that are paths.

    Raises:
        UserError: Unknown key (with the nearest match) or wrong type.
    """
    chosen: type[T] = getattr(cls, "class_for", lambda *_: cls)(table, where)
    if not isinstance(table, Mapping):
        raise UserError(f"{where} is a section, got {table!r}")
    known = {item.name: item.metadata for item in dataclasses.fields(chosen)}  # type: ignore[arg-type]
    hints, values = typing.get_type_hints(chosen), {}
    for key, value in table.items():
        name = join(where, key)
        if key not in known:
            near = nearest(key, list(known))
            raise UserError(f"unknown key {name!r}{near}; known here: {', '.join(known)}")
        values[key] = _convert(hints[key], value, name, folder_of)
        if (beginning := known[key].get("path")) is not None:
            values[key] = _resolved(values[key], beginning, name, folder_of)
    return chosen(**values)


def check(settings: Any, where: str = "") -> None:
    """Holds every value against its field's range, and asks each class for its ``problems()``.

    ``problems()`` yields what concerns several fields: the dotted name of one, and what it must be.

    Raises:
        UserError: Names the first value that is out of range.
    """
    for item in dataclasses.fields(settings):
        value, name = getattr(settings, item.name), join(where, item.name)
        _check_value(value, item.metadata.get("range"), name)
    for key, needed in getattr(settings, "problems", tuple)():
        raise out_of_range(settings, where, key, needed)


def out_of_range(settings: Any, where: str, key: str, needed: str) -> UserError:
    """What is said of the value at the dotted name ``key`` in ``settings``."""
    value = settings
    for name in key.split("."):
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
    return UserError(f"{join(where, key)} = {value!r} is out of range: it must be {needed}")


def nearest(word: str, known: Sequence[str]) -> str:
    """`` (did you mean 'epochs'?)``, or nothing where no known word is like it."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _check_value(value: Any, allowed: Range | None, where: str) -> None:
    if dataclasses.is_dataclass(value):
        check(value, where)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_value(item, allowed, join(where, key))
    elif allowed is not None:
        needed = str(allowed)
        if isinstance(value, tuple) and all(isinstance(item, float) for item in value):
            right = all(item in allowed for item in value) and sorted(value) == [*value]
            needed = "lowest, highest" + (f", each {needed}" if allowed != Range() else "")
        else:
            number = isinstance(value, int | float) and not isinstance(value, bool)
            right = not number or value in allowed
        if not right:
            raise UserError(f"{where} = {value!r} is out of range: it must be {needed}")


def join(where: str, key: str) -> str:
    """``where.key``, or ``key`` at the top."""
    return f"{where}.{key}" if where else key


def _resolved(value: Any, beginning: str, where: str, folder_of: FolderOf) -> Any:
    if isinstance(value, Mapping):
        names = {key: join(where, key) for key in value}
        return {key: _resolved(value[key], beginning, names[key], folder_of) for key in value}
    if isinstance(value, tuple):
        return tuple(_resolved(item, beginning, where, folder_of) for item in value)
    prefix = beginning if beginning.endswith(":") else ""
    path, folder = value.removeprefix(prefix), folder_of(where)
    if folder is None or not path or not value.startswith(beginning) or path.startswith("~"):
        return value
    return f"{prefix}{folder.resolve() / path}"


def _convert(hint: Any, value: Any, where: str, folder_of: FolderOf) -> Any:
    """Checks ``value`` against a type hint and turns tables and lists into what the hint names."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where, folder_of)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} is a table, got {value!r}")
        items = {key: (item, join(where, key)) for key, item in value.items()}
        return {key: _convert(arguments[1], *pair, folder_of) for key, pair in items.items()}
    if origin is tuple:
        any_length = arguments[-1] is ...
        if not isinstance(value, list | tuple) or not (any_length or len(value) == len(arguments)):
            needs = "is a list" if any_length else f"needs {len(arguments)} values"
            raise UserError(f"{where} {needs}, got {value!r}")
        return tuple(_convert(arguments[0], item, where, folder_of) for item in value)
    if origin is Literal:
        if value not in arguments:
            known = [str(argument) for argument in arguments]
            raise UserError(
                f"{where} = {value!r}{nearest(str(value), known)}; one of {', '.join(known)}"
            )
        return value
    if origin is types.UnionType:
        return None if value is None else _convert(arguments[0], value, where, folder_of)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise UserError(f"{where} needs a value of type {hint.__name__}, got {value!r}")
    return value
