"""The table at the end of a run and of an evaluation."""

import pytest
from samples import LABELS, part, resources, sample

from ser_kd.evaluation.summary import collapsed, guessing, reported_part, result, summary


def rows(text: str) -> dict[str, list[str]]:
    """Model -> its cells in the main table."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if " macro-F1" in line) + 2
    cells = [[cell for cell in line.split("  ") if cell] for line in lines[start : start + 4]]
    return {first: [cell.strip() for cell in rest] for first, *rest in cells}


def test_scores_size_time_and_memory_of_every_model():
    found = rows(summary(sample(), resources()))
    assert found["teacher ensemble"] == [
        "69.4", "70.0 (66-74)", "68.8", "12,346 k", "49,383 kB", "21.57 ms", "801 MB", "Keras",
    ]  # fmt: skip
    assert found["student, labels alone"][3:] == ["-"] * 5
    assert found["student, distilled"][5:] == ["1.36 ms", "-", "Keras"]


def test_columns_are_aligned():
    text = summary(sample(), resources())
    table = [line for line in text.splitlines() if line.endswith(("  Keras", "LiteRT", " runtime"))]
    table = [line for line in table if line.count("  ") > 5]
    assert len(table) == 4
    assert len({len(line) for line in table}) == 1


def test_the_test_part_stands_for_all():
    assert reported_part(sample()) == "test"
    validation = {**sample(), "parts": {"validation": part()}}
    assert reported_part(validation) == "validation"
    assert "738 test clips of 19 speakers" in summary(sample(), {}).splitlines()[0]
    assert "best epoch was chosen" in summary(validation, {}).splitlines()[0]


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_marked_in_the_first_line(synthetic):
    first = summary({**sample(), "synthetic": synthetic}, {}).splitlines()[0]
    assert first.startswith("SYNTHETIC SPEECH") is synthetic


@pytest.mark.parametrize(("clips", "trained"), [(0, "never trained on"), (200, "200 of the clips")])
def test_whether_speakers_were_trained_on(clips, trained):
    evaluation = sample()
    evaluation["parts"]["test"]["clips_of_training_speakers"] = clips
    assert trained in summary(evaluation, {}).splitlines()[0]


def test_a_split_by_clip_is_not_called_one_of_speakers():
    evaluation = sample()
    evaluation["parts"]["test"] |= {"by_speaker": False, "clips_of_training_speakers": 738}
    first = summary(evaluation, {}).splitlines()[0]
    assert "divided by clip and not by speaker: of new voices this tells nothing" in first
    assert "19 speakers" not in first
    assert "new clips of the same voices" in result(evaluation)


def test_few_speakers_have_no_interval():
    """Their bootstrap comes out too narrow."""
    four = {**sample(), "parts": {"test": part(4)}}
    assert rows(summary(four, {}))["teacher ensemble"][1] == "70.0 (-)"
    five = {**sample(), "parts": {"test": part(5)}}
    assert rows(summary(five, {}))["teacher ensemble"][1] == "70.0 (66-74)"


def test_accuracy_of_the_teachers_targets_and_agreement():
    text = summary(sample(), {})
    line = next(line for line in text.splitlines() if line.startswith("ensemble "))
    assert line.split() == ["ensemble", "62.0", "70.0", "78.2"]
    unknown = {**sample(), "teachers_out_of_fold": {"ensemble": None}}
    line = next(line for line in summary(unknown, {}).splitlines() if line.startswith("ensemble "))
    assert line.split() == ["ensemble", "-", "70.0", "78.2"]


def test_the_result_in_one_sentence():
    evaluation = sample()
    ua = evaluation["parts"]["test"]["models"][evaluation["parts"]["test"]["file"]["model"]]["ua"]
    assert result(evaluation) == f"{100 * ua:.0f} % (UA) on new speakers; guessing has 17 %"
    evaluation["parts"]["test"]["clips_of_training_speakers"] = 200
    assert "speakers that it may know" in result(evaluation)
    validation = {**sample(), "parts": {"validation": part()}}
    assert "on whose clips the epoch was chosen" in result(validation)


def test_limits_other_corpora_and_notes():
    lines = summary(sample(), {}).splitlines()
    missed = [line for line in lines if "MISSED" in line]
    assert len(missed) == 2
    assert "harder than published" in missed[1]
    assert any(line.startswith("emodb, 454 clips") and "41.8" in line for line in lines)
    assert lines[-1].startswith("note: emodb: 81 clips")


def with_confusion(model: str, confusion: list[list[int]]) -> dict:
    evaluation = sample()
    evaluation["parts"]["test"]["models"][model]["confusion"] = confusion
    return evaluation


@pytest.mark.parametrize(
    ("share", "clips_of_first", "warned"),
    [(100, 100, True), (96, 100, True), (90, 100, False), (100, 5_000, False)],
)
def test_a_model_with_one_label_for_everything_is_warned_of_first(share, clips_of_first, warned):
    """But not where the clips themselves are nearly all of one class."""
    classes = len(LABELS)
    confusion = [[0] * classes for _ in range(classes)]
    for row, counts in enumerate(confusion):
        clips = clips_of_first if row == 0 else 100
        counts[0] = clips * share // 100
        counts[1] = clips - counts[0]
    evaluation = with_confusion("student, distilled", confusion)
    first = summary(evaluation, {}).splitlines()[0]
    assert first.startswith("WARNING: student, distilled predicts") is warned
    assert bool(collapsed(evaluation, "student, distilled")) is warned


@pytest.mark.parametrize(
    ("speakers", "ua", "low", "doubtful"),
    [
        (19, 0.70, 0.66, False),
        (19, 0.25, 0.20, False),
        (19, 0.25, 0.15, True),
        # Too few for an interval: the score itself.
        (2, 0.25, 0.15, False),
        (2, 1 / 6, 0.15, True),
    ],
)
def test_scores_that_may_be_those_of_guessing(speakers, ua, low, doubtful):
    evaluation = {**sample(), "parts": {"test": part(speakers)}}
    only = evaluation["parts"]["test"]
    scores = only["models"][only["file"]["model"]]
    assert len(scores["recall"]) == 6
    scores |= {"ua": ua, "intervals": {**scores["intervals"], "ua": [low, ua + 0.1]}}
    assert bool(guessing(evaluation)) == doubtful
