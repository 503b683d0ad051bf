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
from ser_kd.config import Config, config_from_dict, config_to_dict, flat_settings
from ser_kd.corpora import Clip, Corpus, demo_folder, load_corpus
from ser_kd.data import ClipArrays, ClipView, Hears
from ser_kd.dimensions import Dimension, dimensions_of, read_ratings
from ser_kd.errors import UserError
from ser_kd.features import LogMel
from ser_kd.progress import say, track
from ser_kd.splits import Splits, split_corpus
from ser_kd.unlabelled import Unlabelled, cut_into_segments, unlabelled_files
from ser_kd.views import make_view

RUNS_DIR = Path("runs")
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
# Settings that nothing depends on before the student is fine-tuned for int8.
_OF_INT8 = ("quantization.epochs", "quantization.learning_rate")
_PACKAGES = ("tensorflow", "keras", "numpy", "ai-edge-litert", "tflite-runtime", "transformers")


@dataclass(frozen=True)
class RunData:
    """A corpus, decoded and divided, and speech without labels beside it.

    Training clips have views (``config.views``, ``ser_kd.views``), which are made where they are
    asked for; every other clip and all unlabelled speech has but view 0, itself.

    Attributes:
        corpus: Labels and clips.
        splits: By speaker.
        waveforms: Every clip that could be decoded, as int16 samples.
        logmel: The same clips through the front end.
        left_out: Clip id -> why it is not trained on: the corpus's own reasons, and digital
            silence.
        skipped: Clip id -> why it could not be decoded. Such clips take no part at all.
        config: Of the run.
        unlabelled: Segments for distillation alone, ``ids("unlabelled")``.
    """

    corpus: Corpus
    splits: Splits
    waveforms: ClipArrays
    logmel: ClipArrays
    left_out: Mapping[str, str]
    skipped: Mapping[str, str]
    config: Config
    unlabelled: Unlabelled

    @property
    def labels(self) -> tuple[str, ...]:
        return self.corpus.labels

    def ids(self, part: str) -> list[str]:
        """Clip ids of ``training``, ``validation`` or ``test``, as far as they can be decoded.

        ``training`` is the train split without ``left_out``. ``unlabelled`` is none of the
        corpus: those segments are for distillation alone.
        """
        if part == "unlabelled":
            return list(self.unlabelled.ids)
        clips = self.splits.train if part == "training" else getattr(self.splits, part)
        barred = self.left_out if part == "training" else {}
        return [c.id for c in clips if c.id not in self.skipped and c.id not in barred]

    @functools.cached_property
    def speakers(self) -> Mapping[str, str]:
        """Clip id -> speaker."""
        return {clip.id: clip.speaker for clip in self.corpus.clips}

    def one_hot(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), classes]``; zeros for unlabelled segments."""
        without = set(self.unlabelled.ids)
        result = np.zeros((len(ids), len(self.labels)), np.float32)
        labelled = [row for row, clip_id in enumerate(ids) if clip_id not in without]
        result[labelled] = data.one_hot(
            self.corpus.clips, [ids[row] for row in labelled], self.labels
        )
        return result

    @functools.cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The continuous targets that ``config.dimensions`` asks for."""
        if self.config.dimensions.weight == 0:
            return ()
        return dimensions_of(self.config.corpus.name, self.config.dimensions.ranges)

    @functools.cached_property
    def _ratings(self) -> Mapping[str, np.ndarray]:
        """Clip id -> float32 ``[dimensions]``."""
        clips = self.corpus.clips
        return {
            clip.id: row
            for clip, row in zip(clips, read_ratings(clips, self.dimensions), strict=True)
        }

    def ratings(self, ids: Sequence[str]) -> np.ndarray:
        """float32 ``[len(ids), dimensions]`` in -1..1; NaN where a clip or segment has no rating.

        Raises:
            UserError: A rating is out of range, or no clip has one.
        """
        nothing = np.full(len(self.dimensions), np.nan, np.float32)
        return np.array([self._ratings.get(clip_id, nothing) for clip_id in ids], np.float32)

    def views(self, part: str) -> list[ClipView]:
        """Every view of every clip of a part, clip by clip, from view 0 on."""
        count = self.config.views.count if part == "training" else 0
        return [(clip_id, view) for clip_id in self.ids(part) for view in range(count + 1)]

    def heard_by_teachers(self, view: ClipView) -> ClipView:
        """What teachers hear where the student hears ``view``: the same, or the clip as it is."""
        return view if self.config.views.teachers_hear == "view" else (view[0], 0)

    def teacher_views(self, part: str) -> list[ClipView]:
        """What teachers predict of a part, each view once."""
        return list(dict.fromkeys(map(self.heard_by_teachers, self.views(part))))

    def samples(self, clip_id: str) -> int:
        """Length of a clip or segment, of its view 0."""
        arrays, row = self._places[clip_id]
        return int(arrays.samples[row])

    def arrays(self, hears: Hears, views: Sequence[ClipView]) -> ClipArrays:
        """Some views of clips and segments, in that order: int16 samples or log-mel frames."""
        if hears == "waveform":
            parts = [self._waveform(*view) for view in views]
            samples = np.array([len(part) for part in parts], np.int64)
            return data.join([clip_id for clip_id, _ in views], parts, samples, data.NO_WAVEFORMS)
        places = [self._logmel_place(view) for view in views]
        return data.join(
            [clip_id for clip_id, _ in views],
            [arrays.clip(row) for arrays, row in places],
            np.array([arrays.samples[row] for arrays, row in places], np.int64),
            self.logmel,
        )

    @functools.cached_property
    def training_logmel(self) -> ClipArrays:
        """Log-mel frames of what a student learns from, kept in memory: ``student_views``.

        With V views beside each clip this is 1 + V times as much as the training clips' own frames.
        """
        logmel, parts, samples = LogMel(self.config.logmel), [], []
        for clip_id, view in track(
            self.student_views, len(self.student_views), "log-mel of views and unlabelled speech"
        ):
            if view == 0 and clip_id in self._logmel_rows:
                row = self._logmel_rows[clip_id]
                parts.append(self.logmel.clip(row))
                samples.append(int(self.logmel.samples[row]))
            else:
                waveform = audio.to_float(self._waveform(clip_id, view))
                parts.append(data.clip_logmel(logmel, waveform))
                samples.append(len(waveform))
        ids = [clip_id for clip_id, _ in self.student_views]
        return data.join(ids, parts, np.array(samples, np.int64), self.logmel)

    @functools.cached_property
    def student_views(self) -> Sequence[ClipView]:
        """What a student can learn from: the views of the training clips, unlabelled segments."""
        return self.views("training") + self.views("unlabelled")

    def student_rows(self, with_unlabelled: bool) -> np.ndarray:
        """Where in ``student_views`` each clip's views are, int ``[clips, views]``.

        A segment without label has one view, whichever is drawn.
        """
        training, views = len(self.ids("training")), self.config.views.count + 1
        rows = np.arange(training * views).reshape(training, views)
        if not with_unlabelled:
            return rows
        segments = np.arange(rows.size, rows.size + len(self.unlabelled.ids))
        return np.concatenate([rows, np.repeat(segments[:, np.newaxis], views, axis=1)])

    @functools.cached_property
    def _places(self) -> Mapping[str, tuple[ClipArrays, int]]:
        """Clip or segment id -> where its samples are."""
        return {
            clip_id: (arrays, row)
            for arrays in (self.unlabelled.pieces, self.waveforms)
            for row, clip_id in enumerate(arrays.ids)
        }

    @functools.cached_property
    def _logmel_rows(self) -> Mapping[str, int]:
        return {clip_id: row for row, clip_id in enumerate(self.logmel.ids)}

    @functools.cached_property
    def _student_rows(self) -> Mapping[ClipView, int]:
        return {view: row for row, view in enumerate(self.student_views)}

    def _waveform(self, clip_id: str, view: int) -> np.ndarray:
        """int16 ``[samples]``: what both kinds of networks hear of a view."""
        arrays, row = self._places[clip_id]
        samples = arrays.clip(row)
        if view == 0:
            return samples
        config = self.config
        waveform = audio.to_float(samples)
        rate_hz = config.audio.sample_rate_hz
        return audio.to_int16(
            make_view(waveform, config.views, config.seed, clip_id, view, rate_hz)
        )

    def _logmel_place(self, view: ClipView) -> tuple[ClipArrays, int]:
        clip_id, number = view
        if number == 0 and clip_id in self._logmel_rows:
            return self.logmel, self._logmel_rows[clip_id]
        return self.training_logmel, self._student_rows[view]


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
            # Through a config: settings that are newer than the run have their defaults.
            before = flat_settings(config_to_dict(config_from_dict(_read_config(path))))
            now = flat_settings(config_to_dict(config))
            may_change = _MAY_CHANGE if run.int8_aware_dir.exists() else _MAY_CHANGE + _OF_INT8
            changed = [
                key
                for key in [*now, *before]
                if before.get(key) != now.get(key) and key not in may_change
            ]
            if changed:
                key = changed[0]
                folder = run.int8_aware_dir if set(changed) <= set(_OF_INT8) else "the folder"
                raise UserError(
                    f"{directory} holds a run with other settings ({key} = {before.get(key)!r}, "
                    f"now {now.get(key)!r}); give another --run-dir, or delete {folder}"
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
        """The student: ``student.keras``, or ``dimensions_path`` where it has no categories."""
        if self.config.dimensions.alone:
            return self.dimensions_path
        return self.directory / "student.keras"

    @property
    def dimensions_path(self) -> Path:
        """The student with its head for continuous targets, where ``config.dimensions`` asks."""
        return self.directory / "dimensions.keras"

    @property
    def baseline_dir(self) -> Path:
        """Where the student that learns from labels (or ratings) alone is trained."""
        return self.directory / "baseline"

    @property
    def baseline_name(self) -> str:
        """What tables call a student that no teacher teaches."""
        return f"student, {self.config.ground_truth} alone"

    @property
    def int8_aware_dir(self) -> Path:
        """Where the student is fine-tuned for int8, if ``config.quantization`` asks for it."""
        return self.directory / "int8_aware"

    @property
    def int8_student_path(self) -> Path:
        """The student whose weights the int8 files have."""
        fine_tuned = self.config.quantization.epochs > 0
        return (self.int8_aware_dir if fine_tuned else self.directory) / self.student_path.name

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
        recordings = unlabelled_files(self.config.corpus.unlabelled_dirs, corpus)
        self.record(corpus, recordings)
        waveforms, skipped = data.load_waveforms(corpus.clips, self.config.audio, self.cache_dir)
        silent = {
            clip_id: "digital silence"
            for index, clip_id in enumerate(waveforms.ids)
            if audio.is_silent(audio.to_float(waveforms.clip(index)))
        }
        left_out = {**silent, **corpus.left_out}
        logmel = data.logmel_arrays(waveforms, self.config.logmel)
        unlabelled = self._segments(recordings)
        run_data = RunData(
            corpus, splits, waveforms, logmel, left_out, skipped, self.config, unlabelled
        )
        _report(run_data)
        for part in ("training", "validation"):
            if not run_data.ids(part):
                raise UserError(
                    f"no {part} clip can be used (all are unreadable or left out); "
                    f"python -m ser_kd data {corpus.name} {corpus.folder} says why"
                )
        return run_data

    def _segments(self, recordings: Sequence[Clip]) -> Unlabelled:
        if not recordings:
            return Unlabelled()
        config = self.config.audio
        waveforms, skipped = data.load_waveforms(recordings, config, self.cache_dir)
        return cut_into_segments(waveforms, skipped, config)


def _make_demo_corpus(config: Config) -> None:
    """Here rather than in ``load_corpus``, to show progress."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 5.0 or done == total:
            said = time.monotonic()
            say(f"  speaking the demo corpus (synthetic): {done:,} of {total:,} clips")

    demo_folder(config.corpus, progress)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = dict(files.read_json(path)["config"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is not a run's config.json; restore or delete it") from None
    return config


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
