"""The evaluation of a run: ``eval.json``, ``predictions.csv`` and ``report.html`` in its folder."""

from collections.abc import Mapping
from typing import Any

from ser_kd import files
from ser_kd.data.targets import Targets
from ser_kd.evaluation.clips import Choice, main_clips
from ser_kd.evaluation.cross_validation import cross_validated_part
from ser_kd.evaluation.exported_file import evaluate_file, model_facts, settings
from ser_kd.evaluation.html_report.page import write_report
from ser_kd.evaluation.predictions import predict_waveforms, prediction_rows, write_csv
from ser_kd.evaluation.run_folder import stored_resources, training_history
from ser_kd.evaluation.run_models import (
    Predict,
    out_of_fold_scores,
    student_files,
    student_predictions,
    student_predictors,
    teacher_predictions,
    waveform_student,
)
from ser_kd.evaluation.scores import FORMAT, OUT_OF_FOLD, STUDENT, Predictions, score_part
from ser_kd.inference.predictor import Predictor
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.crossfit import targets_path


def evaluate_run(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> dict[str, Any]:
    """Scores teachers and students on validation and, where its clips are there, on test.

    Writes ``eval.json`` (see ``scores``), ``predictions.csv`` of the file for the phone, and
    ``report.html``. An ``eval.json`` that is younger than all models that it tells of stays.

    Args:
        run: Trained, exported, and measured (``pipeline.resources``).
        run_data: Its clips.
        targets: Of its teachers.

    Returns:
        The content of ``eval.json``.
    """
    path, page = run.evaluation_path, run.report_path
    if is_current(run):
        say(f"  {path} is there")
        evaluation: dict[str, Any] = files.read_json(path)
    else:
        evaluation, predictions = _evaluate(run, run_data, targets)
        write_csv(run.predictions_path, predictions)
        files.write_json(path, evaluation)
    if not files.is_current(page, [path, run.resources_path]):
        write_report(evaluation, stored_resources(run), page)
    return evaluation


def is_current(run: Run) -> bool:
    """Whether ``eval.json`` has today's schema, and no model that it tells of is younger."""
    path = run.evaluation_path
    sources = [*student_files(run).values()]
    sources += [targets_path(name, run) for name in run.config.teachers]
    return files.is_current(path, sources) and files.read_json(path).get("format") == FORMAT


def _evaluate(
    run: Run, run_data: RunData, targets: Mapping[str, Targets]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The content of ``eval.json`` and the rows of ``predictions.csv``."""
    predictor = Predictor.load(waveform_student(run)[1])
    students = {} if run_data.cross_validated else student_predictors(run, run_data)
    parts: dict[str, Any] = {}
    predictions: list[dict[str, Any]] = []
    notes: list[str] = []
    if run_data.cross_validated:
        parts[OUT_OF_FOLD], predictions, notes = cross_validated_part(run, run_data, predictor)
    else:
        for part in ("validation", "test"):
            if run_data.ids(part):
                parts[part], rows, of_part = _part(
                    run, run_data, targets, part, students, predictor
                )
                predictions += rows
                notes += [f"{part}: {note}" for note in of_part]
        # RUN stands for the run's folder: its name is not part of the figures.
        notes.append(
            "robustness: not measured; it takes minutes: ser-kd evaluate RUN/export/"
            f"{waveform_student(run)[1].name} --split {list(parts)[-1]} --out RUN/evaluation"
        )
    evaluation = {
        "format": FORMAT,
        "labels": list(run_data.labels),
        "synthetic": run_data.corpus.synthetic,
        "corpus": run_data.corpus.name,
        "model": model_facts(waveform_student(run)[1], predictor.frontend),
        "parts": parts,
        "teachers_out_of_fold": {
            name: out_of_fold_scores(teacher, run_data) for name, teacher in targets.items()
        },
        "cross_corpus": [],
        "history": training_history(run),
        "settings": settings(),
        "notes": notes,
    }
    return evaluation, predictions


def _part(
    run: Run,
    run_data: RunData,
    targets: Mapping[str, Targets],
    part: str,
    students: Mapping[str, Predict],
    predictor: Predictor,
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    notes: list[str] = []
    ids = run_data.ids(part)
    clips = main_clips(predictor, run, Choice(split=part), notes)
    probs = predict_waveforms(predictor, clips.waveforms())
    name, _ = waveform_student(run)
    scored = score_part(
        ids,
        run_data.one_hot(ids).argmax(1),
        [run_data.speakers[clip_id] for clip_id in ids],
        run_data.labels,
        [
            *teacher_predictions(targets, ids),
            *student_predictions(students, run_data, ids),
            Predictions(name, STUDENT, clips.ids, probs),
        ],
        clips.untrained,
    )
    told = {
        **scored,
        "by_speaker": run_data.by_speaker,
        "clips_of_training_speakers": clips.clips_of_training_speakers,
        "unreadable": dict(clips.unreadable),
        "file": evaluate_file(
            name, predictor, clips, probs, scored["models"][name], notes, degraded=False
        ),
    }
    return told, prediction_rows(part, clips.clips, probs, predictor.labels), notes
