"""Two learning rates, linear decay and gradient accumulation, against sums by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.config import FitConfig
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.optimizer import LinearDecay, ScaledAdamW
from ser_kd.distillation.terms import LabelTerm


def test_linear_decay_by_hand():
    schedule = LinearDecay(0.8, 0.2, warmup_steps=4, total_steps=10)
    by_hand = [0.0, 0.2, 0.4, 0.6, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.2]
    np.testing.assert_allclose([float(schedule(step)) for step in range(12)], by_hand, atol=1e-6)
    assert float(LinearDecay(0.8, 0.0, 0, 2)(0)) == pytest.approx(0.8)


def test_each_part_has_its_own_rate_and_decay():
    """AdamW by hand: the second variable takes a tenth of the steps and of the decay."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(2, 3)).astype(np.float32)
    gradients = rng.normal(size=(4, 2, 3)).astype(np.float32)
    with keras.name_scope("fast"):
        fast = keras.Variable(start, name="w")
    with keras.name_scope("slow"):
        slow = keras.Variable(start, name="w")
    assert (fast.path, slow.path) == ("fast/w", "slow/w")
    optimizer = ScaledAdamW(
        lambda path: 0.1 if path.startswith("slow") else 1.0, learning_rate=0.05, weight_decay=0.2
    )

    @tf.function
    def apply(gradient):
        optimizer.apply_gradients([(gradient, fast), (gradient, slow)])

    for gradient in gradients:
        apply(tf.constant(gradient))
    for variable, rate in ((fast, 0.05), (slow, 0.005)):
        x, m, v = start.astype(float), 0.0, 0.0
        for step, g in enumerate(gradients, start=1):
            x = x - rate * 0.2 * x
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            x = x - rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-7)
        np.testing.assert_allclose(variable.numpy(), x, atol=1e-5)


def problem(accumulation_steps: int, steps_per_epoch: int, epochs: int = 1) -> Distiller:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4,))
    outputs = keras.layers.Dense(3)(keras.layers.Dense(5, activation="tanh")(inputs))
    model = Distiller(keras.Model(inputs, outputs), [LabelTerm()])
    config = FitConfig(
        epochs=epochs,
        learning_rate=0.01,
        final_learning_rate=0.01,
        warmup_epochs=0.0,
        accumulation_steps=accumulation_steps,
        decay="linear",
    )
    fit_loop.compile_for_training(model, config, steps_per_epoch)
    return model


def test_accumulated_small_batches_are_one_large_batch():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(16, 4)).astype(np.float32)
    labels = {"labels": np.eye(3, dtype=np.float32)[rng.integers(0, 3, 16)]}
    weights = {}
    for accumulation, batch in ((1, 8), (2, 4)):
        model = problem(accumulation, steps_per_epoch=16 // batch)
        model.fit(x, labels, batch_size=batch, shuffle=False, verbose=0)
        weights[accumulation] = model.student.get_weights()
        assert int(model.optimizer.iterations) == 2
    for one, other in zip(weights[1], weights[2], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_half_of_the_batches_are_half_of_the_schedule(accumulation, decay):
    model = problem(accumulation, steps_per_epoch=4, epochs=2)
    config = FitConfig(
        epochs=2,
        learning_rate=0.01,
        final_learning_rate=0.002,
        warmup_epochs=0.0,
        accumulation_steps=accumulation,
        decay=decay,
    )
    fit_loop.compile_for_training(model, config, 4)
    x = np.zeros((16, 4), np.float32)
    model.fit(x, {"labels": np.eye(3, dtype=np.float32)[[0] * 16]}, batch_size=4, verbose=0)
    assert float(model.optimizer.learning_rate) == pytest.approx((0.01 + 0.002) / 2)
