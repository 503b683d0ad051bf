"""Distillation losses against hand-computed numbers and SciPy."""

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from ser_kd.distillation import losses

LOG3 = np.log(3.0)


def logits(rng, *shape: int, scale: float = 3.0) -> np.ndarray:
    return (scale * rng.normal(size=shape)).astype(np.float32)


def test_numbers_computed_by_hand():
    # Softmax of (log 3, 0) is (3/4, 1/4), of (0, 0) is (1/2, 1/2).
    teacher = np.array([[LOG3, 0.0]], np.float32)
    student = np.zeros((1, 2), np.float32)
    labels = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(losses.log_softmax(teacher), np.log([[0.75, 0.25]]), rtol=1e-6)
    np.testing.assert_allclose(losses.cross_entropy(labels, teacher), [-np.log(0.75)], rtol=1e-6)
    kl = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    np.testing.assert_allclose(losses.distillation_kl(teacher, student, 1.0), [kl], rtol=1e-6)
    # At T = 2 the same softened predictions come from doubled logits; T^2 = 4.
    np.testing.assert_allclose(
        losses.distillation_kl(2.0 * teacher, student, 2.0), [4.0 * kl], rtol=1e-6
    )
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    np.testing.assert_allclose(losses.entropy(teacher), [entropy], rtol=1e-6)
    np.testing.assert_allclose(losses.entropy(student), [np.log(2.0)], rtol=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_against_scipy(rng, temperature):
    teacher, student = logits(rng, 32, 6), logits(rng, 32, 6)
    p = scipy.special.softmax(teacher.astype(np.float64) / temperature, axis=1)
    q = scipy.special.softmax(student.astype(np.float64) / temperature, axis=1)
    kl = losses.distillation_kl(teacher, student, temperature)
    expected = temperature**2 * scipy.stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(kl, expected, rtol=2e-4, atol=1e-5)
    np.testing.assert_allclose(
        losses.entropy(teacher, temperature), scipy.stats.entropy(p, axis=1), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_allclose(
        losses.log_softmax(student, temperature),
        scipy.special.log_softmax(student.astype(np.float64) / temperature, axis=1),
        rtol=1e-5,
        atol=1e-5,
    )


def test_cross_entropy_with_soft_labels(rng):
    labels = rng.dirichlet(np.ones(6), 16).astype(np.float32)
    student = logits(rng, 16, 6)
    expected = -(labels * scipy.special.log_softmax(student, axis=1)).sum(1)
    np.testing.assert_allclose(losses.cross_entropy(labels, student), expected, rtol=1e-5)


def test_equal_logits_cost_nothing_and_a_constant_changes_nothing(rng):
    student = logits(rng, 8, 6)
    np.testing.assert_allclose(losses.distillation_kl(student, student, 2.0), 0.0, atol=1e-6)
    shifted = losses.distillation_kl(student + 5.0, student - 3.0, 2.0)
    np.testing.assert_allclose(shifted, 0.0, atol=1e-5)


def test_log_probabilities_serve_as_teacher_logits(rng):
    teacher, student = logits(rng, 8, 6), logits(rng, 8, 6)
    np.testing.assert_allclose(
        losses.distillation_kl(losses.log_softmax(teacher), student, 3.0),
        losses.distillation_kl(teacher, student, 3.0),
        rtol=1e-4,
    )


def test_kl_at_temperature_1_is_cross_entropy_less_entropy(rng):
    teacher, student = logits(rng, 8, 6), logits(rng, 8, 6)
    difference = losses.cross_entropy(tf.nn.softmax(teacher), student) - losses.entropy(teacher)
    np.testing.assert_allclose(
        losses.distillation_kl(teacher, student, 1.0), difference, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_extreme_logits_stay_finite(temperature):
    teacher = np.array([[1e4, 0.0, -1e4], [0.0, 0.0, 0.0], [-1e4, 1e4, 0.0]], np.float32)
    student = tf.constant(teacher[::-1].copy())
    with tf.GradientTape() as tape:
        tape.watch(student)
        kl = losses.distillation_kl(teacher, student, temperature)
    assert np.isfinite(kl).all()
    assert np.isfinite(tape.gradient(kl, student)).all()
    assert np.isfinite(losses.entropy(teacher, temperature)).all()
    assert np.isfinite(losses.cross_entropy(np.eye(3, dtype=np.float32), teacher)).all()


def test_gradient_is_t_times_the_difference_of_softened_predictions(rng):
    # d/dz T^2 KL(p || q(z / T)) = T (q - p): for small logits of the same size at any T.
    teacher, student = logits(rng, 8, 6), tf.constant(logits(rng, 8, 6))
    for temperature in (1.0, 2.0, 8.0):
        with tf.GradientTape() as tape:
            tape.watch(student)
            kl = losses.distillation_kl(teacher, student, temperature)
        p = scipy.special.softmax(teacher / temperature, axis=1)
        q = scipy.special.softmax(student.numpy() / temperature, axis=1)
        gradient = tape.gradient(kl, student)
        np.testing.assert_allclose(gradient, temperature * (q - p), rtol=1e-3, atol=1e-5)


def test_t_squared_keeps_the_gradients_size(rng):
    teacher, student = logits(rng, 8, 6, scale=0.1), tf.constant(logits(rng, 8, 6, scale=0.1))
    sizes = []
    for temperature in (4.0, 8.0, 16.0):
        with tf.GradientTape() as tape:
            tape.watch(student)
            kl = losses.distillation_kl(teacher, student, temperature)
        sizes.append(float(tf.norm(tape.gradient(kl, student))))
    np.testing.assert_allclose(sizes, sizes[0], rtol=0.02)


def test_kl_is_least_for_the_teacher_itself(rng):
    """At the teacher's logits its value and its gradient are 0, also for extreme ones."""
    for scale in (3.0, 60.0):
        teacher = tf.constant(logits(rng, 24, 6, scale=scale))
        student = tf.Variable(teacher)
        with tf.GradientTape() as tape:
            loss = losses.distillation_kl(teacher, student, 2.0)
        assert loss.shape == (24,)
        np.testing.assert_allclose(loss, 0, atol=2e-3)
        np.testing.assert_allclose(tape.gradient(loss, student), 0, atol=2e-3)
        other = losses.distillation_kl(teacher, logits(rng, 24, 6), 2.0)
        assert np.isfinite(other).all()
        assert (other.numpy() > 0.01).all()


def ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Lin's definition, of one dimension in float64."""
    truth, predicted = truth.astype(np.float64), predicted.astype(np.float64)
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    squared = (truth.mean() - predicted.mean()) ** 2
    return float(2 * covariance / (truth.var() + predicted.var() + squared))


def ratings(rng, clips: int = 32, dimensions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Ratings within -1..1, and predictions that have something to do with them."""
    truth = rng.uniform(-1.0, 1.0, (clips, dimensions))
    predicted = 0.5 * truth + rng.normal(0.2, 0.3, truth.shape)
    return truth.astype(np.float32), predicted.astype(np.float32)


def test_concordance_by_hand():
    # Means 0 and 1, variances 1 and 4, covariance 2: CCC = 4 / (1 + 4 + 1).
    truth = np.array([[-1.0], [1.0]], np.float32)
    predicted = np.array([[-1.0], [3.0]], np.float32)
    np.testing.assert_allclose(losses.concordance_loss(truth, predicted), [1 - 2 / 3], rtol=1e-5)
    np.testing.assert_allclose(losses.concordance_loss(truth, truth), [0.0], atol=1e-5)
    np.testing.assert_allclose(losses.concordance_loss(truth, -truth), [2.0], atol=1e-5)
    # Correlated to 1, but off by 2: CCC = 2 / (1 + 1 + 4).
    np.testing.assert_allclose(losses.concordance_loss(truth, truth + 2), [1 - 1 / 3], rtol=1e-5)


def test_concordance_against_its_definition(rng):
    truth, predicted = ratings(rng)
    expected = [1 - ccc(t, p) for t, p in zip(truth.T, predicted.T, strict=True)]
    assert min(expected) > 0.1
    np.testing.assert_allclose(losses.concordance_loss(truth, predicted), expected, rtol=1e-4)


def test_concordance_of_those_that_are_rated(rng):
    truth, predicted = ratings(rng)
    hidden = rng.random(truth.shape) < 0.4
    missing = np.where(hidden, np.nan, truth)
    columns = zip(truth.T, predicted.T, hidden.T, strict=True)
    expected = [1 - ccc(t[~gone], p[~gone]) for t, p, gone in columns]
    np.testing.assert_allclose(losses.concordance_loss(missing, predicted), expected, rtol=1e-4)
    # A weight of 0 is as good as no rating, and one for all dimensions does for a clip.
    weights = (~hidden).astype(np.float32)
    for rated in (truth, missing):
        loss = losses.concordance_loss(rated, predicted, weights)
        np.testing.assert_allclose(loss, expected, rtol=1e-4)
    some = np.arange(32) < 20
    loss = losses.concordance_loss(truth, predicted, some.astype(np.float32))
    expected = [1 - ccc(t[some], p[some]) for t, p in zip(truth.T, predicted.T, strict=True)]
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_weight_of_two_is_the_clip_twice(rng):
    truth, predicted = ratings(rng)
    weights = np.repeat([1.0, 2.0], 16)
    twice = [np.concatenate([values, values[16:]]) for values in (truth, predicted)]
    np.testing.assert_allclose(
        losses.concordance_loss(truth, predicted, weights),
        losses.concordance_loss(*twice),
        rtol=1e-5,
    )
    np.testing.assert_allclose(  # their sum does not matter
        losses.concordance_loss(truth, predicted, 1e-3 * weights),
        losses.concordance_loss(*twice),
        rtol=1e-5,
    )


def test_the_gradient_of_concordance_by_finite_differences(rng):
    truth, predicted = ratings(rng, clips=8)
    truth[2, 1] = np.nan
    weights = rng.uniform(0.2, 2.0, 8).astype(np.float32)
    exact = tf.constant(predicted, tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(exact)
        loss = tf.reduce_sum(losses.concordance_loss(truth, exact, weights))
    gradient = tape.gradient(loss, exact).numpy()
    assert gradient[2, 1] == 0.0
    for clip in range(8):
        for dimension in range(3):
            step = np.zeros(predicted.shape)
            step[clip, dimension] = 1e-5
            up, down = (
                float(tf.reduce_sum(losses.concordance_loss(truth, exact + sign * step, weights)))
                for sign in (1, -1)
            )
            assert gradient[clip, dimension] == pytest.approx((up - down) / 2e-5, abs=1e-7)


@pytest.mark.parametrize(
    "truth",
    [
        np.full((16, 2), 0.3, np.float32),  # all rated alike
        np.full((16, 2), np.nan, np.float32),  # nobody rated
        np.where(np.arange(32).reshape(16, 2) < 2, 0.7, np.nan).astype(np.float32),  # one of them
    ],
)
@pytest.mark.parametrize("spread", [0.0, 0.5])
def test_a_batch_that_tells_nothing_costs_1_and_teaches_nothing(rng, truth, spread):
    predicted = tf.constant(rng.normal(0.3, spread, (16, 2)).astype(np.float32))
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        loss = losses.concordance_loss(truth, predicted)
    np.testing.assert_allclose(loss, [1.0, 1.0], atol=1e-5)
    np.testing.assert_allclose(tape.gradient(loss, predicted), np.zeros((16, 2)), atol=1e-5)


def test_learning_starts_from_predictions_that_are_all_alike(rng):
    truth, _ = ratings(rng)
    predicted = tf.zeros((32, 3))
    with tf.GradientTape() as tape:
        tape.watch(predicted)
        loss = losses.concordance_loss(truth, predicted)
    np.testing.assert_allclose(loss, np.ones(3), atol=1e-6)
    gradient = tape.gradient(loss, predicted).numpy()
    # Towards the ratings, whatever they are.
    assert (np.sign(gradient) == -np.sign(truth - truth.mean(0))).all()
    assert 1e-3 < np.abs(gradient).max() < 1.0
