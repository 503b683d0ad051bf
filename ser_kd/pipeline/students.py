"""The students' half of a run: one from labels alone, one from labels and teachers."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras
import numpy as np

from ser_kd import files
from ser_kd.audio.augment import VOICES
from ser_kd.audio.windows import Windowing
from ser_kd.config import LABELS_ONLY, Config, DistillConfig
from ser_kd.corpora.emotions import matched_labels
from ser_kd.data.clip_arrays import feature_statistics
from ser_kd.data.targets import Targets, mean_dimensions, mix_teachers
from ser_kd.data.training_set import EmbeddingTargets, TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.logmel_network import (
    LogMelPredictor,
    fit_logmel_network,
    new_logmel_network,
)
from ser_kd.distillation.terms import ConcordanceTerm, EmbeddingTerm, LabelTerm, LogitTerm, Term
from ser_kd.distillation.transfer import transferred_network
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import DISTILLED, LABELS_ALONE, Run
from ser_kd.runs.record import record_fit
from ser_kd.speaker.voices import drawn_voices
from ser_kd.students.frontend import find_frontend
from ser_kd.students.heads import categories_of, multi_task_student
from ser_kd.students.saved import load_keras
from ser_kd.teachers.live import LiveTeaching, live_teaching

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
    teaching = _teaching(run, run_data, targets) if targets else _Teaching()
    return _student(run, run_data, run.directory, teaching, name)


def baseline_student(run: Run, run_data: RunData) -> keras.Model:
    """The same student from labels alone, everything else equal: in ``baseline/``.

    It is given the same views. Speech without labels has nothing to teach it, so its epochs are
    shorter by that.
    """
    return _student(run, run_data, run.baseline_dir, _Teaching(), LABELS_ALONE)


UNCHANGED, HEAD, TRAINED = "unchanged", "head", "trained"
"""Of a cross-validation: the finished student that is begun with, with a new head, and trained."""


def candidates(config: Config, labels: Sequence[str]) -> tuple[str, ...]:
    """What a cross-validation compares, and chooses from (``student.transfer``)."""
    if config.student.transfer != "best":
        return (HEAD,) if config.student.transfer == "head" else (TRAINED,)
    theirs, _ = find_frontend(Path(config.student.initial_weights).expanduser())
    known = len(matched_labels(labels, theirs)) == len(labels)
    return (UNCHANGED, HEAD, TRAINED) if known else (HEAD, TRAINED)


def cross_validated_student(
    run: Run, run_data: RunData, directory: Path, name: str, how: str
) -> keras.Model:
    """A student from the labels of ``run_data``'s training clips alone.

    Args:
        run: Of the whole corpus.
        run_data: Its data, or that of a fold.
        directory: Receives ``student.keras``.
        name: What it is called.
        how: One of ``candidates``.
    """
    if how == TRAINED:
        return _student(run, run_data, directory, _Teaching(), name)

    def made() -> keras.Model:
        seed = fit_loop.network_seed(run.config.seed, "student")
        training_set = _training_set(run_data, _Teaching())
        return _untrained(run.config, training_set, run_data.labels, seed, how == UNCHANGED)

    return find_or_train(directory / run.student_path.name, name, made)


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
    """What a student learns beside labels and ratings, and the weights of it all.

    Attributes:
        distill: Weights and temperature.
        logits: The mixed predictions of teachers that are stored, ``[rows, classes]``.
        embeddings: By teacher.
        dimensions: The teachers' mean, ``[rows, dimensions]``.
        live: Teachers that are asked at every step.
    """

    distill: DistillConfig = LABELS_ONLY
    logits: np.ndarray | None = None
    embeddings: Mapping[str, EmbeddingTargets] = field(default_factory=dict)
    dimensions: np.ndarray | None = None
    live: LiveTeaching | None = None

    @property
    def reaches_unlabelled(self) -> bool:
        """Whether speech without labels has anything to teach."""
        return self.distill.logit_weight > 0 or self.dimensions is not None


def _teaching(run: Run, run_data: RunData, targets: Mapping[str, Targets]) -> _Teaching:
    ids, views = run_data.views.predicted
    config, distill = run.config, run.config.distill
    weights = distill.teachers or dict.fromkeys(targets, 1.0)
    stored = {name: targets[name] for name in weights if not config.teachers[name].live}
    embeddings = {
        name: EmbeddingTargets.of(targets[name], targets[name].rows_of(ids, name, views), name)
        for name, weight in distill.embedding_weights.items()
        if weight > 0
    }
    logits, dimensions = None, None
    if stored:
        logits = mix_teachers(stored, weights, ids, distill.temperature, views)
    if config.dimensions.teacher_weight > 0:
        dimensions = mean_dimensions(targets, ids, views)
    return _Teaching(distill, logits, embeddings, dimensions, live_teaching(run, weights))


def _student(
    run: Run, run_data: RunData, directory: Path, teaching: _Teaching, name: str
) -> keras.Model:
    def train() -> keras.Model:
        config = run.config
        training_set = _training_set(run_data, teaching)
        # The same for every student of a run: only what they are taught differs.
        seed = fit_loop.network_seed(config.seed, "student")
        student = _untrained(config, training_set, run_data.labels, seed)
        record_fit(run.directory, name, len(training_set), config.fit)
        predictor = LogMelPredictor(student, Windowing.of(config.audio, config.logmel))
        model = student
        if run_data.dimensions:
            count, dropout = len(run_data.dimensions), config.dimensions.dropout
            model = multi_task_student(student, count, dropout)
        fit_logmel_network(
            Distiller(model, _terms(config, run_data, teaching), name=name),
            training_set,
            fit_loop.Job(config.fit, seed, name, directory),
            config.augment,
            config.logmel,
            teaching.distill.temperature,
            _validation_score(run_data, predictor),
        )
        if not run_data.dimensions:
            return model
        with files.atomic(directory / run.dimensions_path.name) as partial:
            model.save(partial)
        return categories_of(model)

    return find_or_train(directory / run.student_path.name, name, train)


def _untrained(
    config: Config,
    training_set: TrainingSet,
    labels: Sequence[str],
    seed: int,
    unchanged: bool = False,
) -> keras.Model:
    """What training begins with: random weights, YAMNet's, or those of a finished student."""
    settings = config.student, config.audio, config.logmel, seed
    if config.student.transfer == "all":
        return new_logmel_network(training_set, *settings)
    return transferred_network(training_set, labels, *settings, unchanged=unchanged)


