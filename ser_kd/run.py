"""A run's folder, where all stages meet, and the data that they share."""

import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import audio, data, files
from ser_kd.config import Config, config_from_dict, config_to_dict
from ser_kd.corpora import Corpus, demo_folder, load_corpus
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.splits import Splits, split_corpus

RUNS_DIR = Path("runs")
# Settings that nothing trained depends on; the clips have their fingerprint.
_MAY_CHANGE = (
    "expected_minutes",
    "corpus.data_dir",
    "corpus.metadata_dir",
    "export.min_agreement",
    "export.max_ua_drop",
)
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime", "transformers")


@dataclass(frozen=True)
class RunData:
    """A corpus, decoded and divided.

    Attributes:
        corpus: Labels and clips.
        splits: By speaker.
        waveforms: Every clip that could be decoded, as int16 samples.
        logmel: The same clips through the front end.
        left_out: Clip id -> why it is not trained on: the corpus's own reasons, and digital
            silence.
        skipped: Clip id -> why it could not be decoded. Such clips take no part at all.
    """

    corpus: Corpus
    splits: Splits
    waveforms: data.ClipArrays
    logmel: data.ClipArrays
    left_out: Mapping[str, str]
    skipped: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.corpus.labels

    def ids(self, part: str) -> list[str]:
        """Clip ids of ``training``, ``validation`` or ``test``, as far as they can be decoded.

        ``training`` is the train split without ``left_out``.
        """
        clips = self.splits.train if part == "training" else getattr(self.splits, part)
        barred = self.left_out if part == "training" else {}
        return [c.id for c in clips if c.id not in self.skipped and c.id not in barred]

    @functools.cached_property
    def speakers(self) -> Mapping[str, str]:
        """Clip id -> speaker."""
        return {clip.id: clip.speaker for clip in self.corpus.clips}

    def one_hot(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), classes]``."""
        return data.one_hot(self.corpus.clips, ids, self.labels)


class Run:
    """The folder of one run.

    Attributes:
        directory: Holds everything; see the README's table of files.
        config: The resolved config.
    """

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.config = config

    @classmethod
    def create(cls, config: Config, directory: Path | None = None) -> "Run":
        """Makes the folder, or finds it again to go on with.

        Raises:
            UserError: The folder belongs to a run with other settings.
        """
        directory = directory or RUNS_DIR / config.name
        run, path = cls(directory, config), directory / "config.json"
        if path.exists():
            before = _flat(_read_config(path))
            now = _flat(config_to_dict(config))
            changed = [
                key
                for key in [*now, *before]
                if before.get(key) != now.get(key) and key not in _MAY_CHANGE
            ]
            if changed:
                key = changed[0]
                raise UserError(
                    f"{directory} holds a run with other settings ({key} = {before.get(key)!r}, "
                    f"now {now.get(key)!r}); give another --run-dir, or delete the folder"
                )
        return run

    @classmethod
    def open(cls, directory: Path) -> "Run":
        """Opens the folder of an earlier run.

        Raises:
            UserError: It is none.
        """
        path = directory / "config.json"
        if not path.exists():
            raise UserError(
                f"{directory} is no run folder (it has no config.json); train one first: "
                "python train.py"
            )
        return cls(directory, config_from_dict(_read_config(path)))

    @property
    def student_path(self) -> Path:
        return self.directory / "student.keras"

    @property
    def baseline_dir(self) -> Path:
        """Where the student that learns from labels alone is trained."""
        return self.directory / "baseline"

    @property
    def export_dir(self) -> Path:
        return self.directory / "export"

    def teacher_dir(self, name: str) -> Path:
        return self.directory / "teachers" / name

    def record(self, corpus: Corpus) -> None:
        """Writes ``config.json``: settings, versions, commit, fingerprint of the corpus.

        Raises:
            UserError: The corpus is not the one that this run began with.
        """
        path, fingerprint = self.directory / "config.json", _fingerprint(corpus)
        if path.exists():
            before = files.read_json(path)["corpus_fingerprint"]
            if before != fingerprint:
                raise UserError(
                    f"the clips are not those that {self.directory} began with (other files or "
                    "labels); give another --run-dir, or delete the folder"
                )
            if config_from_dict(_read_config(path)) == self.config:
                return
        record = {
            "config": config_to_dict(self.config),
            "labels": list(corpus.labels),
            "synthetic": corpus.synthetic,
            "corpus_fingerprint": fingerprint,
            "commit": _commit(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            "versions": _versions(),
        }
        files.write_json(path, record)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in output order, of a recorded run."""
        return tuple(files.read_json(self.directory / "config.json")["labels"])

    @property
    def cache_dir(self) -> Path:
        """Decoded audio, shared by all runs in the same parent folder."""
        return self.directory.parent / ".ser_kd_cache"

    def data(self) -> RunData:
        """Reads, decodes and divides the corpus, and says what was found.

        Raises:
            UserError: There is nothing to train on.
        """
        if self.config.corpus.name == "demo":
            _make_demo_corpus(self.config)
        for partial in self.directory.rglob(".partial-*"):
            partial.unlink()  # of a run that was killed while it wrote
        corpus = load_corpus(self.config.corpus)
        splits = split_corpus(corpus, self.config.corpus)
        splits.require("train", "validation")
        self.record(corpus)
        waveforms, skipped = data.load_waveforms(corpus.clips, self.config.audio, self.cache_dir)
        silent = {
            clip_id: "digital silence"
            for index, clip_id in enumerate(waveforms.ids)
            if audio.is_silent(data.to_float(waveforms.clip(index)))
        }
        left_out = {**silent, **corpus.left_out}
        logmel = data.logmel_arrays(waveforms, self.config.logmel)
        run_data = RunData(corpus, splits, waveforms, logmel, left_out, skipped)
        _report(run_data)
        for part in ("training", "validation"):
            if not run_data.ids(part):
                raise UserError(
                    f"no {part} clip can be used (all are unreadable or left out); "
                    f"python -m ser_kd data {corpus.name} {corpus.folder} says why"
                )
        return run_data


