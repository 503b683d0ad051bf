"""Scores of everything that a run made, on the same clips: ``eval.json``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ser_kd import data, files, metrics
from ser_kd.logmel_network import LogMelPredictor
from ser_kd.predict import Frontend, load_keras
from ser_kd.progress import say
from ser_kd.resources import student_files
from ser_kd.run import Run, RunData
from ser_kd.targets import ALL_FOLDS, Targets, softmax
from ser_kd.teachers.crossfit import targets_path
from ser_kd.tflite import TFLiteModel

_BATCH = 64


def evaluate(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> dict[str, Any]:
    """Scores teachers and students on validation and, where its clips are there, on test.

    Writes ``eval.json``: for each part WA, UA, macro-F1 with 95 % intervals over speakers and the
    confusion matrix of every model, and each teacher's out-of-fold score on the training speakers.
    An ``eval.json`` that is younger than everything that it tells of is left as it is.
    """
    path = run.directory / "eval.json"
    if files.is_current(path, [*student_files(run).values(), *_target_paths(run)]):
        say(f"  {path} is there")
        result: dict[str, Any] = files.read_json(path)
        return result
    models = _student_predictions(run, run_data)
    parts = {}
    for part in ("validation", "test"):
        ids = run_data.ids(part)
        if not ids:
            continue
        truth = run_data.one_hot(ids).argmax(1)
        speakers = [run_data.speakers[clip_id] for clip_id in ids]
        rows = {
            f"teacher {name}": _scores(found, truth, speakers, run_data)
            for name, teacher in targets.items()
            if (found := _known(teacher, ids)) is not None
        }
        rows |= {
            name: _scores(predict(ids), truth, speakers, run_data)
            for name, predict in models.items()
        }
        parts[part] = {"clips": len(ids), "speakers": len(set(speakers)), "models": rows}
    result = {
        "labels": list(run_data.labels),
        "synthetic": run_data.corpus.synthetic,
        "parts": parts,
        "teachers_out_of_fold": {
            name: _out_of_fold_scores(teacher, run_data) for name, teacher in targets.items()
        },
    }
    files.write_json(path, result)
    return result


def _target_paths(run: Run) -> list[Path]:
    return [targets_path(name, run) for name in run.config.teachers]


def _known(targets: Targets, ids: list[str]) -> np.ndarray | None:
    """Predictions of all clips, or None for a teacher from outside that lacks some."""
    if not set(ids) <= _fold_of(targets).keys():
        return None
    return softmax(targets.logits_of(ids, ""))


def _scores(
    probs: np.ndarray, truth: np.ndarray, speakers: list[str], run_data: RunData
) -> dict[str, Any]:
    predicted, classes = probs.argmax(1), len(run_data.labels)
    return {
        **metrics.scores(truth, predicted),
        "intervals": metrics.speaker_intervals(truth, predicted, speakers, classes),
        "confusion": metrics.confusion(truth, predicted, classes),
    }


def _out_of_fold_scores(targets: Targets, run_data: RunData) -> dict[str, float] | None:
    """Each training clip scored by the fold that did not hear its speaker; None if not known."""
    fold = _fold_of(targets)
    ids = [i for i in run_data.ids("training") if fold.get(i, ALL_FOLDS) >= 0]
    if not ids:
        return None
    truth = run_data.one_hot(ids).argmax(1)
    return metrics.scores(truth, targets.logits_of(ids, "").argmax(1))


def _fold_of(targets: Targets) -> dict[str, int]:
    """Clip id -> fold, of the clips whose view 0 (the clip itself) was predicted."""
    rows = zip(targets.ids, targets.fold.tolist(), targets.view.tolist(), strict=True)
    return {clip_id: fold for clip_id, fold, view in rows if view == 0}


def _student_predictions(
    run: Run, run_data: RunData
) -> dict[str, Callable[[list[str]], np.ndarray]]:
    windowing = data.Windowing.of(run.config.audio, run.config.logmel)
    # As in use: a mean over windows can have another label when they are softened.
    frontend = run.export_dir / "frontend.json"
    temperature = Frontend.read(frontend).temperature if frontend.is_file() else 1.0

    def from_keras(model: keras.Model) -> Callable[[list[str]], np.ndarray]:
        predictor = LogMelPredictor(model, windowing, temperature)
        return lambda ids: predictor.predict(run_data.logmel.select(ids))[0]

    def from_tflite(model: TFLiteModel) -> Callable[[list[str]], np.ndarray]:
        def predict(ids: list[str]) -> np.ndarray:
            arrays = run_data.logmel.select(ids)
            window = run.config.logmel.frames(run.config.audio.window_samples)
            batches = data.evaluation_batches(arrays, windowing, window, _BATCH)
            values = (
                (clips, softmax(model.predict(windows) / temperature))
                for clips, windows, _ in batches
            )
            return data.average_windows(arrays, values, len(run_data.labels))

        return predict

    return {
        name: from_tflite(TFLiteModel(path))
        if path.suffix == ".tflite"
        else from_keras(load_keras(path))
        for name, path in student_files(run).items()
    }
