"""A student of continuous targets: how it learns them, and what it says of whole clips.

``DimensionalDistiller`` teaches a student that has nothing else (``config.dimensions.alone``);
``multi_task.MultiTaskDistiller`` teaches one that has categories, too, with the same loss.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.data import batching, clip_arrays
from ser_kd.distillation import losses
from ser_kd.distillation.distiller import Distiller
from ser_kd.students.heads import DIMENSIONS

TEACHER_DIMENSIONS = "teacher_dimensions"
"""Of the targets' names: what the teachers say of the dimensions, ``[views, dimensions]``."""
_BATCH = 128


def concordance_parts(
    y: dict[str, Any],
    dimensions: Any,
    dimension_weight: float,
    teacher_weight: float,
    sample_weight: Any = None,
) -> dict[str, Any]:
    """What a batch's dimensions cost: ``dimension_weight`` times the mean of their 1 - CCC.

    The CCC is that of the batch (``losses.concordance_loss``). Added is ``teacher_weight`` times
    the same with what the teachers say in the ratings' place, of which the unrated clips are part.

    Args:
        y: Has ``dimensions`` ``[batch, dimensions]``, NaN where a clip is not rated, and with a
            ``teacher_weight`` ``teacher_dimensions``, the same shape.
        dimensions: What the student says, ``[batch, dimensions]``.
        dimension_weight: See above.
        teacher_weight: See above; 0 = the ratings alone.
        sample_weight: ``[batch]``; None: all clips alike.

    Returns:
        ``loss``; before their weights ``dimension_loss`` and, with a ``teacher_weight``,
        ``teacher_dimension_loss``: scalars.
    """
    if sample_weight is not None:
        sample_weight = ops.reshape(sample_weight, (-1,))
    loss = ops.mean(losses.concordance_loss(y[DIMENSIONS], dimensions, sample_weight))
    parts = {"loss": dimension_weight * loss, "dimension_loss": loss}
    if teacher_weight > 0:
        told = y[TEACHER_DIMENSIONS]
        loss = ops.mean(losses.concordance_loss(told, dimensions, sample_weight))
        parts["loss"] = parts["loss"] + teacher_weight * loss
        parts["teacher_dimension_loss"] = loss
    return parts


def names_of_parts(teacher_weight: float) -> list[str]:
    """What ``concordance_parts`` gives beside ``loss``."""
    return ["dimension_loss", *(["teacher_dimension_loss"] if teacher_weight > 0 else [])]


@keras.saving.register_keras_serializable(package="ser_kd")
class DimensionalDistiller(Distiller):
    """A ``Distiller`` whose student tells continuous targets and no category.

    Its loss is ``concordance_parts`` and nothing else; labels and logits have no part.

    Data: as for ``Distiller``; ``y`` also has ``dimensions`` ``[batch, dimensions]``, NaN where a
    clip is not rated, and with a ``teacher_weight`` ``teacher_dimensions``, the same shape.

    Logs: ``loss``, ``dimension_loss`` and, with a ``teacher_weight``, ``teacher_dimension_loss``.

    Args:
        student: As ``heads.dimensional_student`` makes it.
        dimension_weight: Of 1 - CCC with the ratings.
        teacher_weight: Of 1 - CCC with what the teachers say; 0 = the ratings alone.
        kwargs: As for ``keras.Model``.
    """

    def __init__(
        self,
        student: keras.Model,
        dimension_weight: float = 1.0,
        teacher_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(student, **kwargs)
        self.dimension_weight, self.teacher_weight = dimension_weight, teacher_weight
        names = ["loss", *names_of_parts(teacher_weight)]
        self._means = {name: keras.metrics.Mean(name=name) for name in names}

    def _parts(
        self, y: dict[str, Any], outputs: Any, teacher_logits: Any, sample_weight: Any
    ) -> dict[str, Any]:
        weights = self.dimension_weight, self.teacher_weight
        return concordance_parts(y, outputs[DIMENSIONS], *weights, sample_weight)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dimension_weight": self.dimension_weight,
            "teacher_weight": self.teacher_weight,
        }


class DimensionPredictor:
    """Runs a network over whole clips: what it says of their dimensions, averaged over windows.

    Made once per network and kept, because tracing its graph takes longer than running it.

    Args:
        model: As ``heads.dimensional_student`` or ``heads.multi_task_student`` makes it.
        windowing: Where the windows lie.
    """

    def __init__(self, model: keras.Model, windowing: Windowing) -> None:
        self.windowing, self.window = windowing, model.input_shape[1]
        self.dimensions = model.output[DIMENSIONS].shape[-1]

        @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]))])
        def run(features: tf.Tensor) -> tf.Tensor:
            return model(features, training=False)[DIMENSIONS]

        # The one graph: TensorFlow warns of retracing where several networks are evaluated.
        self._run = run.get_concrete_function()

    def predict(self, arrays: clip_arrays.ClipArrays) -> np.ndarray:
        """Of log-mel frames: float32 ``[clips, dimensions]``, -1..1."""
        batches = batching.evaluation_batches(arrays, self.windowing, self.window, _BATCH)
        values = ((clips, self._run(windows).numpy()) for clips, windows, _ in batches)
        return batching.average_windows(arrays, values, self.dimensions)

    def score(self, arrays: clip_arrays.ClipArrays, ratings: np.ndarray) -> dict[str, float]:
        """``ccc``, the mean of the dimensions; ``ratings`` are ``[clips, dimensions]``, -1..1.

        A dimension of which these clips tell nothing does not count.
        """
        return {"ccc": float(np.nanmean(metrics.concordance(ratings, self.predict(arrays))))}
