"""Losses: pure functions, one value per clip; of ``concordance_loss`` one per dimension."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def log_softmax(logits: Any, temperature: float = 1.0) -> Any:
    """Log-probabilities of softened logits, ``[batch, classes]``."""
    return ops.log_softmax(logits / temperature, axis=-1)


def cross_entropy(labels: Any, logits: Any) -> Any:
    """Cross-entropy against (soft) labels.

    Args:
        labels: Class probabilities ``[batch, classes]`` (one-hot, smoothed or mixed).
        logits: ``[batch, classes]``.

    Returns:
        ``[batch]``, in nats.
    """
    return -ops.sum(labels * log_softmax(logits), axis=-1)


def distillation_kl(teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """``T^2 * KL(teacher || student)`` at temperature T (Hinton et al., arXiv 1503.02531).

    T^2 keeps the gradient's size when T changes. Log-softmax on both sides: no logarithm of a
    probability that underflowed.

    Args:
        teacher_logits: ``[batch, classes]``; log-probabilities serve as well.
        student_logits: ``[batch, classes]``.
        temperature: T > 0.

    Returns:
        ``[batch]``, in nats, at least 0.
    """
    teacher = log_softmax(teacher_logits, temperature)
    student = log_softmax(student_logits, temperature)
    return temperature**2 * ops.sum(ops.exp(teacher) * (teacher - student), axis=-1)


def entropy(logits: Any, temperature: float = 1.0) -> Any:
    """Entropy of the softened predictions, ``[batch]``, in nats."""
    log_probs = log_softmax(logits, temperature)
    return -ops.sum(ops.exp(log_probs) * log_probs, axis=-1)


def embedding_mse(teacher: Any, student: Any) -> Any:
    """Mean squared difference of two embeddings ``[batch, size]`` (FitNets, arXiv 1412.6550).

    Returns:
        ``[batch]``, at least 0.
    """
    return ops.mean(ops.square(teacher - student), axis=-1)


def embedding_cosine(teacher: Any, student: Any) -> Any:
    """1 - cosine of the angle between two embeddings ``[batch, size]``: length does not count.

    Returns:
        ``[batch]``, from 0 (same direction) to 2 (opposite).
    """
    one, other = (ops.normalize(values, axis=-1, epsilon=1e-6) for values in (teacher, student))
    return 1.0 - ops.sum(one * other, axis=-1)


def decoupled_kd(labels: Any, teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """Decoupled knowledge distillation (Zhao et al., arXiv 2203.08679).

    KL(teacher || student) is the sum of what both say of the true class against all others, and,
    weighted with the teacher's doubt, of what they say among the others. Here the second part has
    a fixed weight, so that a certain teacher teaches it as well: the paper's beta, which it sets to
    0.5 to 10 by how certain the teacher is, is 2 here (alpha is 1).

    Args:
        labels: Class probabilities ``[batch, classes]``; the largest one is the true class. A clip
            without a label (zeros) has the plain KL.
        teacher_logits: ``[batch, classes]``.
        student_logits: ``[batch, classes]``.
        temperature: T > 0.

    Returns:
        ``[batch]``, in nats, times T^2.
    """
    true = ops.one_hot(ops.argmax(labels, axis=-1), labels.shape[-1], dtype=student_logits.dtype)
    parts = []
    for logits in (teacher_logits, student_logits):
        log_probs = log_softmax(logits, temperature)
        of_true = ops.sum(true * log_probs, axis=-1)
        # log(1 - p), from the others' logits: no difference of nearly equal numbers.
        of_others = ops.logsumexp(log_probs - _FAR * true, axis=-1)
        among = log_softmax(logits / temperature - _FAR * true)
        parts.append((of_true, of_others, among))
    (true_t, others_t, among_t), (true_s, others_s, among_s) = parts
    target = ops.exp(true_t) * (true_t - true_s) + ops.exp(others_t) * (others_t - others_s)
    rest = ops.sum((1.0 - true) * ops.exp(among_t) * (among_t - among_s), axis=-1)
    decoupled = temperature**2 * (_TARGET_WEIGHT * target + _OTHERS_WEIGHT * rest)
    plain = distillation_kl(teacher_logits, student_logits, temperature)
    return ops.where(ops.sum(labels, axis=-1) > 0, decoupled, plain)


_FAR = 1e4
_TARGET_WEIGHT, _OTHERS_WEIGHT = 1.0, 2.0


def relational_kd(teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """DIST: correlations instead of distances (Huang et al., arXiv 2205.10536).

    The student's probabilities are to be correlated with the teacher's over the classes of each
    clip, and over the clips of the batch for each class; a strong teacher's scale need not be met.

    Args:
        teacher_logits: ``[batch, classes]``.
        student_logits: ``[batch, classes]``.
        temperature: T > 0.

    Returns:
        ``[batch]``: 1 - correlation over classes, plus the mean over classes of 1 - correlation
        over the batch (the same for all clips), times T^2.
    """
    teacher, student = (
        ops.exp(log_softmax(logits, temperature)) for logits in (teacher_logits, student_logits)
    )
    within_clips = 1.0 - _correlation(teacher, student, axis=1)
    within_classes = ops.mean(1.0 - _correlation(teacher, student, axis=0))
    return temperature**2 * (within_clips + within_classes)


def _correlation(one: Any, other: Any, axis: int) -> Any:
    one, other = (v - ops.mean(v, axis=axis, keepdims=True) for v in (one, other))
    scale = ops.sqrt(ops.sum(one**2, axis=axis) * ops.sum(other**2, axis=axis) + 1e-12)
    return ops.sum(one * other, axis=axis) / scale


def logit_mse(teacher_logits: Any, student_logits: Any) -> Any:
    """Mean squared difference of logits (Kim et al., arXiv 2105.08919), each less its mean.

    A constant added to all logits of a clip changes no probability and does not count here:
    teachers may be stored as log-probabilities.

    Returns:
        ``[batch]``.
    """
    teacher, student = (
        logits - ops.mean(logits, axis=-1, keepdims=True)
        for logits in (teacher_logits, student_logits)
    )
    return ops.mean(ops.square(teacher - student), axis=-1)


def _kl(labels: Any, teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    return distillation_kl(teacher_logits, student_logits, temperature)


def _dist(labels: Any, teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    return relational_kd(teacher_logits, student_logits, temperature)


def _mse(labels: Any, teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    return logit_mse(teacher_logits, student_logits)


LOGIT_LOSSES: dict[str, Callable[[Any, Any, Any, float], Any]] = {
    "kl": _kl,
    "dkd": decoupled_kd,
    "dist": _dist,
    "mse": _mse,
}
"""By the names that recipes use: ``(labels, teacher_logits, student_logits, temperature)`` -> a
value per clip."""


_LEAST_SPREAD = 1e-6
"""In squared units of a scale from -1 to 1: where neither side varies, 0 / 0 becomes 0."""


def concordance_loss(truth: Any, predicted: Any, weights: Any = None) -> Any:
    """1 - CCC over the batch, for each dimension (Lin, Biometrics 45, 1989).

    The concordance correlation coefficient is ``2 cov / (var + var + (mean - mean)^2)``:
    correlation that also counts a wrong mean or spread. It belongs to the batch, not to a clip:
    batches should be large enough to spread over the scale (as a loss: Weninger et al., IJCAI
    2016).

    A dimension of which the batch tells nothing (no clip or one with a rating, or all rated alike)
    costs 1 and has no gradient.

    Args:
        truth: ``[batch, dimensions]``, ratings or a teacher's predictions; NaN: not rated.
        predicted: ``[batch, dimensions]``.
        weights: ``[batch]`` or ``[batch, dimensions]``, at least 0; None: all clips alike.

    Returns:
        ``[dimensions]``, from 0 (the same) to 2 (opposite).
    """
    predicted = ops.convert_to_tensor(predicted)
    truth = ops.cast(truth, predicted.dtype)
    rated = ops.logical_not(ops.isnan(truth))
    truth = ops.where(rated, truth, ops.zeros_like(truth))
    share = ops.cast(rated, predicted.dtype)
    if weights is not None:
        weights = ops.cast(weights, predicted.dtype)
        share = share * (ops.expand_dims(weights, -1) if len(weights.shape) == 1 else weights)
    share = share / ops.maximum(ops.sum(share, axis=0), keras.config.epsilon())
    truth_mean, predicted_mean = (ops.sum(share * v, axis=0) for v in (truth, predicted))
    truth, predicted = truth - truth_mean, predicted - predicted_mean
    covariance = ops.sum(share * truth * predicted, axis=0)
    spread = ops.sum(share * (ops.square(truth) + ops.square(predicted)), axis=0)
    spread = spread + ops.square(truth_mean - predicted_mean)
    return 1.0 - 2.0 * covariance / (spread + _LEAST_SPREAD)
