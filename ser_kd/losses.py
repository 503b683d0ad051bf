"""Distillation losses: pure functions of logits, one value per clip."""

from typing import Any

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
