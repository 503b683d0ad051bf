"""A student with continuous targets beside its categories: training it, and what it predicts.

The categories stay a plain student (``student.keras``), which everything else works with. The whole
network, with the head of the dimensions, is ``dimensions.keras``; both have one body.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ser_kd import data, losses
from ser_kd.heads import DIMENSIONS, LOGITS
from ser_kd.projections import EmbeddingDistiller

TEACHER_DIMENSIONS = "teacher_dimensions"
"""Of the targets' names: what the teachers say of the dimensions, ``[views, dimensions]``."""
_BATCH = 128


@keras.saving.register_keras_serializable(package="ser_kd")
class MultiTaskDistiller(EmbeddingDistiller):
    """A ``Distiller`` that also teaches the student continuous targets.

    To the loss comes ``dimension_weight`` times the mean over the dimensions of 1 - CCC, which is
    that of the batch (``losses.concordance_loss``), and ``teacher_weight`` times the same with what
    the teachers say in the ratings' place, of which the unrated clips are part.

    Data: as for ``EmbeddingDistiller``; ``y`` also has ``dimensions`` ``[batch, dimensions]``, NaN
    where a clip is not rated, and with a ``teacher_weight`` ``teacher_dimensions``, the same shape.

    Logs: also ``dimension_loss`` and, with a ``teacher_weight``, ``teacher_dimension_loss``, both
    before their weights.

    Args:
        student: Has the outputs ``((logits, projections), dimensions)``: as ``with_projections``
            (of no teacher where no embedding is learnt) makes the first.
        dimension_weight: See above.
        teacher_weight: See above; 0 = the ratings alone.
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
        names = ["dimension_loss"]
        if teacher_weight > 0:
            names.append("teacher_dimension_loss")
        for name in names:
            self._means[name] = keras.metrics.Mean(name=name)

    def _parts(
        self, y: dict[str, Any], logits: Any, teacher_logits: Any, sample_weight: Any
    ) -> dict[str, Any]:
        logits, dimensions = logits
        parts = super()._parts(y, logits, teacher_logits, sample_weight)
        if sample_weight is not None:
            sample_weight = ops.reshape(sample_weight, (-1,))
        loss = ops.mean(losses.concordance_loss(y[DIMENSIONS], dimensions, sample_weight))
        parts["loss"] = parts["loss"] + self.dimension_weight * loss
        parts["dimension_loss"] = loss
        if self.teacher_weight > 0:
            told = y[TEACHER_DIMENSIONS]
            loss = ops.mean(losses.concordance_loss(told, dimensions, sample_weight))
            parts["loss"] = parts["loss"] + self.teacher_weight * loss
            parts["teacher_dimension_loss"] = loss
        return parts

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dimension_weight": self.dimension_weight,
            "teacher_weight": self.teacher_weight,
        }


def predict_dimensions(
    model: keras.Model, windowing: data.Windowing, arrays: data.ClipArrays
) -> np.ndarray:
    """What a network says of whole clips' dimensions: all windows of each, averaged.

    Args:
        model: As ``heads.multi_task_student`` makes it.
        windowing: Where the windows lie.
        arrays: Log-mel frames.

    Returns:
        float32 ``[clips, dimensions]``, -1..1.
    """

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
    def run(features: tf.Tensor) -> tf.Tensor:
        return model(features, training=False)[DIMENSIONS]

    window, width = model.input_shape[1], model.output[DIMENSIONS].shape[-1]
    batches = data.evaluation_batches(arrays, windowing, window, _BATCH)
    values = ((clips, run(windows).numpy()) for clips, windows, _ in batches)
    return data.average_windows(arrays, values, width)


def categories_of(model: keras.Model) -> keras.Model:
    """The plain student in a multi-task one: the same weights, logits alone."""
    return keras.Model(model.input, model.output[LOGITS], name=model.name)
