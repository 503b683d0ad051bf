"""Scores of everything that a run made, on the same clips: ``eval.json``."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ser_kd import files, metrics
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config
from ser_kd.data import batching, clip_arrays
from ser_kd.data.targets import ALL_FOLDS, Targets, softmax
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.evaluation import teaching
from ser_kd.pipeline.resources import student_files
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.frontend import Frontend
from ser_kd.students.saved import load_keras
from ser_kd.teachers.crossfit import targets_path
from ser_kd.tflite.interpreters import TFLiteModel

_BATCH = 64


def evaluate(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> dict[str, Any]:
    """Scores teachers and students on validation and, where its clips are there, on test.

    Writes ``eval.json``: for each part WA, UA, macro-F1 with 95 % intervals over speakers and the
    confusion matrix of every model, and each teacher's out-of-fold score on the training speakers;
    ``teaching``: what the students took from their teachers (``teaching.compare`` for each part,
    with ``teaching.weights``; empty without teachers). An ``eval.json`` that is younger than
    everything that it tells of is left as it is, if it has all of these.
    """
    path = run.directory / "eval.json"
    if is_current(run):
        known: dict[str, Any] = files.read_json(path)
        if "teaching" in known:
            say(f"  {path} is there")
            return known
    models = _student_predictions(run, run_data)
    distill, parts, taught = run.config.distill, {}, {}
    for part in ("validation", "test"):
        ids = run_data.ids(part)
        if not ids:
            continue
        truth = run_data.one_hot(ids).argmax(1)
        speakers = [run_data.speakers[clip_id] for clip_id in ids]
        teachers = {
            teaching.row_name(name): softmax(teacher.logits_of(ids, name))
            for name, teacher in targets.items()
            if teaching.knows(teacher, ids)  # one from outside may lack some clips
        }
        students = {name: predict(ids) for name, predict in models.items()}
        rows = {
            name: _scores(probs, truth, speakers, run_data)
            for name, probs in (teachers | students).items()
        }
        parts[part] = {"clips": len(ids), "speakers": len(set(speakers)), "models": rows}
        if teachers:
            mix = teaching.mixture(distill, targets, ids)
            taught[part] = teaching.compare(teachers, mix, students, truth, speakers)
    result = {
        "labels": list(run_data.labels),
        "synthetic": run_data.corpus.synthetic,
        "parts": parts,
        "teachers_out_of_fold": {
            name: _out_of_fold_scores(teacher, run_data) for name, teacher in targets.items()
        },
        "teaching": {**teaching.weights(distill, list(targets)), "parts": taught} if taught else {},
    }
    files.write_json(path, result)
    return result


def is_current(run: Run) -> bool:
    """Whether ``eval.json`` is there, and no model that it tells of is younger."""
    sources: list[Path] = [*student_files(run).values()]
    sources += [targets_path(name, run) for name in run.config.teachers]
    return files.is_current(run.directory / "eval.json", sources)


def stored_teaching(run: Run, part: str, clips: int) -> dict[str, Any]:
    """What ``eval.json`` tells of students and teachers on one part's clips.

    Args:
        run: Its models may be newer than its tables.
        part: A part of the run's corpus.
        clips: How many there are; of others nothing is known.

    Returns:
        ``teaching.weights`` and ``teaching.compare``; empty where ``eval.json`` does not tell, or
        is older than the models.
    """
    if not is_current(run):
        return {}
    known = files.read_json(run.directory / "eval.json").get("teaching") or {}
    found = known.get("parts", {}).get(part)
    if not found or found["clips"] != clips:
        return {}
    return {**{key: value for key, value in known.items() if key != "parts"}, **found}


def _scores(
    probs: np.ndarray, truth: np.ndarray, speakers: list[str], run_data: RunData
) -> dict[str, Any]:
    predicted, classes = probs.argmax(1), len(run_data.labels)
    return {
        **metrics.scores(truth, predicted),
        "intervals": metrics.speaker_intervals(truth, predicted, speakers, classes),
        "confusion": metrics.confusion(truth, predicted, classes),
    }


def tflite_probs(
    model: TFLiteModel,
    arrays: clip_arrays.ClipArrays,
    config: Config,
    classes: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """What a ``.tflite`` student that takes log-mel says of clips.

    Args:
        model: Log-mel windows -> logits.
        arrays: Log-mel frames of the clips.
        config: Of the run; its windows are used.
        classes: Labels.
        temperature: The logits of each window are divided by it.

    Returns:
        float32 ``[clips, classes]``: the mean of the probabilities of each clip's windows.
    """
    windowing = Windowing.of(config.audio, config.logmel)
    frames = config.logmel.frames(config.audio.window_samples)
    batches = batching.evaluation_batches(arrays, windowing, frames, _BATCH)
    probs = (
        (clips, softmax(model.predict(windows) / temperature)) for clips, windows, _ in batches
    )
    return batching.average_windows(arrays, probs, classes)


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
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    # As in use: a mean over windows can have another label when they are softened.
    frontend = run.export_dir / "frontend.json"
    temperature = Frontend.read(frontend).temperature if frontend.is_file() else 1.0

    def from_keras(model: keras.Model) -> Callable[[list[str]], np.ndarray]:
        predictor = LogMelPredictor(model, windowing, temperature)
        return lambda ids: predictor.predict(run_data.logmel.select(ids))[0]

    def from_tflite(model: TFLiteModel) -> Callable[[list[str]], np.ndarray]:
        classes = len(run_data.labels)
        return lambda ids: tflite_probs(
            model, run_data.logmel.select(ids), run.config, classes, temperature
        )

    return {
        name: from_tflite(TFLiteModel(path))
        if path.suffix == ".tflite"
        else from_keras(load_keras(path))
        for name, path in student_files(run).items()
    }
