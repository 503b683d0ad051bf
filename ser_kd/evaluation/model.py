"""Everything that can be said of one model on a corpus: the content of ``eval.json``."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_kd import metrics
from ser_kd.audio.codecs import UnavailableError
from ser_kd.evaluation import others, robustness
from ser_kd.evaluation.clips import Choice, ClipSet, cross_clips, main_clips
from ser_kd.evaluation.gates import GATES_SOURCE, gates, sex_gates
from ser_kd.evaluation.predictions import predict_waveforms, prediction_rows
from ser_kd.evaluation.run_folder import exported_family, find_run, training_history
from ser_kd.evaluation.slices import slices
from ser_kd.inference.measure import machine
from ser_kd.inference.predictor import Predictor
from ser_kd.metrics.temperature import (
    calibration_error_by_chance,
    expected_calibration_error,
    reliability,
)
from ser_kd.progress import say, track
from ser_kd.students.frontend import Frontend
from ser_kd.tflite.interpreters import TFLiteModel

if TYPE_CHECKING:
    from ser_kd.runs.folder import Run

RESAMPLES = 1000
SEED = 0
_WORST_CLIPS = 20


def evaluate(
    model: Path,
    choice: Choice,
    *,
    cross: Sequence[str] = (),
    teachers: Sequence[Path] = (),
    against: Sequence[Path] = (),
    no_robustness: str = "",
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything that can be said of a model on a corpus.

    Args:
        model: A .tflite or .keras file.
        choice: The clips.
        cross: Other corpora, ``NAME=DIR`` each.
        teachers: Stored predictions, besides those of the model's run.
        against: Models to compare with, besides the model's float or int8 counterpart.
        no_robustness: Why changed clips are left out, for the notes; empty = they are not.

    Returns:
        What ``eval.json`` holds, and the rows of ``predictions.csv``.

    Raises:
        UserError: There is no such model or corpus, or no clip can be used.
    """
    notes: list[str] = []
    own_run = find_run(model)
    predictor = Predictor.load(model)
    clips = main_clips(predictor, own_run, choice, notes)
    crossed = [cross_clips(text, predictor, notes) for text in cross]
    say(f"{model.name}: {clips.corpus.name}, {clips.split} part, {len(clips):,} clips")
    probs = predict_waveforms(predictor, clips.waveforms())
    predicted = probs.argmax(1)
    scores = _scores(probs, clips, predictor.labels)
    of_teachers = others.teachers(clips, predictor.labels, own_run, teachers, notes)
    of_students = others.students(clips, predictor, model, own_run, against, notes)
    resources, compared = others.compare(model, scores, of_teachers, of_students, clips, notes)
    groups, unknown = slices(clips.clips, clips.truth, predicted, predictor.labels, RESAMPLES, SEED)
    notes += unknown
    if no_robustness:
        conditions = []
        notes.append(f"robustness: not measured ({no_robustness})")
    else:
        conditions = _changed_clips(predictor, clips, predicted, notes)
    evaluation = {
        "format": 1,
        "model": _model_facts(model, predictor.frontend),
        "labels": list(predictor.labels),
        "corpus": {
            "name": clips.corpus.name,
            "split": clips.split,
            "clips": len(clips),
            "speakers": len(set(clips.speakers)),
            "synthetic": clips.corpus.synthetic,
            "heard_in_training": clips.heard_in_training,
            "unreadable": dict(clips.unreadable),
        },
        "scores": scores,
        "calibration": {
            "ece": expected_calibration_error(probs, clips.truth),
            # Of as many clips with true probabilities: mean, and 95th percentile.
            "ece_by_chance": list(calibration_error_by_chance(probs)),
            "bins": [dataclasses.asdict(item) for item in reliability(probs, clips.truth)],
        },
        "agreement": [
            others.agreement(other, predicted, clips) for other in of_teachers + of_students
        ],
        "slices": groups,
        "robustness": {
            "conditions": conditions,
            "gates": gates(conditions) + sex_gates(scores["ua"], _ua_of_sex(groups)),
        },
        "cross_corpus": [_cross_scores(predictor, other) for other in crossed],
        "resources": resources,
        "compared": compared,
        "teaching": _teaching(own_run, clips),
        "family": exported_family(own_run),
        "history": training_history(own_run),
        "worst": _worst(clips, probs, predictor.labels),
        "settings": {
            "bootstrap_resamples": RESAMPLES,
            "seed": SEED,
            "noise_seed": SEED,
            "gates": GATES_SOURCE,
            "machine": machine(),
        },
        "notes": notes,
    }
    return evaluation, prediction_rows(clips.clips, probs, predictor.labels)


