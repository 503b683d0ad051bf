"""Training one network: schedule, checkpoints, history, resuming. Used by students and teachers."""

import json
import math
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.config import FitConfig
from ser_kd.data.batching import BatchPlan, training_batches
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.optimizer import LinearDecay, ScaledAdamW
from ser_kd.errors import UserError
from ser_kd.progress import duration, never_silent, say

HISTORY = "history.jsonl"
_STATE = "training_state.npz"
_LOGS = "tensorboard"
_BATCHES_AHEAD = 4


def on_gpu() -> bool:
    """Whether TensorFlow sees a GPU."""
    return bool(tf.config.list_physical_devices("GPU"))


def make_deterministic() -> None:
    """Lets TensorFlow use nothing but operations that always give the same result.

    For the whole process, from now on. On a CPU this costs nothing that could be measured
    (docs/benchmarks.md); on a GPU some operations become slower.
    """
    tf.config.experimental.enable_op_determinism()


def compile_for_training(
    model: Distiller,
    config: FitConfig,
    steps_per_epoch: int,
    rate_scale: Callable[[str], float] | None = None,
    varying_shapes: bool = False,
) -> None:
    """AdamW with linear warm-up and decay; each variable's gradient is clipped to norm 5.

    Biases, normalisation scales and other vectors are not decayed. XLA stays off on a CPU, where
    it makes depthwise convolutions many times slower, and where shapes vary, each of which it would
    compile anew.

    Args:
        model: A built distiller.
        config: Learning rate and schedule; its epochs are given.
        steps_per_epoch: Batches per epoch.
        rate_scale: Variable path -> factor on the learning rate; None = 1 for all.
        varying_shapes: Whether batches differ in shape.
    """
    # Keras' schedules count batches, also where several of them make one update.
    warmup_steps = round(config.warmup_epochs * steps_per_epoch)
    total_steps = config.epochs * steps_per_epoch
    schedule: keras.optimizers.schedules.LearningRateSchedule
    if config.decay == "linear":
        schedule = LinearDecay(
            config.learning_rate, config.final_learning_rate, warmup_steps, total_steps
        )
    else:
        schedule = keras.optimizers.schedules.CosineDecay(
            initial_learning_rate=0.0 if warmup_steps else config.learning_rate,
            decay_steps=max(1, total_steps - warmup_steps),
            alpha=config.final_learning_rate / config.learning_rate,
            warmup_target=config.learning_rate if warmup_steps else None,
            warmup_steps=warmup_steps,
        )
    settings = {
        "learning_rate": schedule,
        "weight_decay": config.weight_decay,
        "clipnorm": 5.0,
        "gradient_accumulation_steps": (
            config.accumulation_steps if config.accumulation_steps > 1 else None
        ),
    }
    optimizer = (
        keras.optimizers.AdamW(**settings)
        if rate_scale is None
        else ScaledAdamW(rate_scale, **settings)
    )
    vectors = [weight for weight in model.trainable_weights if len(weight.shape) < 2]
    optimizer.exclude_from_weight_decay(var_list=vectors)
    xla = on_gpu() and not varying_shapes
    model.compile(optimizer=optimizer, jit_compile="auto" if xla else False)


@dataclass(frozen=True)
class Job:
    """One network's training.

    Attributes:
        fit: Epochs, batches, learning rate, label smoothing; epochs and batch size may be 0.
        seed: Of the order of the clips and of augmentation; see ``network_seed``.
        name: Of the network, in messages.
        directory: Receives ``history.jsonl``, TensorBoard logs and, until the end, the state.
        rate_scale: Variable path -> factor on the learning rate; None = 1 for all.
        chosen_by: The score that is highest in the best epoch.
    """

    fit: FitConfig
    seed: int
    name: str
    directory: Path
    rate_scale: Callable[[str], float] | None = None
    chosen_by: str = "ua"


