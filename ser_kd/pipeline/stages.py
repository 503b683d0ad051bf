"""The teachers' half of a run: their targets. What is finished is found again."""

from ser_kd.config import DimensionalTeacherConfig, FileTeacherConfig, teacher_order
from ser_kd.data.targets import Targets, mean_dimensions
from ser_kd.distillation.projections import embedding_targets
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students import initial_weights
from ser_kd.teachers.crossfit import make_teacher, targets_path, teacher_targets


def all_teacher_targets(run: Run, run_data: RunData) -> dict[str, Targets]:
    """Trains every teacher of the run and returns their targets by name.

    What is wrong with any of them, settings or file, shows before the first is trained; and so does
    what is wrong with the ratings that the student is to learn.
    """
    run_data.ratings(run_data.ids("training")[:1])
    initial_weights.require_files(run.config, run.config.teachers.values(), run_data.labels)
    if run.config.dimensions.teacher_weight > 0:
        _require_dimensions(run, run_data)
    teachers, distill = run.config.teachers, run.config.distill
    for name, teacher in teachers.items():
        if not isinstance(teacher, FileTeacherConfig) and not targets_path(name, run).exists():
            make_teacher(name, run.config, run_data)
    targets = {}
    for name in teacher_order(teachers):
        targets[name] = teacher_targets(name, run, run_data)
        ids, views = run_data.predicted_views
        if name in (distill.teachers or teachers):
            targets[name].logits_of(ids, name, views)
        if distill.embedding_weights.get(name, 0.0) > 0:
            embedding_targets(targets[name], targets[name].rows_of(ids, name, views), name)
    if run.config.dimensions.teacher_weight > 0:
        mean_dimensions(targets, *run_data.predicted_views)
    return {name: targets[name] for name in teachers}


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
