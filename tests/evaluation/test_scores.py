"""Scores of a part of a corpus."""

import numpy as np
import pytest

from ser_kd.evaluation.scores import STUDENT, Predictions, score_part

LABELS = ("joy", "rage", "fear")
IDS = ["a", "b", "c", "d"]
TRUTH = np.array([0, 0, 2, 2])
PROBS = np.array([[0.6, 0.1, 0.3], [0.3, 0.2, 0.5], [0.3, 0.1, 0.6], [0.1, 0.5, 0.4]], np.float32)


def scored(untrained: tuple[str, ...]) -> dict:
    predictions = [Predictions("one", STUDENT, IDS, PROBS)]
    part = score_part(IDS, TRUTH, ["s", "s", "t", "t"], LABELS, predictions, untrained)
    return part["models"]["one"]


def test_a_class_that_was_never_trained_on_has_recall_0():
    assert scored(())["confusion"] == [[1, 0, 1], [0, 0, 0], [0, 1, 1]]
    assert scored(())["ua"] == 0.5
    found = scored(("fear",))
    assert found["confusion"] == [[2, 0, 0], [0, 0, 0], [1, 1, 0]]
    assert found["recall"]["fear"]["value"] == 0.0
    assert found["recall"]["fear"]["clips"] == 2
    assert found["ua"] == pytest.approx(0.5)  # recalls 1 and 0; rage has no clip
    assert found["wa"] == 0.5


def test_a_part_of_that_class_alone_has_ua_0():
    predictions = [Predictions("one", STUDENT, ["c"], np.array([[0.1, 0.0, 0.9]]))]
    part = score_part(["c"], np.array([2]), ["t"], LABELS, predictions, ("fear",))
    assert part["models"]["one"]["ua"] == 0.0
