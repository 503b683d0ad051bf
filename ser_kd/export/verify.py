"""Compares exported files with the Keras model that they come from."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.export.reference import Logits, Reference
from ser_kd.metrics.calibration import calibration_error_by_chance
from ser_kd.tflite.interpreters import RUNTIMES, TFLiteModel
from ser_kd.tflite.structure import read_tensors, tensor_dtypes

_LEAST = 1e-9
# What a full int8 file may hold. "index": shapes and axes, which no arithmetic is done on.
_INT8_DTYPES = {
    "activation": ("int8",),
    "weight": ("int8",),
    "bias": ("int32",),
    "index": ("int32", "int64"),
}


def check_model(
    logits: Logits, windows: np.ndarray, classes: int, what: str, silence: float | None = None
) -> None:
    """The one check that every form of the student passes: before conversion and after each step.

    Args:
        logits: float32 ``[batch, frames, mels]`` or ``[batch, samples]`` -> ``[batch, classes]``.
        windows: Some real ones; one of silence is added.
        classes: Number of labels.
        what: Its name in the message.
        silence: The value of silence; None = the lowest in ``windows``.

    Raises:
        UserError: Wrong shape, numbers that are not finite, or answers that depend on the
            neighbours in the batch or on earlier calls.
    """
    silence = float(windows.min()) if silence is None else silence
    windows = np.concatenate([windows, np.full_like(windows[:1], silence)])
    first, again = logits(windows), logits(windows[::-1])[::-1]
    if first.shape != (len(windows), classes):
        raise UserError(
            f"{what} gives logits {list(first.shape)} for windows {list(windows.shape)}; "
            f"[{len(windows)}, {classes}] is needed"
        )
    if not np.isfinite(first).all():
        raise UserError(f"{what} gives logits that are not finite")
    if np.abs(first - again).max() > 1e-3 * max(1.0, float(np.abs(first).max())):
        raise UserError(f"{what} gives other logits when the same windows are asked again")


def compare(path: Path, reference: Reference) -> dict[str, Any]:
    """Runs a file on all validation windows.

    Returns:
        Size, agreement of the labels, WA, UA and macro-F1, class and share where nearly all clips
        get one label, UA's interval over speakers and its difference from Keras with its standard
        error, negative log-likelihood and expected calibration error, absolute differences of the
        logits (of a waveform model: of log-probabilities), what the runtime says without XNNPACK
        and what the other runtimes on this machine say, types of the tensors and operators.
    """
    model = TFLiteModel(path)
    logits = _logits(model, reference)
    expected = reference.logits
    if model.takes_waveforms:
        # It gives probabilities: their logarithms are logits that have been divided already.
        scaled = expected.astype(np.float64) / reference.temperature
        expected = np.log(np.maximum(softmax(scaled), _LEAST))
        reference = dataclasses.replace(reference, logits=expected, temperature=1.0)
    probs = reference.average(logits)
    predicted = probs.argmax(1)
    difference = np.abs(logits - expected)
    plain = _logits(TFLiteModel(path, runtimes=[model.runtime], delegates=False), reference)
    scores = metrics.scores(reference.truth, predicted)
    confusion = metrics.confusion(reference.truth, predicted, probs.shape[1])
    one_label = metrics.collapsed_class(confusion)
    intervals = metrics.speaker_intervals(
        reference.truth, predicted, reference.speakers, probs.shape[1]
    )
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "runtime": model.runtime,
        **scores,
        "one_label": list(one_label) if one_label else None,
        "ua_interval": list(intervals["ua"]),
        "ua_difference": scores["ua"] - reference.ua,
        "ua_difference_error": _paired_error(reference, predicted),
        "nll": reference.nll(probs),
        "ece": reference.ece(probs),
        "ece_by_chance": list(calibration_error_by_chance(probs)),
        "agreement": float(np.mean(predicted == reference.probs.argmax(1))),
        "mean_logit_difference": float(difference.mean()),
        "max_logit_difference": float(difference.max()),
        "without_xnnpack": _difference(plain, logits, model),
        "other_runtimes": _other_runtimes(path, model, logits, plain, reference),
        "dtypes": tensor_dtypes(path),
    }


def _paired_error(reference: Reference, predicted: np.ndarray) -> float:
    """Standard error of the difference of UA between a file and Keras, on the same clips.

    A clip that only one of them gets right moves UA by 1 / (classes * clips of its class). The
    second moment stands for the variance, which of few clips may be 0 by chance.
    """
    truth = reference.truth
    classes, counts = np.unique(truth, return_counts=True)
    weight = 1.0 / (len(classes) * counts[np.searchsorted(classes, truth)])
    gained = (predicted == truth).astype(float) - (reference.probs.argmax(1) == truth)
    return float(np.sqrt(np.sum((weight * gained) ** 2)))


def _logits(model: TFLiteModel, reference: Reference) -> np.ndarray:
    """``[windows, classes]``; of a waveform model, logarithms of its probabilities."""
    classes, name = reference.logits.shape[1], model.name
    if not model.takes_waveforms:
        check_model(model.predict, reference.windows[:4], classes, name)
        return model.predict(reference.windows)
    some = next(reference.pcm())[:4]
    check_model(model.predict, some, classes, name, silence=0.0)
    probs = np.concatenate([model.predict(batch) for batch in reference.pcm()])
    return np.log(np.maximum(probs, _LEAST))


def _other_runtimes(
    path: Path, model: TFLiteModel, logits: np.ndarray, plain: np.ndarray, reference: Reference
) -> dict[str, Any]:
    """Runs the file on every other interpreter that is installed here and compares the outputs.

    Args:
        path: The file.
        model: The file in the interpreter that the others are compared with.
        logits: Its answers.
        plain: Its answers without XNNPACK.
        reference: Has the windows.

    Returns:
        Runtime -> the figures of ``_difference``, both without XNNPACK: the same arithmetic, so
        that every difference is one of reading the file. Under ``by_default`` those of the two as
        they come, which for int8 may be XNNPACK against none: tflite-runtime 2.14 has none for it.
    """
    found: dict[str, Any] = {}
    for runtime in RUNTIMES:
        if runtime == model.runtime:
            continue
        try:
            other = TFLiteModel(path, runtimes=[runtime])
        except UserError:
            continue  # not installed, or broken, as tflite-runtime is with NumPy 2
        answers = _logits(other, reference)
        other_plain = _logits(TFLiteModel(path, runtimes=[runtime], delegates=False), reference)
        found[runtime] = {
            **_difference(other_plain, plain, model),
            "by_default": _difference(answers, logits, model),
        }
    return found


def _difference(some: np.ndarray, others: np.ndarray, model: TFLiteModel) -> dict[str, float]:
    """How far two runtimes' answers are apart.

    Returns:
        ``same_label`` (share of windows), and ``max_steps`` (largest difference in quantisation
        steps, int8) or ``max_difference`` (float).
    """
    largest, step = float(np.abs(some - others).max()), model.output_step
    return {
        "same_label": float(np.mean(some.argmax(1) == others.argmax(1))),
        **({"max_steps": largest / step} if step else {"max_difference": largest}),
    }


def not_int8(path: Path) -> list[str]:
    """Tensors of a file that are not what full int8 means, as ``name: role dtype``."""
    return [
        f"{tensor.name}: {tensor.role} {tensor.dtype}"
        for tensor in read_tensors(path)
        if tensor.dtype not in _INT8_DTYPES[tensor.role]
    ]


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
