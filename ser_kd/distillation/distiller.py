"""The training loop of the student: labels and a teacher's softened predictions."""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from ser_kd.distillation import losses

_OF_LABELS = ("label_loss", "accuracy")


@dataclass(frozen=True)
class LiveTeaching:
    """What a student's training asks at every step.

    Attributes:
        network: Log-mel ``[batch, frames, mels]`` -> logits ``[batch, classes]``, the logarithm of
            a mean of probabilities.
        share: Of its softened predictions beside stored ones, 0 to 1.
    """

    network: keras.Model
    share: float


@keras.saving.register_keras_serializable(package="ser_kd")
class Distiller(keras.Model):
    """Teaches ``student`` from labels and from a teacher (Hinton et al., arXiv 1503.02531).

    The loss of a clip is ``label_weight * CE(labels, student) + logit_weight * T^2 *
    KL(teacher || student)``. The teacher's logits come stored with the data, or from ``teacher``,
    a frozen model that hears the same input. With ``logit_weight = 0`` no teacher is needed and
    this is plain supervised training: the baseline uses the same code.

    Data: ``(x, y)`` or ``(x, y, sample_weight)``, where ``y`` is a dict with ``labels`` (class
    probabilities ``[batch, classes]``) and, with a stored teacher, ``teacher_logits``
    (``[batch, classes]``). Without sample weights the loss is the mean over clips, with them the
    weighted mean.

    A clip without a label, of which only the teacher knows something, has zeros for ``labels``: its
    cross-entropy is 0.

    Logs: ``loss``, ``label_loss``, ``logit_loss`` (before their weights), ``accuracy``, and with a
    teacher ``teacher_entropy`` (nats, at temperature T) and ``agreement`` (share of clips on which
    student and teacher choose the same class). ``label_loss`` and ``accuracy`` are means over the
    clips that have a label, where a clip counts by the sum of its ``labels`` (mixup may leave half
    a label); the others are means over all clips.

    Args:
        student: The model that is trained; its output is logits.
        label_weight: Weight of the cross-entropy.
        logit_weight: Weight of the distillation term.
        temperature: T, for both sides of the distillation term.
        teacher: A live teacher with logits as output; its weights are never changed.
        teacher_share: Of the live teacher where there are stored logits as well: both are mixed as
            probabilities at temperature T. 1: stored logits are not looked at.
    """

    def __init__(
        self,
        student: keras.Model,
        label_weight: float = 1.0,
        logit_weight: float = 0.0,
        temperature: float = 1.0,
        teacher: keras.Model | None = None,
        teacher_share: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        if min(label_weight, logit_weight) < 0 or label_weight + logit_weight == 0:
            raise ValueError(
                "label_weight and logit_weight must not be negative nor both 0, got "
                f"{label_weight} and {logit_weight}"
            )
        if not 0 < teacher_share <= 1:
            raise ValueError(f"teacher_share must be above 0 and at most 1, got {teacher_share}")
        self.student = student
        self.built = student.built  # the steps call the student, never this model
        self.teacher = teacher
        if teacher is not None:
            teacher.trainable = False
        self.teacher_share = teacher_share
        self.label_weight = label_weight
        self.logit_weight = logit_weight
        self.temperature = temperature
        names = ["loss", "label_loss", "accuracy"]
        if logit_weight > 0:
            names += ["logit_loss", "teacher_entropy", "agreement"]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        return self.student(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = _unpack(data)
        teacher_logits = self._teacher_logits(x, y)
        with tf.GradientTape() as tape:
            logits = self.student(x, training=True)
            parts = self._parts(y, logits, teacher_logits, sample_weight)
            loss = self.optimizer.scale_loss(parts["loss"])
        weights = self.student.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return self._log(parts, y, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        x, y, sample_weight = _unpack(data)
        logits = self.student(x, training=False)
        parts = self._parts(y, logits, self._teacher_logits(x, y), sample_weight)
        return self._log(parts, y, sample_weight)

    def _teacher_logits(self, x: Any, y: dict[str, Any]) -> Any:
        if self.logit_weight == 0:
            return None
        if self.teacher is not None:
            live = ops.stop_gradient(self.teacher(x, training=False))
            if self.teacher_share == 1:
                return live
        if "teacher_logits" not in y:
            raise ValueError(
                "logit_weight > 0 needs a teacher: pass teacher=, or put 'teacher_logits' into y "
                f"(y has {sorted(y)})"
            )
        if self.teacher is None:
            return y["teacher_logits"]
        of_live, of_stored = (
            ops.softmax(logits / self.temperature) for logits in (live, y["teacher_logits"])
        )
        mixed = self.teacher_share * of_live + (1.0 - self.teacher_share) * of_stored
        return self.temperature * ops.log(mixed + keras.config.epsilon())

    def _parts(
        self, y: dict[str, Any], logits: Any, teacher_logits: Any, sample_weight: Any
    ) -> dict[str, Any]:
        """Every logged quantity, averaged over the batch."""
        label_loss = losses.cross_entropy(y["labels"], logits)
        loss = self.label_weight * label_loss
        per_clip = {}
        if teacher_logits is not None:
            logit_loss = losses.distillation_kl(teacher_logits, logits, self.temperature)
            loss = loss + self.logit_weight * logit_loss
            per_clip["logit_loss"] = logit_loss
            per_clip["teacher_entropy"] = losses.entropy(teacher_logits, self.temperature)
            per_clip["agreement"] = _same_class(teacher_logits, logits)
        per_clip["loss"] = loss
        parts = {name: _mean(value, sample_weight) for name, value in per_clip.items()}
        labelled = ops.sum(y["labels"], axis=-1)
        label_weight = _label_weight(y, sample_weight)
        parts["label_loss"] = _mean(
            label_loss / ops.maximum(labelled, keras.config.epsilon()), label_weight
        )
        parts["accuracy"] = _mean(_same_class(y["labels"], logits), label_weight)
        return parts

    def _log(self, parts: dict[str, Any], y: dict[str, Any], sample_weight: Any) -> dict[str, Any]:
        # A batch counts by its clips (or their weight), so that the epoch's figures are those of
        # one large batch, the smaller last batch included.
        clips = ops.shape(y["labels"])[0] if sample_weight is None else ops.sum(sample_weight)
        labelled = ops.sum(_label_weight(y, sample_weight))
        for name, value in parts.items():
            self._means[name].update_state(value, labelled if name in _OF_LABELS else clips)
        return {name: mean.result() for name, mean in self._means.items()}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.student),
            "teacher": keras.saving.serialize_keras_object(self.teacher),
            "label_weight": self.label_weight,
            "logit_weight": self.logit_weight,
            "temperature": self.temperature,
            "teacher_share": self.teacher_share,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        for name in ("student", "teacher"):
            config[name] = keras.saving.deserialize_keras_object(config[name])
        return cls(**config)


def _unpack(data: Any) -> tuple[Any, dict[str, Any], Any]:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(sample_weight, dict):  # fit() on arrays copies it to every entry of y
        sample_weight = sample_weight["labels"]
    return x, y, sample_weight


def _label_weight(y: dict[str, Any], sample_weight: Any) -> Any:
    """How much of a labelled clip each clip is, ``[batch]``: 1, or 0 without a label."""
    labelled = ops.sum(y["labels"], axis=-1)
    if sample_weight is None:
        return labelled
    return labelled * ops.cast(ops.reshape(sample_weight, (-1,)), labelled.dtype)


def _same_class(one: Any, other: Any) -> Any:
    same = ops.equal(ops.argmax(one, axis=-1), ops.argmax(other, axis=-1))
    return ops.cast(same, "float32")


def _mean(values: Any, sample_weight: Any) -> Any:
    if sample_weight is None:
        return ops.mean(values)
    weight = ops.cast(ops.reshape(sample_weight, (-1,)), values.dtype)
    return ops.sum(weight * values) / ops.maximum(ops.sum(weight), keras.config.epsilon())