def _scores(probs: np.ndarray, clips: ClipSet, labels: Sequence[str]) -> dict[str, Any]:
    truth, predicted = clips.truth, probs.argmax(1)
    return {
        **metrics.full_scores(truth, predicted, clips.speakers, labels, RESAMPLES, SEED),
        "nll": metrics.negative_log_likelihood(probs, truth),
    }


def _cross_scores(predictor: Predictor, clips: ClipSet) -> dict[str, Any]:
    say(f"  {len(clips):,} clips of {clips.corpus.name}")
    scores = _scores(predict_waveforms(predictor, clips.waveforms()), clips, predictor.labels)
    return {
        "corpus": clips.corpus.name,
        "clips": len(clips),
        "speakers": len(set(clips.speakers)),
        "labels": list(scores["recall"]),
        "dropped": dict(clips.dropped),
        "scores": scores,
    }


def _teaching(own_run: "Run | None", clips: ClipSet) -> dict[str, Any]:
    """What the run's table tells of its teachers on these clips; of others it tells nothing."""
    if own_run is None or clips.heard_in_training is None:
        return {}
    from ser_kd.evaluation.run_scores import stored_teaching  # needs TensorFlow, as runs do

    return stored_teaching(own_run, clips.split, len(clips))


def _changed_clips(
    predictor: Predictor, clips: ClipSet, predicted: np.ndarray, notes: list[str]
) -> list[dict[str, Any]]:
    """What ``robustness.measure`` finds in every condition that can be had here."""
    measured = []
    rate_hz = predictor.frontend.sample_rate_hz
    conditions = robustness.conditions(rate_hz, clips.ids, clips.speakers, clips.waveform, SEED)
    for condition in track(conditions, len(conditions), "changed clips"):
        try:
            result = robustness.measure(
                condition,
                clips.waveforms(),
                lambda waveforms: predict_waveforms(predictor, waveforms),
                clips.truth,
                predicted,
            )
        except UnavailableError as error:
            notes.append(f"{condition.name}: not measured ({error})")
        else:
            measured.append(result)
    if len(set(clips.speakers)) == 1:
        notes.append("babble noise: not measured (it is made of other speakers' clips)")
    return measured


def _ua_of_sex(groups: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {g["name"]: g["ua"] for item in groups if item["by"] == "sex" for g in item["groups"]}


def _worst(clips: ClipSet, probs: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The wrong clips in which the model was surest."""
    predicted = probs.argmax(1)
    order = np.argsort(-probs.max(1), kind="stable")
    return [
        {
            "id": clips.clips[row].id,
            "speaker": clips.clips[row].speaker,
            "truth": labels[clips.truth[row]],
            "predicted": labels[predicted[row]],
            "probability_of_truth": float(probs[row, clips.truth[row]]),
            "probability": float(probs[row].max()),
        }
        for row in order[predicted[order] != clips.truth[order]][:_WORST_CLIPS]
    ]


def _model_facts(model: Path, frontend: Frontend) -> dict[str, Any]:
    hears, runtime = "logmel", "Keras"
    if model.suffix == ".tflite":
        loaded = TFLiteModel(model)
        hears = "waveform" if loaded.hears_waveforms else "logmel"
        runtime = loaded.runtime
    return {
        "name": model.name,
        "hears": hears,
        "runtime": runtime,
        "window_seconds": frontend.window_samples / frontend.sample_rate_hz,
        "bytes": model.stat().st_size,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }
