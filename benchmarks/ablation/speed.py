"""What a wider student costs: files and times of one lever, all timed in turns in one go."""

from pathlib import Path
from typing import Any

from benchmarks.ablation.rows import Results
from benchmarks.ablation.table import Table, Variant
from benchmarks.ablation.train import DevelopmentData, row_directory
from ser_kd import files, metrics
from ser_kd.errors import UserError
from ser_kd.evaluation.run_scores import tflite_probs
from ser_kd.export.convert import calibration_windows, convert, model_path
from ser_kd.inference.measure import machine, measure_all
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.saved import load_keras
from ser_kd.tflite.interpreters import TFLiteModel

KINDS = ("float32", "int8")
_FOLDER = "timed"
"""In a run's folder. Not ``export``: without labels and front end these files are no export."""


def measure_speed(
    table: Table, results: Results, run_dir: Path, data_dir: str, metadata_dir: str
) -> dict[str, Any]:
    """Converts the timed lever's students, scores their int8 files, and times a file of each kind.

    Times of different hours do not compare: whatever was timed before is timed again.

    Args:
        table: Of all variants.
        results: Its rows say what is trained; receives ``speed.json``.
        run_dir: Where the rows were trained.
        data_dir: The corpus's folder; empty = as in the base recipe.
        metadata_dir: The folder of its CSV files; the same.

    Returns:
        ``machine`` and ``variants``: name -> ``parameters`` and, by kind, ``bytes``,
        ``latency_ms`` (median of one window, one thread, without front end), ``runtime`` and, of
        int8, ``ua``: seed -> UA of the file on the scored clips.

    Raises:
        UserError: No variant of the lever is trained, or a trained one is not in ``run_dir``.
    """
    rows = results.rows(table)
    seeds = {
        variant.name: sorted(seed for name, seed in rows if name == variant.name)
        for variant in table.timed()
    }
    chosen = [variant for variant in table.timed() if seeds[variant.name]]
    if not chosen:
        raise UserError(
            f"nothing to time: no row of lever {table.timed_lever!r} and none of the base; "
            "train some first"
        )
    development = DevelopmentData(table.development_speakers)
    uas: dict[str, dict[int, float]] = {variant.name: {} for variant in chosen}
    for variant in chosen:
        for seed in seeds[variant.name]:
            config = table.config(variant, seed, data_dir, metadata_dir)
            run = Run.create(config, row_directory(run_dir, variant, seed))
            run_data, clips = development(run)
            results.check_clips(clips)
            path = _converted(variant, run, run_data)
            arrays = run_data.logmel.select(run_data.ids("validation"))
            probs = tflite_probs(TFLiteModel(path), arrays, config, len(run_data.labels))
            predicted = probs.argmax(1)
            uas[variant.name][seed] = metrics.scores(clips.truth, predicted)["ua"]
            say(f"{variant.name}, seed {seed}: int8 UA {100 * uas[variant.name][seed]:.1f}")
    paths = {
        (variant.name, kind): model_path(
            row_directory(run_dir, variant, seeds[variant.name][0]) / _FOLDER, kind
        )
        for variant in chosen
        for kind in KINDS
    }
    timed = dict(zip(paths, measure_all([*paths.values()]), strict=True))
    figures: dict[str, Any] = {}
    for variant in chosen:
        name = variant.name
        figures[name] = {"parameters": rows[name, seeds[name][0]].parameters}
        for kind in KINDS:
            figures[name][kind] = {
                "bytes": paths[name, kind].stat().st_size,
                "latency_ms": round(timed[name, kind]["latency_ms"], 4),
                "runtime": timed[name, kind]["runtime"],
            }
        figures[name]["int8"]["ua"] = {str(s): round(ua, 8) for s, ua in uas[name].items()}
    result = {"machine": machine(), "variants": figures}
    files.write_json(results.speed_path, result)
    return result


def _converted(variant: Variant, run: Run, run_data: RunData) -> Path:
    """The int8 file of a row's student, made where it is missing, beside the float32 one."""
    if not run.student_path.is_file():
        raise UserError(
            f"{run.directory} holds no student of {variant.name!r}, seed {run.config.seed}: give "
            "the --run-dir that its row was trained in"
        )
    folder = run.directory / _FOLDER
    missing = tuple(
        kind for kind in KINDS if not files.is_current(model_path(folder, kind), [run.student_path])
    )
    if missing:
        calibration = calibration_windows(run_data.logmel, run_data.ids("training"), run.config)
        convert(load_keras(run.student_path), missing, folder, calibration)
    return model_path(folder, "int8")
