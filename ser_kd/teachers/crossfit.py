"""Out-of-fold predictions: no clip's target comes from a network that heard its speaker."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from ser_kd import files
from ser_kd.config import (
    Config,
    DimensionalTeacherConfig,
    EnsembleTeacherConfig,
    FileTeacherConfig,
    FusionTeacherConfig,
    LinguisticTeacherConfig,
    LiveTeacherConfig,
    ProsodicTeacherConfig,
    TeacherConfig,
    VotesTeacherConfig,
    Wav2Vec2TeacherConfig,
)
from ser_kd.corpora.splits import speaker_folds
from ser_kd.data.clip_arrays import ClipArrays, ClipView, Hears
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, Targets, read_targets, write_targets
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.prediction import Predictor, forget_shards, predict_in_shards

FOLD_RECORD = "fold.json"
PREDICTIONS = "predictions.npz"
TARGETS = "targets.npz"
_EPSILON = 1e-12


class Teacher(Protocol):
    """What a teacher that is trained here has to do, for one fold at a time."""

    @property
    def hears(self) -> Hears | None: ...  # the run's arrays that its predictor is given

    def network_paths(self, directory: Path) -> list[Path]: ...

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None: ...

    def predictor(self, directory: Path) -> Predictor: ...


@runtime_checkable
class MakesItsInputs(Protocol):
    """Of a teacher that hears neither samples nor frames: it says what its predictor is given."""

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays: ...


@dataclass(frozen=True)
class Fold:
    """Who is trained on and whose targets come of it."""

    number: int
    directory: Path
    training_speakers: frozenset[str]
    target_speakers: frozenset[str]

    @property
    def network_label(self) -> str:
        return f"{self.directory.parent.name} fold {self.number + 1}"


def _no_targets(name: str) -> Targets:
    raise TypeError(f"made without access to the targets of teacher {name!r}")


def make_teacher(
    name: str,
    config: Config,
    run_data: RunData,
    targets_of: Callable[[str], Targets] = _no_targets,
) -> Teacher:
    """The teacher of that name, ready to train.

    Args:
        name: Of the teacher.
        config: Of the run.
        run_data: Its clips.
        targets_of: Other teachers' targets by name, for a teacher that learns from them; asked
            when it trains or predicts.
    """
    teacher = config.teachers[name]
    if isinstance(teacher, EnsembleTeacherConfig):
        from ser_kd.teachers.logmel_ensemble import LogMelEnsemble

        return LogMelEnsemble(name, teacher, config, run_data)
    if isinstance(teacher, Wav2Vec2TeacherConfig):
        # Imported only where it is used: it brings in transformers.
        from ser_kd.teachers.finetuning import Wav2Vec2Teacher

        return Wav2Vec2Teacher(name, teacher, config, run_data)
    if isinstance(teacher, ProsodicTeacherConfig):
        from ser_kd.teachers.prosodic import ProsodicTeacher

        return ProsodicTeacher(name, teacher, config, run_data)
    if isinstance(teacher, LinguisticTeacherConfig):
        from ser_kd.teachers.linguistic import LinguisticTeacher

        return LinguisticTeacher(name, teacher, config, run_data)
    if isinstance(teacher, FusionTeacherConfig):
        from ser_kd.teachers.fusion import FusionTeacher

        return FusionTeacher(name, teacher, config, run_data, targets_of)
    if isinstance(teacher, DimensionalTeacherConfig):
        from ser_kd.teachers.dimensional import DimensionalTeacher

        return DimensionalTeacher(name, teacher, config, run_data, targets_of)
    if isinstance(teacher, LiveTeacherConfig):
        from ser_kd.teachers.live import LiveTeacher

        return LiveTeacher(name, teacher, config, run_data)
    if isinstance(teacher, VotesTeacherConfig):
        from ser_kd.teachers.votes import VotesTeacher

        return VotesTeacher(name, teacher, run_data)
    raise TypeError(f"a teacher of kind {teacher.kind!r} is not trained here")


def make_folds(directory: Path, teacher: TeacherConfig, run: Run, run_data: RunData) -> list[Fold]:
    """Divides the training speakers; one fold has everyone where none is kept from a network."""
    assert not isinstance(teacher, FileTeacherConfig)
    clips = run_data.splits.training
    speakers = frozenset(clip.speaker for clip in clips)
    if isinstance(teacher, LiveTeacherConfig | VotesTeacherConfig) or teacher.in_fold:
        return [Fold(0, directory / "fold_0", speakers, speakers)]
    held_out = speaker_folds(clips, teacher.folds, run.config.seed)
    return [
        Fold(number, directory / f"fold_{number}", speakers - group, group)
        for number, group in enumerate(held_out)
    ]


def targets_path(name: str, run: Run) -> Path:
    """Where a teacher's targets are: in the run folder, or wherever its file is."""
    teacher = run.config.teachers[name]
    if isinstance(teacher, FileTeacherConfig):
        return Path(teacher.path).expanduser()
    return run.teacher_dir(name) / TARGETS


