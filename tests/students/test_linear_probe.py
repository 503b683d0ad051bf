"""The linear head on a frozen body."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ser_kd.students.linear_probe import PENALTY, fit_linear_head


def some_clips(counts=(30, 12, 20), channels=8, seed=0):
    rng = np.random.default_rng(seed)
    classes = np.repeat(np.arange(len(counts)), counts)
    centres = rng.normal(size=(len(counts), channels))
    return centres[classes] + 2 * rng.normal(size=(len(classes), channels)) + 5, classes


def test_without_a_prior_it_is_the_balanced_logistic_regression_of_scikit_learn():
    values, classes = some_clips()
    kernel, bias = fit_linear_head(values, classes, np.zeros((8, 3)))

    scale = np.sqrt(values.var(0).mean())
    weights = (1 / np.bincount(classes))[classes] / 3
    theirs = LogisticRegression(C=1 / PENALTY, tol=1e-10, max_iter=10_000)
    theirs.fit((values - values.mean(0)) / scale, classes, sample_weight=weights)
    expected = theirs.predict_proba((values - values.mean(0)) / scale)
    logits = values @ kernel + bias
    probs = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(probs / probs.sum(1, keepdims=True), expected, atol=1e-4)


def test_of_one_clip_per_class_the_prior_decides():
    values, classes = some_clips()
    prior = np.zeros((8, 3))
    prior[2, 0], prior[2, 1], prior[2, 2] = 40.0, 0.5, -40.0
    few = [0, 30, 42]
    kernel, _ = fit_linear_head(values[few], classes[few], prior)
    assert kernel[2].argmax() == 0
    assert kernel[2].argmin() == 2
    assert np.corrcoef(kernel[2], prior[2])[0, 1] > 0.99


def test_a_class_without_clips_is_improbable_and_nothing_overflows():
    values, classes = some_clips((30, 0, 20))
    kernel, bias = fit_linear_head(values, classes, np.zeros((8, 3)))
    logits = values @ kernel + bias
    assert np.isfinite(logits).all()
    assert not (logits.argmax(1) == 1).any()


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_the_scale_of_the_embedding_does_not_matter(scale):
    values, classes = some_clips()
    one, other = (
        factor * values @ fit_linear_head(factor * values, classes, np.zeros((8, 3)))[0]
        for factor in (1.0, scale)
    )
    np.testing.assert_allclose(one - one.mean(0), other - other.mean(0), atol=1e-2)


def test_channels_that_hardly_vary_get_no_large_weights():
    values, classes = some_clips()
    values[:, 3] = 1e-4 * values[:, 0]
    kernel, _ = fit_linear_head(values, classes, np.zeros((8, 3)))
    assert np.abs(kernel[3]).max() < 1e-2 * np.abs(kernel).max()
