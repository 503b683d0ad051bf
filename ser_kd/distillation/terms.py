"""The terms of a student's loss: each is an object with a name, a weight and what it logs.

A new term is a subclass of ``Term``; ``Distiller`` needs no change for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import keras
from keras import layers, ops

from ser_kd.data.training_set import (
    DIMENSIONS,
    EMBEDDING,
    LABELS,
    SHARE,
    SPACE,
    TEACHER_DIMENSIONS,
    TEACHER_LOGITS,
)
from ser_kd.distillation import losses
from ser_kd.students import heads


@dataclass(frozen=True)
class Batch:
    """One step's data and what the student makes of it.

    Attributes:
        x: What the student is given.
        y: Targets by name, ``[batch, ...]`` each; see ``data.training_set``.
        outputs: Of the student: logits ``[batch, classes]``, or a dict with ``logits`` and/or
            ``dimensions``.
        extensions: What ``Term.extend`` added to the student, by the term's name.
        sample_weight: ``[batch]``; None: all clips alike.
    """

    x: Any
    y: Mapping[str, Any]
    outputs: Any
    extensions: Mapping[str, Any] = field(default_factory=dict)
    sample_weight: Any = None

    @property
    def logits(self) -> Any:
        """The student's logits, ``[batch, classes]``."""
        return self.outputs[heads.LOGITS] if isinstance(self.outputs, dict) else self.outputs

    @property
    def clips(self) -> Any:
        """How many clips there are, or the sum of their weights."""
        if self.sample_weight is None:
            return ops.shape(keras.tree.flatten(self.y)[0])[0]
        return ops.sum(self.sample_weight)

    def weight_like(self, values: Any) -> Any:
        """The sample weights, of the type of ``values``, ``[batch]``."""
        return ops.cast(ops.reshape(self.sample_weight, (-1,)), values.dtype)

    def mean(self, values: Any) -> Any:
        """Mean over the clips of ``[batch]`` values, weighted where there are sample weights."""
        return _mean(values, None if self.sample_weight is None else self.weight_like(values))


@dataclass(frozen=True)
class Outcome:
    """What a term adds to the loss of a batch, and what it logs.

    Attributes:
        loss: ``[batch]``, or a scalar where it belongs to the batch; times the term's weight.
        logs: Name -> mean over the batch, before the term's weight.
        counts: Name -> how many clips that mean is of; of what is not here, all of the batch's.
    """

    loss: Any
    logs: Mapping[str, Any]
    counts: Mapping[str, Any] = field(default_factory=dict)


