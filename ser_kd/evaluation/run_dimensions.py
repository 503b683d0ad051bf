"""How well a run's students tell continuous targets: ``dimensions.json``."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ser_kd import data, files, metrics
from ser_kd.heads import DIMENSIONS
from ser_kd.multi_task import predict_dimensions
from ser_kd.predict import load_keras
from ser_kd.run import Run, RunData
from ser_kd.tflite import TFLiteModel

FILE = "dimensions.json"
_Predict = Callable[[list[str]], np.ndarray]


def evaluate_dimensions(run: Run, run_data: RunData) -> dict[str, Any]:
    """Scores every student that has a head for dimensions; writes ``dimensions.json``.

    Args:
        run: Trained and exported.
        run_data: With ``dimensions``.

    Returns:
        ``names``; ``parts``: validation and, where its clips are there, test: ``clips``,
        ``speakers``, ``rated`` (clips per dimension) and ``models``: name -> dimension ->
        ``[CCC, low, high]``, the 95 % interval over speakers; None where nothing can be told. The
        key ``mean`` is the mean of the dimensions.
    """
    names = [dimension.name for dimension in run_data.dimensions]
    models = _models(run, run_data)
    parts = {}
    for part in ("validation", "test"):
        ids = run_data.ids(part)
        if not ids:
            continue
        truth = run_data.ratings(ids)
        speakers = [run_data.speakers[clip_id] for clip_id in ids]
        rated = np.isfinite(truth).sum(axis=0).tolist()
        parts[part] = {
            "clips": len(ids),
            "speakers": len(set(speakers)),
            "rated": dict(zip(names, rated, strict=True)),
            "models": {
                name: _row(names, truth, predict(ids), speakers) for name, predict in models.items()
            },
        }
    result = {"names": names, "parts": parts}
    files.write_json(run.directory / FILE, result)
    return result


def table(result: dict[str, Any]) -> str:
    """The scores for people: CCC by dimension, of test where there is one."""
    part = "test" if "test" in result["parts"] else "validation"
    facts = result["parts"][part]
    names = [*result["names"], "mean"]
    width = max(map(len, facts["models"]))
    lines = [
        f"Concordance (CCC, 1 = the raters' mean itself) on {facts['clips']:,} {part} clips of "
        f"{facts['speakers']} speakers,",
        "with its 95 % interval over speakers:",
        "",
        " " * width + "".join(f"  {name:>18}" for name in names),
    ]
    for model, row in facts["models"].items():
        lines.append(model.ljust(width) + "".join(f"  {_cell(row[name]):>18}" for name in names))
    return "\n".join(lines)


def _models(run: Run, run_data: RunData) -> dict[str, _Predict]:
    windowing = data.Windowing.of(run.config.audio, run.config.logmel)
    taught = "student, distilled" if run.config.teachers else "student, labels alone"
    paths = {taught: run.dimensions_path}
    if run.config.teachers:
        alone = run.baseline_dir / run.dimensions_path.name
        paths = {"student, labels alone": alone, **paths}

    def from_keras(path: Any) -> _Predict:
        model = load_keras(path)
        return lambda ids: predict_dimensions(model, windowing, run_data.logmel.select(ids))

    def int8(ids: list[str]) -> np.ndarray:
        model = TFLiteModel(run.export_dir / "student_dimensions_int8.tflite", output=DIMENSIONS)
        arrays, window = run_data.logmel.select(ids), model.input_shape[1]
        batches = data.evaluation_batches(arrays, windowing, window, 64)
        values = ((clips, model.predict(windows)) for clips, windows, _ in batches)
        return data.average_windows(arrays, values, model.output_shape[1])

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


def _cell(values: list[float] | None) -> str:
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{values[0]:.3f} ({values[1]:.2f}-{values[2]:.2f})"
