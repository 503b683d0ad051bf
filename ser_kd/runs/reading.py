"""From a run's settings to its data: the corpus is read, decoded and divided."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ser_kd.audio import decoding
from ser_kd.config import AudioConfig, Config
from ser_kd.corpora import Clip, load_corpus
from ser_kd.corpora.splits import class_gaps, split_corpus
from ser_kd.data import clip_arrays
from ser_kd.data.unlabelled import Unlabelled, cut_into_segments, unlabelled_files
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.record import record

_NAMES_SHOWN = 5


def read_run_data(directory: Path, config: Config, cache_dir: Path) -> RunData:
    """Reads, decodes and divides the corpus, and says what was found.

    Args:
        directory: Of the run; its ``config.json`` is written, or compared with what is found.
        config: Of the run.
        cache_dir: Keeps decoded audio.

    Raises:
        UserError: There is nothing to train on, or not what the run began with.
    """
    for partial in directory.rglob(".partial-*"):
        partial.unlink()  # of a run that was killed while it wrote
    corpus = load_corpus(config.corpus, progress=_making_progress())
    splits = split_corpus(corpus, config.corpus)
    splits.require("train", "validation")
    recordings = unlabelled_files(config.corpus.unlabelled_dirs, corpus)
    record(directory, config, corpus, recordings)
    waveforms, skipped = clip_arrays.load_waveforms(corpus.clips, config.audio, cache_dir)
    silent = {
        clip_id: "digital silence"
        for index, clip_id in enumerate(waveforms.ids)
        if decoding.is_silent(decoding.to_float(waveforms.clip(index)))
    }
    left_out = {**silent, **corpus.left_out}
    logmel = clip_arrays.logmel_arrays(waveforms, config.logmel)
    unlabelled = _segments(recordings, config.audio, cache_dir)
    run_data = RunData(corpus, splits, waveforms, logmel, left_out, skipped, config, unlabelled)
    _report(run_data)
    for part in ("training", "validation"):
        if not run_data.ids(part):
            raise UserError(
                f"no {part} clip can be used (all are unreadable or left out); "
                f"ser-kd data {corpus.name} {corpus.folder} says why"
            )
    trained = set(run_data.emotions("training"))
    if len(trained) == 1 and len(run_data.labels) > 1:
        raise UserError(
            f"all training clips are {trained.pop()}: at least two classes are needed; use another "
            "corpus.fold, or ser-kd train DIR, which trains on all clips"
        )
    return run_data


def _segments(recordings: Sequence[Clip], config: AudioConfig, cache_dir: Path) -> Unlabelled:
    if not recordings:
        return Unlabelled()
    waveforms, skipped = clip_arrays.load_waveforms(recordings, config, cache_dir)
    return cut_into_segments(waveforms, skipped, config)


def _making_progress() -> Callable[[int, int], None]:
    """Shows how the making of the demo corpus goes, every few seconds."""
    said = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said > 5.0 or done == total:
            said = time.monotonic()
            say(f"  speaking the demo corpus (synthetic): {done:,} of {total:,} clips")

    return progress


def _report(run_data: RunData) -> None:
    splits, labels = run_data.splits, Counter(clip.emotion for clip in run_data.corpus.clips)
    cross_validated = run_data.cross_validated
    for part in ("train",) if cross_validated else ("train", "validation", "test"):
        clips, part = getattr(splits, part), "all" if cross_validated else part
        say(f"  {part:<10} {len(clips):>6,} clips  {len({c.speaker for c in clips}):>3} speakers")
    say("  labels     " + ", ".join(f"{name} {labels[name]:,}" for name in run_data.labels))
    for note in run_data.corpus.notes:
        say(f"  note: {note}")
    parts = {"train": run_data.emotions("training")}
    if not cross_validated:
        parts |= {part: run_data.emotions(part) for part in ("validation", "test")}
    for line in class_gaps(parts, run_data.labels):
        say(f"  {line}")
    dropped = run_data.corpus.dropped
    for name, reason in list(dropped.items())[:_NAMES_SHOWN]:
        say(f"  not used: {name}: {reason}")
    if len(dropped) > _NAMES_SHOWN:
        more = f"{len(dropped) - _NAMES_SHOWN:,} more"
        say(f"  not used: {more}; ser-kd data {run_data.corpus.name} says which")
    for reason, count in Counter(run_data.left_out.values()).most_common(5):
        say(f"  not trained on: {count} ({reason})")
    unlabelled, rate_hz = run_data.unlabelled, run_data.config.audio.sample_rate_hz
    if unlabelled.ids:
        hours = sum(map(run_data.signals.samples, unlabelled.ids)) / rate_hz / 3_600
        say(
            f"  unlabelled {len(unlabelled.ids):>6,} segments  {hours:.2f} h, for distillation only"
        )
    for reason, count in unlabelled.left_out.items():
        say(f"    left out: {count:,} {reason}")
    if run_data.skipped:
        say(f"  could not be decoded, take no part: {len(run_data.skipped):,} clips, such as")
        for reason in list(run_data.skipped.values())[:3]:
            say(f"    {reason}")
