"""The students' half of a run: one from labels alone, one from labels and teachers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from ser_kd import files
from ser_kd.audio.augment import VOICES
from ser_kd.config import LABELS_ONLY, DistillConfig
from ser_kd.data.clip_arrays import feature_statistics
from ser_kd.data.targets import Targets, mean_dimensions, mix_teachers
from ser_kd.distillation import fit_loop
from ser_kd.distillation.dimensional import TEACHER_DIMENSIONS
from ser_kd.distillation.distiller import LiveTeaching
from ser_kd.distillation.logmel_network import train_logmel_network
from ser_kd.distillation.multi_task import categories_of
from ser_kd.distillation.projections import embedding_targets
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import DISTILLED, LABELS_ALONE, Run
from ser_kd.speaker.voices import drawn_voices
from ser_kd.students.heads import DIMENSIONS
from ser_kd.students.saved import load_keras
from ser_kd.teachers.live import live_teaching

# Of a clip, how much may be known of its speaker: kept in memory, 0.5 kB each.
_DRAWS = 8


def distilled_student(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> keras.Model:
    """The student that learns from labels and teachers: ``run.student_path``.

    Each time a clip is drawn, so is one of its views, the clip itself included; the student is
    given that view and learns what the teachers predict for it (``views.teachers_hear = "clip"``:
    for the clip). An epoch covers labelled and unlabelled clips alike; an unlabelled one has no
    part in the label term.
    """
    name = DISTILLED if targets else LABELS_ALONE
    return _student(run, run_data, run.directory, _teaching(run, run_data, targets), name)


def baseline_student(run: Run, run_data: RunData) -> keras.Model:
    """The same student from labels alone, everything else equal: in ``baseline/``.

    It is given the same views. Speech without labels has nothing to teach it, so its epochs are
    shorter by that.
    """
    return _student(run, run_data, run.baseline_dir, _Teaching(), LABELS_ALONE)


def find_or_train(path: Path, name: str, train: Callable[[], keras.Model]) -> keras.Model:
    """The student at ``path``, trained and saved where it is not there yet."""
    if path.exists():
        say(f"  {name}: {path} is there")
        fit_loop.forget_state(path.parent)  # a kill may have come in between
        return load_keras(path)
    model = train()
    with files.atomic(path) as partial:
        model.save(partial)
    fit_loop.forget_state(path.parent)
    return model


@dataclass(frozen=True)
class _Teaching:
    """What a student learns from: weights of the loss, stored predictions, live teachers."""

    distill: DistillConfig = LABELS_ONLY
    taught: Mapping[str, np.ndarray] = field(default_factory=dict)
    live: LiveTeaching | None = None


def _teaching(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> _Teaching:
    if not targets:
        return _Teaching()
    ids, views = run_data.predicted_views
    config, taught = run.config.distill, {}
    weights = config.teachers or dict.fromkeys(targets, 1.0)
    stored = {name: targets[name] for name in weights if not run.config.teachers[name].live}
    if stored:
        taught["teacher_logits"] = mix_teachers(stored, weights, ids, config.temperature, views)
    for name, weight in config.embedding_weights.items():
        if weight > 0:
            taught |= embedding_targets(
                targets[name], targets[name].rows_of(ids, name, views), name
            )
    if run.config.dimensions.teacher_weight > 0:
        taught[TEACHER_DIMENSIONS] = mean_dimensions(targets, ids, views)
    return _Teaching(config, taught, live_teaching(run, weights))


def _student(
    run: Run, run_data: RunData, directory: Path, teaching: _Teaching, name: str
) -> keras.Model:
    def train() -> keras.Model:
        config, training = run.config, run_data.training_logmel
        validation = run_data.logmel.select(run_data.ids("validation"))
        ratings = {DIMENSIONS: run_data.ratings(training.ids)} if run_data.dimensions else {}
        model = train_logmel_network(
            training,
            {
                "labels": run_data.one_hot(training.ids),
                **ratings,
                **teaching.taught,
                **known_voices(run_data),
            },
            config.student,
            config.fit,
            config.augment,
            teaching.distill,
            config.audio,
            config.logmel,
            # The same for every student of a run: only what they are taught differs.
            fit_loop.network_seed(config.seed, "student"),
            name,
            directory,
            (validation, run_data.one_hot(validation.ids).argmax(1)),
            run_data.student_rows(
                with_unlabelled=teaching.distill.logit_weight > 0
                or TEACHER_DIMENSIONS in teaching.taught
            ),
            config.dimensions,
            teaching.live,
        )
        if not ratings:
            return model
        with files.atomic(directory / run.dimensions_path.name) as partial:
            model.save(partial)
        return categories_of(model)

    return find_or_train(directory / run.student_path.name, name, train)


def known_voices(run_data: RunData) -> dict[str, np.ndarray]:
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
