"""Schedule, best epoch, history, and resuming after an interruption and after SIGKILL."""

import dataclasses
import functools
import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.config import AugmentConfig, FitConfig, LogMelConfig
from ser_kd.data.batching import BatchPlan, logmel_transform, whole_windows
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import LabelTerm, LogitTerm
from ser_kd.errors import UserError
from ser_kd.students.layers import FusedBatchNormalization

CLIPS, FRAMES, MELS, CLASSES, BATCH = 48, 12, 4, 3, 6
STEPS = CLIPS // BATCH
CONFIG = FitConfig(epochs=4, batch_size=BATCH, learning_rate=0.01, warmup_epochs=1.0)


def problem() -> TrainingSet:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, CLIPS)
    values = rng.normal(-40.0 + 4.0 * truth[:, None, None], 6.0, (CLIPS, FRAMES, MELS))
    labels = np.eye(CLASSES, dtype=np.float32)[truth]
    arrays = ClipArrays(
        tuple(map(str, range(CLIPS))),
        values.reshape(-1, MELS).astype(np.float32),
        FRAMES * np.arange(CLIPS + 1),
        np.full(CLIPS, 320 * FRAMES),
        320,
        -80.0,
    )
    return TrainingSet(arrays, labels, teacher_logits=3.0 * labels)


def distiller() -> Distiller:
    """A student with everything that has a state: statistics that move, and dropout."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((FRAMES, MELS))
    x = keras.layers.Dense(8)(keras.layers.Flatten()(keras.layers.Rescaling(0.02)(inputs)))
    x = keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=0.8)(x))
    x = FusedBatchNormalization(momentum=0.8)(keras.layers.Reshape((1, 1, 8))(x))
    x = keras.layers.Flatten()(x)
    outputs = keras.layers.Dense(CLASSES)(keras.layers.Dropout(0.3)(x))
    return Distiller(keras.Model(inputs, outputs), [LabelTerm(0.5), LogitTerm(0.5, 2.0)])


def train(
    directory: Path,
    config: FitConfig = CONFIG,
    kill_in_step: int = -1,
    score: Callable[[], dict[str, float]] | None = None,
    constant: float = 0.0,
) -> tuple[Distiller, int]:
    """Trains; with ``kill_in_step``, until the process kills itself while that batch is made."""
    training_set = problem()
    model = distiller()
    augment = AugmentConfig(time_mask_seconds=0.06, mel_mask_bins=2)
    logmel = LogMelConfig(mels=MELS)
    augmented = logmel_transform(augment, logmel, np.full(MELS, -40.0, np.float32), 2.0)
    made = iter(range(10_000))

    def transform(windows, lengths, targets, seed):
        x, y = augmented(windows, lengths, targets, seed)
        if kill_in_step < 0:
            return x + constant, y

        def kill():
            if next(made) == kill_in_step:
                os.kill(os.getpid(), signal.SIGKILL)
            return np.int64(0)

        with tf.control_dependencies([tf.py_function(kill, [], tf.int64)]):
            return tf.identity(x), y

    def own_score() -> dict[str, float]:
        values = training_set.arrays.values.reshape(CLIPS, FRAMES, MELS)
        logits = model.student(values, training=False)
        right = np.argmax(logits, 1) == training_set.labels.argmax(1)
        return {"ua": float(right.mean()), "wa": float(right.mean())}

    plan, job = BatchPlan(FRAMES, transform, 3), fit_loop.Job(config, 0, "test", directory)
    return model, fit_loop.fit(model, training_set, plan, job, score or own_score)


def history(directory: Path) -> list[dict[str, float]]:
    rows = (directory / fit_loop.HISTORY).read_text().splitlines()
    return [json.loads(row) for row in rows]


def without_times(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted training: model, best epoch, history."""
    directory = tmp_path_factory.mktemp("straight")
    model, best = train(directory)
    return model, best, history(directory)


def assert_same_end(straight, model: Distiller, best: int, directory: Path) -> None:
    """Exactly the same: the tests run on one thread."""
    expected_model, expected_best, expected_history = straight
    assert without_times(history(directory)) == without_times(expected_history)
    assert best == expected_best
    for one, other in zip(
        model.student.get_weights(), expected_model.student.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_history_has_one_complete_row_per_epoch(straight):
    rows = straight[2]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    for row in rows:
        assert set(row) == {
            "epoch", "loss", "label_loss", "logit_loss", "accuracy", "agreement",
            "teacher_entropy", "validation_ua", "validation_wa", "seconds", "learning_rate",
        }  # fmt: skip
        assert all(math.isfinite(value) for value in row.values())


def test_an_interrupted_training_ends_as_an_uninterrupted_one(straight, tmp_path):
    rows = iter(straight[2][:2])

    def interrupt() -> dict[str, float]:
        row = next(rows, None)
        if row is None:  # epoch 3 is trained, and not yet on record
            raise KeyboardInterrupt
        return {"ua": row["validation_ua"], "wa": row["validation_wa"]}

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, score=interrupt)
    assert len(history(tmp_path)) == 2
    assert_same_end(straight, *train(tmp_path), tmp_path)


