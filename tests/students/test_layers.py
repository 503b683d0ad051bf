"""The fused batch normalisation against Keras's own, and the feature statistics."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.students.layers import FusedBatchNormalization, Standardize

SHAPE = (4, 5, 6, 3)
VALUES = SHAPE[0] * SHAPE[1] * SHAPE[2]  # per channel


def pair(**settings) -> tuple[FusedBatchNormalization, keras.layers.BatchNormalization]:
    """Our layer and Keras's, with the same random weights."""
    rng = np.random.default_rng(1)
    layers = FusedBatchNormalization(**settings), keras.layers.BatchNormalization(**settings)
    weights = [rng.uniform(0.5, 2.0, SHAPE[-1:]) for _ in range(4)]
    for layer in layers:
        layer.build(SHAPE)
        layer.set_weights(weights)
    return layers


@pytest.fixture
def inputs(rng) -> tf.Tensor:
    return tf.constant(3.0 + 2.0 * rng.normal(size=SHAPE), tf.float32)


def test_training_outputs_and_gradients_are_those_of_keras(inputs, rng):
    direction = tf.constant(rng.normal(size=SHAPE), tf.float32)
    results = []
    for layer in pair(momentum=0.9, epsilon=1e-3):
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs, training=True)
            value = tf.reduce_sum(outputs * direction)
        variables = [weight.value for weight in layer.trainable_weights]
        results.append([outputs, *tape.gradient(value, [inputs, *variables])])
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_training_moves_the_statistics_with_the_unbiased_variance(inputs):
    # The fused kernel estimates the moving variance with n - 1 (Bessel), as Keras 2 did; Keras 3
    # divides by n. A student's smallest layer sees thousands of values per channel.
    ours, theirs = pair(momentum=0.9)
    ours.batches_seen.assign(100.0)
    mean_before, variance_before = (np.array(w) for w in ours.get_weights()[2:])
    ours(inputs, training=True)
    theirs(inputs, training=True)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-5)
    batch = np.asarray(inputs, np.float64).reshape(-1, SHAPE[-1])
    expected = 0.9 * variance_before + 0.1 * batch.var(0, ddof=1)
    np.testing.assert_allclose(ours.moving_variance, expected, rtol=1e-5)
    np.testing.assert_allclose(ours.moving_mean, 0.9 * mean_before + 0.1 * batch.mean(0), rtol=1e-5)
    bessel = VALUES / (VALUES - 1)
    theirs_step = np.asarray(theirs.moving_variance) - 0.9 * variance_before
    ours_step = np.asarray(ours.moving_variance) - 0.9 * variance_before
    np.testing.assert_allclose(ours_step, bessel * theirs_step, rtol=1e-4)


@pytest.mark.parametrize("training", [False, None])
def test_inference_is_keras_own_and_moves_nothing(inputs, training):
    ours, theirs = pair()
    before = [np.array(weight) for weight in ours.get_weights()]
    np.testing.assert_array_equal(ours(inputs, training=training), theirs(inputs, training=False))
    for one, other in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_frozen_layers_infer_also_in_training(inputs):
    ours, _ = pair()
    ours.trainable = False
    before = [np.array(weight) for weight in ours.get_weights()]
    outputs = ours(inputs, training=True)
    np.testing.assert_array_equal(outputs, ours(inputs, training=False))
    for one, other in zip(before, ours.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_moving_statistics_move_inside_a_graph(inputs):
    ours, _ = pair(momentum=0.5)
    twin, _ = pair(momentum=0.5)
    step = tf.function(lambda x: ours(x, training=True))
    for _ in range(3):
        step(inputs)
        twin(inputs, training=True)
    np.testing.assert_allclose(ours.moving_mean, twin.moving_mean, rtol=1e-6)
    np.testing.assert_allclose(ours.moving_variance, twin.moving_variance, rtol=1e-6)


def test_the_statistics_are_the_mean_of_the_batches_seen_so_far(rng):
    ours, _ = pair(momentum=0.95)
    batches = 0.01 * rng.normal(size=(10, *SHAPE)) + rng.normal(size=(10, 1, 1, 1, 1))
    means = batches.mean((1, 2, 3))
    variances = batches.reshape(10, VALUES, SHAPE[-1]).var(1, ddof=1)
    for seen, batch in enumerate(batches, start=1):
        ours(tf.constant(batch, tf.float32), training=True)
        np.testing.assert_allclose(ours.moving_mean, means[:seen].mean(0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(ours.moving_variance, variances[:seen].mean(0), rtol=1e-3)


def test_after_many_batches_the_statistics_are_the_exponential_average(rng):
    # The two differ by 0.95^n of the initial value: 4e-5 after 200 batches. CREMA-D: 160 an epoch.
    ours, _ = pair(momentum=0.95)
    mean, variance = np.zeros(SHAPE[-1]), np.ones(SHAPE[-1])
    for _ in range(200):
        batch = rng.uniform(0.5, 2.0) * rng.normal(size=SHAPE) + rng.normal()
        ours(tf.constant(batch, tf.float32), training=True)
        mean = 0.95 * mean + 0.05 * batch.mean((0, 1, 2))
        variance = 0.95 * variance + 0.05 * batch.reshape(VALUES, -1).var(0, ddof=1)
    np.testing.assert_allclose(ours.moving_mean, mean, atol=1e-3)
    np.testing.assert_allclose(ours.moving_variance, variance, rtol=1e-3)


def test_the_count_of_batches_is_a_state_that_no_file_holds(inputs):
    ours, plain = pair()
    ours(inputs, training=True)
    assert float(ours.batches_seen) == 1.0
    assert any(variable is ours.batches_seen for variable in ours.variables)  # for resuming
    assert ours.count_params() == plain.count_params()
    assert not any(weight is ours.batches_seen for weight in ours.weights)
    for one, other in ((ours, plain), (plain, ours)):  # as files of before
        stored: dict = {}
        one.save_own_variables(stored)
        assert sorted(stored) == ["0", "1", "2", "3"]
        other.set_weights([np.zeros(SHAPE[-1])] * 4)
        other.load_own_variables(stored)
        for mine, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_standardize_uses_its_statistics_and_keeps_them_in_the_file(tmp_path, rng):
    features = rng.normal(-40.0, 10.0, (2, 7, 4)).astype(np.float32)
    model = keras.Sequential([keras.Input((7, 4)), Standardize(name="standardize")])
    np.testing.assert_array_equal(model(features), features)  # nothing set: nothing done
    mean, deviation = features.mean((0, 1)), features.std((0, 1))
    model.get_layer("standardize").set_statistics(mean, deviation)
    expected = (features - mean) / deviation
    np.testing.assert_allclose(model(features), expected, rtol=1e-6, atol=1e-6)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(features, verbose=0), model(features))
    assert not loaded.trainable_weights
