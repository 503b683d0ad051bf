"""A student with continuous targets beside its categories: how it is trained.

The categories stay a plain student (``student.keras``), which everything else works with. The whole
network, with the head of the dimensions, is ``dimensions.keras``; both have one body.
"""

from typing import Any

import keras

from ser_kd.distillation.dimensional import concordance_parts, names_of_parts
from ser_kd.distillation.projections import EmbeddingDistiller
from ser_kd.students.heads import LOGITS


@keras.saving.register_keras_serializable(package="ser_kd")
class MultiTaskDistiller(EmbeddingDistiller):
    """A ``Distiller`` that also teaches the student continuous targets.

    To the loss comes ``dimensional.concordance_parts``: 1 - CCC with the ratings and, with a
    ``teacher_weight``, with what the teachers say.

    Data: as for ``EmbeddingDistiller``; ``y`` also has ``dimensions`` ``[batch, dimensions]``, NaN
    where a clip is not rated, and with a ``teacher_weight`` ``teacher_dimensions``, the same shape.

    Logs: also ``dimension_loss`` and, with a ``teacher_weight``, ``teacher_dimension_loss``, both
    before their weights.

    Args:
        student: Has the outputs ``((logits, projections), dimensions)``: as ``with_projections``
            (of no teacher where no embedding is learnt) makes the first.
        dimension_weight: Of 1 - CCC with the ratings.
        teacher_weight: Of 1 - CCC with what the teachers say; 0 = the ratings alone.
        kwargs: As for ``EmbeddingDistiller``.
    """

    def __init__(
        self,
        student: keras.Model,
        dimension_weight: float,
        teacher_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.dimension_weight, self.teacher_weight = dimension_weight, teacher_weight
        for name in names_of_parts(teacher_weight):
            self._means[name] = keras.metrics.Mean(name=name)

    def _parts(
        self, y: dict[str, Any], logits: Any, teacher_logits: Any, sample_weight: Any
    ) -> dict[str, Any]:
        logits, dimensions = logits
        parts = super()._parts(y, logits, teacher_logits, sample_weight)
        weights = self.dimension_weight, self.teacher_weight
        told = concordance_parts(y, dimensions, *weights, sample_weight)
        return {**parts, **told, "loss": parts["loss"] + told["loss"]}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dimension_weight": self.dimension_weight,
            "teacher_weight": self.teacher_weight,
        }


def categories_of(model: keras.Model) -> keras.Model:
    """The plain student in a multi-task one: the same weights, logits alone."""
    return keras.Model(model.input, model.output[LOGITS], name=model.name)
