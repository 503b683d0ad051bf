"""Scores against scikit-learn, and the bootstrap over speakers."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from ser_kd import metrics


def predictions(rng, clips: int = 300, classes: int = 5, right: float = 0.6):
    truth = rng.integers(0, classes, clips)
    guess = rng.integers(0, classes, clips)
    return truth, np.where(rng.random(clips) < right, truth, guess)


def test_numbers_computed_by_hand():
    truth, predicted = np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])
    result = metrics.scores(truth, predicted)
    assert result["wa"] == pytest.approx(3 / 4)
    assert result["ua"] == pytest.approx((2 / 3 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((4 / 5 + 2 / 3) / 2)
    assert metrics.confusion(truth, predicted, 3) == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_against_scikit_learn(rng):
    truth, predicted = predictions(rng)
    assert metrics.scores(truth, predicted) == pytest.approx(
        {
            "wa": accuracy_score(truth, predicted),
            "ua": balanced_accuracy_score(truth, predicted),
            "macro_f1": f1_score(truth, predicted, average="macro"),
        }
    )


def test_a_class_that_never_occurs_does_not_count():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 2, 1, 1])
    result = metrics.scores(truth, predicted)
    assert result["ua"] == pytest.approx((1 / 2 + 1) / 2)
    assert result["macro_f1"] == pytest.approx((2 / 3 + 1) / 2)


def test_one_speakers_interval_is_the_score(rng):
    truth, predicted = predictions(rng)
    intervals = metrics.speaker_intervals(truth, predicted, ["a"] * 300, 5, resamples=20)
    for key, score in metrics.scores(truth, predicted).items():
        assert intervals[key] == pytest.approx((score, score))


def test_the_interval_holds_the_score_and_grows_with_the_speakers_differences(rng):
    truth, predicted = predictions(rng)
    alike = [f"s{index % 10}" for index in range(300)]
    right_first = np.argsort(truth != predicted, kind="stable")
    unlike = np.empty(300, object)
    unlike[right_first] = [f"s{index // 30}" for index in range(300)]
    widths = []
    for speakers in (alike, unlike.tolist()):
        intervals = metrics.speaker_intervals(truth, predicted, speakers, 5)
        for key, score in metrics.scores(truth, predicted).items():
            low, high = intervals[key]
            assert 0.0 <= low < score < high <= 1.0
        widths.append(intervals["wa"][1] - intervals["wa"][0])
    assert widths[1] > 3 * widths[0]


def test_the_interval_depends_on_speakers_not_on_clips(rng):
    truth, predicted = predictions(rng, clips=100)
    speakers = [f"s{index % 8}" for index in range(100)]
    once = metrics.speaker_intervals(truth, predicted, speakers, 5)
    copies = metrics.speaker_intervals(np.tile(truth, 5), np.tile(predicted, 5), speakers * 5, 5)
    for key in once:
        assert copies[key] == pytest.approx(once[key])


def test_resamples_are_scored_as_scores_does(rng):
    """Two speakers: every resample is (a, a), (a, b) or (b, b); the extremes are known."""
    truth, predicted = predictions(rng, clips=60)
    speakers = np.array(["a"] * 30 + ["b"] * 30)
    intervals = metrics.speaker_intervals(truth, predicted, speakers.tolist(), 5)
    alone = [metrics.scores(truth[speakers == name], predicted[speakers == name]) for name in "ab"]
    both = metrics.scores(truth, predicted)
    for key, interval in intervals.items():
        possible = [alone[0][key], alone[1][key], both[key]]
        assert interval == pytest.approx((min(possible), max(possible)))


def test_the_seed_decides(rng):
    truth, predicted = predictions(rng)
    speakers = [f"s{index % 13}" for index in range(300)]
    draws = [
        metrics.speaker_intervals(truth, predicted, speakers, 5, resamples=50, seed=seed)
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
