"""What the models of a run predict of its clips: teachers' targets, students on log-mel frames."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.data import batching, clip_arrays
from ser_kd.data.targets import ALL_FOLDS, Targets, softmax
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.evaluation.scores import STUDENT, TEACHER, Predictions, teacher_row
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import DISTILLED, LABELS_ALONE, Run
from ser_kd.students.frontend import Frontend
from ser_kd.students.saved import load_keras
from ser_kd.tflite.interpreters import TFLiteModel

Predict = Callable[[clip_arrays.ClipArrays], np.ndarray]
_BATCH = 64


def logmel_students(run: Run) -> dict[str, Path]:
    """The run's students that take log-mel, by the names in its tables.

    Without teachers there is no second student to compare with.
    """
    name = _student_name(run)
    students = (
        {LABELS_ALONE: run.baseline_dir / run.student_path.name} if run.config.teachers else {}
    )
    students[name] = run.student_path
    students[f"{name}, int8"] = run.export_dir / "student_int8.tflite"
    return students


def waveform_student(run: Run) -> tuple[str, Path]:
    """Name and path of the file for the phone, which takes samples."""
    return f"{_student_name(run)}, waveform", run.export_dir / "student_waveform.tflite"


def _student_name(run: Run) -> str:
    """Without teachers and a held-out part there is but one student, which needs no other name."""
    if run.config.corpus.cross_validation:
        return "student"
    return DISTILLED if run.config.teachers else LABELS_ALONE


def student_files(run: Run) -> dict[str, Path]:
    """All of the run's students by the names in its tables."""
    return {**logmel_students(run), **dict([waveform_student(run)])}


def teacher_predictions(targets: Mapping[str, Targets], ids: Sequence[str]) -> list[Predictions]:
    """Every teacher's targets of these clips themselves (view 0), where it has them all.

    Args:
        targets: By teacher.
        ids: Clips.
    """
    return [
        Predictions(teacher_row(name), TEACHER, ids, softmax(found.logits_of(ids, name)))
        for name, found in targets.items()
        if knows(found, ids)
    ]


def knows(targets: Targets, ids: Sequence[str]) -> bool:
    """Whether a teacher predicted all these clips themselves (view 0)."""
    rows = zip(targets.ids, targets.view.tolist(), strict=True)
    return set(ids) <= {clip_id for clip_id, view in rows if view == 0}


def out_of_fold_scores(targets: Targets, run_data: RunData) -> dict[str, float] | None:
    """WA, UA and macro-F1 of a teacher's targets on the training clips.

    Each clip is scored by the fold that was not trained on its speaker; None if that is not known.
    """
    known = out_of_fold_clips(targets)
    ids = [clip_id for clip_id in run_data.ids("training") if clip_id in known]
    if not ids:
        return None
    truth = run_data.one_hot(ids).argmax(1)
    return metrics.scores(truth, targets.logits_of(ids, "").argmax(1))


def out_of_fold_clips(targets: Targets) -> frozenset[str]:
    """The clips whose own target (view 0) comes from a single fold."""
    rows = zip(targets.ids, targets.fold.tolist(), targets.view.tolist(), strict=True)
    return frozenset(clip_id for clip_id, fold, view in rows if view == 0 and fold > ALL_FOLDS)


def student_predictors(run: Run, run_data: RunData) -> dict[str, Predict]:
    """The run's log-mel students by name: log-mel frames of clips -> probabilities."""
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    # As in use: a mean over windows can have another label when they are softened.
    frontend = run.export_dir / "frontend.json"
    temperature = Frontend.read(frontend).temperature if frontend.is_file() else 1.0
    classes = len(run_data.labels)
    return {
        name: _RUNTIMES[path.suffix](path, windowing, temperature, classes)
        for name, path in logmel_students(run).items()
    }


def student_predictions(
    predictors: Mapping[str, Predict], run_data: RunData, ids: Sequence[str]
) -> list[Predictions]:
    """What ``student_predictors`` predict of these clips."""
    arrays = run_data.logmel.select(list(ids))
    return [
        Predictions(name, STUDENT, ids, predict(arrays)) for name, predict in predictors.items()
    ]


def _keras(path: Path, windowing: Windowing, temperature: float, classes: int) -> Predict:
    predictor = LogMelPredictor(load_keras(path), windowing, temperature)
    return lambda arrays: predictor.predict(arrays)[0]


def _tflite(path: Path, windowing: Windowing, temperature: float, classes: int) -> Predict:
    model = TFLiteModel(path)

    def predict(arrays: clip_arrays.ClipArrays) -> np.ndarray:
        frames = model.input_shape[1]
        batches = batching.evaluation_batches(arrays, windowing, frames, _BATCH)
        probs = (
            (clips, softmax(model.predict(windows) / temperature)) for clips, windows, _ in batches
        )
        return batching.average_windows(arrays, probs, classes)

    return predict


_RUNTIMES = {".keras": _keras, ".tflite": _tflite}
