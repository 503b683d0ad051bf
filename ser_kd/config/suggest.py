"""What a wrong name of a setting was meant to be."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any

_SYNONYMS = {
    "batch": "batch_size",
    "batchsize": "batch_size",
    "bs": "batch_size",
    "calibration_clips": "representative_clips",
    "data": "data_dir",
    "data_path": "data_dir",
    "corpus.kind": "name",
    "dataset": "data_dir",
    "dir": "data_dir",
    "epoch": "epochs",
    "fmax": "max_hz",
    "fmin": "min_hz",
    "folder": "data_dir",
    "hop_length": "hop_seconds",
    "l2": "weight_decay",
    "lr": "learning_rate",
    "metadata": "metadata_dir",
    "mixup": "mixup_alpha",
    "model": "kind",
    "n_fft": "fft_samples",
    "n_mels": "mels",
    "num_train_epochs": "epochs",
    "path": "data_dir",
    "per_device_train_batch_size": "batch_size",
    "sample_rate": "sample_rate_hz",
    "sr": "sample_rate_hz",
    "train_epochs": "epochs",
    "warmup": "warmup_epochs",
    "wd": "weight_decay",
    "weights": "initial_weights",
    "window": "window_seconds",
}
_SURE, _LIKELY = 0.7, 0.55


def suggestion(where: str, key: str, known: Sequence[str], root: type, table: Any) -> str:
    """`` (did you mean 'fit.epochs'?)``, or nothing where no setting is like it.

    First a name in the same section that is much alike, or that another word stands for; then one
    of the same name in any section; then the nearest of the section, and of all.

    Args:
        where: The section's dotted name; empty: the top.
        key: The wrong name in it.
        known: The names that the section has.
        root: The settings class of everything.
        table: What the user gave for ``root``, whose teachers have sections of their own.
    """
    word = key.lower()
    wanted = _SYNONYMS.get(f"{where}.{word}") or _SYNONYMS.get(word, word)
    if wanted in known:
        return _did_you_mean([wanted])
    if alike := difflib.get_close_matches(key, known, n=1, cutoff=_SURE):
        return _did_you_mean(alike)
    everywhere = sorted(dotted_names(root, table), key=lambda name: name.count("."))
    inside = [name for name in everywhere if name.startswith(f"{where}.")]
    for names in (inside if where else [], everywhere):
        if same := [name for name in names if name.rpartition(".")[2] == wanted]:
            return _did_you_mean(same[:3])
    last = {name.rpartition(".")[2]: name for name in reversed(everywhere)}
    if alike := difflib.get_close_matches(wanted, list(last), n=1, cutoff=_SURE):
        return _did_you_mean([last[alike[0]]])
    return _did_you_mean(difflib.get_close_matches(key, known, n=1, cutoff=_LIKELY))


def dotted_names(cls: type, table: Any, where: str = "") -> list[str]:
    """All settings of a class and of the sections in it, by dotted name.

    Args:
        cls: A settings class.
        table: What the user gave for it; says which entries a table of sections has.
        where: Its own dotted name.
    """
    chosen = _chosen(cls, table, where)
    hints, found = typing.get_type_hints(chosen), []
    for item in dataclasses.fields(chosen):
        name = f"{where}.{item.name}" if where else item.name
        hint, given = hints[item.name], table.get(item.name) if isinstance(table, Mapping) else None
        arguments = typing.get_args(hint)
        if dataclasses.is_dataclass(hint):
            found += dotted_names(hint, given, name)  # type: ignore[arg-type]
        elif len(arguments) == 2 and dataclasses.is_dataclass(arguments[1]):
            for key, value in (given or {}).items():
                found += dotted_names(arguments[1], value, f"{name}.{key}")  # type: ignore[arg-type]
        else:
            found.append(name)
    return found


def _chosen(cls: type, table: Any, where: str) -> Any:
    """The subclass that a table's ``kind`` chooses, where it names one that exists."""
    if not hasattr(cls, "class_for") or not isinstance(table, Mapping) or "kind" not in table:
        return cls
    try:
        return cls.class_for(table, where)
    except ValueError:  # another fault than the one that is told of
        return cls


def _did_you_mean(names: Sequence[str]) -> str:
    return f" (did you mean {' or '.join(map(repr, names))}?)" if names else ""
