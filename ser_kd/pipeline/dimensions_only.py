"""Runs with ``dimensions.alone``: a student of continuous targets and no category.

All of the student's body serves the dimensions. Its loss is ``dimensions.weight * (1 - CCC)`` with
the ratings plus ``dimensions.teacher_weight * (1 - CCC)`` with the teachers' predictions; its epoch
is chosen by the mean CCC on the validation clips. ``[distill]`` has no part, nor has a teacher that
predicts no dimensions. Measured (CREMA-D's voice intensities, one seed): a mean CCC of 0.600, and
0.594 beside categories, a difference that one seed cannot tell from none.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

from ser_kd.audio.windows import Windowing
from ser_kd.config import Config, teacher_order
from ser_kd.data.targets import Targets, mean_dimensions
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.dimensional import DimensionPredictor
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.logmel_network import fit_logmel_network, new_logmel_network
from ser_kd.distillation.terms import ConcordanceTerm
from ser_kd.errors import UserError
from ser_kd.evaluation import run_dimensions
from ser_kd.export.dimensional import export_dimensions
from ser_kd.pipeline.announcement import announce
from ser_kd.pipeline.students import find_or_train, known_voices
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import DISTILLED, RATINGS_ALONE, Run
from ser_kd.runs.record import record_fit
from ser_kd.students.heads import dimensional_student


def train(config: Config, run_dir: Path | None = None) -> None:
    """Makes such a run, or goes on with it.

    Raises:
        UserError: The config, the corpus or a teacher does not fit.
    """
    check(config)
    run = Run.create(config, run_dir)
    config = with_teachers_in_use(config)
    announce(run, config.teachers)
    say("makes       a student of dimensions alone: no categories, eval.json or report.html")
    say("\n1. Data")
    run_data = run.data()
    require_ratings(run_data)
    run = Run(run.directory, config)
    say("\n2. Teachers" if config.teachers else "\n2. Teachers: none")
    targets = all_teacher_targets(run, run_data)
    if config.teachers:
        say("\n3. Student from ratings alone (what distillation is compared with)")
        baseline_student(run, run_data)
        say("\n4. Student from ratings and teachers")
    else:
        say("\n3. and 4. Student from ratings alone")
    distilled_student(run, run_data, targets)
    say("\n5. Export to TensorFlow Lite")
    export_dimensions(run, run_data)
    say("\n6. Scores")
    scores = run_dimensions.evaluate_dimensions(run, run_data, RATINGS_ALONE)
    say("\n" + run_dimensions.table(scores))
    say(f"\nFor the phone: {run.export_dir} (docs/teachers.md shows how)")


def check(config: Config) -> None:
    """What such a run asks of its settings.

    Raises:
        UserError: Names the setting.
    """
    taught = any(weight > 0 for weight in config.distill.embedding_weights.values())
    dimensions, wrong = config.dimensions, ""
    if dimensions.weight == 0:
        wrong = "dimensions.weight above 0: the run has no dimensions"
    elif taught:
        wrong = "distill.embedding_weights = {}: its student learns no embedding"
    elif config.corpus.unlabelled_dirs and dimensions.teacher_weight == 0:
        wrong = "corpus.unlabelled_dirs = []: dimensions.teacher_weight is 0, nothing labels them"
    if wrong:
        raise UserError(f"dimensions.alone = true needs {wrong}")


def with_teachers_in_use(config: Config) -> Config:
    """The config without the teachers that have no part in such a run.

    Those that have are, where ``dimensions.teacher_weight`` is above 0, the teachers that may
    predict dimensions, and those that they learn from.
    """
    used: set[str] = set()
    if config.dimensions.teacher_weight > 0:
        for name in reversed(teacher_order(config.teachers)):  # whoever needs another comes first
            if config.teachers[name].may_predict_dimensions:
                used.add(name)
            if name in used:
                used.update(config.teachers[name].teachers_needed)
    kept = {name: teacher for name, teacher in config.teachers.items() if name in used}
    return dataclasses.replace(config, teachers=kept)


def require_ratings(run_data: RunData) -> None:
    """Of the clips that train the student, and of those that choose its epoch.

    Raises:
        UserError: There are none, or all are the same.
    """
    for part in ("training", "validation"):
        ids = run_data.ids(part)
        rated = (column[np.isfinite(column)] for column in run_data.ratings(ids).T)
        if not any(len(np.unique(values)) > 1 for values in rated):
            names = ", ".join(dimension.name for dimension in run_data.dimensions)
            raise UserError(
                f"dimensions.alone = true: among {len(ids):,} {part} clips no two are rated "
                f"differently ({names}), so there is nothing to tell; rate some of them"
            )


def distilled_student(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> keras.Model:
    """The student of ratings and of the teachers' predictions: ``run.dimensions_path``."""
    if not targets:
        return _student(run, run_data, run.dimensions_path, RATINGS_ALONE)
    predicted = mean_dimensions(targets, *run_data.views.predicted)
    return _student(run, run_data, run.dimensions_path, DISTILLED, predicted)


def baseline_student(run: Run, run_data: RunData) -> keras.Model:
    """The same student from ratings alone: in ``baseline/``."""
    path = run.baseline_dir / run.dimensions_path.name
    return _student(run, run_data, path, RATINGS_ALONE)


def _student(
    run: Run, run_data: RunData, path: Path, name: str, predicted: np.ndarray | None = None
) -> keras.Model:
    """``predicted``: the teachers' mean, ``[views, dimensions]``."""

    def train() -> keras.Model:
        config, dimensions = run.config, run.config.dimensions
        training = run_data.signals.training_logmel
        training_set = TrainingSet(
            training,
            run_data.one_hot(training.ids),
            run_data.views.student_rows(with_unlabelled=predicted is not None),
            dimensions=run_data.ratings(training.ids),
            teacher_dimensions=predicted,
            voices=known_voices(run_data),
        )
        record_fit(run.directory, name, len(training_set), config.fit)
        seed = fit_loop.network_seed(config.seed, "student")
        body = new_logmel_network(training_set, config.student, config.audio, config.logmel, seed)
        model = dimensional_student(body, len(run_data.dimensions), dimensions.dropout)
        validation = run_data.logmel.select(run_data.ids("validation"))
        predictor = DimensionPredictor(model, Windowing.of(config.audio, config.logmel))
        taught = 0.0 if predicted is None else dimensions.teacher_weight
        fit_logmel_network(
            Distiller(model, [ConcordanceTerm(dimensions.weight, taught)], name=name),
            training_set,
            fit_loop.Job(config.fit, seed, name, path.parent, chosen_by="ccc"),
            config.augment,
            config.logmel,
            score=functools.partial(predictor.score, validation, run_data.ratings(validation.ids)),
        )
        return model

    return find_or_train(path, name, train)
