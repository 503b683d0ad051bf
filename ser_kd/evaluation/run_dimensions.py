"""Concordance (CCC) of a run's students and teachers on dimensions: ``dimensions.json``."""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ser_kd import files, metrics
from ser_kd.audio.windows import Windowing
from ser_kd.data import batching
from ser_kd.data.targets import Targets, read_targets
from ser_kd.distillation.dimensional import DimensionPredictor
from ser_kd.evaluation.run_models import knows, out_of_fold_clips
from ser_kd.evaluation.scores import teacher_row
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import DISTILLED, LABELS_ALONE, Run
from ser_kd.students.heads import DIMENSIONS
from ser_kd.students.saved import load_keras
from ser_kd.teachers.crossfit import targets_path
from ser_kd.tflite.interpreters import TFLiteModel

_Predict = Callable[[list[str]], np.ndarray]


def evaluate_dimensions(
    run: Run, run_data: RunData, baseline: str = LABELS_ALONE
) -> dict[str, Any]:
    """Scores every teacher and student that predicts dimensions; writes ``dimensions.json``.

    Args:
        run: Trained and exported.
        run_data: With ``dimensions``.
        baseline: What the student without teachers is called.

    Returns:
        ``names``; ``parts``: validation and, where its clips are there, test: ``clips``,
        ``speakers``, ``rated`` (clips per dimension) and ``models``: name -> dimension ->
        ``[CCC, low, high]``, the 95 % interval over speakers; None where it is undefined. The
        key ``mean`` is the mean of the dimensions. With teachers that predict dimensions also
        ``teachers_out_of_fold``: teacher -> the same row on the training clips, each predicted by
        the fold that was not trained on its speaker; None where that is not known.
    """
    names = [dimension.name for dimension in run_data.dimensions]
    teachers = _teachers(run, run_data)
    students = _models(run, run_data, baseline)
    parts = {}
    for part in ("validation", "test"):
        ids = run_data.ids(part)
        if not ids:
            continue
        truth = run_data.ratings(ids)
        speakers = [run_data.speakers[clip_id] for clip_id in ids]
        models = {
            teacher_row(name): functools.partial(_predicted, teacher)
            for name, teacher in teachers.items()
            if knows(teacher, ids)  # one from outside may lack some clips
        } | students
        rated = np.isfinite(truth).sum(axis=0).tolist()
        parts[part] = {
            "clips": len(ids),
            "speakers": len(set(speakers)),
            "rated": dict(zip(names, rated, strict=True)),
            "models": {
                name: _row(names, truth, predict(ids), speakers) for name, predict in models.items()
            },
        }
    result: dict[str, Any] = {"names": names, "parts": parts}
    if teachers:
        result["teachers_out_of_fold"] = {
            name: _out_of_fold(names, teacher, run_data) for name, teacher in teachers.items()
        }
    files.write_json(run.dimension_scores_path, result)
    return result


def table(result: dict[str, Any]) -> str:
    """The scores for people: CCC by dimension, of test where there is one."""
    part = "test" if "test" in result["parts"] else "validation"
    facts = result["parts"][part]
    names = [*result["names"], "mean"]
    width = max(map(len, facts["models"]))
    lines = [
        f"Concordance (CCC, 1 = the raters' mean) on {facts['clips']:,} {part} clips of "
        f"{facts['speakers']} speakers,",
        "with its 95 % interval over speakers:",
        "",
        " " * width + "".join(f"  {name:>18}" for name in names),
    ]
    for model, row in facts["models"].items():
        cells = [_cell(row[name], facts["speakers"]) for name in names]
        lines.append(model.ljust(width) + "".join(f"  {cell:>18}" for cell in cells))
    for teacher, told in result.get("teachers_out_of_fold", {}).items():
        if told:
            values = ", ".join(f"{name} {_cell(told[name])}" for name in names)
            lines.append(f"{teacher_row(teacher)}, out of fold on the training clips: {values}")
    return "\n".join(lines)


def _teachers(run: Run, run_data: RunData) -> dict[str, Targets]:
    """Those that predict dimensions."""
    count, labels = len(run_data.dimensions), run_data.labels
    targets = {
        name: read_targets(targets_path(name, run), labels, count) for name in run.config.teachers
    }
    return {name: found for name, found in targets.items() if found.dimensions is not None}


def _predicted(teacher: Targets, ids: list[str]) -> np.ndarray:
    assert teacher.dimensions is not None
    values: np.ndarray = teacher.dimensions[teacher.rows_of(ids, "")]
    return values


def _out_of_fold(
    names: list[str], teacher: Targets, run_data: RunData
) -> dict[str, list[float] | None] | None:
    known = out_of_fold_clips(teacher)
    ids = [clip_id for clip_id in run_data.ids("training") if clip_id in known]
    if not ids:
        return None
    speakers = [run_data.speakers[clip_id] for clip_id in ids]
    return _row(names, run_data.ratings(ids), _predicted(teacher, ids), speakers)


def _models(run: Run, run_data: RunData, baseline: str) -> dict[str, _Predict]:
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    taught = DISTILLED if run.config.teachers else baseline
    paths = {taught: run.dimensions_path}
    if run.config.teachers:
        paths = {baseline: run.baseline_dir / run.dimensions_path.name, **paths}

    def from_keras(path: Any) -> _Predict:
        predictor = DimensionPredictor(load_keras(path), windowing)
        return lambda ids: predictor.predict(run_data.logmel.select(ids))

    def int8(ids: list[str]) -> np.ndarray:
        model = TFLiteModel(run.export_dir / "student_dimensions_int8.tflite", output=DIMENSIONS)
        arrays, window = run_data.logmel.select(ids), model.input_shape[1]
        batches = batching.evaluation_batches(arrays, windowing, window, 64)
        values = ((clips, model.predict(windows)) for clips, windows, _ in batches)
        return batching.average_windows(arrays, values, model.output_shape[1])

    return {**{name: from_keras(path) for name, path in paths.items()}, f"{taught}, int8": int8}


def _row(
    names: list[str], truth: np.ndarray, predicted: np.ndarray, speakers: list[str]
) -> dict[str, list[float] | None]:
    values = metrics.concordance(truth, predicted)
    intervals = metrics.concordance_intervals(truth, predicted, speakers)
    row: dict[str, list[float] | None] = {
        name: None if math.isnan(value) else [float(value), *map(float, ends)]
        for name, value, ends in zip(names, values, intervals, strict=True)
    }
    known = [cell[0] for cell in row.values() if cell]
    row["mean"] = [float(np.mean(known))] if known else None
    return row


def _cell(values: list[float] | None, speakers: int = metrics.MIN_SPEAKERS) -> str:
    """Such as ``0.512 (0.47-0.55)``, ``0.512`` without interval, ``-`` where it is undefined."""
    if not values:
        return "-"
    ends = metrics.reported_interval(values[1:] or None, speakers)
    return f"{values[0]:.3f}" + (f" ({ends[0]:.2f}-{ends[1]:.2f})" if ends else "")