@dataclass
class TrainingState:
    """What resuming needs: every variable, and the best epoch so far."""

    model: Distiller
    directory: Path
    epochs_done: int = 0
    best_score: float = -math.inf
    best_epoch: int = 0
    best_weights: list[np.ndarray] = field(default_factory=list)

    @property
    def path(self) -> Path:
        """The file of the state."""
        return self.directory / _STATE

    def _variables(self) -> list[Any]:
        # variables, not weights: the dropout generators' states are among them.
        metrics = {id(v) for metric in self.model.metrics for v in metric.variables}
        own = [v for v in self.model.variables if id(v) not in metrics]
        optimizer = {id(v) for v in self.model.optimizer.variables}
        return [v for v in own if id(v) not in optimizer] + list(self.model.optimizer.variables)

    def save(self) -> None:
        arrays = {f"variable_{i}": np.asarray(v) for i, v in enumerate(self._variables())}
        arrays |= {f"best_{i}": weight for i, weight in enumerate(self.best_weights)}
        facts = [self.epochs_done, self.best_score, self.best_epoch]
        files.write_npz(self.path, facts=np.array(facts, np.float64), **arrays)

    def restore(self) -> None:
        """Reads the state file, where there is one."""
        self.model.optimizer.build(self.model.trainable_variables)
        if not self.path.exists():
            return
        variables = self._variables()
        with np.load(self.path) as stored:
            facts = stored["facts"]
            if sum(name.startswith("variable_") for name in stored) != len(variables):
                raise UserError(
                    f"{self.path} is a training that an earlier version began and did not finish; "
                    "delete that file, and the network is trained anew"
                )
            for index, variable in enumerate(variables):
                variable.assign(stored[f"variable_{index}"])
            count = sum(name.startswith("best_") for name in stored)
            self.best_weights = [stored[f"best_{index}"] for index in range(count)]
        self.epochs_done, self.best_epoch = int(facts[0]), int(facts[2])
        self.best_score = float(facts[1])


class _EpochEnd(keras.callbacks.Callback):
    """After each epoch: score, best weights, one line for the reader, history, state on disk."""

    def __init__(
        self,
        state: TrainingState,
        job: Job,
        epochs: int,
        score: Callable[[], Mapping[str, float]] | None,
        steps_per_epoch: int,
    ) -> None:
        super().__init__()
        self.steps_per_epoch, self.steps_done = steps_per_epoch, 0
        self.first_step_end = 0.0
        self.state, self.name, self.score = state, job.name, score
        self.epochs = epochs
        self.chosen_by = f"validation_{job.chosen_by}"
        self.first = state.epochs_done
        self.start = time.monotonic()
        self.epoch_start = self.start
        self.writer = tf.summary.create_file_writer(str(state.directory / _LOGS))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch_start = time.monotonic()

    def standing(self) -> str:
        """How far the training is and, once a step was timed, how long the rest takes."""
        done, steps = self.steps_done, self.steps_per_epoch
        if done < 2:  # the first step's time is that of tracing and compiling
            waited = duration(time.monotonic() - self.start)
            return f"  {self.name}: the first step is being compiled ({waited} so far)"
        seconds = (time.monotonic() - self.first_step_end) / (done - 1)
        left = duration(seconds * ((self.epochs - self.first) * steps - done))
        epoch, batch = divmod(done - 1, steps)
        return (
            f"  {self.name} epoch {self.first + epoch + 1}/{self.epochs}, batch {batch + 1} of "
            f"{steps}, about {left} left"
        )

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps_done += 1
        if self.steps_done == 1:
            self.first_step_end = time.monotonic()
        if not math.isfinite(logs["loss"]):
            raise UserError(
                f"{self.name}: the loss became {logs['loss']} in epoch {self.state.epochs_done + 1}"
                f", batch {batch + 1}; look for broken audio, or begin a new --run-dir with a "
                "lower fit.learning_rate"
            )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        state = self.state
        values = {key: float(value) for key, value in logs.items()}
        values["seconds"] = time.monotonic() - self.epoch_start
        values["learning_rate"] = float(self.model.optimizer.learning_rate)
        if self.score is not None:
            values |= {f"validation_{key}": value for key, value in self.score().items()}
            # Of equal epochs the later one: on few clips many tie, and the first is hardly trained.
            if values[self.chosen_by] >= state.best_score:
                state.best_score, state.best_epoch = values[self.chosen_by], epoch + 1
                state.best_weights = [np.asarray(w) for w in self.model.student.weights]
        state.epochs_done = epoch + 1
        self._write_history({"epoch": epoch + 1, **values})
        state.save()
        with self.writer.as_default(step=epoch + 1):
            for key, value in values.items():
                tf.summary.scalar(key, value)
        self.writer.flush()
        done = epoch + 1 - self.first
        left = (time.monotonic() - self.start) / done * (self.epochs - epoch - 1)
        shown = [
            f"{key.replace('validation_', 'val ')} {values[key]:.3f}"
            for key in ("loss", "accuracy", "agreement", self.chosen_by)
            if key in values
        ]
        say(
            f"  {self.name} epoch {epoch + 1}/{self.epochs}  {'  '.join(shown)}  "
            f"({values['seconds']:.1f} s, {duration(left)} left)"
        )

    def _write_history(self, row: Mapping[str, float]) -> None:
        """Appends a row; rows of epochs that a kill undid are dropped."""
        path = self.state.directory / HISTORY
        rows = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = rows[: int(row["epoch"]) - 1]
        with files.atomic(path) as partial:
            partial.write_text("\n".join([*rows, json.dumps(row)]) + "\n", encoding="utf-8")


