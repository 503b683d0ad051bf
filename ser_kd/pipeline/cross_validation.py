"""Cross-validation of a small corpus: how good a student is that is trained as the exported one is.

Every clip is predicted by a student that was not trained on its speaker. The exported student is
trained on all clips, so there is nothing left to score it on.
"""

import dataclasses
import time
from collections.abc import Mapping

import keras
import numpy as np

from ser_kd import metrics
from ser_kd.corpora.clip import Clip
from ser_kd.corpora.splits import Splits, class_gaps, clip_folds, speaker_folds
from ser_kd.errors import UserError
from ser_kd.export.reference import in_batches
from ser_kd.export.windows import all_windows
from ser_kd.pipeline.students import candidates, cross_validated_student
from ser_kd.progress import duration, say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.runs.out_of_fold import OutOfFold
from ser_kd.students.saved import keras_logits

_SEED = 0
_Predicted = tuple[list[str], np.ndarray, np.ndarray]
"""Ids of a fold's clips; clip index and logits of their windows."""


def out_of_fold(run: Run, run_data: RunData) -> OutOfFold:
    """Makes a student without each fold and lets it predict that fold; stored in the run's folder.

    Where there are several ways to make one, the best is chosen by the mean recall of all clips.

    Args:
        run: With ``corpus.cross_validation``.
        run_data: Its clips.

    Raises:
        UserError: There are fewer than two clips to divide.
    """
    path = run.out_of_fold_path
    if path.is_file():
        say(f"  {path} is there")
        return OutOfFold.load(path)
    groups, by_speaker = fold_groups(run_data.splits.train)
    folds, kinds = _divided(run_data, groups, by_speaker), candidates(run.config, run_data.labels)
    predicted: dict[str, list[_Predicted]] = {kind: [] for kind in kinds}
    start = time.monotonic()
    for number, fold in enumerate(folds):
        for line in class_gaps({"train": fold.emotions("training")}, run_data.labels):
            say(f"  fold {number + 1}: {line}")
        if number:
            left = (time.monotonic() - start) / number * (len(folds) - number)
            say(f"  fold {number + 1} of {len(folds)}, about {duration(left)} left for all folds")
        for kind in kinds:
            name = f"fold {number + 1}, {kind}"
            student = cross_validated_student(run, fold, run.fold_dir(number) / kind, name, kind)
            predicted[kind].append(_predict(student, run, fold))
    result = _together(run_data, predicted, by_speaker)
    result.save(path)
    return result


def fold_groups(clips: tuple[Clip, ...]) -> tuple[tuple[Clip, ...], bool]:
    """The clips with what must not be divided in place of the speaker, and whether it is that.

    Where there are fewer than two speakers, every clip stands for itself.
    """
    known = {clip.speaker for clip in clips if clip.speaker_known}
    if len(known) > 1:
        return clips, True
    return tuple(dataclasses.replace(clip, speaker=clip.id) for clip in clips), False


def _divided(run_data: RunData, groups: tuple[Clip, ...], by_speaker: bool) -> list[RunData]:
    """The data of every fold; the clips of the fold are its validation part."""
    count = min(run_data.config.corpus.folds, len({clip.speaker for clip in groups}))
    if count < 2:
        raise UserError(f"{len(groups)} clip cannot be cross-validated: at least 2 are needed")
    group_of = {clip.id: clip.speaker for clip in groups}
    divided = []
    folds = (speaker_folds if by_speaker else clip_folds)(groups, count, _SEED)
    for held_out in folds:
        inside = [clip for clip in run_data.splits.train if group_of[clip.id] in held_out]
        outside = [clip for clip in run_data.splits.train if group_of[clip.id] not in held_out]
        splits = Splits(tuple(outside), tuple(inside), (), run_data.splits.left_out)
        divided.append(dataclasses.replace(run_data, splits=splits))
    return divided


def _predict(student: keras.Model, run: Run, fold: RunData) -> _Predicted:
    arrays = fold.logmel.select(fold.ids("validation"))
    clips, windows = all_windows(arrays, run.config)
    return list(arrays.ids), clips, in_batches(keras_logits(student), windows)


def _together(
    run_data: RunData, predicted: Mapping[str, list[_Predicted]], by_speaker: bool
) -> OutOfFold:
    """All folds' predictions in the order of the clips, and the kind that scores best."""
    ids = tuple(run_data.logmel.select(run_data.ids("validation")).ids)
    logits: dict[str, np.ndarray] = {}
    for kind, folds in predicted.items():
        of_clip = {
            clip_id: values[clips == row]
            for fold_ids, clips, values in folds
            for row, clip_id in enumerate(fold_ids)
        }
        windows = [of_clip[clip_id] for clip_id in ids]
        logits[kind] = np.concatenate(windows)
    clips = np.repeat(np.arange(len(ids)), [len(values) for values in windows])
    folds_made = len(next(iter(predicted.values())))
    found = OutOfFold(ids, clips, logits, next(iter(logits)), folds_made, by_speaker)
    truth = run_data.one_hot(ids).argmax(1)
    ua = {kind: metrics.scores(truth, found.probs(kind).argmax(1))["ua"] for kind in found.logits}
    for kind, value in ua.items():
        say(f"  {kind}: {100 * value:.1f} % (UA) out of fold")
    return dataclasses.replace(found, chosen=max(ua, key=lambda kind: ua[kind]))