@pytest.mark.slow
def test_a_killed_training_ends_as_an_uninterrupted_one(straight, tmp_path):
    # Four batches are made ahead, so batch 2 * STEPS + 6 is asked for in the third epoch.
    arguments = [sys.executable, __file__, str(tmp_path), str(2 * STEPS + 6)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    result = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr[-2_000:]
    assert [row["epoch"] for row in history(tmp_path)] == [1, 2]
    assert_same_end(straight, *train(tmp_path), tmp_path)


def test_a_finished_training_is_not_trained_again(straight, tmp_path):
    train(tmp_path)
    before = (tmp_path / fit_loop.HISTORY).read_bytes()
    assert_same_end(straight, *train(tmp_path), tmp_path)
    assert (tmp_path / fit_loop.HISTORY).read_bytes() == before
    fit_loop.forget_state(tmp_path)
    fit_loop.forget_state(tmp_path)  # also when there is none
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.jsonl", "tensorboard"]
    assert any((tmp_path / "tensorboard").iterdir())


def test_the_state_of_an_earlier_version_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "training_state.npz", facts=np.zeros(3), variable_0=np.zeros(2))
    with pytest.raises(UserError, match=r"training_state.npz .*earlier version.*delete that file"):
        train(tmp_path)


def test_the_weights_of_the_best_epoch_stay(tmp_path):
    scores, seen = iter([0.2, 0.9, 0.9, 0.1]), []

    def score() -> dict[str, float]:
        seen.append([np.array(w) for w in current.student.get_weights()])
        return {"ua": next(scores)}

    current = None
    original = fit_loop.compile_for_training

    def remember(model, *arguments):
        nonlocal current
        current = model
        original(model, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_loop, "compile_for_training", remember)
        model, best = train(tmp_path, score=score)
    assert best == 3  # the latest of equals
    for weight, expected, last in zip(model.student.get_weights(), seen[2], seen[3], strict=True):
        np.testing.assert_array_equal(weight, expected)
        assert (weight != last).any()


def test_without_a_score_the_last_epoch_stays(tmp_path):
    config = dataclasses.replace(CONFIG, epochs=2)
    job = fit_loop.Job(config, 0, "test", tmp_path)
    assert fit_loop.fit(distiller(), problem(), BatchPlan(FRAMES, whole_windows), job) == 2
    assert not any("validation_ua" in row for row in history(tmp_path))


def test_a_loss_that_is_not_finite_stops_with_a_clear_message(tmp_path, capsys):
    with pytest.raises(
        UserError, match=r"test: the loss became nan in epoch 1, batch 1; look for broken audio"
    ):
        train(tmp_path, constant=math.nan)
    assert not (tmp_path / fit_loop.HISTORY).exists()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("warmup_epochs", [0.0, 1.5])
def test_the_schedule_is_warm_up_and_cosine(warmup_epochs):
    config = FitConfig(
        epochs=10, learning_rate=0.02, final_learning_rate=0.001, warmup_epochs=warmup_epochs
    )
    model = distiller()
    fit_loop.compile_for_training(model, config, 20)
    model.optimizer.build(model.trainable_variables)
    warmup = round(20 * warmup_epochs)
    for step in (0, 1, 15, 29, 30, 31, 100, 199, 200, 250):
        model.optimizer.iterations.assign(step)
        if step < warmup:
            expected = 0.02 * step / warmup
        else:
            done = min(1.0, (step - warmup) / (200 - warmup))
            expected = 0.001 + (0.02 - 0.001) * 0.5 * (1.0 + math.cos(math.pi * done))
        assert float(model.optimizer.learning_rate) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_matrices_are_decayed_and_vectors_are_not():
    model = distiller()
    config = FitConfig(learning_rate=0.1, warmup_epochs=0.0, weight_decay=0.5)
    fit_loop.compile_for_training(model, config, 10)
    for weight in model.trainable_weights:
        weight.assign(np.ones(weight.shape))
    model.optimizer.apply([np.zeros(w.shape, np.float32) for w in model.trainable_weights],
                          model.trainable_weights)  # fmt: skip
    ranks = {len(weight.shape) for weight in model.trainable_weights}
    assert ranks == {1, 2}
    for weight in model.trainable_weights:
        expected = 1.0 - 0.1 * 0.5 if len(weight.shape) == 2 else 1.0
        np.testing.assert_allclose(weight, expected, rtol=1e-6, err_msg=weight.path)


def test_xla_stays_off_on_a_cpu():
    model = distiller()
    fit_loop.compile_for_training(model, CONFIG, 10)
    assert model.jit_compile is False


def test_every_network_has_its_own_seed():
    seeds = [
        fit_loop.network_seed(seed, name) for seed in range(20) for name in ("a", "b", "fold 1")
    ]
    assert len(set(seeds)) == 60
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert fit_loop.network_seed(3, "a") == fit_loop.network_seed(3, "a")


if __name__ == "__main__":
    train(Path(sys.argv[1]), kill_in_step=int(sys.argv[2]))


def test_a_long_epoch_says_how_far_it_is_and_how_long_the_rest_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        fit_loop, "never_silent", functools.partial(fit_loop.never_silent, seconds=0.02)
    )

    def slowly() -> dict[str, float]:
        time.sleep(0.2)
        return {"ua": 0.5}

    train(tmp_path, CONFIG, score=slowly)
    said = capsys.readouterr().out
    assert "the first step is being compiled" in said
    assert re.search(rf"epoch 1/4, batch {STEPS} of {STEPS}, about \d+ s left", said)
