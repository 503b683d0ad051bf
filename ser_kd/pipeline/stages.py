"""The stages from a corpus to trained students. What is finished is found again."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from ser_kd import files
from ser_kd.audio.augment import VOICES
from ser_kd.config import (
    LABELS_ONLY,
    Config,
    DimensionalTeacherConfig,
    DistillConfig,
    FileTeacherConfig,
    FitConfig,
    LiveTeacherConfig,
    teacher_order,
)
from ser_kd.data.clip_arrays import feature_statistics
from ser_kd.data.targets import Targets, mix_teachers
from ser_kd.distillation import fit_loop
from ser_kd.distillation.dimensional import TEACHER_DIMENSIONS
from ser_kd.distillation.distiller import LiveTeaching
from ser_kd.distillation.logmel_network import train_logmel_network
from ser_kd.distillation.multi_task import categories_of
from ser_kd.distillation.projections import embedding_targets
from ser_kd.distillation.quantization import fine_tune_for_int8
from ser_kd.errors import UserError
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.speaker.voices import drawn_voices
from ser_kd.students import initial_weights
from ser_kd.students.heads import DIMENSIONS
from ser_kd.students.saved import load_keras
from ser_kd.teachers.crossfit import make_teacher, targets_path, teacher_targets
from ser_kd.teachers.live import live_teaching

# Of a clip, how much may be known of its speaker: kept in memory, 0.5 kB each.
_DRAWS = 8


def all_teacher_targets(run: Run, run_data: RunData) -> dict[str, Targets]:
    """Trains every teacher of the run and returns their targets by name.

    What is wrong with any of them, settings or file, shows before the first is trained; and so does
    what is wrong with the ratings that the student is to learn.
    """
    run_data.ratings(run_data.ids("training")[:1])
    initial_weights.require_files(run.config, run.config.teachers_in_use.values(), run_data.labels)
    if run.config.dimensions.alone:
        _require_ratings(run_data)
    if run.config.dimensions.teacher_weight > 0:
        _require_dimensions(run, run_data)
    teachers, distill = run.config.teachers_in_use, run.config.distill
    for name, teacher in teachers.items():
        if not isinstance(teacher, FileTeacherConfig) and not targets_path(name, run).exists():
            make_teacher(name, run.config, run_data)
    targets = {}
    for name in teacher_order(teachers):
        targets[name] = teacher_targets(name, run, run_data)
        ids, views = _predicted(run_data)
        if name in (distill.teachers or teachers):
            targets[name].logits_of(ids, name, views)
        if distill.embedding_weights.get(name, 0.0) > 0:
            embedding_targets(targets[name], targets[name].rows_of(ids, name, views), name)
    if run.config.dimensions.teacher_weight > 0:
        _mean_dimensions(targets, *_predicted(run_data))
    return {name: targets[name] for name in teachers}


def distilled_student(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> keras.Model:
    """The student that learns from labels (or ratings) and teachers: ``run.student_path``.

    Each time a clip is drawn, so is one of its views, the clip itself included; the student is
    shown that view and learns what the teachers say of it (``views.teachers_hear = "clip"``: of the
    clip). An epoch covers labelled and unlabelled clips alike; an unlabelled one has no part in the
    label term.
    """
    name = "student, distilled" if targets else run.baseline_name
    return _student(run, run_data, run.directory, _teaching(run, run_data, targets), name)


def int8_student(
    run: Run, run_data: RunData, targets: Mapping[str, Targets], calibration: np.ndarray
) -> keras.Model:
    """``student.keras``, trained on with its int8 file's rounding: ``int8_aware/student.keras``.

    It is shown and taught what the student was. For runs that ask for it (``config.quantization``).

    Args:
        run: Has its ``student.keras``.
        run_data: Its data.
        targets: Of its teachers.
        calibration: float32 ``[windows, frames, mels]``, those that the export calibrates on.
    """
    teaching, name = _teaching(run, run_data, targets), "student, fine-tuned for int8"
    return _student(run, run_data, run.int8_aware_dir, teaching, name, calibration)


@dataclass(frozen=True)
class _Teaching:
    """What a student learns from: weights of the loss, stored predictions, live teachers."""

    distill: DistillConfig = LABELS_ONLY
    taught: Mapping[str, np.ndarray] = field(default_factory=dict)
    live: LiveTeaching | None = None


def _teaching(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> _Teaching:
    if not targets:
        return _Teaching()
    ids, views = _predicted(run_data)
    if run.config.dimensions.alone:
        return _Teaching(taught={TEACHER_DIMENSIONS: _mean_dimensions(targets, ids, views)})
    config, taught = run.config.distill, {}
    weights = config.teachers or dict.fromkeys(targets, 1.0)
    stored = {
        name: targets[name]
        for name in weights
        if not isinstance(run.config.teachers[name], LiveTeacherConfig)
    }
    if stored:
        taught["teacher_logits"] = mix_teachers(stored, weights, ids, config.temperature, views)
    for name, weight in config.embedding_weights.items():
        if weight > 0:
            taught |= embedding_targets(
                targets[name], targets[name].rows_of(ids, name, views), name
            )
    if run.config.dimensions.teacher_weight > 0:
        taught[TEACHER_DIMENSIONS] = _mean_dimensions(targets, ids, views)
    return _Teaching(config, taught, live_teaching(run, weights))


def _mean_dimensions(
    targets: Mapping[str, Targets], ids: list[str], views: list[int]
) -> np.ndarray:
    """What the teachers say of the dimensions: the mean of all that have them, ``[views, n]``.

    Raises:
        UserError: One of these lacks a clip.
    """
    told = [
        teacher.dimensions[teacher.rows_of(ids, name, views)]
        for name, teacher in targets.items()
        if teacher.dimensions is not None
    ]
    return np.asarray(np.mean(told, axis=0), np.float32)


def _require_dimensions(run: Run, run_data: RunData) -> None:
    """Of the teachers: a dimensional one, or one of kind ``file`` that has them."""
    for name, teacher in run.config.teachers.items():
        if isinstance(teacher, DimensionalTeacherConfig):
            return
        from_file = isinstance(teacher, FileTeacherConfig)
        if from_file and teacher_targets(name, run, run_data).dimensions is not None:
            return
    raise UserError(
        "dimensions.teacher_weight is above 0, but no teacher has dimensions: add an array "
        "'dimensions' to a teacher's file, or a teacher of kind 'dimensional'"
    )


def _require_ratings(run_data: RunData) -> None:
    """Of the clips that teach a student of dimensions alone, and of those that choose its epoch."""
    for part in ("training", "validation"):
        ids = run_data.ids(part)
        rated = (column[np.isfinite(column)] for column in run_data.ratings(ids).T)
        if not any(len(np.unique(values)) > 1 for values in rated):
            names = ", ".join(dimension.name for dimension in run_data.dimensions)
            raise UserError(
                f"dimensions.alone = true: among {len(ids):,} {part} clips no two are rated "
                f"differently ({names}), so there is nothing to tell; rate some of them"
            )


def _predicted(run_data: RunData) -> tuple[list[str], list[int]]:
    """For all that the distilled student may be shown: id and view of what is predicted."""
    ids, views = zip(*map(run_data.heard_by_teachers, run_data.student_views), strict=True)
    return list(ids), list(views)


def baseline_student(run: Run, run_data: RunData) -> keras.Model:
    """The same student from labels (or ratings) alone, everything else equal: in ``baseline/``.

    It is shown the same views. Speech without labels has nothing to teach it, so its epochs are
    shorter by that.
    """
    return _student(run, run_data, run.baseline_dir, _Teaching(), run.baseline_name)


def _student(
    run: Run,
    run_data: RunData,
    directory: Path,
    teaching: _Teaching,
    name: str,
    calibration: np.ndarray | None = None,
) -> keras.Model:
    """Trains a student from the start or, given windows to calibrate on, the finished one on."""
    path = directory / run.student_path.name
    if path.exists():
        say(f"  {name}: {path} is there")
        fit_loop.forget_state(directory)  # a kill may have come in between
        return load_keras(path)
    config = run.config
    alone = config.dimensions.alone
    training = run_data.training_logmel
    validation = run_data.logmel.select(run_data.ids("validation"))
    truth = (
        run_data.ratings(validation.ids) if alone else run_data.one_hot(validation.ids).argmax(1)
    )
    ratings = {DIMENSIONS: run_data.ratings(training.ids)} if run_data.dimensions else {}
    shared: dict[str, Any] = {
        "arrays": training,
        "targets": {
            "labels": run_data.one_hot(training.ids),
            **ratings,
            **teaching.taught,
            **_voices(run_data),
        },
        "augment": config.augment,
        "distill": teaching.distill,
        "live": teaching.live,
        "audio": config.audio,
        "logmel": config.logmel,
        # The same for every student of a run: only what they are taught differs.
        "seed": fit_loop.network_seed(config.seed, "student"),
        "name": name,
        "directory": directory,
        "validation": (validation, truth),
        "views": run_data.student_rows(
            with_unlabelled=teaching.distill.logit_weight > 0
            or TEACHER_DIMENSIONS in teaching.taught
        ),
    }
    if calibration is None:
        model = train_logmel_network(
            network=config.student, fit=config.fit, dimensions=config.dimensions, **shared
        )
    else:
        model = fine_tune_for_int8(
            load_keras(run.student_path), calibration, fit=_int8_fit(config), **shared
        )
    if ratings and not alone:
        with files.atomic(directory / run.dimensions_path.name) as partial:
            model.save(partial)
        model = categories_of(model)
    with files.atomic(path) as partial:
        model.save(partial)
    fit_loop.forget_state(directory)
    return model


def _voices(run_data: RunData) -> dict[str, np.ndarray]:
    """What may be known of the training clips' speakers, where the students are to see that."""
    config = run_data.config
    if config.augment.known_speaker_probability == 0:
        return {}
    training = run_data.training_logmel
    labelled = run_data.student_rows(with_unlabelled=False)[:, 0]
    speakers = [run_data.speakers.get(clip_id, "") for clip_id in training.ids]
    seed = fit_loop.network_seed(config.seed, VOICES)
    statistics = feature_statistics(training.take(labelled))
    return {VOICES: drawn_voices(training, speakers, *statistics, _DRAWS, seed)}


def _int8_fit(config: Config) -> FitConfig:
    rate = config.quantization.learning_rate
    return dataclasses.replace(
        config.fit,
        epochs=config.quantization.epochs,
        averaged_epochs=0,  # that many need not be there, and the best of these few is kept
        learning_rate=rate,
        final_learning_rate=rate / 100,
        warmup_epochs=0.0,
    )