def fit(
    model: Distiller,
    training_set: TrainingSet,
    plan: BatchPlan,
    job: Job,
    score: Callable[[], Mapping[str, float]] | None = None,
) -> int:
    """Trains ``model.student``, or goes on where an earlier call was interrupted.

    Args:
        model: A built distiller.
        training_set: Its labels are smoothed here.
        plan: How batches are made of it.
        job: Settings, seed, name, folder.
        score: Scores of the current student (``job.chosen_by`` among them). If given, the weights
            of the best epoch are kept, the latest of equals; without it, those of the last.

    Returns:
        The epoch whose weights the student now has, from 1.

    Raises:
        UserError: The loss is not finite.
    """
    config = job.fit.for_clips(len(training_set))
    job.directory.mkdir(parents=True, exist_ok=True)
    steps_per_epoch = max(1, len(training_set) // config.batch_size)
    varying_shapes = plan.batches_per_bucket > 0
    compile_for_training(model, config, steps_per_epoch, job.rate_scale, varying_shapes)
    state = TrainingState(model, job.directory)
    state.restore()
    if config != job.fit and not state.epochs_done:
        say(
            f"  {job.name}: {config.epochs} epochs of {steps_per_epoch} batches of "
            f"{config.batch_size}, for {len(training_set):,} clips"
        )
    if state.epochs_done:
        say(f"  {job.name}: going on after epoch {state.epochs_done}")
    if state.epochs_done < config.epochs:
        batches = training_batches(
            training_set.smoothed(config.label_smoothing),
            plan,
            config.batch_size,
            job.seed,
            range(state.epochs_done, config.epochs),
        )
        epoch_end = _EpochEnd(state, job, config.epochs, score, steps_per_epoch)
        with never_silent(epoch_end.standing):
            model.fit(
                batches.prefetch(_BATCHES_AHEAD),
                initial_epoch=state.epochs_done,
                epochs=config.epochs,
                steps_per_epoch=steps_per_epoch,
                verbose=0,
                shuffle=False,
                callbacks=[epoch_end],
            )
    if state.best_weights:
        model.student.set_weights(state.best_weights)
        return state.best_epoch
    return state.epochs_done


def forget_state(directory: Path) -> None:
    """Removes the resuming state of a training whose model is saved."""
    (directory / _STATE).unlink(missing_ok=True)


def network_seed(seed: int, name: str) -> int:
    """The seed of one network of a run, below 2^31.

    Every network has its own, made of the run's seed and a name, so that a resumed run, which skips
    finished networks, trains the rest as an uninterrupted run does.
    """
    return (seed * 1_000_003 + zlib.crc32(name.encode())) % 2**31
