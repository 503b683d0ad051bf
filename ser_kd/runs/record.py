"""A run's ``config.json``: what it was made with, and whether that is still so."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_kd import files
from ser_kd.config import Config, FitConfig, config_to_dict, read_run_config
from ser_kd.corpora import Clip, Corpus
from ser_kd.errors import UserError
from ser_kd.runs.fingerprint import FILE as CLIPS_FILE
from ser_kd.runs.fingerprint import require_same_clips

FILE = "config.json"
# Settings that nothing trained depends on; the clips have their fingerprint.
_MAY_CHANGE = (
    "corpus.data_dir",
    "corpus.metadata_dir",
    "export.min_agreement",
    "export.max_ua_drop",
    "export.min_runtime_agreement",
    "export.max_runtime_steps",
    "export.min_kernel_agreement",
)
# 0 = by the number of clips; earlier versions stored their default in its place.
_BY_CLIPS = (".batch_size", ".epochs")
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime", "transformers")


def require_same_settings(directory: Path, config: Config) -> None:
    """Refuses a run folder that was begun with other settings.

    Raises:
        UserError: Names the first setting that differs.
    """
    path = directory / FILE
    if not path.exists():
        return
    before = _flat(config_to_dict(read_run_config(path)))
    now = _flat(config_to_dict(config))
    for key in [*now, *before]:
        same = _portable(before.get(key)) == _portable(now.get(key))
        same |= key.endswith(_BY_CLIPS) and now.get(key) == 0
        if not same and key not in _MAY_CHANGE:
            raise UserError(
                f"{directory} holds a run with other settings ({key} = {before.get(key)!r}, "
                f"now {now.get(key)!r}); give another --run-dir, or delete the folder"
            )


def _portable(value: Any) -> Any:
    """A setting's value; the package's own files are the same wherever it is installed."""
    return value.rpartition("/ser_kd/recipes/")[2] if isinstance(value, str) else value


def _flat(table: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """Nested tables as one: ``{"fit": {"epochs": 3}}`` -> ``{"fit.epochs": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        flat |= _flat(value, name) if isinstance(value, dict) and value else {name: value}
    return flat


def record(
    directory: Path, config: Config, corpus: Corpus, unlabelled: Sequence[Clip] = ()
) -> None:
    """Writes ``config.json``: settings, versions, commit, fingerprint of corpus and files.

    Raises:
        UserError: The corpus is not the one that this run began with, or the unlabelled files
            are not.
    """
    path, fingerprint = directory / FILE, _fingerprint(corpus, unlabelled)
    is_older = path.exists() and not (directory / CLIPS_FILE).exists()
    # What earlier versions wrote knows of ids, speakers and labels alone.
    if is_older and files.read_json(path)["corpus_fingerprint"] != fingerprint:
        raise UserError(
            f"the clips are not those that {directory} began with (other files or labels); give "
            "another --run-dir, or delete the folder"
        )
    require_same_clips(directory, config, corpus.clips, unlabelled)
    if path.exists() and read_run_config(path) == config:
        return
    facts = {
        "config": config_to_dict(config),
        "labels": list(corpus.labels),
        "synthetic": corpus.synthetic,
        "corpus_fingerprint": fingerprint,
        "commit": _commit(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "versions": _versions(),
    }
    if path.exists() and (fits := files.read_json(path).get("fits")):
        facts["fits"] = fits
    files.write_json(path, facts)


def record_fit(directory: Path, student: str, clips: int, fit: FitConfig) -> None:
    """Adds epochs and batch size to ``config.json``, under ``fits``, where the clips chose them.

    Args:
        directory: Of the run, which is recorded.
        student: What it is called.
        clips: That it is trained on.
        fit: As in the run's config; epochs and batch size are resolved here.
    """
    chosen = fit.for_clips(clips)
    if chosen == fit:  # nothing was left to the number of clips
        return
    facts = files.read_json(directory / FILE)
    row = {"clips": clips, "epochs": chosen.epochs, "batch_size": chosen.batch_size}
    known = facts.get("fits", {})
    if known.get(student) != row:
        files.write_json(directory / FILE, {**facts, "fits": {**known, student: row}})


def _fingerprint(corpus: Corpus, unlabelled: Sequence[Clip]) -> str:
    facts: list[Any] = [[clip.id, clip.speaker, clip.emotion] for clip in corpus.clips]
    # Not even named where there is none: runs from before there could be any go on.
    facts += [[clip.id, clip.path.stat().st_size] for clip in unlabelled if clip.path.is_file()]
    return hashlib.sha256(json.dumps([corpus.name, facts]).encode()).hexdigest()[:16]


def _commit() -> str:
    """The checkout's commit, with a plus if files were changed; empty outside of a checkout."""
    here = Path(__file__).parent

    def git(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return result.stdout.strip() if result.returncode == 0 else ""

    try:
        commit = git("rev-parse", "--short", "HEAD")
        return commit + "+" if commit and git("status", "--porcelain", "-uno") else commit
    except OSError:  # no git on this machine
        return ""


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
