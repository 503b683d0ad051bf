"""A network with the body of a finished student under a head of its own, for other labels."""

from collections.abc import Sequence

import keras
import numpy as np

from ser_kd.audio.windows import Windowing
from ser_kd.config import AudioConfig, LogMelConfig, StudentConfig
from ser_kd.corpora.emotions import matched_labels
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.students import initial_weights
from ser_kd.students.architectures import build_student
from ser_kd.students.linear_probe import fit_linear_head


def transferred_network(
    training_set: TrainingSet,
    labels: Sequence[str],
    network: StudentConfig,
    audio: AudioConfig,
    logmel: LogMelConfig,
    seed: int,
    unchanged: bool = False,
) -> keras.Model:
    """The student of ``network.initial_weights`` with a head for these labels.

    Body and feature statistics are the finished student's. The head is fitted on the embeddings of
    the training clips, and drawn to the finished student's where that has a class for the same
    emotion (``corpora.emotions``). Sets the global seed.

    Args:
        training_set: The first view of each clip that has a label is taken.
        labels: Class names in output order.
        network: Architecture, and the finished student.
        audio: The window.
        logmel: The front end of the clips.
        seed: Of this network.
        unchanged: The head is the finished student's own, which has a class for each label.

    Raises:
        UserError: The finished student is missing, or another network.
    """
    keras.utils.set_random_seed(seed)
    model = build_student(network, logmel.frames(audio.window_samples), logmel.mels, len(labels))
    theirs, kernel, bias = initial_weights.begin_body(model, network)
    same = {labels.index(a): theirs.index(b) for a, b in matched_labels(labels, theirs).items()}
    prior = np.zeros((len(kernel), len(labels)), np.float32)
    prior[:, list(same)] = kernel[:, list(same.values())]
    head = model.get_layer("logits")
    if unchanged:
        head.set_weights([prior, bias[[same[column] for column in range(len(labels))]]])
        return model
    rows = training_set.labelled_rows
    arrays = training_set.arrays.take(rows)
    _, embedding = LogMelPredictor(model, Windowing.of(audio, logmel)).predict(arrays)
    head.set_weights(fit_linear_head(embedding, training_set.labels[rows].argmax(1), prior))
    return model