def _validation_score(
    run_data: RunData, predictor: LogMelPredictor
) -> Callable[[], Mapping[str, float]] | None:
    """By which the epoch is chosen; None: nothing is held out for that, the last one is kept."""
    if run_data.config.corpus.cross_validation:
        return None
    validation = run_data.logmel.select(run_data.ids("validation"))
    truth = run_data.one_hot(validation.ids).argmax(1)
    return functools.partial(predictor.score, validation, truth)


def _training_set(run_data: RunData, teaching: _Teaching) -> TrainingSet:
    training = run_data.signals.training_logmel
    return TrainingSet(
        training,
        run_data.one_hot(training.ids),
        run_data.views.student_rows(with_unlabelled=teaching.reaches_unlabelled),
        teaching.logits,
        teaching.embeddings,
        run_data.ratings(training.ids) if run_data.dimensions else None,
        teaching.dimensions,
        voices=known_voices(run_data),
    )


def _terms(config: Config, run_data: RunData, teaching: _Teaching) -> list[Term]:
    distill, live = teaching.distill, teaching.live
    terms: list[Term] = [LabelTerm(distill.label_weight)]
    if distill.logit_weight > 0:
        asked = (live.network, live.share) if live else ()
        terms.append(LogitTerm(distill.logit_weight, distill.temperature, *asked))
    for name, targets in teaching.embeddings.items():
        weight, loss = distill.embedding_weights[name], distill.embedding_loss
        terms.append(EmbeddingTerm(weight, name, targets.spaces, targets.size, loss))
    if run_data.dimensions:
        taught = 0.0 if teaching.dimensions is None else config.dimensions.teacher_weight
        terms.append(ConcordanceTerm(config.dimensions.weight, taught))
    return terms


def known_voices(run_data: RunData) -> np.ndarray | None:
    """What may be known of the training clips' speakers; None where students never see that."""
    config = run_data.config
    if config.augment.known_speaker_probability == 0:
        return None
    training = run_data.signals.training_logmel
    labelled = run_data.views.student_rows(with_unlabelled=False)[:, 0]
    speakers = [run_data.speakers.get(clip_id, "") for clip_id in training.ids]
    seed = fit_loop.network_seed(config.seed, VOICES)
    statistics = feature_statistics(training.take(labelled))
    return drawn_voices(training, speakers, *statistics, _DRAWS, seed)
