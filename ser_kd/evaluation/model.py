"""The evaluation of one model file on a corpus, with whatever its run tells of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_kd.evaluation import other_models
from ser_kd.evaluation.clips import Choice, ClipSet, cross_clips, main_clips
from ser_kd.evaluation.exported_file import evaluate_file, model_facts, settings
from ser_kd.evaluation.predictions import predict_waveforms, prediction_rows
from ser_kd.evaluation.run_folder import find_run, stored_resources, training_history
from ser_kd.evaluation.scores import FORMAT, STUDENT, Predictions, score_part, scores_of
from ser_kd.inference.predictor import Predictor
from ser_kd.progress import say


@dataclass(frozen=True)
class Request:
    """What an evaluation of one model looks at besides its corpus.

    Attributes:
        cross: Other corpora, ``NAME=DIR`` each.
        teachers: Files of stored predictions, besides those of the model's run.
        against: Models to compare with, besides the model's float or int8 counterpart in its run.
        degraded: Whether degraded copies of the clips are predicted, too (minutes).
    """

    cross: Sequence[str] = ()
    teachers: Sequence[Path] = ()
    against: Sequence[Path] = ()
    degraded: bool = True


@dataclass(frozen=True)
class Evaluated:
    """What ``evaluate_model`` finds.

    Attributes:
        evaluation: The content of ``eval.json``.
        resources: The content of ``resources.json``.
        predictions: The rows of ``predictions.csv``.
    """

    evaluation: dict[str, Any]
    resources: dict[str, Any]
    predictions: list[dict[str, Any]]


def evaluate_model(model: Path, choice: Choice, request: Request) -> Evaluated:
    """Everything that can be said of a model on one part of a corpus.

    Args:
        model: A .tflite or .keras file.
        choice: The clips.
        request: What else to look at.

    Raises:
        UserError: There is no such model or corpus, or no clip can be used.
    """
    notes: list[str] = []
    own_run = find_run(model)
    predictor = Predictor.load(model)
    clips = main_clips(predictor, own_run, choice, notes)
    crossed = [cross_clips(text, predictor, notes) for text in request.cross]
    say(f"{model.name}: {clips.corpus.name}, {clips.split} part, {len(clips):,} clips")
    probs = predict_waveforms(predictor, clips.waveforms())
    teachers = other_models.teachers(clips.ids, predictor.labels, own_run, request.teachers, notes)
    compared = other_models.counterparts(model, own_run, request.against, notes)
    names = other_models.names_of([*compared, model])
    name = names[model]
    students = [
        other_models.student(path, names[path], model, predictor, clips) for path in compared
    ]
    scored = score_part(
        clips.ids,
        clips.truth,
        clips.speakers,
        predictor.labels,
        [*teachers, *students, Predictions(name, STUDENT, clips.ids, probs)],
        clips.untrained,
    )
    own_scores = scored["models"][name]
    if not request.degraded:
        notes.append("robustness: not measured (--no-robustness)")
    evaluation = {
        "format": FORMAT,
        "labels": list(predictor.labels),
        "synthetic": clips.corpus.synthetic,
        "corpus": clips.corpus.name,
        "model": model_facts(model, predictor.frontend),
        "parts": {
            clips.split: {
                **scored,
                "clips_of_training_speakers": clips.clips_of_training_speakers,
                "unreadable": dict(clips.unreadable),
                "file": evaluate_file(
                    name, predictor, clips, probs, own_scores, notes, request.degraded
                ),
            }
        },
        "teachers_out_of_fold": {},
        "cross_corpus": [_cross_scores(predictor, other) for other in crossed],
        "history": training_history(own_run),
        "settings": settings(),
        "notes": notes,
    }
    stored = stored_resources(own_run)
    resources = {
        teacher.name: stored[teacher.name] for teacher in teachers if teacher.name in stored
    } | other_models.measured(names, notes)
    return Evaluated(
        evaluation, resources, prediction_rows(clips.split, clips.clips, probs, predictor.labels)
    )


def _cross_scores(predictor: Predictor, clips: ClipSet) -> dict[str, Any]:
    say(f"  {len(clips):,} clips of {clips.corpus.name}")
    probs = predict_waveforms(predictor, clips.waveforms())
    scores = scores_of(probs, clips.truth, clips.speakers, predictor.labels)
    return {
        "corpus": clips.corpus.name,
        "clips": len(clips),
        "speakers": len(set(clips.speakers)),
        "labels": list(scores["recall"]),
        "dropped": dict(clips.dropped),
        "scores": scores,
    }
