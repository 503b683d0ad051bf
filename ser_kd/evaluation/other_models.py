"""Models that an evaluated one is compared with: teachers' stored targets, other student files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd.data.targets import read_targets, softmax
from ser_kd.errors import UserError
from ser_kd.evaluation.clips import ClipSet
from ser_kd.evaluation.predictions import predict_waveforms
from ser_kd.evaluation.scores import STUDENT, TEACHER, Predictions, teacher_row
from ser_kd.inference.measure import measure_all
from ser_kd.inference.predictor import Predictor
from ser_kd.progress import say
from ser_kd.registry import load_object

if TYPE_CHECKING:
    from ser_kd.runs.folder import Run


def teachers(
    ids: Sequence[str],
    labels: Sequence[str],
    own_run: "Run | None",
    given: Sequence[Path],
    notes: list[str],
) -> list[Predictions]:
    """The stored predictions of the run's teachers, and of those that are given.

    Args:
        ids: Clips; of them, those whose own prediction (view 0) is stored are returned.
        labels: Class names of the evaluated model.
        own_run: Its run, if that is known.
        given: Files of predictions.
        notes: Sentences on what is not there are added.
    """
    stems = [path.parent.name if path.stem == "targets" else path.stem for path in given]
    places = list(zip(_distinct(stems, given), given, strict=True))
    if own_run is not None:
        targets_path = load_object("ser_kd.teachers.crossfit:targets_path")  # needs TensorFlow
        for name in own_run.config.teachers:
            path = targets_path(name, own_run)
            if path.is_file():
                places.append((name, path))
            else:
                notes.append(f"teacher {name}: its predictions are not there")
    found = []
    for name, path in places:
        targets = read_targets(path, labels)
        views = zip(targets.ids, targets.view.tolist(), strict=True)
        there = {clip_id for clip_id, view in views if view == 0}
        known = [clip_id for clip_id in ids if clip_id in there]
        if len(known) < len(ids):
            notes.append(f"teacher {name}: predicted {len(known):,} of {len(ids):,} clips")
        if known:
            probs = softmax(targets.logits_of(known, name))
            found.append(Predictions(teacher_row(name), TEACHER, known, probs))
    return found


def counterparts(
    model: Path, own_run: "Run | None", given: Sequence[Path], notes: list[str]
) -> list[Path]:
    """The run's float student, or for that one its int8 file, and the models that are given.

    Args:
        model: The evaluated model's file.
        own_run: Its run, if that is known.
        given: Files of models.
        notes: Sentences on what is not there are added.
    """
    paths = [path.absolute() for path in given if path.absolute() != model.absolute()]
    if own_run is None:
        return paths
    counterpart = own_run.student_path
    if model.absolute() == counterpart.absolute():
        counterpart = own_run.export_dir / "student_int8.tflite"
    if not counterpart.is_file():
        notes.append(f"{counterpart.name} is not there: float and int8 are not compared")
    elif counterpart.absolute() not in paths:
        paths.insert(0, counterpart.absolute())
    return paths


def names_of(models: Sequence[Path]) -> dict[Path, str]:
    """What tables call model files: their names, with the folder where two have the same."""
    return dict(zip(models, _distinct([path.name for path in models], models), strict=True))


def _distinct(names: Sequence[str], paths: Sequence[Path]) -> list[str]:
    return [
        name if names.count(name) == 1 else f"{path.absolute().parent.name}/{name}"
        for name, path in zip(names, paths, strict=True)
    ]


def student(
    path: Path, name: str, model: Path, predictor: Predictor, clips: ClipSet
) -> Predictions:
    """What another student predicts.

    Args:
        path: Its file.
        name: For tables.
        model: The evaluated model's file.
        predictor: The evaluated model.
        clips: The clips.

    Raises:
        UserError: It cannot be loaded, or has other classes or another sample rate.
    """
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
    return Predictions(name, STUDENT, clips.ids, probs)


def measured(models: Mapping[Path, str], notes: list[str]) -> dict[str, dict[str, Any]]:
    """Size, time and memory of models, which are measured in turns.

    Args:
        models: File -> name for tables.
        notes: Why nothing was measured is added.

    Returns:
        Name -> ``bytes`` and, where that could be measured, ``latency_ms``,
        ``latency_p95_ms``, ``peak_memory_mb``, ``runtime``.
    """
    sizes = {name: {"bytes": path.stat().st_size} for path, name in models.items()}
    say(f"  time and memory of {', '.join(sizes)}")
    try:
        figures = measure_all(list(models))
    except UserError as error:
        notes.append(f"time and memory: not measured ({error})")
        return dict(sizes)
    return {
        name: {**size, **found} for (name, size), found in zip(sizes.items(), figures, strict=True)
    }
