"""The scores of a run that holds nothing out: what its folds' students predict."""

from typing import Any

import numpy as np

from ser_kd.evaluation.clips import ClipSet
from ser_kd.evaluation.exported_file import evaluate_file
from ser_kd.evaluation.predictions import prediction_rows
from ser_kd.evaluation.run_models import waveform_student
from ser_kd.evaluation.scores import OUT_OF_FOLD, STUDENT, Predictions, score_part
from ser_kd.inference.predictor import Predictor
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.runs.out_of_fold import OutOfFold

_NAMES = {
    "unchanged": "bundled student, unchanged",
    "head": "bundled student, new head",
    "trained": "all layers trained",
}


def cross_validated_part(
    run: Run, run_data: RunData, predictor: Predictor
) -> tuple[dict[str, Any], list[dict[str, Any]], list[str]]:
    """The part ``out-of-fold`` of ``eval.json``, the rows of ``predictions.csv``, and notes.

    The scores stand in the row of the file for the phone, which was made as the folds' students
    were, from all clips. Beside it are the kinds of students that were not chosen.

    Args:
        run: Trained and exported.
        run_data: Its clips.
        predictor: The file for the phone.
    """
    found, labels = OutOfFold.load(run.out_of_fold_path), run_data.labels
    name = waveform_student(run)[0]
    probs = found.probs(found.chosen, predictor.frontend.temperature).astype(np.float32)
    clips = _clip_set(run_data, found, labels)
    predictions = [
        *(
            Predictions(found_name, STUDENT, found.ids, found.probs(kind))
            for kind, found_name in _NAMES.items()
            if kind in found.logits and kind != found.chosen
        ),
        Predictions(name, STUDENT, found.ids, probs),
    ]
    scored = score_part(found.ids, clips.truth, clips.speakers, labels, predictions)
    notes = [
        f"{name}: each clip by one of {found.folds} students ({_NAMES[found.chosen]}) that were "
        f"not trained on its {'speaker' if found.by_speaker else 'fold'}; the file was trained on "
        "all clips"
    ]
    if not found.by_speaker:
        notes.append(
            "the folds are of clips, not of speakers: of new voices the scores tell nothing; name "
            "two speakers or more (<emotion>/<speaker>/ folders or a CSV column)"
        )
    told = {
        **scored,
        "folds": found.folds,
        "by_speaker": found.by_speaker,
        "clips_of_training_speakers": 0 if found.by_speaker else len(found.ids),
        "unreadable": dict(clips.unreadable),
        "file": evaluate_file(
            name, predictor, clips, probs, scored["models"][name], notes, degraded=False
        ),
    }
    return told, prediction_rows(OUT_OF_FOLD, clips.clips, probs, labels), notes


def _clip_set(run_data: RunData, found: OutOfFold, labels: tuple[str, ...]) -> ClipSet:
    clip_of = {clip.id: clip for clip in run_data.corpus.clips}
    clips = tuple(clip_of[clip_id] for clip_id in found.ids)
    waveforms = run_data.waveforms.select(found.ids)
    return ClipSet(
        run_data.corpus,
        OUT_OF_FOLD,
        clips,
        np.array([labels.index(clip.emotion) for clip in clips]),
        tuple(waveforms.clip(row) for row in range(len(waveforms))),
        run_data.skipped,
        {},
    )
