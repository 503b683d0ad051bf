"""Scores against scikit-learn, and the bootstrap over speakers."""

import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)

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


def test_the_bootstrap_against_one_written_out(rng):
    """Clip by clip and resample by resample, with scikit-learn."""
    truth, predicted = predictions(rng, clips=80)
    speakers = np.array([f"s{index % 7}" for index in range(80)])
    labels = list("abcde")
    found = metrics.full_scores(truth, predicted, speakers.tolist(), labels, resamples=60, seed=3)
    names, draws = sorted(set(speakers)), np.random.default_rng(3)
    values: dict[str, list[float]] = {key: [] for key in ("wa", "ua", "macro_f1", *labels)}
    for _ in range(60):
        chosen = [names[number] for number in draws.integers(7, size=7)]
        rows = np.concatenate([np.flatnonzero(speakers == name) for name in chosen])
        there = np.unique(truth[rows])
        mean = {"labels": there, "average": "macro", "zero_division": 0}
        values["wa"].append(accuracy_score(truth[rows], predicted[rows]))
        values["ua"].append(recall_score(truth[rows], predicted[rows], **mean))
        values["macro_f1"].append(f1_score(truth[rows], predicted[rows], **mean))
        each = recall_score(truth[rows], predicted[rows], labels=there, average=None)
        for label, value in zip(there, each, strict=True):
            values[labels[label]].append(value)
    for key in ("wa", "ua", "macro_f1"):
        assert found["intervals"][key] == pytest.approx(np.percentile(values[key], [2.5, 97.5]))
    for label in labels:
        assert found["recall"][label]["interval"] == pytest.approx(
            np.percentile(values[label], [2.5, 97.5])
        )


def test_full_scores_against_scikit_learn(rng):
    truth, predicted = predictions(rng)
    speakers = [f"s{index % 10}" for index in range(300)]
    found = metrics.full_scores(truth, predicted, speakers, list("abcde"))
    recalls = recall_score(truth, predicted, average=None)
    assert [item["value"] for item in found["recall"].values()] == pytest.approx(recalls)
    assert found["ua"] == pytest.approx(np.mean(recalls))
    assert found["confusion"] == confusion_matrix(truth, predicted).tolist()
    assert [item["clips"] for item in found["recall"].values()] == np.bincount(truth).tolist()
    for item in found["recall"].values():
        low, high = item["interval"]
        assert 0.0 <= low < item["value"] < high <= 1.0


def test_a_class_that_some_resamples_lack():
    """Only speaker b has class 1, and half of it right: that is its recall wherever it is drawn.

    Class 2 is said once, but it never occurs: it has no recall.
    """
    truth, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 2])
    found = metrics.full_scores(truth, predicted, list("aabbb"), ["x", "y", "z"])
    assert list(found["recall"]) == ["x", "y"]  # z does not occur
    assert found["recall"]["y"] == {"value": 0.5, "interval": (0.5, 0.5), "clips": 2}
    # Resamples of a alone: all right. Of b alone: 1 and 0.5.
    assert found["intervals"]["ua"] == pytest.approx((0.75, 1.0))
    assert found["intervals"]["wa"] == pytest.approx((2 / 3, 1.0))


def test_nothing_is_known_of_others_from_one_speaker(rng):
    truth, predicted = predictions(rng)
    found = metrics.full_scores(truth, predicted, ["a"] * 300, list("abcde"))
    assert found["intervals"] == {"wa": None, "ua": None, "macro_f1": None}
    assert {item["interval"] for item in found["recall"].values()} == {None}


def test_every_resample_has_as_many_speakers(rng):
    """Each speaker has as many clips as no other: the sizes tell who was drawn, and how often."""
    clips = [1, 10, 100, 1000]
    speakers = np.repeat(["a", "b", "c", "d"], clips)
    truth, predicted = predictions(rng, clips=sum(clips))
    tables = metrics.resampled_confusions(truth, predicted, speakers.tolist(), 5, resamples=200)
    assert tables.shape == (200, 5, 5)
    digits = np.array([[int(digit) for digit in f"{size:04d}"] for size in tables.sum((1, 2))])
    assert set(digits.sum(1)) == {4}
    np.testing.assert_allclose(digits.mean(0), 1.0, atol=0.25)


def test_negative_log_likelihood(rng):
    probs = rng.dirichlet(np.ones(4), 50)
    truth = rng.integers(0, 4, 50)
    expected = log_loss(truth, probs, labels=np.arange(4))
    assert metrics.negative_log_likelihood(probs, truth) == pytest.approx(expected)
    assert np.isfinite(metrics.negative_log_likelihood(np.eye(4)[[0]], np.array([1])))


