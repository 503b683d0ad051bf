"""Out-of-fold predictions: no clip's target is of a network that was trained on its speaker."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import files
from ser_kd.corpora.splits import speaker_folds
from ser_kd.data.clip_arrays import ClipView
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, Targets, read_targets, write_targets
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import PARTS, Teacher, make_teacher
from ser_kd.teachers.prediction import forget_shards, predict_in_shards

FOLD_RECORD = "fold.json"
PREDICTIONS = "predictions.npz"
TARGETS = "targets.npz"
_EPSILON = 1e-12


@dataclass(frozen=True)
class Fold:
    """Who is trained on and whose targets come of it."""

    number: int
    directory: Path
    training_speakers: frozenset[str]
    target_speakers: frozenset[str]

    @property
    def network_label(self) -> str:
        """``ensemble fold 1``."""
        return f"{self.directory.parent.name} fold {self.number + 1}"


def targets_path(name: str, run: Run) -> Path:
    """Where a teacher's targets are: in the run folder, or wherever its file is."""
    return run.config.teachers[name].predictions_file or run.teacher_dir(name) / TARGETS


class Teachers:
    """A run's teachers, each of them made once, and their targets.

    Args:
        run: Receives what they make.
        run_data: Its clips.
    """

    def __init__(self, run: Run, run_data: RunData) -> None:
        self.run, self.run_data = run, run_data
        self._made: dict[str, Teacher[Any]] = {}

    def require(self, name: str) -> None:
        """Makes a teacher whose targets are still to be made, so that what is wrong shows now.

        Raises:
            UserError: What is wrong with its settings or files.
        """
        trained = self.run.config.teachers[name].predictions_file is None
        if trained and not targets_path(name, self.run).exists():
            self._make(name)

    def targets(self, name: str) -> Targets:
        """Trains a teacher's folds, predicts, and stores the targets of all clips.

        Of the training clips all views are predicted that teachers are given
        (``ViewIndex.for_teachers``); of other clips there is but the clip itself.

        A training clip's target comes from the fold that is kept from its speaker (for weights, for
        choosing an epoch, for feature statistics). Validation and test clips and speech without
        labels, which no fold trains on, get the mean of all folds. What is finished is found again.

        Returns:
            The stored targets; for a teacher of kind ``file``, what the file holds.
        """
        settings, path = self.run.config.teachers[name], targets_path(name, self.run)
        trained = settings.predictions_file is None
        if trained and path.exists():
            say(f"  {name}: targets are there")
        elif trained:
            folds = self._folds(name)
            for fold in folds:
                _fit_and_predict(fold, self._make(name))
            write_targets(path, _assemble(folds, settings.in_fold, self.run_data))
        return read_targets(path, self.run_data.labels, len(self.run_data.dimensions))

    def _make(self, name: str) -> Teacher[Any]:
        if name not in self._made:
            self._made[name] = make_teacher(name, self.run.config, self.run_data, self.targets)
        return self._made[name]

    def _folds(self, name: str) -> list[Fold]:
        """Divides the training speakers; one fold has everyone where all are trained on."""
        settings, directory = self.run.config.teachers[name], self.run.teacher_dir(name)
        clips = self.run_data.splits.training
        speakers = frozenset(clip.speaker for clip in clips)
        if settings.in_fold:
            return [Fold(0, directory / "fold_0", speakers, speakers)]
        held_out = speaker_folds(clips, settings.folds, self.run.config.seed)
        return [
            Fold(number, directory / f"fold_{number}", speakers - group, group)
            for number, group in enumerate(held_out)
        ]


def _target_views(fold: Fold, run_data: RunData) -> list[ClipView]:
    """What the fold predicts: the training clips of its target speakers, and all others."""
    speakers = run_data.speakers
    own = [
        v for v in run_data.views.for_teachers("training") if speakers[v[0]] in fold.target_speakers
    ]
    return sum((run_data.views.for_teachers(part) for part in PARTS[1:]), own)


def _fit_and_predict(fold: Fold, teacher: Teacher[Any]) -> None:
    run_data, path = teacher.run_data, fold.directory / PREDICTIONS
    if path.exists():
        say(f"  {fold.network_label}: predictions are there")
        forget_shards(path)  # a kill may have come in between
        return
    speakers = run_data.speakers
    ids = [i for i in run_data.ids("training") if speakers[i] in fold.training_speakers]
    trained_on = sorted({speakers[clip_id] for clip_id in ids})
    files.write_json(
        fold.directory / FOLD_RECORD,
        {
            "fold": fold.number,
            "in_fold": teacher.settings.in_fold,
            "training_speakers": trained_on,
            "feature_statistics_speakers": trained_on,
            # The last epoch is kept, so no clip is needed to stop early.
            "early_stopping_speakers": [],
            "target_speakers": sorted(fold.target_speakers),
            "training_clips": len(ids),
        },
    )
    teacher.train(ids, fold.directory, fold.network_label)
    views, rate_hz = _target_views(fold, run_data), run_data.config.audio.sample_rate_hz
    predict_in_shards(
        views,
        [run_data.signals.samples(clip_id) / rate_hz for clip_id, _ in views],
        teacher.arrays,
        functools.partial(teacher.predictor, fold.directory),
        teacher.network_paths(fold.directory),
        path,
        fold.network_label,
    )


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
            predicted = stored.get("dimensions")
        if predicted is not None:
            for view, values in zip(views, predicted, strict=True):
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
