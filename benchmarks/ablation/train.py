"""Makes the missing rows: trains a student, scores it, stores what it said of every clip."""

import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.ablation.protocol import development_splits
from benchmarks.ablation.rows import Clips, Results, Row, scores, stored_logits
from benchmarks.ablation.table import Table, Variant, settings_of
from ser_kd.config import Config
from ser_kd.data.batching import Windowing
from ser_kd.distillation import fit_loop
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.inference.measure import machine
from ser_kd.pipeline import stages
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run


def row_directory(run_dir: Path, variant: Variant, seed: int) -> Path:
    """The run folder of one row."""
    return run_dir / f"{variant.name}_{seed}"


class DevelopmentData:
    """The data of rows, divided for development.

    Decoding is shared by all run folders in one parent; rows that follow each other with the same
    front end share the log-mel frames, too.
    """

    def __init__(self, development_speakers: Sequence[str]) -> None:
        self.development_speakers = development_speakers
        self._of: list[Any] = []
        self._data: RunData | None = None

    def __call__(self, run: Run) -> tuple[RunData, Clips]:
        """Training clips, and the clips to score as ``validation``."""
        config = run.config
        of = [config.corpus, config.audio, config.logmel]
        if self._data is None or of != self._of or config.corpus.unlabelled_dirs:
            self._data, self._of = run.data(), of
        else:
            run.record(self._data.corpus)
        official = {clip.speaker for clip in self._data.splits.validation}
        splits = development_splits(self._data.splits, self.development_speakers)
        run_data = dataclasses.replace(self._data, config=config, splits=splits)
        ids = run_data.ids("validation")
        speakers = tuple(run_data.speakers[clip_id] for clip_id in ids)
        clips = Clips(
            tuple(ids),
            run_data.one_hot(ids).argmax(1),
            speakers,
            np.array([speaker in official for speaker in speakers]),
            run_data.labels,
        )
        return run_data, clips


def train_missing(
    table: Table,
    wanted: Iterable[tuple[Variant, int]],
    results: Results,
    run_dir: Path,
    data_dir: str,
    metadata_dir: str,
) -> int:
    """Trains and scores what has no row yet; an interrupted row goes on where it was.

    Args:
        table: Of all variants.
        wanted: Variants and seeds, in order.
        results: Receives the rows.
        run_dir: Holds one run folder per row.
        data_dir: The corpus's folder; empty = as in the base recipe.
        metadata_dir: The folder of its CSV files; the same.

    Returns:
        How many rows were made.
    """
    data, made = DevelopmentData(table.development_speakers), 0
    for variant, seed in wanted:
        if (variant.name, seed) in results.rows(table):  # another process may have made it by now
            say(f"{variant.name}, seed {seed}: is there")
            continue
        config = table.config(variant, seed, data_dir, metadata_dir)
        say(f"\n{variant.name}, seed {seed}: {' '.join(variant.changes) or 'the base'}")
        run = Run.create(config, row_directory(run_dir, variant, seed))
        row = train_row(variant, run, data, results)
        made += 1
        say(
            f"  UA {100 * row.ua:.1f}, of the validation speakers {100 * row.ua_validation:.1f}; "
            f"NLL {row.nll:.3f}; training {row.training_seconds / 60:.1f} min"
        )
    return made


def train_row(variant: Variant, run: Run, data: DevelopmentData, results: Results) -> Row:
    """Trains one student and adds its row."""
    keras.backend.clear_session()
    if run.config.deterministic:
        fit_loop.make_deterministic()
    run_data, clips = data(run)
    results.check_clips(clips)
    heard = {run_data.speakers[clip_id] for clip_id in run_data.ids("training")}
    say(
        f"  trained on {len(run_data.ids('training')):,} clips of {len(heard)} speakers, scored on "
        f"{len(clips.ids):,} of {len(set(clips.speakers))}"
    )
    targets = stages.all_teacher_targets(run, run_data)
    model = stages.distilled_student(run, run_data, targets)
    logits = stored_logits(development_probs(model, run.config, run_data))
    history = _history(run.directory / fit_loop.HISTORY)
    row = Row(
        variant=variant.name,
        lever=variant.lever,
        seed=run.config.seed,
        settings=settings_of(run.config),
        epochs=run.config.fit.epochs,
        **_rounded(scores(clips, logits)),
        training_accuracy=round(history[-1]["accuracy"], 6),
        training_seconds=_seconds(history),
        teacher_seconds=_teacher_seconds(variant, run),
        parameters=int(model.count_params()),
        machine=machine(),
    )
    results.add(row, logits)
    return row


def development_probs(model: keras.Model, config: Config, run_data: RunData) -> np.ndarray:
    """Probabilities of the clips to score, float32 ``[clips, classes]``."""
    predictor = LogMelPredictor(model, Windowing.of(config.audio, config.logmel))
    return predictor.predict(run_data.logmel.select(run_data.ids("validation")))[0]


def _teacher_seconds(variant: Variant, run: Run) -> float | None:
    if not variant.has_teachers:
        return 0.0
    if not variant.has_own_teachers:
        return None
    histories = sorted((run.directory / "teachers").rglob(fit_loop.HISTORY))
    return _seconds([epoch for path in histories for epoch in _history(path)])


def _history(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _seconds(history: Iterable[dict[str, float]]) -> float:
    return round(sum(epoch["seconds"] for epoch in history), 1)


def _rounded(values: dict[str, float]) -> dict[str, float]:
    """What is below a hundredth of a clip is no information."""
    return {key: round(value, 8) for key, value in values.items()}