def ratings(rng, clips: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Ratings of three dimensions, the last one far from zero, and predictions of them."""
    truth = rng.uniform(-1.0, 1.0, (clips, 3)) * [1.0, 0.2, 0.01] + [0.0, 0.5, 1000.0]
    noise = rng.normal(0.1, 0.3, truth.shape) * [1.0, 0.2, 0.01]
    return truth, 0.8 * (truth - [0.0, 0.5, 1000.0]) + [0.0, 0.5, 1000.0] + noise


def lins_coefficient(truth: np.ndarray, predicted: np.ndarray) -> float:
    """Lin's other formula: correlation times what location and scale take from it."""
    correlation = np.corrcoef(truth, predicted)[0, 1]
    scale = truth.std() / predicted.std()
    shift = (truth.mean() - predicted.mean()) ** 2 / (truth.std() * predicted.std())
    return correlation * 2.0 / (scale + 1.0 / scale + shift)


def test_concordance_by_hand():
    # Means 0 and 1, variances 1 and 4, covariance 2: 4 / (1 + 4 + 1).
    truth, predicted = np.array([[-1.0], [1.0]]), np.array([[-1.0], [3.0]])
    assert metrics.concordance(truth, predicted) == pytest.approx([2 / 3])
    assert metrics.concordance(truth, truth) == pytest.approx([1.0])
    assert metrics.concordance(truth, -truth) == pytest.approx([-1.0])
    assert metrics.concordance(truth, np.full((2, 1), 0.2)) == pytest.approx([0.0])


def test_concordance_against_lins_decomposition(rng):
    truth, predicted = ratings(rng)
    expected = [lins_coefficient(t, p) for t, p in zip(truth.T, predicted.T, strict=True)]
    assert metrics.concordance(truth, predicted) == pytest.approx(expected, rel=1e-6)
    assert metrics.concordance(truth.astype(np.float32)[:, :2], predicted[:, :2]) == pytest.approx(
        expected[:2], rel=1e-5
    )


def test_concordance_of_rated_clips_only(rng):
    truth, predicted = ratings(rng)
    truth[rng.random(truth.shape) < 0.4] = np.nan
    expected = []
    for t, p in zip(truth.T, predicted.T, strict=True):
        rated = ~np.isnan(t)
        expected.append(lins_coefficient(t[rated], p[rated]))
    assert metrics.concordance(truth, predicted) == pytest.approx(expected, rel=1e-6)


def test_concordance_where_nothing_can_be_told():
    nan = np.nan
    truth = np.array([[nan, 0.1, 0.1, 0.1], [nan, 0.1, 0.1, nan], [nan, 0.1, 0.1, nan]])
    predicted = np.array([[0.1, 0.1, 0.2, 0.1], [0.2, 0.1, 0.2, 0.4], [0.3, 0.1, 0.2, 0.5]])
    found = metrics.concordance(truth, predicted)
    np.testing.assert_array_equal(np.isnan(found), [True, True, False, True])
    assert found[2] == 0.0  # two different constants do not agree
    assert np.isnan(metrics.concordance_intervals(truth, predicted, list("abc"))[0]).all()


def test_concordance_intervals_against_a_bootstrap_written_out(rng):
    truth, predicted = ratings(rng)
    truth[rng.random(truth.shape) < 0.3] = np.nan
    speakers = np.array([f"s{index % 7}" for index in range(60)])
    found = metrics.concordance_intervals(truth, predicted, speakers.tolist(), 50, seed=3)
    names = sorted(set(speakers))
    values = []
    for times in np.random.default_rng(3).multinomial(7, np.full(7, 1 / 7), size=50):
        rows = [
            np.flatnonzero(speakers == name)
            for name, count in zip(names, times, strict=True)
            for _ in range(count)
        ]
        values.append(metrics.concordance(*(v[np.concatenate(rows)] for v in (truth, predicted))))
    expected = np.percentile(values, [2.5, 97.5], axis=0).T
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    point = metrics.concordance(truth, predicted)
    for (low, high), value in zip(found, point, strict=True):
        assert low < value < high


def test_concordance_intervals_are_of_speakers(rng):
    truth, predicted = ratings(rng)
    one = metrics.concordance_intervals(truth, predicted, ["a"] * 60, resamples=20)
    np.testing.assert_allclose(
        one, metrics.concordance(truth, predicted)[:, np.newaxis].repeat(2, 1)
    )
    few = metrics.concordance_intervals(truth, predicted, [f"s{i % 5}" for i in range(60)])
    copies = metrics.concordance_intervals(
        np.tile(truth, (4, 1)), np.tile(predicted, (4, 1)), [f"s{i % 5}" for i in range(60)] * 4
    )
    np.testing.assert_allclose(few, copies)
