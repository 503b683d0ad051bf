"""Distillation of embeddings: the student's embedding, projected, is drawn to the teachers'.

The projections are there for training only: what is saved and exported is the plain student.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import keras
import numpy as np
from keras import layers, ops

from ser_kd.data.targets import IN_FOLD, Targets
from ser_kd.distillation import losses
from ser_kd.distillation.distiller import Distiller
from ser_kd.errors import UserError

EMBEDDING, FOLD, SHARE = "embedding_of_", "fold_of_", "share"
"""Of the targets' names: ``embedding_of_<teacher>``, ``fold_of_<teacher>``; and how much of a mixed
clip is the clip itself (``ser_kd.audio.augment.mixup``)."""
_NONE = -1
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class EmbeddingSpaces:
    """What is known of a teacher's embedding: its networks' spaces and their size."""

    folds: int
    size: int


def embedding_targets(targets: Targets, rows: np.ndarray, teacher: str) -> dict[str, np.ndarray]:
    """One teacher's embeddings as training targets.

    Every fold's network has a space of its own, in which it is standardised here: each component
    has mean 0 and deviation 1 over the fold's clips.

    Args:
        targets: Of the teacher.
        rows: Which of its rows, int ``[views]``.
        teacher: Its name.

    Returns:
        ``embedding_of_<teacher>`` float32 ``[views, size]`` and ``fold_of_<teacher>`` int32
        ``[views]``: whose space it is; -1 where there is no embedding (speech without labels is
        predicted by all folds).

    Raises:
        UserError: The teacher has no embeddings.
    """
    values, folds = targets.embedding[rows], targets.fold[rows].copy()
    if values.shape[1] == 0:
        raise UserError(
            f"distill.embedding_weights names {teacher!r}, whose predictions hold no embedding; "
            "leave it out, or add an array 'embedding' to its file"
        )
    folds[folds == IN_FOLD] = 0
    folds[~np.isfinite(values).all(axis=1)] = _NONE
    # A file from outside has one space and says nothing of folds.
    if (folds < 0).all() and np.isfinite(values).all():
        folds[:] = 0
    if (folds < 0).all():
        raise UserError(f"teacher {teacher!r} has an embedding of none of the training clips")
    standardized = np.zeros_like(values)
    for fold in np.unique(folds[folds >= 0]):
        own = folds == fold
        deviation = np.maximum(values[own].std(0), _LEAST_DEVIATION)
        standardized[own] = (values[own] - values[own].mean(0)) / deviation
    return {f"{EMBEDDING}{teacher}": standardized, f"{FOLD}{teacher}": folds.astype(np.int32)}


def spaces_of(targets: Mapping[str, np.ndarray]) -> dict[str, EmbeddingSpaces]:
    """The teachers whose embeddings are among the training targets."""
    return {
        name.removeprefix(EMBEDDING): EmbeddingSpaces(
            int(targets[f"{FOLD}{name.removeprefix(EMBEDDING)}"].max()) + 1, values.shape[1]
        )
        for name, values in targets.items()
        if name.startswith(EMBEDDING)
    }


def with_projections(student: keras.Model, spaces: Mapping[str, EmbeddingSpaces]) -> keras.Model:
    """The student with one linear projection per teacher and fold beside its logits.

    Args:
        student: Has a layer ``embedding``.
        spaces: By teacher.

    Returns:
        A model with the same input and the outputs ``(logits, {teacher: [batch, folds, size]})``.
    """
    embedding = student.get_layer("embedding").output
    projected = {}
    for teacher, space in spaces.items():
        flat = layers.Dense(space.folds * space.size, name=f"projection_{teacher}")(embedding)
        projected[teacher] = layers.Reshape((space.folds, space.size))(flat)
    return keras.Model(student.input, (student.output, projected), name=student.name)


@keras.saving.register_keras_serializable(package="ser_kd")
class EmbeddingDistiller(Distiller):
    """A ``Distiller`` that also teaches the student the embeddings of its teachers.

    To the loss of a clip comes, for each teacher, its weight times the distance of the student's
    projected embedding from the teacher's (FitNets, arXiv 1412.6550; EmoDistill,
    Shome and Etemad, 2023), scaled by the share that a mixed clip has of the clip itself.

    Data: as for ``Distiller``; ``y`` also has ``embedding_of_<teacher>`` and ``fold_of_<teacher>``
    (``embedding_targets``) and, after mixup, ``share`` ``[batch, 1]``.

    Logs: also ``embedding_loss_<teacher>``, the mean over the clips that have an embedding.

    Args:
        student: As ``with_projections`` makes it.
        embedding_weights: By teacher.
        embedding_loss: ``mse`` or ``cosine``.
        kwargs: As for ``Distiller``.
    """

    def __init__(
        self,
        student: keras.Model,
        embedding_weights: Mapping[str, float] = MappingProxyType({}),
        embedding_loss: Literal["mse", "cosine"] = "mse",
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.embedding_weights = dict(embedding_weights)
        self.embedding_loss = embedding_loss
        for teacher in self.embedding_weights:
            name = f"embedding_loss_{teacher}"
            self._means[name] = keras.metrics.Mean(name=name)

    def _parts(
        self, y: dict[str, Any], logits: Any, teacher_logits: Any, sample_weight: Any
    ) -> dict[str, Any]:
        logits, projected = logits
        parts = super()._parts(y, logits, teacher_logits, sample_weight)
        distance = {"mse": losses.embedding_mse, "cosine": losses.embedding_cosine}
        for teacher, weight in self.embedding_weights.items():
            target, fold = y[f"{EMBEDDING}{teacher}"], y[f"{FOLD}{teacher}"]
            spaces = projected[teacher]
            own = ops.one_hot(
                fold, spaces.shape[1], dtype=spaces.dtype
            )  # zeros where there is none
            student = ops.einsum("bfs,bf->bs", spaces, own)
            known = ops.sum(own, axis=-1)
            if SHARE in y:
                known = known * ops.reshape(y[SHARE], (-1,))
            if sample_weight is not None:
                known = known * ops.cast(ops.reshape(sample_weight, (-1,)), known.dtype)
            per_clip = distance[self.embedding_loss](target, student)
            # Over the whole batch: a clip without an embedding takes its part of the loss with it.
            clips = ops.cast(ops.shape(known)[0], known.dtype)
            total = clips if sample_weight is None else ops.sum(sample_weight)
            parts["loss"] = parts["loss"] + weight * ops.sum(known * per_clip) / total
            parts[f"embedding_loss_{teacher}"] = ops.sum(known * per_clip) / ops.maximum(
                ops.sum(known), keras.config.epsilon()
            )
        return parts

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "embedding_weights": self.embedding_weights,
            "embedding_loss": self.embedding_loss,
        }
