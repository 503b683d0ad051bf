"""Losses: pure functions, one value per clip; of ``concordance_loss`` one per dimension."""

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


_LEAST_SPREAD = 1e-6
"""In squared units of a scale from -1 to 1: where neither side varies, 0 / 0 becomes 0."""


def concordance_loss(truth: Any, predicted: Any, weights: Any = None) -> Any:
    """1 - CCC over the batch, for each dimension (Lin, Biometrics 45, 1989).

    The concordance correlation coefficient is ``2 cov / (var + var + (mean - mean)^2)``:
    correlation that also counts a wrong mean or spread. It belongs to the batch, not to a clip:
    batches should be large enough to spread over the scale (as a loss: Weninger et al., IJCAI
    2016).

    A dimension of which nothing can be learnt from the batch (no clip or one with a rating, or all
    rated alike) costs 1 and has no gradient.

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
