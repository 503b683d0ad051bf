"""The last step of a training run: its waveform model evaluated, and ``report.html``."""

import shlex
from pathlib import Path

from ser_kd import files
from ser_kd.evaluation.clips import Choice
from ser_kd.evaluation.model import evaluate
from ser_kd.evaluation.predictions import write_csv
from ser_kd.evaluation.report import write_report
from ser_kd.pipeline.resources import student_files
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.crossfit import targets_path


def report_run(run: Run, run_data: RunData) -> Path:
    """Evaluates the file for the phone on validation and, where its clips are there, on test.

    The last of these parts is that of the run's page: ``evaluation/eval.json`` and
    ``evaluation/predictions.csv``. Validation has a folder below it where there is a test part.
    What is younger than all that it tells of is left as it is.

    Args:
        run: With its students exported, and their time and memory measured.
        run_data: Its clips.

    Returns:
        The page, ``report.html`` in the run's folder.
    """
    *others, shown = (part for part in ("validation", "test") if run_data.ids(part))
    folder, page = run.directory / "evaluation", run.directory / "report.html"
    for part in others:
        _evaluate_part(run, part, folder / part, folder / part / page.name)
    _evaluate_part(run, shown, folder, page)
    return page


def _evaluate_part(run: Run, part: str, folder: Path, page: Path) -> None:
    model, result = run.export_dir / "student_waveform.tflite", folder / "eval.json"
    sources = [model, *student_files(run).values()]
    sources += [targets_path(name, run) for name in run.config.teachers]
    if files.is_current(result, sources):
        say(f"  {result} is there")
    else:
        evaluation, predictions = evaluate(
            model, Choice(split=part), no_robustness=_how_to_add(run, model, part, folder)
        )
        write_csv(folder / "predictions.csv", predictions)
        files.write_json(result, evaluation)
    # Also where somebody has evaluated the model with other arguments since.
    if not files.is_current(page, [result]):
        write_report(files.read_json(result), page)


def _how_to_add(run: Run, model: Path, part: str, folder: Path) -> str:
    """The command that measures robustness, too."""
    # A page may be shown to others: no more of this machine's folders than was asked for.
    parent = run.directory.parent if run.directory.is_absolute() else Path()
    shown, out = (path.relative_to(parent).as_posix() for path in (model, folder))
    command = ["python", "-m", "ser_kd", "evaluate", shown, "--split", part, "--out", out]
    return f"it takes minutes; this adds it: {shlex.join(command)}"
