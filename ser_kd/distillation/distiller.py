"""Training a student on several terms of a loss at once.

Keras has a class of this name, ``keras.distillation.Distiller``. It does not serve here (as read in
Keras 3.15):

* A teacher is a ``keras.Model`` that runs in every step. There is no place for predictions that
  were stored once, which is what out-of-fold teachers give, and what makes an epoch cheap.
* ``evaluate()`` runs in training mode what it takes features of: ``_extract_all_student_features``
  says ``training=True`` whoever asks, so a term on a student's layer drops units out and moves the
  statistics of batch normalisation while it scores.
* ``compute_loss`` takes ``sample_weight`` and does not use it; a last batch that is smaller counts
  as much as the others in the logs.
* Its losses log one sum, not each of them, and say nothing of clips without a label.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from ser_kd.distillation.terms import Batch, Term


@keras.saving.register_keras_serializable(package="ser_kd")
class Distiller(keras.Model):
    """Trains ``student`` on the sum of some terms.

    The loss of a batch is the mean over its clips of the terms that have a value per clip, plus
    the terms that have one value per batch, each times its weight. With ``LabelTerm`` alone this is
    plain supervised training: baselines and teachers use the same code.

    Data: ``(x, y)`` or ``(x, y, sample_weight)``, where ``y`` is a dict of what the terms read.
    With sample weights means over clips are weighted means.

    Logs: ``loss``, and of every term what it logs, before its weight.

    Example::

        model = Distiller(student, terms=[LabelTerm(0.1), LogitTerm(0.9, temperature=2.0)])
        model.compile(optimizer="adam")
        model.fit(x, {"labels": labels, "teacher_logits": teacher_logits})

    Args:
        student: The model that is trained; it is not changed otherwise. Its output is logits, or a
            dict with ``logits`` and/or ``dimensions``.
        terms: At least one with a weight above 0; their names differ.
        **kwargs: Of ``keras.Model``.

    Raises:
        ValueError: No term has a weight, or two have one name.
    """

    def __init__(self, student: keras.Model, terms: Sequence[Term], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        names = [term.name for term in terms]
        if len(set(names)) < len(names):
            raise ValueError(f"terms need different names, got {', '.join(names)}")
        if not any(term.weight > 0 for term in terms):
            given = ", ".join(f"{term.name} {term.weight}" for term in terms) or "no terms"
            raise ValueError(f"some term needs a weight above 0, got {given}")
        self.student, self.terms = student, list(terms)
        further = {term.name: term.extend(student) for term in terms}
        self._extensions = [name for name, output in further.items() if output is not None]
        # What is trained: the student, with the further outputs that terms need.
        self.network = student
        if self._extensions:
            outputs = [further[name] for name in self._extensions]
            self.network = keras.Model(student.input, (student.output, outputs), name=student.name)
        networks = [term.teacher_network for term in terms]
        self.teachers = [network for network in networks if network is not None]
        for teacher in self.teachers:
            teacher.trainable = False
        self.built = student.built  # the steps call the network, never this model
        logged = ["loss", *(name for term in terms for name in term.logged)]
        self._means = {name: keras.metrics.Mean(name=name) for name in logged}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """One mean for each quantity that is logged."""
        return list(self._means.values())

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The student's outputs."""
        return self.student(inputs, training=training)

    def train_step(self, data: Any) -> dict[str, Any]:
        """One update of the network's weights."""
        x, y, sample_weight = _unpack(data)
        with tf.GradientTape() as tape:
            logs, counts = self._logs(self._batch(x, y, sample_weight, training=True))
            loss = self.optimizer.scale_loss(logs["loss"])
        weights = self.network.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        return self._log(logs, counts)

    def test_step(self, data: Any) -> dict[str, Any]:
        """The same figures in evaluation mode."""
        x, y, sample_weight = _unpack(data)
        return self._log(*self._logs(self._batch(x, y, sample_weight, training=False)))

    def _batch(self, x: Any, y: dict[str, Any], sample_weight: Any, training: bool) -> Batch:
        # Whatever the network's precision: softmax and sums of 16 bits lose too much for a loss.
        outputs = keras.tree.map_structure(
            lambda output: keras.ops.cast(output, "float32"), self.network(x, training=training)
        )
        further: Sequence[Any] = ()
        if self._extensions:
            outputs, further = outputs
        return Batch(
            x, y, outputs, dict(zip(self._extensions, further, strict=True)), sample_weight
        )

    def _logs(self, batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
        """Every logged quantity, averaged over the batch, and of how many clips it is."""
        logs: dict[str, Any] = {}
        counts: dict[str, Any] = {}
        per_clip: list[Any] = []
        of_batch: list[Any] = []
        for term in self.terms:
            outcome = term(batch)
            (per_clip if len(outcome.loss.shape) else of_batch).append(outcome.loss)
            logs |= outcome.logs
            counts |= {name: outcome.counts.get(name, batch.clips) for name in outcome.logs}
        parts = [batch.mean(_sum(per_clip))] if per_clip else []
        return {"loss": _sum(parts + of_batch), **logs}, {"loss": batch.clips, **counts}

    def _log(self, logs: dict[str, Any], counts: dict[str, Any]) -> dict[str, Any]:
        # A batch counts by its clips (or their weight), so that the epoch's figures are those of
        # one large batch, the smaller last batch included.
        for name, value in logs.items():
            self._means[name].update_state(value, counts[name])
        return {name: mean.result() for name, mean in self._means.items()}

    def get_config(self) -> dict[str, Any]:
        """The arguments that make the same distiller."""
        return {
            **super().get_config(),
            "student": keras.saving.serialize_keras_object(self.student),
            "terms": [keras.saving.serialize_keras_object(term) for term in self.terms],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Distiller":
        """The distiller that ``get_config`` describes."""
        student = keras.saving.deserialize_keras_object(config["student"])
        terms = [keras.saving.deserialize_keras_object(term) for term in config["terms"]]
        return cls(**{**config, "student": student, "terms": terms})


def _sum(values: Sequence[Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def _unpack(data: Any) -> tuple[Any, dict[str, Any], Any]:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    if isinstance(sample_weight, dict):  # fit() on arrays copies it to every entry of y
        sample_weight = next(iter(sample_weight.values()))
    return x, y, sample_weight
