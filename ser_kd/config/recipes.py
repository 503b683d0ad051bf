"""Recipes: TOML files, ``--set`` overrides, and a config as plain values.

A recipe has one table per section; what it does not name keeps its default. Its relative paths
start from its own folder, those of overrides from the working directory.
"""

import codecs
import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ser_kd.config.fields import FolderOf, UnknownKeyError, build, has_control_characters, nearest
from ser_kd.config.run import Config
from ser_kd.config.suggest import suggestion
from ser_kd.errors import UserError


def load_config(recipe: str, overrides: Sequence[str] = ()) -> Config:
    """Reads a recipe and applies overrides; it is named after its file unless it names itself.

    Args:
        recipe: The name of a shipped recipe (``demo``) or the path of a TOML file.
        overrides: ``section.key=value``, as given to ``--set``; values are written as in TOML, bare
            words are strings.

    Raises:
        UserError: Unknown recipe, unknown key (with the nearest match), wrong type or value.
    """
    path, table = _read_recipe(recipe)
    table.setdefault("name", path.stem)
    given: list[str] = []
    teachers = list(_teachers(table))
    for override in overrides:
        key, separator, text = (part.strip() for part in override.partition("="))
        if not separator or not key:
            raise UserError(f"--set {override!r}: write it as section.key=value")
        _set_in(table, key.split("."), parse_value(text), override)
        given.append(f"{key}.")
    if overrides:
        _require_kinds(table, teachers)

    def folder_of(where: str) -> Path:
        return Path() if any(f"{where}.".startswith(key) for key in given) else path.parent

    return config_from_dict(table, folder_of)


def _teachers(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """The teachers' sections; none where there is something else, which ``build`` tells of."""
    teachers = table.get("teachers", {})
    return teachers if isinstance(teachers, Mapping) else {}


def _require_kinds(table: Mapping[str, Any], there: Sequence[str]) -> None:
    """Settings of a teacher that the recipe does not have are none of a new one, but a slip."""
    for name, given in _teachers(table).items():
        if name not in there and isinstance(given, Mapping) and "kind" not in given:
            raise UserError(
                f"--set teachers.{name}: the recipe has no teacher {name!r}"
                f"{nearest(name, there)}; its teachers: {', '.join(there) or 'none'}. A new one "
                f"begins with --set teachers.{name}.kind=KIND"
            )


def recipe_names() -> list[str]:
    """The shipped recipes."""
    folder = resources.files("ser_kd") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def config_from_dict(table: Mapping[str, Any], folder_of: FolderOf = lambda _: None) -> Config:
    """Builds the config from plain values, one table per section; by default paths stay as written.

    Raises:
        UserError: Unknown key, wrong type or a value out of range.
    """
    try:
        config = build(Config, table, "", folder_of)
    except UnknownKeyError as error:
        where, key, known = error.where, error.key, error.known
        hint = suggestion(where, key, known, Config, table)
        raise UnknownKeyError(where, key, known, hint) from None
    config.check()
    return config


def read_run_config(path: Path) -> Config:
    """The config of a run, from its ``config.json``, which may be of an earlier version.

    Raises:
        UserError: It is no such file; a removed setting was in use; as ``config_from_dict``.
    """
    try:
        table = dict(json.loads(path.read_text(encoding="utf-8"))["config"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a run's config.json; restore or delete it") from None
    return config_from_dict(_without_removed(table))


# Settings that were removed in 2026-11, their values without effect, and those with new names.
_INT8_AWARE = {"epochs": 0, "learning_rate": 1e-4}
_REMOVED = {"quantization": _INT8_AWARE, "averaged_epochs": 0, "logit_loss": "kl"}
_DROPPED = "expected_minutes"  # told of no network
_RENAMED = {"calibration_clips": "representative_clips"}


def _without_removed(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _RENAMED.get(key, key): _without_removed(value) if isinstance(value, Mapping) else value
        for key, value in table.items()
        if key != _DROPPED and (key not in _REMOVED or value != _REMOVED[key])
    }


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain values for JSON; ``config_from_dict`` reads them back."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def parse_value(text: str) -> Any:
    """The value of an override: as in TOML, or the bare word itself.

    Text in double quotes whose backslashes are no escapes of TOML, or make control characters, is
    a Windows path, and taken as it is.
    """
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    try:
        table = tomllib.loads(f"value = {text}")
    except RecursionError:
        raise UserError(f"the value {text[:40]}... is nested too deeply") from None
    except ValueError:  # no TOML
        return text[1:-1] if quoted and "\\" in text else text
    if len(table) > 1:  # lines of their own behind the first
        raise UserError(f"{text!r} is more than one value: give each setting a --set of its own")
    value = table["value"]
    is_path = quoted and isinstance(value, str) and has_control_characters(value)
    return text[1:-1] if is_path else value


def _read_recipe(recipe: str) -> tuple[Path, dict[str, Any]]:
    path = Path(recipe)
    if path.suffix.lower() != ".toml":
        names = recipe_names()
        if recipe not in names:
            raise UserError(
                f"no recipe {recipe!r}{nearest(recipe, names)}; shipped: {', '.join(names)}; "
                "or give the path of a .toml file"
            )
        path = Path(str(resources.files("ser_kd") / "recipes" / f"{recipe}.toml"))
    try:
        return path, tomllib.loads(_text(path))
    except FileNotFoundError:
        raise UserError(f"no recipe file {str(path)!r}") from None
    except OSError as error:
        raise UserError(f"recipe {str(path)!r} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"recipe {str(path)!r} is not UTF-8 text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        hint = ""
        if "escape" in str(error) or "hex" in str(error):
            hint = "; a Windows path is written in single quotes, 'C:\\Users\\me', or with /"
        raise UserError(f"recipe {str(path)!r} is not valid TOML: {error}{hint}") from None
    except (RecursionError, ValueError) as error:  # nested too deeply, a number of 5,000 digits
        raise UserError(f"recipe {str(path)!r} cannot be read: {error}") from None


def _text(path: Path) -> str:
    """A text file's content; Windows' editors may begin it with a mark, or write UTF-16."""
    content = path.read_bytes()
    utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = content.decode("utf-16" if utf_16 else "utf-8-sig")
    return text.replace("\r\n", "\n")


def _set_in(table: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {override!r}: {key!r} is a value, not a section")
    table[keys[-1]] = value
