"""Compares exported files with the Keras model that they come from."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.config import ExportConfig
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.metrics.calibration import calibration_error_by_chance, expected_calibration_error
from ser_kd.tflite.interpreters import RUNTIMES, TFLiteModel
from ser_kd.tflite.structure import read_tensors, tensor_dtypes

Logits = Callable[[np.ndarray], np.ndarray]
# What a full int8 file may hold. "index": shapes and axes, which no arithmetic is done on.
_INT8_DTYPES = {
    "activation": ("int8",),
    "weight": ("int8",),
    "bias": ("int32",),
    "index": ("int32", "int64"),
}

MAX_VOICE_DIFFERENCE_DB = 0.2
"""The mel filters in the file have 16 bits, which is 0.2 dB for single cells at most."""


@dataclass(frozen=True)
class Reference:
    """The Keras model's answers on the validation clips.

    Attributes:
        clips: Index of the clip of each window, ``[windows]``.
        windows: float32 ``[windows, frames, mels]``.
        pcm: The same windows as float32 samples, in batches ``[.., samples]``, made when asked for:
            they are many times as large.
        truth: Class of each clip, ``[clips]``.
        speakers: Of each clip.
        logits: ``[windows, classes]``.
        temperature: What logits are divided by before softmax.
    """

    clips: np.ndarray
    windows: np.ndarray
    pcm: Callable[[], Iterator[np.ndarray]]
    truth: np.ndarray
    speakers: list[str]
    logits: np.ndarray
    temperature: float = 1.0

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

    def ece(self, probs: np.ndarray) -> float:
        """Expected calibration error."""
        return expected_calibration_error(probs, self.truth)

    def average(self, logits: np.ndarray) -> np.ndarray:
        """Probabilities averaged over each clip's windows, ``[clips, classes]``."""
        total = np.zeros((len(self.truth), logits.shape[1]))
        np.add.at(total, self.clips, softmax(logits.astype(np.float64) / self.temperature))
        return total / np.bincount(self.clips, minlength=len(self.truth))[:, np.newaxis]


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
        Size, agreement of the labels, WA, UA and macro-F1, UA's interval over speakers and its
        difference from Keras, negative log-likelihood and expected calibration error, absolute
        differences of the logits (of a waveform model: of log-probabilities), what the runtime says
        without XNNPACK and what the other runtimes on this machine say, types of the tensors and
        operators.
    """
    model = TFLiteModel(path)
    logits = _logits(model, reference)
    expected = reference.logits
    if model.hears_waveforms:
        # It gives probabilities: their logarithms are logits that have been divided already.
        scaled = expected.astype(np.float64) / reference.temperature
        expected = np.log(np.maximum(softmax(scaled), _LEAST))
        reference = dataclasses.replace(reference, logits=expected, temperature=1.0)
    probs = reference.average(logits)
    predicted = probs.argmax(1)
    difference = np.abs(logits - expected)
    plain = _logits(TFLiteModel(path, runtimes=[model.runtime], delegates=False), reference)
    scores = metrics.scores(reference.truth, predicted)
    intervals = metrics.speaker_intervals(
        reference.truth, predicted, reference.speakers, probs.shape[1]
    )
    return {
        "file": path.name,
        "bytes": path.stat().st_size,
        "sha256": sha256(path),
        "runtime": model.runtime,
        **scores,
        "ua_interval": list(intervals["ua"]),
        "ua_difference": scores["ua"] - reference.ua,
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


_LEAST = 1e-9


def _logits(model: TFLiteModel, reference: Reference) -> np.ndarray:
    """``[windows, classes]``; of a waveform model, logarithms of its probabilities."""
    classes, name = reference.logits.shape[1], model.name
    if not model.hears_waveforms:
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
    """``same_label`` (share of windows) and ``max_steps`` (largest difference in quantisation
    steps, int8) or ``max_difference`` (float)."""
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
        plain = figures.get("without_xnnpack", {}).get("same_label", 1.0)
        if plain < config.min_kernel_agreement:
            found.append(
                f"{name} gives the same label with and without XNNPACK for {plain:.1%} of the "
                f"windows (export.min_kernel_agreement = {config.min_kernel_agreement:.1%})"
            )
        for runtime, other in figures.get("other_runtimes", {}).items():
            if other["same_label"] < config.min_runtime_agreement:
                found.append(
                    f"{name} gives the same label on {runtime} and {figures['runtime']}, both "
                    f"without XNNPACK, for {other['same_label']:.1%} of the windows "
                    f"(export.min_runtime_agreement = {config.min_runtime_agreement:.1%})"
                )
            if other.get("max_steps", 0.0) > config.max_runtime_steps + 0.01:
                found.append(
                    f"{name} differs by {other['max_steps']:.0f} quantisation steps between "
                    f"{runtime} and {figures['runtime']}, both without XNNPACK "
                    f"(export.max_runtime_steps = {config.max_runtime_steps})"
                )
        if figures.get("not_int8"):
            found.append(
                f"{name} has {len(figures['not_int8'])} tensors that are not int8, such as "
                f"{figures['not_int8'][0]}"
            )
    return found


def owner_problems(figures: dict[str, Any], config: ExportConfig) -> list[str]:
    """What is wrong with the figures of ``export.owner.compare_owner``; empty = fit to ship."""
    found = []
    if figures["agreement"] < config.min_agreement:
        found.append(
            f"{figures['signature']} gives the Keras model's label for {figures['agreement']:.1%} "
            f"of the validation clips (export.min_agreement = {config.min_agreement:.1%})"
        )
    if figures["corpus_same_label"] < config.min_runtime_agreement:
        found.append(
            f"{figures['signature']} with the corpus's own statistics gives the same label as the "
            f"first signature for {figures['corpus_same_label']:.1%} of the windows "
            f"(export.min_runtime_agreement = {config.min_runtime_agreement:.1%})"
        )
    if figures["max_voice_difference_db"] > MAX_VOICE_DIFFERENCE_DB:
        found.append(
            f"voices are learnt {figures['max_voice_difference_db']:.2f} dB from those of the "
            f"log-mel layer's frames, {MAX_VOICE_DIFFERENCE_DB} dB are allowed"
        )
    return found


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
