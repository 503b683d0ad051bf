"""The command that repeats a run: the shipped recipe that is nearest to it, and what differs."""

import json
import shlex
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ser_kd.config.recipes import config_to_dict, load_config, recipe_names
from ser_kd.config.run import Config

# Said by arguments of their own, or of no effect.
_APART = ("name", "seed", "corpus.data_dir", "corpus.metadata_dir")


def repeating_command(config: Config) -> str:
    """``ser-kd train ...`` with all settings of a run, for a model card.

    Folders and files of the user's are named without their place: ``DATA`` stands for the corpus,
    other paths for their last part.
    """
    wanted = config_to_dict(config)
    names = recipe_names()
    if config.name in names:  # of equals, the one that it is named after
        names = [config.name, *(name for name in names if name != config.name)]
    found = {name: _overrides(config_to_dict(load_config(name)), wanted) for name in names}
    recipe = min(found, key=lambda name: len(found[name]))
    words = ["ser-kd", "train", "--recipe", recipe, "--seed", str(config.seed)]
    if config.corpus.name != "demo":
        words += ["--data-dir", "DATA"]
    if config.corpus.metadata_dir:
        words += ["--metadata-dir", "METADATA"]
    if config.name != recipe:
        words += ["--name", config.name]
    for override in found[recipe]:
        words += ["--set", override]
    return shlex.join(words)


def _overrides(base: Mapping[str, Any], wanted: Mapping[str, Any], where: str = "") -> list[str]:
    """What ``--set`` has to say for a run to have ``wanted`` instead of ``base``."""
    found = []
    for key, value in wanted.items():
        path = f"{where}{key}"
        before = base.get(key)
        if path in _APART or _placeless(before) == _placeless(value):
            continue
        # What a table lacks cannot be taken away from it by name: then it is given whole.
        if isinstance(value, dict) and isinstance(before, dict) and set(before) <= set(value):
            found += _overrides(before, value, f"{path}.")
        elif value is not None:
            found.append(f"{path}={_toml(_placeless(value))}")
    return found


def _placeless(value: Any) -> Any:
    """The same without the folders of absolute paths, which are those of one machine."""
    if isinstance(value, dict):
        return {key: _placeless(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_placeless(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute():
        return PurePath(value).name
    return value


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        items = (f"{json.dumps(k)} = {_toml(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
