"""A student with continuous targets -> one int8 file with named outputs, compared with Keras."""

import dataclasses
from typing import Any

import numpy as np

from ser_kd import files, metrics
from ser_kd.audio.windows import Windowing
from ser_kd.data import batching
from ser_kd.distillation.dimensional import DimensionPredictor
from ser_kd.errors import UserError
from ser_kd.export import convert
from ser_kd.export.verify import sha256
from ser_kd.export.windows import all_windows, representative_windows
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.frontend import Frontend
from ser_kd.students.heads import DIMENSIONS, LOGITS
from ser_kd.students.saved import load_keras
from ser_kd.tflite.interpreters import TFLiteModel

FILE, FACTS, FRONTEND = "student_dimensions_int8.tflite", "dimensions.json", "frontend.json"


def export_dimensions(run: Run, run_data: RunData, force: bool = False) -> dict[str, Any]:
    """Writes ``student_dimensions_int8.tflite`` and, last, ``dimensions.json`` beside it.

    The file takes log-mel as ``student_int8.tflite`` does, and its signature names its outputs:
    ``logits`` ``[1, classes]`` and ``dimensions`` ``[1, dimensions]`` in -1..1. A student of
    dimensions alone has no ``logits``, and ``frontend.json`` is written here, which otherwise comes
    with the categories' files.

    Args:
        run: Has its ``dimensions.keras``.
        run_data: int8 takes its ranges from its training clips; compared on its validation clips.
        force: Whether to convert again what is there.

    Returns:
        The content of ``dimensions.json``: names and ranges in output order, and how far int8 is
        from Keras: mean absolute difference (of -1..1), CCC of both by dimension.

    Raises:
        UserError: No trained student, or TensorFlow cannot convert it.
    """
    source, folder, config = run.dimensions_path, run.export_dir, run.config
    if not source.is_file():
        raise UserError(
            f"{run.directory} has no {source.name}, the head that belongs to its student: delete "
            f"{run.student_path.name} there, and ser-kd train trains both again"
        )
    path, facts = folder / FILE, folder / FACTS
    if not force and files.is_current(path, [source]) and files.is_current(facts, [path]):
        known: dict[str, Any] = files.read_json(facts)
        return known
    folder.mkdir(parents=True, exist_ok=True)
    model = load_keras(source)
    alone = LOGITS not in model.output
    if alone:
        files.write_json(folder / FRONTEND, dataclasses.asdict(Frontend.of(config)))
    quantised_with = representative_windows(run_data.logmel, run_data.ids("training"), config)
    say(f"  converting {'dimensions' if alone else 'categories and dimensions'} to int8")
    convert.convert_multi_task(model, path, quantised_with)
    validation = run_data.logmel.select(run_data.ids("validation"))
    windowing = Windowing.of(config.audio, config.logmel)
    truth = run_data.ratings(validation.ids)
    keras = DimensionPredictor(model, windowing).predict(validation)
    clips, windows = all_windows(validation, config)
    values = TFLiteModel(path, output=DIMENSIONS).predict(windows)
    int8 = batching.average_windows(validation, iter([(clips, values)]), values.shape[1])
    names = [dimension.name for dimension in run_data.dimensions]
    result = {
        "file": FILE,
        "sha256": sha256(path),
        "bytes": path.stat().st_size,
        "outputs": {
            **({} if alone else {LOGITS: list(run_data.labels)}),
            DIMENSIONS: names,
        },
        "ranges": {d.name: [d.low, d.high] for d in run_data.dimensions},
        "validation_clips": len(validation),
        "mean_difference": float(np.abs(int8 - keras).mean()),
        "ccc_keras": _concordance(names, truth, keras),
        "ccc_int8": _concordance(names, truth, int8),
    }
    files.write_json(facts, result)
    return result


def _concordance(
    names: list[str], truth: np.ndarray, predicted: np.ndarray
) -> dict[str, float | None]:
    """By dimension; None where no clip is rated."""
    values = metrics.concordance(truth, predicted)
    return {
        name: None if np.isnan(value) else float(value)
        for name, value in zip(names, values, strict=True)
    }
