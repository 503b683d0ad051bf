"""Teachers and other students on the same clips: scores, agreement, size, time and memory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_kd import files, metrics
from ser_kd.data.targets import read_targets
from ser_kd.errors import UserError
from ser_kd.evaluation.clips import ClipSet
from ser_kd.evaluation.predictions import predict_waveforms
from ser_kd.evaluation.run_folder import stored_resources
from ser_kd.inference.measure import measure_all
from ser_kd.inference.predictor import Predictor
from ser_kd.progress import say

# What a run has is looked up with TensorFlow's help, and imported where there is a run.
if TYPE_CHECKING:
    from ser_kd.runs.folder import Run


@dataclass(frozen=True)
class Other:
    """What another model says of the same clips.

    Attributes:
        name: For tables.
        predicted: Class indices ``[rows]``.
        rows: Which clips these are.
        path: Its file; None for a teacher, whose predictions are stored.
        resources: What the run's ``resources.json`` says of it.
        networks: How many a teacher has, where that is known.
    """

    name: str
    predicted: np.ndarray
    rows: np.ndarray
    path: Path | None = None
    resources: Mapping[str, Any] = field(default_factory=dict)
    networks: int = 0


def agreement(other: Other, predicted: np.ndarray, clips: ClipSet) -> dict[str, Any]:
    """How often the other says the same.

    Args:
        other: Another model.
        predicted: What the evaluated model says, class indices ``[clips]``.
        clips: Of both.

    Returns:
        ``with``, ``same_label``, ``ua`` of the other, ``clips``.
    """
    return {
        "with": other.name,
        "same_label": float(np.mean(predicted[other.rows] == other.predicted)),
        "ua": metrics.scores(clips.truth[other.rows], other.predicted)["ua"],
        "clips": len(other.rows),
    }


def teachers(
    clips: ClipSet,
    labels: Sequence[str],
    own_run: "Run | None",
    given: Sequence[Path],
    notes: list[str],
) -> list[Other]:
    """The stored predictions of the run's teachers, and of those that are given.

    Args:
        clips: Which clips.
        labels: Class names of the evaluated model.
        own_run: Its run, if that is known.
        given: Files of predictions.
        notes: What there is to say is added.
    """
    found = [(path.parent.name if path.stem == "targets" else path.stem, path, 0) for path in given]
    known = stored_resources(own_run)
    if own_run is not None:
        from ser_kd.teachers.crossfit import targets_path

        for name in own_run.config.teachers:
            path = targets_path(name, own_run)
            networks = len(list(own_run.teacher_dir(name).glob("fold_*/*.keras")))
            if path.is_file():
                found.append((name, path, networks))
            else:
                notes.append(f"teacher {name}: its predictions are not there")
    others = []
    for name, path, networks in found:
        targets = read_targets(path, labels)
        views = zip(targets.ids, targets.view.tolist(), strict=True)
        there = {clip_id for clip_id, view in views if view == 0}
        rows = np.array([row for row, i in enumerate(clips.ids) if i in there], np.int64)
        if len(rows) < len(clips):
            notes.append(f"teacher {name}: predicted {len(rows):,} of {len(clips):,} clips")
        if not len(rows):
            continue
        predicted = targets.logits_of([clips.ids[row] for row in rows], name).argmax(1)
        resources = known.get(f"teacher {name}", {})
        others.append(Other(f"teacher {name}", predicted, rows, None, resources, networks))
    return others


def students(
    clips: ClipSet,
    predictor: Predictor,
    model: Path,
    own_run: "Run | None",
    given: Sequence[Path],
    notes: list[str],
) -> list[Other]:
    """The run's float student, or for that one its int8 file, and the models that are given.

    Args:
        clips: Which clips.
        predictor: The evaluated model.
        model: Its file.
        own_run: Its run, if that is known.
        given: Files of models.
        notes: What there is to say is added.

    Raises:
        UserError: A model cannot be loaded, or has other classes or another sample rate.
    """
    paths = [path.absolute() for path in given]
    known: dict[Path, Mapping[str, Any]] = {}
    if own_run is not None:
        from ser_kd.pipeline.resources import student_files

        counterpart = own_run.student_path
        if model.absolute() == counterpart:
            counterpart = own_run.export_dir / "student_int8.tflite"
        if not counterpart.is_file():
            notes.append(f"{counterpart.name} is not there: float and int8 are not compared")
        elif counterpart not in paths:
            paths.insert(0, counterpart)
        stored, table = stored_resources(own_run), own_run.directory / "resources.json"
        known = {
            path: stored.get(name, {})
            for name, path in student_files(own_run).items()
            if files.is_current(table, [path])  # exported anew since: measured anew
        }
    others = []
    for path in paths:
        other = Predictor.load(path)
        for what, one, mine in (
            ("classes", sorted(other.labels), sorted(predictor.labels)),
            ("Hz", [other.frontend.sample_rate_hz], [predictor.frontend.sample_rate_hz]),
        ):
            if one != mine:
                raise UserError(
                    f"{path} and {model} cannot be compared: {what} {one} and {mine} differ"
                )
        say(f"  {path.name}, to compare")
        order = [other.labels.index(label) for label in predictor.labels]
        probs = predict_waveforms(other, clips.waveforms())[:, order]
        rows = np.arange(len(clips))
        others.append(Other(path.name, probs.argmax(1), rows, path, known.get(path, {})))
    return others


def compare(
    model: Path,
    scores: Mapping[str, Any],
    of_teachers: Sequence[Other],
    of_students: Sequence[Other],
    clips: ClipSet,
    notes: list[str],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Size, time and memory of the model; the same and the scores of all models.

    The model and those of which the run does not tell it are measured in turns.

    Args:
        model: The evaluated model's file.
        scores: Its scores.
        of_teachers: What teachers say; one that does not know all clips has no row.
        of_students: What other students say.
        clips: Of all of them.
        notes: What there is to say is added.

    Returns:
        ``latency_ms``, ``latency_p95_ms``, ``peak_memory_mb``, ``runtime`` (None where that cannot
        be measured) and ``bytes``; then a row for each model.
    """
    fresh = [model, *(other.path for other in of_students if other.path and not other.resources)]
    say(f"  time and memory of {', '.join(path.name for path in fresh)}")
    measured: dict[Path, dict[str, Any]] = {}
    try:
        measured = dict(zip(fresh, measure_all(fresh), strict=True))
    except UserError as error:
        notes.append(f"time and memory: not measured ({error})")
    nothing = dict.fromkeys(("latency_ms", "latency_p95_ms", "peak_memory_mb", "runtime"))
    resources = {**nothing, **measured.get(model, {}), "bytes": model.stat().st_size}
    stored = [other.name for other in (*of_teachers, *of_students) if other.resources]
    if stored:
        notes.append(
            f"{', '.join(stored)}: size, time and memory are those of the run's resources.json; "
            f"{', '.join(path.name for path in fresh)}: measured now"
        )
    rows = []
    for other in of_teachers:
        if len(other.rows) < len(clips):
            continue  # another set of clips: no scores to compare
        count = f" ({other.networks} networks)" if other.networks else ""
        found = metrics.scores(clips.truth, other.predicted)
        rows.append(_row(other.name + count, "teacher", found, other.resources))
    rows.append(_row(model.name, "student", scores, resources))
    for other in of_students:
        of_file = other.resources or measured.get(other.path or model, {})
        size = {"bytes": other.path.stat().st_size} if other.path else {}
        found = metrics.scores(clips.truth, other.predicted)
        rows.append(_row(other.name, "student", found, {**of_file, **size}))
    return resources, rows


def _row(
    name: str, role: str, scores: Mapping[str, Any], resources: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        **{key: scores[key] for key in ("wa", "ua", "macro_f1")},
        **{key: resources.get(key) for key in ("latency_ms", "bytes", "peak_memory_mb")},
    }
