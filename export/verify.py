"""Compares exported files with the Keras model that they come from."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.config import ExportConfig
from ser_kd.errors import UserError
from ser_kd.targets import softmax
from ser_kd.tflite import TFLiteModel, read_tensors, tensor_dtypes

Logits = Callable[[np.ndarray], np.ndarray]
# What a full int8 file may hold. "index": shapes and axes, which no arithmetic is done on.
_INT8_DTYPES = {
    "activation": ("int8",),
    "weight": ("int8",),
    "bias": ("int32",),
    "index": ("int32", "int64"),
}


@dataclass(frozen=True)
class Reference:
    """The Keras model's answers on the validation clips.

    Attributes:
        clips: Index of the clip of each window, ``[windows]``.
        windows: float32 ``[windows, frames, mels]``.
        truth: Class of each clip, ``[clips]``.
        logits: ``[windows, classes]``.
    """

    clips: np.ndarray
    windows: np.ndarray
    truth: np.ndarray
    logits: np.ndarray

    @property
    def probs(self) -> np.ndarray:
        """float64 ``[clips, classes]``."""
        return self.average(self.logits)

    @property
    def ua(self) -> float:
        return metrics.scores(self.truth, self.probs.argmax(1))["ua"]

    def nll(self, probs: np.ndarray) -> float:
        """Mean of -log(probability of the true class): a few flips move UA more than this."""
        return float(-np.log(probs[np.arange(len(self.truth)), self.truth] + 1e-12).mean())

    def average(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities averaged over each clip's windows, ``[clips, classes]``."""
        total = np.zeros((len(self.truth), logits.shape[1]))
        np.add.at(total, self.clips, softmax(logits.astype(np.float64)))
        return total / np.bincount(self.clips, minlength=len(self.truth))[:, np.newaxis]


def check_model(logits: Logits, windows: np.ndarray, classes: int, what: str) -> None:
    """The one check that every form of the student passes: before conversion and after each step.

    Args:
        logits: float32 ``[batch, frames, mels]`` -> ``[batch, classes]``.
        windows: Some real ones; one of silence is added.
        classes: Number of labels.
        what: Its name in the message.

    Raises:
        UserError: Wrong shape, numbers that are not finite, or answers that depend on the
            neighbours in the batch or on earlier calls.
    """
    windows = np.concatenate([windows, np.full_like(windows[:1], windows.min())])
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
        Size, agreement of the labels, UA and its difference from Keras, negative log-likelihood,
        absolute differences of the logits, and the types of the tensors.
    """
    model = TFLiteModel(path)
    classes = reference.logits.shape[1]
    check_model(model.predict, reference.windows[:4], classes, path.name)
    logits = model.predict(reference.windows)
    probs = reference.average(logits)
    predicted = probs.argmax(1)
    difference = np.abs(logits - reference.logits)
    ua = metrics.scores(reference.truth, predicted)["ua"]
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "runtime": model.runtime,
        "ua": ua,
        "ua_difference": ua - reference.ua,
        "nll": reference.nll(probs),
        "agreement": float(np.mean(predicted == reference.probs.argmax(1))),
        "mean_logit_difference": float(difference.mean()),
        "max_logit_difference": float(difference.max()),
        "dtypes": tensor_dtypes(path),
    }


def not_int8(path: Path) -> list[str]:
    """Tensors of a file that are not what full int8 means, as ``name: role dtype``."""
    return [
        f"{tensor.name}: {tensor.role} {tensor.dtype}"
        for tensor in read_tensors(path)
        if tensor.dtype not in _INT8_DTYPES[tensor.role]
    ]


def problems(models: dict[str, dict[str, Any]], config: ExportConfig) -> list[str]:
    """What is wrong with the figures of ``compare``; empty = fit to ship."""
    found = []
    for figures in models.values():
        name = figures["file"]
        if figures["agreement"] < config.min_agreement:
            found.append(
                f"{name} gives the Keras model's label for {figures['agreement']:.1%} of the "
                f"validation clips (export.min_agreement = {config.min_agreement:.1%})"
            )
        if -figures["ua_difference"] > config.max_ua_drop:
            found.append(
                f"{name} loses {-figures['ua_difference']:.1%} UA on validation "
                f"(export.max_ua_drop = {config.max_ua_drop:.1%})"
            )
        if figures.get("not_int8"):
            found.append(
                f"{name} has {len(figures['not_int8'])} tensors that are not int8, such as "
                f"{figures['not_int8'][0]}"
            )
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
