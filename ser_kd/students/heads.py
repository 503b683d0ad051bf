"""The head for continuous targets, alone on a student's body or beside the categories.

Outputs are bounded to -1..1 by cutting a linear output off, not by tanh. In int8 both lose next to
nothing beside what the body's own rounding does: with heads fitted to the voice crowd's six
intensities on the shipped CREMA-D student's embedding (1,500 training clips, the concordance as
loss, one seed), int8 and float differ on the 738 validation clips by 0.0069 on average (cut off)
and 0.0061 (tanh), and the mean concordance falls by 0.0005 and by 0.0024. Cutting off was chosen
because the converter makes it part of the dense layer (tanh is one more operator, with a rounding
of its own and steps of 1/128 whatever range the outputs have: here 0.6 times as many different
outputs), and because it reaches the ends of the scale, where most intensities are.
"""

from typing import Any

import keras
from keras import layers, ops

LOGITS, DIMENSIONS = "logits", "dimensions"
"""Names of these students' outputs, in Keras and in the signature of their .tflite file."""


@keras.saving.register_keras_serializable(package="ser_kd")
class CutOff(layers.Layer):
    """Cuts off what lies beyond -1..1; in training nothing, or gradients would end there."""

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Inputs within -1..1, or in training as they are."""
        return inputs if training else ops.clip(inputs, -1.0, 1.0)


def dimensional_head(embedding: Any, dimensions: int, dropout: float) -> Any:
    """The head for continuous targets: ``[batch, channels]`` -> ``[batch, dimensions]``, -1..1.

    Args:
        embedding: ``[batch, channels]``.
        dimensions: How many.
        dropout: Share of the channels that is left out in training.
    """
    values = layers.Dense(dimensions, name="dimension_values")(layers.Dropout(dropout)(embedding))
    return CutOff(name=DIMENSIONS)(values)


def dimensional_student(
    student: keras.Model, dimensions: int, dropout: float = 0.2, name: str = "student"
) -> keras.Model:
    """A student for continuous targets alone: ``student``'s body, and no category.

    Args:
        student: As ``student.build_student`` makes it; the body's weights are shared with it.
        dimensions: How many.
        dropout: Before the head.
        name: The model's name.

    Returns:
        A model from float32 log-mel ``[batch, frames, mels]`` in dB to a dict, as a multi-task
        student's but without ``logits``: ``dimensions`` ``[batch, dimensions]`` in -1..1.
    """
    embedding = student.get_layer("embedding").output
    outputs = {DIMENSIONS: dimensional_head(embedding, dimensions, dropout)}
    return keras.Model(student.input, outputs, name=name)


def multi_task_student(
    student: keras.Model, dimensions: int, dropout: float = 0.2, name: str = "student"
) -> keras.Model:
    """A student for categories and continuous targets, from one body.

    As in Xia and Liu, IEEE Transactions on Affective Computing 8(1), 2017.

    Args:
        student: As ``student.build_student`` makes it; all its weights are shared with it, so that
            training the result trains it, too.
        dimensions: How many.
        dropout: Before the head of the dimensions.
        name: The model's name.

    Returns:
        A model from float32 log-mel ``[batch, frames, mels]`` in dB to a dict: ``logits``
        ``[batch, classes]`` and ``dimensions`` ``[batch, dimensions]`` in -1..1.
    """
    embedding = student.get_layer("embedding").output
    outputs = {
        LOGITS: student.output,
        DIMENSIONS: dimensional_head(embedding, dimensions, dropout),
    }
    return keras.Model(student.input, outputs, name=name)


def categories_of(model: keras.Model) -> keras.Model:
    """The plain student in a multi-task one: the same weights, logits alone."""
    return keras.Model(model.input, model.output[LOGITS], name=model.name)
