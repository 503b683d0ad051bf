"""Reliability, ECE and temperature scaling: against scikit-learn, sums by hand, brute force."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from ser_kd.data.targets import softmax
from ser_kd.export.temperature import fit_temperature
from ser_kd.metrics import calibration


def random_probs(rng, clips: int = 500, classes: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, and labels that they half explain."""
    probs = softmax(rng.normal(0.0, 1.5, (clips, classes)))
    drawn = np.array([rng.choice(classes, p=row) for row in probs])
    return probs, np.where(rng.random(clips) < 0.5, drawn, rng.integers(0, classes, clips))


def test_numbers_worked_out_by_hand():
    """Four clips in two bins of 0.5: means (0.4 and 0.5, one of two right), (0.7 and 0.9, both)."""
    probs = np.array([[0.4, 0.3, 0.3], [0.5, 0.25, 0.25], [0.1, 0.7, 0.2], [0.05, 0.05, 0.9]])
    truth = np.array([0, 1, 1, 2])
    low, high = calibration.reliability(probs, truth, bins=2)
    assert (low.low, low.high, low.clips) == (0.0, 0.5, 2)  # 0.5 belongs to the lower bin
    assert (low.confidence, low.accuracy) == pytest.approx((0.45, 0.5))
    assert (high.low, high.high, high.clips) == (0.5, 1.0, 2)
    assert (high.confidence, high.accuracy) == pytest.approx((0.8, 1.0))
    ece = calibration.expected_calibration_error(probs, truth, bins=2)
    assert ece == pytest.approx((2 * 0.05 + 2 * 0.2) / 4)


def test_calibration_error_by_chance(rng):
    """One clip of 0.8: 0.2 off in 8 of 10 draws, 0.8 in 2."""
    one = np.array([[0.8, 0.1, 0.1]])
    mean, highest = calibration.calibration_error_by_chance(one, draws=20_000)
    assert mean == pytest.approx(0.8 * 0.2 + 0.2 * 0.8, abs=0.01)
    assert highest == pytest.approx(0.8)

    # Against labels that are drawn from all the probabilities, and scored as a model's are.
    probs, _ = random_probs(rng, 150)
    drawn = [
        calibration.expected_calibration_error(
            probs, np.array([rng.choice(len(row), p=row) for row in probs])
        )
        for _ in range(300)
    ]
    mean, highest = calibration.calibration_error_by_chance(probs)
    assert mean == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(len(drawn)))
    assert highest == pytest.approx(np.quantile(drawn, 0.95), rel=0.15)


@pytest.mark.parametrize("bins", [1, 7, calibration.BINS])
def test_reliability_against_scikit_learn(rng, bins):
    probs, truth = random_probs(rng)
    right = probs.argmax(1) == truth
    accuracy, confidence = calibration_curve(right, probs.max(1), n_bins=bins)
    found = [item for item in calibration.reliability(probs, truth, bins) if item.clips]
    np.testing.assert_allclose([item.accuracy for item in found], accuracy)
    np.testing.assert_allclose([item.confidence for item in found], confidence)
    assert sum(item.clips for item in found) == len(truth)


def test_bins_without_clips_are_there_and_count_nothing():
    """Sure of it in all clips, and right in three of four: only the last bin is filled."""
    probs, truth = np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 2, 2])
    found = calibration.reliability(probs, truth)
    assert len(found) == calibration.BINS
    assert {(item.clips, item.confidence, item.accuracy) for item in found[:-1]} == {(0, 0.0, 0.0)}
    assert (found[-1].clips, found[-1].confidence, found[-1].accuracy) == (4, 1.0, 0.75)
    assert calibration.expected_calibration_error(probs, truth) == pytest.approx(0.25)


def test_the_error_of_the_best_and_of_the_worst(rng):
    sure = np.eye(4)[rng.integers(0, 4, 50)]
    assert calibration.expected_calibration_error(sure, sure.argmax(1)) == 0.0
    assert calibration.expected_calibration_error(sure, (sure.argmax(1) + 1) % 4) == 1.0


def test_labels_drawn_from_the_probabilities_are_calibrated(rng):
    probs = softmax(rng.normal(0.0, 1.5, (20_000, 4)))
    truth = (probs.cumsum(1) < rng.random((20_000, 1))).sum(1)
    assert calibration.expected_calibration_error(probs, truth) < 0.015
    sharper = softmax(2.0 * np.log(probs))
    assert calibration.expected_calibration_error(sharper, truth) > 0.08


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_by_which_logits_were_made_sharper_is_found(rng, temperature):
    logits = rng.normal(0.0, 1.5, (20_000, 4))
    truth = (softmax(logits).cumsum(1) < rng.random((20_000, 1))).sum(1)
    found = fit_temperature(temperature * logits, np.arange(20_000), truth)
    assert found == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_is_likelier(rng):
    """Clips of one to four windows, whose probabilities are averaged, against a grid."""
    clips = np.repeat(np.arange(60), rng.integers(1, 5, 60))
    truth = rng.integers(0, 5, 60)
    logits = rng.normal(0.0, 2.0, (len(clips), 5))
    logits[np.arange(len(clips)), truth[clips]] += 1.5

    def loss(temperature: float) -> float:
        probs = [softmax(logits[clips == clip] / temperature).mean(0) for clip in range(60)]
        return log_loss(truth, np.array(probs), labels=np.arange(5))

    found = fit_temperature(logits, clips, truth)
    grid = np.geomspace(0.05, 20.0, 400)
    best = min(grid, key=loss)
    assert found == pytest.approx(best, rel=0.02)
    assert loss(found) <= loss(best) + 1e-6
    assert loss(found) < loss(1.0)


def test_the_temperature_stays_within_its_limits():
    """All right: the sharper the better. All wrong: the flatter the better."""
    logits, clips = 3.0 * np.eye(3), np.arange(3)
    right = fit_temperature(logits, clips, np.arange(3))
    wrong = fit_temperature(logits, clips, np.array([1, 2, 0]))
    assert 0.05 <= right < 0.3
    assert 15.0 < wrong <= 20.0