def teacher_targets(name: str, run: Run, run_data: RunData) -> Targets:
    """The stage: trains a teacher's folds, predicts, and stores the targets of all clips.

    Of the training clips all views are predicted that teachers hear (``RunData.teacher_views``); of
    other clips there is but the clip itself.

    A training clip's target comes from the fold that never heard its speaker (neither for weights,
    nor for choosing an epoch, nor for feature statistics). Validation and test clips and speech
    without labels, which no fold trained on, get the mean of all folds. What is finished is found
    again.

    Returns:
        The stored targets; for a teacher of kind ``file``, what the file holds.
    """
    teacher_config, path = run.config.teachers[name], targets_path(name, run)
    dimensions = len(run_data.dimensions)
    if isinstance(teacher_config, FileTeacherConfig):
        return read_targets(path, run_data.labels, dimensions)
    directory = path.parent
    if not path.exists():
        folds = make_folds(directory, teacher_config, run, run_data)
        others = functools.partial(teacher_targets, run=run, run_data=run_data)
        teacher = make_teacher(name, run.config, run_data, others)
        for fold in folds:
            _fit_and_predict(fold, teacher, teacher_config.in_fold, run_data)
        write_targets(path, _assemble(folds, teacher_config.in_fold, run_data))
    else:
        say(f"  {name}: targets are there")
    return read_targets(path, run_data.labels, dimensions)


def _training_ids(fold: Fold, run_data: RunData) -> list[str]:
    speakers = run_data.speakers
    return [i for i in run_data.ids("training") if speakers[i] in fold.training_speakers]


def _target_views(fold: Fold, run_data: RunData) -> list[ClipView]:
    """Training clips of the fold's target speakers, the views that teachers hear; all others."""
    speakers = run_data.speakers
    own = [v for v in run_data.teacher_views("training") if speakers[v[0]] in fold.target_speakers]
    others = (run_data.teacher_views(part) for part in ("validation", "test", "unlabelled"))
    return sum(others, own)


def _fit_and_predict(fold: Fold, teacher: Teacher, in_fold: bool, run_data: RunData) -> None:
    path = fold.directory / PREDICTIONS
    if path.exists():
        say(f"  {fold.network_label}: predictions are there")
        forget_shards(path)  # a kill may have come in between
        return
    training_ids = _training_ids(fold, run_data)
    heard = sorted({run_data.speakers[clip_id] for clip_id in training_ids})
    files.write_json(
        fold.directory / FOLD_RECORD,
        {
            "fold": fold.number,
            "in_fold": in_fold,
            "training_speakers": heard,
            "feature_statistics_speakers": heard,
            # The last epoch is kept, so no clip is needed to stop early.
            "early_stopping_speakers": [],
            "target_speakers": sorted(fold.target_speakers),
            "training_clips": len(training_ids),
        },
    )
    teacher.train(training_ids, fold.directory, fold.network_label)
    views = _target_views(fold, run_data)
    rate_hz = run_data.config.audio.sample_rate_hz
    predict_in_shards(
        views,
        [run_data.samples(clip_id) / rate_hz for clip_id, _ in views],
        _inputs(teacher, run_data),
        functools.partial(teacher.predictor, fold.directory),
        teacher.network_paths(fold.directory),
        path,
        fold.network_label,
    )


def _inputs(teacher: Teacher, run_data: RunData) -> Callable[[Sequence[ClipView]], ClipArrays]:
    if isinstance(teacher, MakesItsInputs):
        return teacher.arrays
    assert teacher.hears is not None
    return functools.partial(run_data.arrays, teacher.hears)


def _assemble(folds: Sequence[Fold], in_fold: bool, run_data: RunData) -> Targets:
    """Own fold for training clips, mean over folds for the others."""
    training = set(run_data.ids("training"))
    own: dict[ClipView, tuple[int, np.ndarray, np.ndarray]] = {}
    others: dict[ClipView, list[np.ndarray]] = {}
    dimensions: dict[ClipView, list[np.ndarray]] = {}
    for fold in folds:
        with np.load(fold.directory / PREDICTIONS) as stored:
            views = [*zip(stored["ids"].tolist(), stored["view"].tolist(), strict=True)]
            probs, embedding = stored["probs"], stored["embedding"]
            told = stored.get("dimensions")
        if told is not None:
            for view, values in zip(views, told, strict=True):
                dimensions.setdefault(view, []).append(values)
        for view, p, e in zip(views, probs, embedding, strict=True):
            if view[0] in training:
                own[view] = (IN_FOLD if in_fold else fold.number, p, e)
            else:
                others.setdefault(view, []).append(p)
    # Embeddings of different folds' networks have nothing in common: their mean means nothing.
    size = next(iter(own.values()))[2].shape[0]
    no_embedding = np.full(size, np.nan, np.float32)
    mean = {v: (ALL_FOLDS, np.mean(probs, axis=0), no_embedding) for v, probs in others.items()}
    rows = own | mean
    keys = sorted(rows)
    probs = np.array([rows[key][1] for key in keys])
    return Targets(
        ids=tuple(clip_id for clip_id, _ in keys),
        logits=np.log(probs + _EPSILON),
        embedding=np.array([rows[key][2] for key in keys]),
        fold=np.array([rows[key][0] for key in keys]),
        view=np.array([view for _, view in keys], np.int32),
        # Of a training clip there is one.
        dimensions=np.array([np.mean(dimensions[key], axis=0) for key in keys])
        if dimensions
        else None,
    )