class Term:
    """One term of a student's loss.

    Args:
        weight: At least 0.
        name: Unique among the terms of a student.

    Raises:
        ValueError: The weight is negative.
    """

    def __init__(self, weight: float, name: str) -> None:
        if not weight >= 0:
            raise ValueError(f"the weight of the term {name!r} must not be negative, got {weight}")
        self.weight, self.name = weight, name

    @property
    def logged(self) -> tuple[str, ...]:
        """The names of ``Outcome.logs``."""
        raise NotImplementedError

    def extend(self, student: keras.Model) -> Any:
        """A further output for the student's training, a Keras tensor; None: it needs none.

        Layers that are made here are trained with the student, and are no part of it.
        """
        return None

    @property
    def teacher_network(self) -> keras.Model | None:
        """A network that is asked at every step and never trained; None: there is none."""
        return None

    def __call__(self, batch: Batch) -> Outcome:
        """What the term makes of a batch."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same term."""
        return {"weight": self.weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Term":
        """The term that ``get_config`` describes."""
        return cls(**config)


@keras.saving.register_keras_serializable(package="ser_kd")
class LabelTerm(Term):
    """Cross-entropy with the labels, a value per clip.

    Reads ``labels``: class probabilities ``[batch, classes]``. A clip without a label, of which
    only a teacher knows something, has zeros: its cross-entropy is 0.

    Logs ``label_loss`` and ``accuracy``, means over the clips that have a label, where a clip
    counts by the sum of its ``labels`` (mixup may leave half a label).

    Args:
        weight: Of the cross-entropy.
    """

    logged = ("label_loss", "accuracy")

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__(weight, "label")

    def __call__(self, batch: Batch) -> Outcome:
        """See ``Term``."""
        labels, logits = batch.y[LABELS], batch.logits
        loss = losses.cross_entropy(labels, logits)
        labelled = ops.sum(labels, axis=-1)
        weight = labelled
        if batch.sample_weight is not None:
            weight = labelled * batch.weight_like(labelled)
        logs = {
            "label_loss": _mean(loss / ops.maximum(labelled, keras.config.epsilon()), weight),
            "accuracy": _mean(_same_class(labels, logits), weight),
        }
        return Outcome(self.weight * loss, logs, dict.fromkeys(logs, ops.sum(weight)))


@keras.saving.register_keras_serializable(package="ser_kd")
class LogitTerm(Term):
    """``T^2 * KL(teacher || student)``, a value per clip (Hinton et al., arXiv 1503.02531).

    Reads ``teacher_logits`` ``[batch, classes]`` or, with ``teacher``, asks that network at every
    step.

    Logs ``logit_loss``, ``teacher_entropy`` (nats, at temperature T) and ``agreement`` (share of
    clips on which student and teacher choose the same class), means over all clips.

    Args:
        weight: Of the divergence.
        temperature: T, for both sides.
        teacher: A network with the student's input and logits as output; it is never changed.
        teacher_share: Of ``teacher`` where there are stored logits as well: both are mixed as
            probabilities at temperature T. 1: stored logits are not looked at.

    Raises:
        ValueError: The temperature is not above 0, or the share not above 0 and at most 1.
    """

    logged = ("logit_loss", "teacher_entropy", "agreement")

    def __init__(
        self,
        weight: float = 1.0,
        temperature: float = 1.0,
        teacher: keras.Model | None = None,
        teacher_share: float = 1.0,
    ) -> None:
        super().__init__(weight, "logit")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if not 0 < teacher_share <= 1:
            raise ValueError(f"teacher_share must be above 0 and at most 1, got {teacher_share}")
        self.temperature, self.teacher, self.teacher_share = temperature, teacher, teacher_share

    @property
    def teacher_network(self) -> keras.Model | None:
        """``teacher``."""
        return self.teacher

    def __call__(self, batch: Batch) -> Outcome:
        """See ``Term``."""
        teacher, logits = self._teacher_logits(batch), batch.logits
        loss = losses.distillation_kl(teacher, logits, self.temperature)
        logs = {
            "logit_loss": batch.mean(loss),
            "teacher_entropy": batch.mean(losses.entropy(teacher, self.temperature)),
            "agreement": batch.mean(_same_class(teacher, logits)),
        }
        return Outcome(self.weight * loss, logs)

    def _teacher_logits(self, batch: Batch) -> Any:
        live = None
        if self.teacher is not None:
            live = ops.stop_gradient(self.teacher(batch.x, training=False))
            if self.teacher_share == 1:
                return live
        if TEACHER_LOGITS not in batch.y:
            raise ValueError(
                "LogitTerm needs a teacher: pass teacher=, or put 'teacher_logits' into y "
                f"(y has {sorted(batch.y)})"
            )
        stored = batch.y[TEACHER_LOGITS]
        if live is None:
            return stored
        of_live, of_stored = (ops.softmax(values / self.temperature) for values in (live, stored))
        mixed = self.teacher_share * of_live + (1.0 - self.teacher_share) * of_stored
        return self.temperature * ops.log(mixed + keras.config.epsilon())

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same term."""
        return {
            **super().get_config(),
            "temperature": self.temperature,
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "teacher_share": self.teacher_share,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "LogitTerm":
        """The term that ``get_config`` describes."""
        teacher = keras.saving.deserialize_keras_object(config["teacher"])
        return cls(**{**config, "teacher": teacher})


@keras.saving.register_keras_serializable(package="ser_kd")
class EmbeddingTerm(Term):
    """Distance of the student's embedding, projected, from one teacher's; a value of the batch.

    After FitNets (arXiv 1412.6550) and EmoDistill (Shome and Etemad, 2023). There is one linear
    projection of the student's layer ``embedding`` for each of the teacher's embedding spaces; a
    clip is compared in the space that its embedding is in, and counts by the share that a mixed
    clip has of the clip itself. The mean is over all clips, those without an embedding included.

    Reads ``embedding_of_<teacher>`` ``[batch, size]``, ``fold_of_<teacher>`` ``[batch]`` (the
    space; -1: no embedding) and, after mixup, ``share`` ``[batch, 1]``.

    Logs ``embedding_loss_<teacher>``, the mean over the clips that have an embedding.

    Args:
        weight: Of the distance.
        teacher: Its name.
        spaces: How many embedding spaces it has: one per fold.
        size: Components of its embedding.
        loss: ``mse`` or ``cosine``.
    """

    def __init__(
        self,
        weight: float,
        teacher: str,
        spaces: int,
        size: int,
        loss: Literal["mse", "cosine"] = "mse",
    ) -> None:
        super().__init__(weight, f"embedding_{teacher}")
        self.teacher, self.spaces, self.size, self.loss = teacher, spaces, size, loss

    @property
    def logged(self) -> tuple[str, ...]:
        """The loss under its teacher's name."""
        return (f"embedding_loss_{self.teacher}",)

    def extend(self, student: keras.Model) -> Any:
        """The projected embeddings, ``[batch, spaces, size]``."""
        embedding = student.get_layer("embedding").output
        dense = layers.Dense(self.spaces * self.size, name=f"projection_{self.teacher}")
        return layers.Reshape((self.spaces, self.size))(dense(embedding))

    def __call__(self, batch: Batch) -> Outcome:
        """See ``Term``."""
        projected = batch.extensions[self.name]
        target, space = batch.y[f"{EMBEDDING}{self.teacher}"], batch.y[f"{SPACE}{self.teacher}"]
        own = ops.one_hot(space, self.spaces, dtype=projected.dtype)  # zeros where there is none
        student = ops.einsum("bfs,bf->bs", projected, own)
        known = ops.sum(own, axis=-1)
        if SHARE in batch.y:
            known = known * ops.reshape(batch.y[SHARE], (-1,))
        if batch.sample_weight is not None:
            known = known * batch.weight_like(known)
        distance = {"mse": losses.embedding_mse, "cosine": losses.embedding_cosine}[self.loss]
        per_clip = distance(target, student)
        # Over the whole batch: a clip without an embedding takes its part of the loss with it.
        clips = batch.clips
        total = ops.cast(clips, known.dtype) if batch.sample_weight is None else clips
        loss = self.weight * ops.sum(known * per_clip) / total
        mean = ops.sum(known * per_clip) / ops.maximum(ops.sum(known), keras.config.epsilon())
        return Outcome(loss, {self.logged[0]: mean})

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same term."""
        return {
            **super().get_config(),
            "teacher": self.teacher,
            "spaces": self.spaces,
            "size": self.size,
            "loss": self.loss,
        }


@keras.saving.register_keras_serializable(package="ser_kd")
class ConcordanceTerm(Term):
    """1 - CCC of continuous targets, the mean of the dimensions; a value of the batch.

    Reads ``dimensions`` ``[batch, dimensions]``, NaN where a clip is not rated, and with a
    ``teacher_weight`` ``teacher_dimensions``, the same shape, of which unrated clips are part.
    See ``losses.concordance_loss``.

    Logs ``dimension_loss`` and, with a ``teacher_weight``, ``teacher_dimension_loss``.

    Args:
        weight: Of 1 - CCC with the ratings.
        teacher_weight: Of 1 - CCC with the teachers' predictions; 0 = the ratings alone.

    Raises:
        ValueError: A weight is negative.
    """

    def __init__(self, weight: float = 1.0, teacher_weight: float = 0.0) -> None:
        super().__init__(weight, "dimension")
        if not teacher_weight >= 0:
            raise ValueError(f"teacher_weight must not be negative, got {teacher_weight}")
        self.teacher_weight = teacher_weight

    @property
    def logged(self) -> tuple[str, ...]:
        """The loss with the ratings and, where it is learnt, that with the teachers."""
        taught = ("teacher_dimension_loss",) if self.teacher_weight > 0 else ()
        return ("dimension_loss", *taught)

    def __call__(self, batch: Batch) -> Outcome:
        """See ``Term``."""
        value = self._loss(batch, DIMENSIONS)
        loss, logs = self.weight * value, {"dimension_loss": value}
        if self.teacher_weight > 0:
            taught = self._loss(batch, TEACHER_DIMENSIONS)
            loss = loss + self.teacher_weight * taught
            logs["teacher_dimension_loss"] = taught
        return Outcome(loss, logs)

    def _loss(self, batch: Batch, target: str) -> Any:
        weight = batch.sample_weight
        if weight is not None:
            weight = ops.reshape(weight, (-1,))
        predicted = batch.outputs[heads.DIMENSIONS]
        return ops.mean(losses.concordance_loss(batch.y[target], predicted, weight))

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same term."""
        return {**super().get_config(), "teacher_weight": self.teacher_weight}


def _same_class(one: Any, other: Any) -> Any:
    same = ops.equal(ops.argmax(one, axis=-1), ops.argmax(other, axis=-1))
    return ops.cast(same, "float32")


def _mean(values: Any, weight: Any) -> Any:
    if weight is None:
        return ops.mean(values)
    weight = ops.cast(weight, values.dtype)
    return ops.sum(weight * values) / ops.maximum(ops.sum(weight), keras.config.epsilon())
