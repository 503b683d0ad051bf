"""Training one network of a teacher: the part that is the same for all kinds."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import keras

from ser_kd import files
from ser_kd.config import FitConfig
from ser_kd.data.batching import BatchPlan
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import LabelTerm, Term


@dataclass(frozen=True)
class Training:
    """One network and what it is trained on.

    Attributes:
        model: What is written to disk.
        training_set: The training clips, their labels one-hot.
        plan: How batches are made of them.
        terms: Of the loss; the labels alone unless given.
        trained: The part of ``model`` that is trained, or a network around it; None: the model.
        rate_scale: Variable path -> factor on the learning rate.
    """

    model: keras.Model
    training_set: TrainingSet
    plan: BatchPlan = field(default_factory=BatchPlan)
    terms: Sequence[Term] = ()
    trained: keras.Model | None = None
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
        terms = training.terms or [LabelTerm()]
        distiller = Distiller(training.trained or training.model, terms, name="teacher")
    job = fit_loop.Job(fit, seed, label, path.with_suffix(""), training.rate_scale)
    fit_loop.fit(distiller, training.training_set, training.plan, job)
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
