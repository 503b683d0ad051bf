"""The teachers' half of a run: their targets. What is finished is found again."""

from ser_kd.config import teacher_order
from ser_kd.data.targets import Targets, mean_dimensions
from ser_kd.data.training_set import EmbeddingTargets
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students import initial_weights
from ser_kd.teachers.crossfit import Teachers


def all_teacher_targets(run: Run, run_data: RunData) -> dict[str, Targets]:
    """Trains every teacher of the run and returns their targets by name.

    What is wrong with any of them, settings or file, shows before the first is trained; and so does
    what is wrong with the ratings that the student is to learn, or with what it begins with.

    Raises:
        UserError: Names what is wrong, and the mend.
    """
    config, made = run.config, Teachers(run, run_data)
    run_data.ratings(run_data.ids("training")[:1])
    initial_weights.require_file(config.student, config, run_data.labels)
    if config.dimensions.teacher_weight > 0:
        _require_dimensions(made)
    for name in config.teachers:
        made.require(name)
    targets = {}
    ids, views = run_data.predicted_views
    for name in teacher_order(config.teachers):
        targets[name] = made.targets(name)
        if name in (config.distill.teachers or config.teachers):
            targets[name].logits_of(ids, name, views)
        if config.distill.embedding_weights.get(name, 0.0) > 0:
            EmbeddingTargets.of(targets[name], targets[name].rows_of(ids, name, views), name)
    if config.dimensions.teacher_weight > 0:
        mean_dimensions(targets, ids, views)
    return {name: targets[name] for name in config.teachers}


def _require_dimensions(made: Teachers) -> None:
    """Of the teachers: one that predicts dimensions, or one of kind ``file`` that has them."""
    for name, settings in made.run.config.teachers.items():
        if settings.may_predict_dimensions and (
            settings.predictions_file is None or made.targets(name).dimensions is not None
        ):
            return
    raise UserError(
        "dimensions.teacher_weight is above 0, but no teacher has dimensions: add an array "
        "'dimensions' to a teacher's file, or a teacher of kind 'dimensional'"
    )
