"""One model file in detail: calibration, groups of speakers, degraded recordings, worst clips."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd.audio.codecs import UnavailableError
from ser_kd.evaluation import robustness
from ser_kd.evaluation.clips import ClipSet
from ser_kd.evaluation.limits import LIMITS_SOURCE, judged, judged_sexes
from ser_kd.evaluation.predictions import predict_waveforms
from ser_kd.evaluation.scores import RESAMPLES, SEED
from ser_kd.evaluation.slices import slices
from ser_kd.inference.measure import machine
from ser_kd.inference.predictor import Predictor
from ser_kd.metrics.calibration import (
    calibration_error_by_chance,
    expected_calibration_error,
    reliability,
)
from ser_kd.progress import track
from ser_kd.students.frontend import Frontend
from ser_kd.tflite.interpreters import TFLiteModel

_WORST_CLIPS = 20


def evaluate_file(
    name: str,
    predictor: Predictor,
    clips: ClipSet,
    probs: np.ndarray,
    scores: Mapping[str, Any],
    notes: list[str],
    degraded: bool = True,
) -> dict[str, Any]:
    """What a table of scores does not tell of one model.

    Args:
        name: Of the model among ``models``.
        predictor: The model.
        clips: The clips.
        probs: What it predicts of them, ``[clips, classes]``.
        scores: ``scores.scores_of`` these.
        notes: Sentences on what was not measured are added.
        degraded: Whether degraded copies of the clips are predicted, too (minutes).

    Returns:
        ``model``: its name; ``calibration``: ``ece``, ``ece_by_chance`` (mean and 95th percentile
        of a perfectly calibrated model on as many clips) and the ``bins`` of the reliability
        diagram; ``slices``; ``robustness``: ``conditions`` and ``limits``; ``worst``: the errors of
        greatest confidence.
    """
    groups, unknown = slices(
        clips.clips, clips.truth, probs.argmax(1), predictor.labels, RESAMPLES, SEED
    )
    notes += unknown
    conditions = _conditions(predictor, clips, probs.argmax(1), notes) if degraded else []
    ua_of_sex = {
        group["name"]: group["ua"] for by in groups if by["by"] == "sex" for group in by["groups"]
    }
    return {
        "model": name,
        "calibration": {
            "ece": expected_calibration_error(probs, clips.truth),
            "ece_by_chance": list(calibration_error_by_chance(probs)),
            "bins": [dataclasses.asdict(item) for item in reliability(probs, clips.truth)],
        },
        "slices": groups,
        "robustness": {
            "conditions": conditions,
            "limits": judged(conditions) + judged_sexes(scores["ua"], ua_of_sex),
        },
        "worst": _worst(clips, probs, predictor.labels),
    }


def model_facts(model: Path, frontend: Frontend) -> dict[str, Any]:
    """The file itself: name, input (``waveform`` or ``logmel``), runtime, window, size, SHA-256."""
    takes, runtime = "logmel", "Keras"
    if model.suffix == ".tflite":
        loaded = TFLiteModel(model)
        takes = "waveform" if loaded.takes_waveforms else "logmel"
        runtime = loaded.runtime
    return {
        "name": model.name,
        "takes": takes,
        "runtime": runtime,
        "window_seconds": frontend.window_samples / frontend.sample_rate_hz,
        "bytes": model.stat().st_size,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }


def settings() -> dict[str, Any]:
    """What an evaluation depends on besides model and clips."""
    return {
        "bootstrap_resamples": RESAMPLES,
        "seed": SEED,
        "noise_seed": SEED,
        "limits": LIMITS_SOURCE,
        "machine": machine(),
    }


def _conditions(
    predictor: Predictor, clips: ClipSet, predicted: np.ndarray, notes: list[str]
) -> list[dict[str, Any]]:
    """What ``robustness.measure`` finds in every condition that can be had here."""
    measured = []
    rate_hz = predictor.frontend.sample_rate_hz
    conditions = robustness.conditions(rate_hz, clips.ids, clips.speakers, clips.waveform, SEED)
    for condition in track(conditions, len(conditions), "degraded clips"):
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


def _worst(clips: ClipSet, probs: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The errors of greatest confidence."""
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