def _make_demo_corpus(config: Config) -> None:
    """Here rather than in ``load_corpus``, to show progress."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 5.0 or done == total:
            said = time.monotonic()
            say(f"  speaking the demo corpus (synthetic): {done:,} of {total:,} clips")

    demo_folder(config.corpus, progress)


def newest_run(runs_dir: Path = RUNS_DIR) -> Path | None:
    """The folder of the run whose student was saved last."""
    students = sorted(runs_dir.glob("*/student.keras"), key=lambda path: path.stat().st_mtime)
    return students[-1].parent if students else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = dict(files.read_json(path)["config"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a run's config.json; restore or delete it") from None
    return config


def _flat(table: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = f"{where}.{key}" if where else key
        flat |= _flat(value, name) if isinstance(value, dict) and value else {name: value}
    return flat


def _fingerprint(corpus: Corpus) -> str:
    facts = [[clip.id, clip.speaker, clip.emotion] for clip in corpus.clips]
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


def _report(run_data: RunData) -> None:
    splits, labels = run_data.splits, Counter(clip.emotion for clip in run_data.corpus.clips)
    for part in ("train", "validation", "test"):
        clips = getattr(splits, part)
        say(f"  {part:<10} {len(clips):>6,} clips  {len({c.speaker for c in clips}):>3} speakers")
    say("  labels     " + ", ".join(f"{name} {labels[name]:,}" for name in run_data.labels))
    for reason, count in Counter(run_data.left_out.values()).most_common(5):
        say(f"  not trained on: {count} ({reason})")
    if run_data.skipped:
        say(f"  could not be decoded, take no part: {len(run_data.skipped):,} clips, such as")
        for reason in list(run_data.skipped.values())[:3]:
            say(f"    {reason}")
