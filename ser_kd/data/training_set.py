"""What a network is trained on: clips, their labels, and what teachers predict for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from ser_kd.audio.augment import VOICES
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.targets import IN_FOLD, Targets
from ser_kd.errors import UserError

LABELS, TEACHER_LOGITS = "labels", "teacher_logits"
DIMENSIONS, TEACHER_DIMENSIONS = "dimensions", "teacher_dimensions"
EMBEDDING, SPACE = "embedding_of_", "fold_of_"
SHARE, WEIGHT = "share", "weight"
"""Names of a batch's targets, as ``TrainingSet.tensors`` gives them and terms of a loss read them.
``share``: how much of a mixed clip is the clip itself (``audio.augment.mixup``)."""
_NONE = -1
_LEAST_DEVIATION = 1e-3


@dataclass(frozen=True)
class EmbeddingTargets:
    """One teacher's embeddings.

    Attributes:
        values: float32 ``[rows, size]``.
        space: int32 ``[rows]``: whose embedding space a row is in (that of a fold's network), from
            0; -1 where there is no embedding.
    """

    values: np.ndarray
    space: np.ndarray

    @property
    def spaces(self) -> int:
        """How many embedding spaces there are."""
        return int(self.space.max()) + 1

    @property
    def size(self) -> int:
        """Components of an embedding."""
        return int(self.values.shape[1])

    @classmethod
    def of(cls, targets: Targets, rows: np.ndarray, teacher: str) -> "EmbeddingTargets":
        """The embeddings of some rows of a teacher's predictions.

        Every fold's network has a space of its own, in which it is standardised here: each
        component has mean 0 and deviation 1 over the fold's clips.

        Args:
            targets: Of the teacher.
            rows: Which of its rows, int ``[rows]``.
            teacher: Its name, for messages.

        Raises:
            UserError: The teacher has no embeddings.
        """
        values, folds = targets.embedding[rows], targets.fold[rows].copy()
        if values.shape[1] == 0:
            raise UserError(
                f"distill.embedding_weights names {teacher!r}, whose predictions hold no "
                "embedding; leave it out, or add an array 'embedding' to its file"
            )
        folds[folds == IN_FOLD] = 0
        # Speech without labels is predicted by all folds, whose embeddings have no mean.
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
        return cls(standardized, folds.astype(np.int32))


@dataclass(frozen=True)
class TrainingSet:
    """Clips, each with one or more views, and the targets of every view.

    Rows are views: a clip that was changed in several ways has a row for each.

    Attributes:
        arrays: Log-mel frames, samples or other values of every row.
        labels: float32 ``[rows, classes]``, class probabilities; zeros: the clip has no label.
        views: int ``[clips, views]``: the rows of each clip's views; None: every row is a clip.
        teacher_logits: float32 ``[rows, classes]``, the teachers' mixed predictions; None: none.
        embeddings: By teacher.
        dimensions: float32 ``[rows, dimensions]``, ratings in -1..1, NaN: not rated; None: none.
        teacher_dimensions: The teachers' predictions of them, the same shape; None: none.
        weights: float32 ``[rows]``: how much a clip counts in the loss; None: all alike.
        voices: float32 ``[rows, draws, 2, mels]``: what may be known of the clip's speaker
            (``speaker.voices``); None: never anything.
    """

    arrays: ClipArrays
    labels: np.ndarray
    views: np.ndarray | None = None
    teacher_logits: np.ndarray | None = None
    embeddings: Mapping[str, EmbeddingTargets] = field(default_factory=dict)
    dimensions: np.ndarray | None = None
    teacher_dimensions: np.ndarray | None = None
    weights: np.ndarray | None = None
    voices: np.ndarray | None = None

    def __len__(self) -> int:
        """How many clips there are."""
        return len(self.arrays) if self.views is None else len(self.views)

    @property
    def classes(self) -> int:
        """How many labels there are."""
        return int(self.labels.shape[1])

    @property
    def rows(self) -> np.ndarray:
        """The rows of each clip's views, int ``[clips, views]``."""
        return np.arange(len(self.arrays))[:, np.newaxis] if self.views is None else self.views

    @property
    def labelled_rows(self) -> np.ndarray:
        """The first view of each clip that has a label, int ``[labelled clips]``."""
        first = self.rows[:, 0]
        labelled: np.ndarray = first[self.labels[first].sum(axis=1) > 0]
        return labelled

    def smoothed(self, label_smoothing: float) -> "TrainingSet":
        """The same with smoothed labels: ``label_smoothing`` of each is shared by all classes.

        (Szegedy et al., arXiv 1512.00567.) Clips without a label stay without.
        """
        has_label = self.labels.sum(axis=1, keepdims=True)  # [rows, 1], 1 or 0
        share = label_smoothing / self.classes
        labels = self.labels * (1.0 - label_smoothing) + has_label * share
        return replace(self, labels=labels)

    def tensors(self) -> dict[str, np.ndarray]:
        """Every target that there is, by the name that it has in a batch, ``[rows, ...]`` each."""
        found = {
            LABELS: self.labels,
            TEACHER_LOGITS: self.teacher_logits,
            DIMENSIONS: self.dimensions,
            TEACHER_DIMENSIONS: self.teacher_dimensions,
            WEIGHT: self.weights,
            VOICES: self.voices,
        }
        for teacher, targets in self.embeddings.items():
            found[f"{EMBEDDING}{teacher}"] = targets.values
            found[f"{SPACE}{teacher}"] = targets.space
        return {name: values for name, values in found.items() if values is not None}
