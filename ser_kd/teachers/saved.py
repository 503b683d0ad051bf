"""Loading .keras files of a run, teachers' networks included."""

from pathlib import Path

import keras

# Keras knows a class by its registered name once its module was imported.
import ser_kd.teachers.classifier
import ser_kd.teachers.dimensional_network
import ser_kd.teachers.fusion_network
import ser_kd.teachers.linguistic_network
import ser_kd.teachers.prosodic_network  # noqa: F401
from ser_kd.students.saved import load_keras


def load_network(path: Path) -> keras.Model:
    """Loads a student or a teacher's network, for evaluation.

    Raises:
        UserError: It is missing, truncated, corrupt, or not a Keras model.
    """
    return load_keras(path)
