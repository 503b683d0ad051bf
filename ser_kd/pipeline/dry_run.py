"""What a run would do: what is read, what would be trained, and how long that takes here."""

import tempfile
import time
from pathlib import Path

import numpy as np

from ser_kd.config import Config
from ser_kd.corpora.emotions import matched_labels
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import LabelTerm
from ser_kd.pipeline.announcement import announce
from ser_kd.progress import duration, say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.runs.reading import read_run_data
from ser_kd.students.architectures import build_student
from ser_kd.students.frontend import find_frontend

_TIMED_STEPS = 5
_SECONDS_PER_NETWORK = 10.0
"""Building, tracing and saving one network on two cores."""
_EXPORT_SECONDS = 60.0


def dry_run(config: Config, run_dir: Path | None = None) -> None:
    """Reads the corpus, times a few training steps, and says what a run would do.

    Nothing is written but decoded audio, which the run will find in its cache.

    Args:
        config: Of the run.
        run_dir: Its folder; None = ``runs/<name>``.

    Raises:
        UserError: The corpus cannot be used.
    """
    run = Run.create(config, run_dir)
    announce(run, config.teachers)
    say("\nwhat is read")
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as folder:
        run_data = read_run_data(Path(folder), config, run.cache_dir)
    if config.student.transfer != "all":
        _say_matches(run_data)
    say("\nwhat would be done")
    _say_time(run_data)
    say("\nnothing was trained; the same command without --dry-run begins")


def _say_matches(run_data: RunData) -> None:
    theirs, _ = find_frontend(Path(run_data.config.student.initial_weights))
    matched = matched_labels(run_data.labels, theirs)
    for label in run_data.labels:
        known = f"begins with what is known of {matched[label]}" if label in matched else "new"
        say(f"  label {label}: {known}")


def _say_time(run_data: RunData) -> None:
    config, clips = run_data.config, len(run_data.ids("training"))
    networks = 1
    if run_data.cross_validated:
        folds = min(config.corpus.folds, len(set(run_data.speakers.values())))
        networks += folds
        say(f"  {folds} students for the scores, each trained without one fold; then one on all")
        clips = clips * (folds - 1) // folds if folds > 1 else clips
    elif config.teachers:
        networks += 1
    seconds = networks * _SECONDS_PER_NETWORK + _EXPORT_SECONDS
    if config.student.transfer == "head":
        say("  a new head is fitted on the finished student's body, which stays as it is")
    else:
        fit = config.fit.for_clips(clips)
        steps = fit.epochs * max(1, clips // fit.batch_size)
        step = _seconds_per_step(run_data, fit.batch_size)
        seconds += networks * steps * step
        say(
            f"  each: {fit.epochs} epochs, {steps:,} steps of {fit.batch_size} clips, "
            f"{1e3 * step:.0f} ms a step here"
        )
    say("  export to TensorFlow Lite, scores, report")
    teachers = ", and the teachers, whose time is said when they begin" if config.teachers else ""
    say(f"  about {duration(seconds)}{teachers}")


def _seconds_per_step(run_data: RunData, batch_size: int) -> float:
    """Median of a few training steps of the student, after its graph was traced."""
    config = run_data.config
    frames = config.logmel.frames(config.audio.window_samples)
    model = build_student(config.student, frames, config.logmel.mels, len(run_data.labels))
    distiller = Distiller(model, terms=[LabelTerm(1.0)], name="timed")
    fit_loop.compile_for_training(distiller, config.fit.for_clips(batch_size), 1)
    windows = np.zeros((batch_size, frames, config.logmel.mels), np.float32)
    labels = np.eye(len(run_data.labels), dtype=np.float32)[
        np.arange(batch_size) % len(run_data.labels)
    ]
    seconds = []
    for _ in range(_TIMED_STEPS + 1):
        start = time.monotonic()
        distiller.train_on_batch(windows, {"labels": labels})
        seconds.append(time.monotonic() - start)
    return float(np.median(seconds[1:]))
