"""The table of variants: read from TOML and checked before anything is trained."""

import dataclasses
import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ser_kd.config import (
    TEACHER_KINDS,
    Config,
    FileTeacherConfig,
    LiveTeacherConfig,
    VotesTeacherConfig,
    config_to_dict,
    flat_settings,
    load_config,
    parse_value,
)
from ser_kd.errors import UserError

BASE = "base"
"""The name of the rows that every other variant is compared with, itself or by a chain."""
TABLE = Path(__file__).with_name("variants.toml")
# What a row does not depend on: where files lie, who says what, and the seed, which it has itself.
_NO_SETTINGS = ("name", "seed", "expected_minutes", "corpus.data_dir", "corpus.metadata_dir")
_KEYS = {"base": str, "development_speakers": list, "timed_lever": str, "variant": list}
_VARIANT_KEYS = {
    "name": str,
    "lever": str,
    "starts_from": str,
    "settings": list,
    "deleted_after": str,
}


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Unique; it names folders.
        lever: What it tries, in words; variants of one lever stand in one table of the report.
        starts_from: The variant whose settings it changes, and which it is compared with; empty for
            the base.
        changes: Its own settings, ``section.key=value``.
        overrides: All settings that it changes of the base recipe, in order.
        config: The result, with seed 0.
        deleted_after: The last commit that knew the settings of ``changes``, which helped nothing.
            Its rows stay, no more are made, and ``config`` is that of ``starts_from``. Empty
            otherwise.
    """

    name: str
    lever: str
    starts_from: str
    changes: tuple[str, ...]
    overrides: tuple[str, ...]
    config: Config
    deleted_after: str = ""

    @property
    def settings(self) -> dict[str, Any]:
        """What its rows were made with: see ``settings_of``."""
        found = settings_of(self.config)
        if self.deleted_after:
            changed = (change.partition("=") for change in self.changes)
            found |= {key: parse_value(text) for key, _, text in changed}
        return found

    @property
    def has_teachers(self) -> bool:
        """Whether the student learns from teachers; else from labels alone."""
        return bool(self.config.teachers)

    @property
    def has_own_teachers(self) -> bool:
        """Whether its teachers are trained for it, rather than read from a file or a table."""
        teachers = self.config.teachers.values()
        given = FileTeacherConfig | LiveTeacherConfig | VotesTeacherConfig
        return any(not isinstance(teacher, given) for teacher in teachers)

    @property
    def may_have_been_told(self) -> bool:
        """Whether its teachers, or its start, may know the development speakers of train.

        Predictions in a file, and finished students, were made before, from the labels of all train
        speakers; only the corpus's validation speakers are new to them.
        """
        teachers, before = self.config.teachers.values(), FileTeacherConfig | LiveTeacherConfig
        begins = self.config.student.initial_weights
        return begins.endswith(".keras") or any(isinstance(item, before) for item in teachers)

    def missing_source(self) -> str | None:
        """The first file or folder of its settings that is not there: teachers, speech, a start."""
        teachers = self.config.teachers.values()
        named = [*self.config.corpus.unlabelled_dirs, self.config.student.initial_weights]
        named += [item.path for item in teachers if isinstance(item, FileTeacherConfig)]
        for item in teachers:
            named += item.models if isinstance(item, LiveTeacherConfig) else ()
        return next((name for name in named if name and not Path(name).expanduser().exists()), None)


@dataclass(frozen=True)
class Table:
    """All variants, the base first.

    Attributes:
        base: The recipe's file.
        development_speakers: See ``protocol.development_splits``.
        timed_lever: The lever whose files ``--time`` times, with the base's; empty = none.
        variants: By name, in the order of the file.
    """

    base: Path
    development_speakers: tuple[str, ...]
    timed_lever: str
    variants: Mapping[str, Variant] = field(default_factory=dict)

    def choose(self, names: Sequence[str]) -> list[Variant]:
        """The variants of these names in the table's order; all of them if there are no names.

        Raises:
            UserError: There is no such variant.
        """
        for name in names:
            if name not in self.variants:
                raise UserError(
                    f"no variant {name!r}{_nearest(name, [*self.variants])}; "
                    "--list shows all of them"
                )
        return [item for item in self.variants.values() if not names or item.name in names]

    def config(self, variant: Variant, seed: int, data_dir: str, metadata_dir: str) -> Config:
        """The config of one row; empty folders leave the recipe's own."""
        folders = {"corpus.data_dir": data_dir, "corpus.metadata_dir": metadata_dir}
        place = [
            f"{key}={json.dumps(folder, ensure_ascii=False)}"
            for key, folder in folders.items()
            if folder
        ]
        return load_config(str(self.base), [*variant.overrides, *place, f"seed={seed}"])

    def timed(self) -> list[Variant]:
        """The base and the variants of the timed lever."""
        chosen = self.variants.values()
        return [item for item in chosen if item.name == BASE or item.lever == self.timed_lever]


