"""A run's folder, where all stages meet."""

import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_kd import files
from ser_kd.audio import decoding
from ser_kd.config import Config, config_to_dict, read_run_config
from ser_kd.corpora import Clip, Corpus, load_corpus
from ser_kd.corpora.splits import split_corpus
from ser_kd.data import clip_arrays
from ser_kd.data.unlabelled import Unlabelled, cut_into_segments, unlabelled_files
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData

RUNS_DIR = Path("runs")
LABELS_ALONE, RATINGS_ALONE = "student, labels alone", "student, ratings alone"
DISTILLED = "student, distilled"
"""What tables and histories call a run's students."""
# Settings that nothing trained depends on; the clips have their fingerprint.
_MAY_CHANGE = (
    "expected_minutes",
    "corpus.data_dir",
    "corpus.metadata_dir",
    "export.min_agreement",
    "export.max_ua_drop",
    "export.min_runtime_agreement",
    "export.max_runtime_steps",
    "export.min_kernel_agreement",
)
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime", "transformers")


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
            before = _flat(config_to_dict(read_run_config(path)))
            now = _flat(config_to_dict(config))
            changed = [
                key
                for key in [*now, *before]
                if _portable(before.get(key)) != _portable(now.get(key)) and key not in _MAY_CHANGE
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
                "ser-kd train"
            )
        return cls(directory, read_run_config(path))

    @property
    def student_path(self) -> Path:
        """The student of categories; a run with ``dimensions.alone`` has none."""
        return self.directory / "student.keras"

    @property
    def dimensions_path(self) -> Path:
        """The student with its head for continuous targets, where ``config.dimensions`` asks."""
        return self.directory / "dimensions.keras"

    @property
    def students(self) -> list[Path]:
        """Those of the two that are trained; both have one body."""
        return [path for path in (self.student_path, self.dimensions_path) if path.is_file()]

    @property
    def baseline_dir(self) -> Path:
        """Where the student that learns without teachers is trained."""
        return self.directory / "baseline"

    @property
    def export_dir(self) -> Path:
        return self.directory / "export"

    def teacher_dir(self, name: str) -> Path:
        return self.directory / "teachers" / name

    def record(self, corpus: Corpus, unlabelled: Sequence[Clip] = ()) -> None:
        """Writes ``config.json``: settings, versions, commit, fingerprint of corpus and files.

        Raises:
            UserError: The corpus is not the one that this run began with, or the unlabelled files
                are not.
        """
        path, fingerprint = self.directory / "config.json", _fingerprint(corpus, unlabelled)
        if path.exists():
            before = files.read_json(path)["corpus_fingerprint"]
            if before != fingerprint:
                raise UserError(
                    f"the clips are not those that {self.directory} began with (other files or "
                    "labels); give another --run-dir, or delete the folder"
                )
            if read_run_config(path) == self.config:
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
        for partial in self.directory.rglob(".partial-*"):
            partial.unlink()  # of a run that was killed while it wrote
        corpus = load_corpus(self.config.corpus, progress=_making_progress())
        splits = split_corpus(corpus, self.config.corpus)
        splits.require("train", "validation")
        recordings = unlabelled_files(self.config.corpus.unlabelled_dirs, corpus)
        self.record(corpus, recordings)
        waveforms, skipped = clip_arrays.load_waveforms(
            corpus.clips, self.config.audio, self.cache_dir
        )
        silent = {
            clip_id: "digital silence"
            for index, clip_id in enumerate(waveforms.ids)
            if decoding.is_silent(decoding.to_float(waveforms.clip(index)))
        }
        left_out = {**silent, **corpus.left_out}
        logmel = clip_arrays.logmel_arrays(waveforms, self.config.logmel)
        unlabelled = self._segments(recordings)
        run_data = RunData(
            corpus, splits, waveforms, logmel, left_out, skipped, self.config, unlabelled
        )
        _report(run_data)
        for part in ("training", "validation"):
            if not run_data.ids(part):
                raise UserError(
                    f"no {part} clip can be used (all are unreadable or left out); "
                    f"ser-kd data {corpus.name} {corpus.folder} says why"
                )
        return run_data

    def _segments(self, recordings: Sequence[Clip]) -> Unlabelled:
        if not recordings:
            return Unlabelled()
        config = self.config.audio
        waveforms, skipped = clip_arrays.load_waveforms(recordings, config, self.cache_dir)
        return cut_into_segments(waveforms, skipped, config)


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


def _making_progress() -> Callable[[int, int], None]:
    """Shows how the making of the demo corpus goes, every few seconds."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 5.0 or done == total:
            said = time.monotonic()
            say(f"  speaking the demo corpus (synthetic): {done:,} of {total:,} clips")

    return progress


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


def _report(run_data: RunData) -> None:
    splits, labels = run_data.splits, Counter(clip.emotion for clip in run_data.corpus.clips)
    for part in ("train", "validation", "test"):
        clips = getattr(splits, part)
        say(f"  {part:<10} {len(clips):>6,} clips  {len({c.speaker for c in clips}):>3} speakers")
    say("  labels     " + ", ".join(f"{name} {labels[name]:,}" for name in run_data.labels))
    for reason, count in Counter(run_data.left_out.values()).most_common(5):
        say(f"  not trained on: {count} ({reason})")
    unlabelled, rate_hz = run_data.unlabelled, run_data.config.audio.sample_rate_hz
    if unlabelled.ids:
        hours = sum(map(run_data.samples, unlabelled.ids)) / rate_hz / 3_600
        say(
            f"  unlabelled {len(unlabelled.ids):>6,} segments  {hours:.2f} h, for distillation only"
        )
    for reason, count in unlabelled.left_out.items():
        say(f"    left out: {count:,} {reason}")
    if run_data.skipped:
        say(f"  could not be decoded, take no part: {len(run_data.skipped):,} clips, such as")
        for reason in list(run_data.skipped.values())[:3]:
            say(f"    {reason}")
