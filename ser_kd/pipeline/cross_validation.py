"""Cross-validation of a small corpus: how good a student is that is trained as the exported one is.

Every clip is predicted by a student that was not trained on its speaker. The exported student is
trained on all clips, so there is nothing left to score it on.
"""

import dataclasses
import time
from pathlib import Path

import numpy as np

from ser_kd.corpora.clip import Clip
from ser_kd.corpora.splits import Splits, speaker_folds
from ser_kd.errors import UserError
from ser_kd.export.reference import in_batches
from ser_kd.export.windows import all_windows
from ser_kd.pipeline.students import fold_student
from ser_kd.progress import duration, say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.runs.out_of_fold import OutOfFold
from ser_kd.students.saved import keras_logits

_SEED = 0


def out_of_fold(run: Run, run_data: RunData) -> OutOfFold:
    """Trains a student without each fold and lets it predict that fold; stored in the run's folder.

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
    folds = _divided(run_data, groups)
    start, predicted = time.monotonic(), []
    for number, fold in enumerate(folds):
        if number:
            left = (time.monotonic() - start) / number * (len(folds) - number)
            say(f"  fold {number + 1} of {len(folds)}, about {duration(left)} left for all folds")
        predicted.append(_predict(run, fold, run.fold_dir(number), f"fold {number + 1}"))
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


def _divided(run_data: RunData, groups: tuple[Clip, ...]) -> list[RunData]:
    """The data of every fold; the clips of the fold are its validation part."""
    count = min(run_data.config.corpus.folds, len({clip.speaker for clip in groups}))
    if count < 2:
        raise UserError(f"{len(groups)} clip cannot be cross-validated: at least 2 are needed")
    group_of = {clip.id: clip.speaker for clip in groups}
    divided = []
    for held_out in speaker_folds(groups, count, _SEED):
        inside = [clip for clip in run_data.splits.train if group_of[clip.id] in held_out]
        outside = [clip for clip in run_data.splits.train if group_of[clip.id] not in held_out]
        splits = Splits(tuple(outside), tuple(inside), (), run_data.splits.left_out)
        divided.append(dataclasses.replace(run_data, splits=splits))
    return divided


def _predict(
    run: Run, fold: RunData, directory: Path, name: str
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids of the fold's clips; clip index and logits of their windows."""
    model = fold_student(run, fold, directory, name)
    arrays = fold.logmel.select(fold.ids("validation"))
    clips, windows = all_windows(arrays, run.config)
    return list(arrays.ids), clips, in_batches(keras_logits(model), windows)


def _together(
    run_data: RunData,
    predicted: list[tuple[list[str], np.ndarray, np.ndarray]],
    by_speaker: bool,
) -> OutOfFold:
    """All folds' predictions in the order of the clips."""
    of_clip = {
        clip_id: logits[clips == row]
        for ids, clips, logits in predicted
        for row, clip_id in enumerate(ids)
    }
    ids = tuple(run_data.logmel.select(run_data.ids("validation")).ids)
    windows = [of_clip[clip_id] for clip_id in ids]
    clips = np.repeat(np.arange(len(ids)), [len(logits) for logits in windows])
    return OutOfFold(ids, clips, np.concatenate(windows), len(predicted), by_speaker)
