"""Settings as frozen dataclasses: ranges stand on the fields, and one check reads them."""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from operator import ge, gt, le, lt
from pathlib import Path
from typing import Any, Literal, TypeVar

from ser_kd.errors import UserError

T = TypeVar("T")
FolderOf = Callable[[str], Path | None]
"""Dotted name of a setting -> the folder that its relative paths start from; None = as written."""


class UnknownKeyError(UserError):
    """A name that no setting has.

    Attributes:
        where: The dotted name of its section; empty: the top.
        key: The name.
        known: The names that there are in the section.
    """

    def __init__(self, where: str, key: str, known: tuple[str, ...], hint: str = "") -> None:
        name = join(where, key)
        super().__init__(f"unknown key {name!r}{hint}; known here: {', '.join(known)}")
        self.where, self.key, self.known = where, key, known


_HOLDS = {"at_least": ge, "above": gt, "at_most": le, "below": lt}


def setting(default: Any, *, path: str | None = None, **bounds: float | str) -> Any:
    """A dataclass field with a range.

    Args:
        default: Its value where a recipe does not name it.
        path: How texts begin that name a file or folder, which ``build`` resolves (``""``: all do;
            what ends with a colon is no part of the path).
        bounds: ``at_least``, ``above``, ``at_most``, ``below``: a number or the name of another
            field of the class. For every number, which has to be finite, those of a table, too, and
            of a pair, which has to be in order.
    """
    metadata = {"bounds": bounds, "path": path}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def build(cls: type[T], table: Any, where: str = "", folder_of: FolderOf = lambda _: None) -> T:
    """A settings class from plain values; what ``table`` does not name keeps its default.

    A class with ``class_for(table, where)`` chooses one of its subclasses with it. ``where`` is the
    table's dotted name.

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
            raise UnknownKeyError(where, key, tuple(known))
        values[key] = _convert(hints[key], value, name, folder_of)
        if (beginning := known[key].get("path")) is not None:
            values[key] = _resolved(values[key], beginning, name, folder_of)
    return chosen(**values)


def check(settings: Any, where: str = "") -> None:
    """Raises ``UserError`` at the first value that is out of its field's range.

    So it does with the first of a class's ``problems()``, which concern several fields: the dotted
    name of one, and what it must be.
    """
    for item in dataclasses.fields(settings):
        bounds = item.metadata.get("bounds")
        if bounds is not None:  # a bound may be another field's value
            bounds = {key: getattr(settings, str(b), b) for key, b in bounds.items()}
        _check_value(getattr(settings, item.name), bounds, join(where, item.name))
    for key, needed in getattr(settings, "problems", tuple)():
        raise out_of_range(settings, where, key, needed)


def out_of_range(settings: Any, where: str, key: str, needed: str) -> UserError:
    """The error that names the value at the dotted name ``key`` in ``settings``."""
    value = settings
    for name in key.split("."):
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
    return UserError(f"{join(where, key)} = {value!r} is out of range: it must be {needed}")


def nearest(word: str, known: Sequence[str]) -> str:
    """`` (did you mean 'epochs'?)``, or nothing where no known word is like it."""
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""


def _check_value(value: Any, bounds: Mapping[str, float] | None, where: str) -> None:
    if dataclasses.is_dataclass(value):
        check(value, where)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_value(item, bounds, join(where, key))
    elif bounds is not None:
        numbers = [*filter(_is_number, value if isinstance(value, tuple) else [value])]
        finite = all(map(math.isfinite, numbers)) and sorted(numbers) == numbers
        if not finite or not all(_HOLDS[b](n, bounds[b]) for b in bounds for n in numbers):
            needed = _needed(value, bounds)
            raise UserError(f"{where} = {value!r} is out of range: it must be {needed}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _needed(value: Any, bounds: Mapping[str, float]) -> str:
    needed = " and ".join(f"{name.replace('_', ' ')} {bound}" for name, bound in bounds.items())
    if bounds.keys() == {"at_least", "at_most"}:
        needed = f"from {bounds['at_least']} to {bounds['at_most']}"
    if isinstance(value, tuple):
        return f"lowest, highest, each {needed}" if needed else "lowest, highest"
    return needed or "a finite number"


def has_control_characters(text: str) -> bool:
    """Whether a text holds a line break, a tab or the like: of no setting is it meant."""
    return any(ord(sign) < 32 for sign in text)


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
        names = {key: join(where, key) for key in value}
        return {key: _convert(arguments[1], value[key], names[key], folder_of) for key in value}
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
    if isinstance(value, str) and has_control_characters(value):
        raise UserError(
            f"{where} = {value!r} holds a line break, a tab or the like: a Windows "
            "path is written in single quotes, 'D:\\new\\test', or with /"
        )
    return value
