"""Recipes: TOML files, ``--set`` overrides, and a config as plain values.

A recipe has one table per section; what it does not name keeps its default. Its relative paths
start from its own folder, those of overrides from the working directory.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ser_kd.config.fields import FolderOf, build, nearest
from ser_kd.config.run import Config
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
    for override in overrides:
        key, separator, text = (part.strip() for part in override.partition("="))
        if not separator or not key:
            raise UserError(f"--set {override!r}: write it as section.key=value")
        _set_in(table, key.split("."), parse_value(text), override)
        given.append(f"{key}.")

    def folder_of(where: str) -> Path:
        return Path() if any(f"{where}.".startswith(key) for key in given) else path.parent

    return config_from_dict(table, folder_of)


def recipe_names() -> list[str]:
    """The shipped recipes."""
    folder = resources.files("ser_kd") / "recipes"
    return sorted(item.name[:-5] for item in folder.iterdir() if item.name.endswith(".toml"))


def config_from_dict(table: Mapping[str, Any], folder_of: FolderOf = lambda _: None) -> Config:
    """Builds the config from plain values, one table per section; by default paths stay as written.

    Raises:
        UserError: Unknown key, wrong type or a value out of range.
    """
    config = build(Config, table, "", folder_of)
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
    """The value of an override: as in TOML, or the bare word itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read_recipe(recipe: str) -> tuple[Path, dict[str, Any]]:
    path = Path(recipe)
    if path.suffix != ".toml":
        names = recipe_names()
        if recipe not in names:
            raise UserError(
                f"no recipe {recipe!r}{nearest(recipe, names)}; shipped: {', '.join(names)}; "
                "or give the path of a .toml file"
            )
        path = Path(str(resources.files("ser_kd") / "recipes" / f"{recipe}.toml"))
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no recipe file {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"recipe {str(path)!r} is not valid TOML: {error}") from None


def _set_in(table: dict[str, Any], keys: list[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise UserError(f"--set {override!r}: {key!r} is a value, not a section")
    table[keys[-1]] = value
