"""Training one network of a teacher: the part that is the same for all kinds."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.config import FitConfig
from ser_kd.data import batching
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller


def whole_rows(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    """A ``Transform`` for arrays with one cell per clip: that cell ``[batch, ...]``."""
    return windows[:, 0], targets


def whole_windows(windows: Any, lengths: Any, targets: Any, seed: Any) -> Any:
    """A ``Transform`` that leaves windows as they are."""
    return windows, targets


@dataclass(frozen=True)
class Training:
    """One network and what it is trained on.

    Attributes:
        model: What is written to disk.
        arrays: Of the training clips.
        labels: One-hot, float32 ``[clips, classes]``.
        window: Cells of ``arrays`` that the network is given.
        transform: Makes batches of windows into what it is given.
        distiller: Network that is trained -> what trains it; from labels alone unless given.
        trained: The part of ``model`` that is trained, or a network around it; None: the model.
        further: Targets beside the labels, by name.
        batches_per_bucket: See ``batching.training_batches``; where given, shapes vary.
        rate_scale: Variable path -> factor on the learning rate.
    """

    model: keras.Model
    arrays: ClipArrays
    labels: np.ndarray
    window: int = 1
    transform: batching.Transform = whole_rows
    distiller: Callable[..., Distiller] = Distiller
    trained: keras.Model | None = None
    further: Mapping[str, np.ndarray] = field(default_factory=dict)
    batches_per_bucket: int = 0
    rate_scale: Callable[[str], float] | None = None


def train_network(
    path: Path,
    label: str,
    run_seed: int,
    fit: FitConfig,
    prepare: Callable[[], Training],
    precision: str = "float32",
) -> keras.Model:
    """Trains a network and writes it to ``path``, or goes on where that was interrupted.

    Args:
        path: Of the network; the state for resuming lies in a folder of that name without suffix.
        label: Names the network, to the reader and for its seed.
        run_seed: Of the run.
        fit: Epochs, learning rate, label smoothing.
        prepare: Builds the network, after its seed is set.
        precision: A dtype policy of Keras; it decides whether the loss is scaled.

    Returns:
        The trained network.
    """
    seed = fit_loop.network_seed(run_seed, label)
    keras.utils.set_random_seed(seed)
    with dtype_policy(precision):
        training = prepare()
        trained = training.trained or training.model
        distiller = training.distiller(trained, name="teacher")
    smooth, classes = fit.label_smoothing, training.labels.shape[1]
    labels = training.labels * (1.0 - smooth) + smooth / classes
    arrays = training.arrays

    def batches(epochs: range) -> tf.data.Dataset:
        return batching.training_batches(
            arrays,
            {"labels": labels, **training.further},
            training.window,
            0,
            training.transform,
            fit.batch_size,
            seed,
            epochs,
            batches_per_bucket=training.batches_per_bucket,
        )

    fit_loop.fit(
        distiller,
        batches,
        max(1, len(arrays) // fit.batch_size),
        fit,
        path.with_suffix(""),
        label,
        rate_scale=training.rate_scale,
        varying_shapes=training.batches_per_bucket > 0,
    )
    save_network(training.model, path)
    return training.model


def save_network(model: keras.Model, path: Path) -> None:
    """Writes a trained network and removes what resuming its training would have needed."""
    with files.atomic(path) as partial:
        model.save(partial)
    fit_loop.forget_state(path.with_suffix(""))


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Layers made inside have this dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