def read_table(path: Path = TABLE) -> Table:
    """Reads and checks a table of variants; see ``variants.toml`` for its form.

    Raises:
        UserError: Missing or malformed, an unknown or impossible setting, a name that occurs twice,
            a variant that changes nothing or is the same as another, or one whose epoch would be
            chosen on the speakers that it is scored on.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"no table of variants {str(path)!r}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid TOML: {error}") from None
    _check_keys(content, _KEYS, str(path))
    base = path.parent / content.get("base", "base.toml")
    variants = {BASE: _variant(base, BASE, "", None, ())}
    for entry in content.get("variant", []):
        _check_keys(entry, _VARIANT_KEYS, f"{path}: a variant")
        name = entry.get("name", "")
        if not (name and name.replace("_", "").isalnum() and entry.get("lever")):
            raise UserError(
                f"{path}: every variant needs a name of letters, digits and _, and a lever; "
                f"got name = {name!r}, lever = {entry.get('lever', '')!r}"
            )
        if name in variants:
            raise UserError(f"{path}: two variants are called {name!r}; rename one")
        start = entry.get("starts_from", BASE)
        if start not in variants:
            raise UserError(
                f"{path}: variant {name!r} starts from {start!r}{_nearest(start, [*variants])}, "
                "which is none of those above it"
            )
        if variants[start].deleted_after:
            raise UserError(
                f"{path}: variant {name!r} starts from {start!r}, whose settings are deleted"
            )
        changes = tuple(map(str, entry.get("settings", [])))
        deleted_after = entry.get("deleted_after", "")
        variant = _variant(
            base, name, entry["lever"], variants[start], () if deleted_after else changes
        )
        variants[name] = dataclasses.replace(variant, changes=changes, deleted_after=deleted_after)
    _check_they_differ(path, variants)
    timed = content.get("timed_lever", "")
    levers = [item.lever for item in variants.values()]
    if timed and timed not in levers:
        raise UserError(f"{path}: timed_lever = {timed!r} is no variant's{_nearest(timed, levers)}")
    speakers = tuple(map(str, content.get("development_speakers", [])))
    return Table(base, speakers, timed, variants)


def settings_of(config: Config) -> dict[str, Any]:
    """What differs from the defaults, by dotted name, as JSON has it.

    Not the whole config: a setting that is added to the library later, with a default that
    changes nothing, leaves the rows valid that were made before. Nor is how teachers are learnt
    from a setting of labels alone.
    """
    default = config_to_dict(Config())
    default["teachers"] = {
        name: json.loads(json.dumps(dataclasses.asdict(TEACHER_KINDS[teacher.kind]())))
        for name, teacher in config.teachers.items()
    }
    before, now = flat_settings(default), flat_settings(config_to_dict(config))
    return {
        key: value
        for key, value in now.items()
        if key not in _NO_SETTINGS
        and (config.teachers or not key.startswith("distill."))
        and (before.get(key) != value or (key.startswith("teachers.") and key.endswith(".kind")))
    }


def _variant(
    base: Path, name: str, lever: str, start: Variant | None, changes: tuple[str, ...]
) -> Variant:
    overrides = (*(start.overrides if start else ()), *changes)
    try:
        config = load_config(str(base), overrides)
    except UserError as error:
        raise UserError(f"variant {name!r}: {error}") from None
    if config.fit.averaged_epochs < 1:
        raise UserError(
            f"variant {name!r}: fit.averaged_epochs = 0 would keep the best epoch of the speakers "
            "that it is scored on; 1 keeps the last epoch"
        )
    if not config.teachers and any(change.startswith("distill.") for change in overrides):
        raise UserError(
            f"variant {name!r}: settings of [distill] have no effect without teachers; start from "
            "a variant that has some"
        )
    return Variant(name, lever, start.name if start else "", changes, overrides, config)


def _check_they_differ(path: Path, variants: Mapping[str, Variant]) -> None:
    """No variant is trained twice under two names; nor is one that only seems to change anything"""
    known: dict[str, str] = {}
    for variant in variants.values():
        key = json.dumps(variant.settings, sort_keys=True)
        if key in known:
            raise UserError(
                f"{path}: variants {known[key]!r} and {variant.name!r} have the same settings; "
                "delete one, or change its settings"
            )
        known[key] = variant.name


def _check_keys(entry: Any, known: Mapping[str, type], where: str) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{where} is a table, got {entry!r}")
    for key, value in entry.items():
        if key not in known:
            raise UserError(
                f"{where}: unknown key {key!r}{_nearest(key, [*known])}; known: {', '.join(known)}"
            )
        if not isinstance(value, known[key]):
            raise UserError(f"{where}: {key} needs a {known[key].__name__}, got {value!r}")


def _nearest(word: str, known: Sequence[str]) -> str:
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f" (did you mean {match[0]!r}?)" if match else ""
