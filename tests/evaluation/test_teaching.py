"""What the students took from each teacher, on clips that are counted by hand."""

import json
import math
import os

import numpy as np
import pytest
from corpus_maker import settings, write_corpus

from ser_kd.audio.windows import Windowing
from ser_kd.config import DistillConfig, config_from_dict
from ser_kd.data.targets import Targets, softmax, write_targets
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.evaluation import run_scores
from ser_kd.evaluation.run_scores import stored_teaching
from ser_kd.evaluation.teaching import (
    ALONE,
    DISTILLED,
    MIX,
    between_teachers,
    compare,
    divergence,
    helped,
    mixture,
    weights,
)
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import build_student

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

#        0: won, teacher a right   3: lost, b's mistake    6: one mistake for another, which is a's
#        1: won, teacher b right   4: right both times     7: lost although both teachers know it
#        2: lost, a's mistake      5: wrong both times     8: won, both teachers right
TRUTH = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2])
ALONE_SAYS = np.array([1, 1, 0, 0, 1, 2, 0, 2, 0])
DISTILLED_SAYS = np.array([0, 0, 1, 1, 1, 2, 2, 0, 2])
A_SAYS = np.array([0, 2, 1, 2, 1, 1, 2, 2, 2])
B_SAYS = np.array([1, 0, 0, 1, 2, 1, 1, 2, 2])
SPEAKERS = list("mmmmnnnnn")


def test_clips_won_and_lost():
    """Of two speakers m and n, the bootstrap draws mm, mn or nn: its ends are twice m or n."""
    teachers = {"teacher a": A_SAYS, "teacher b": B_SAYS}
    found = helped(teachers, ALONE_SAYS, DISTILLED_SAYS, TRUTH, SPEAKERS)
    assert (found["won"], found["lost"]) == (3, 3)
    assert found["teachers"] == [
        {
            "with": "teacher a",
            "differs": 7,  # all but 4 and 7
            "moved": 4,  # 0, 2, 6, 8
            "moved_right": 2,  # 0, 8
            "won": 2,  # 0, 8
            "lost": 2,  # 2, 3
            "net": 0,
            "net_interval": (-2, 2),  # m: 1 - 2, n: 1
            "nearer": {
                "right": 1,  # towards it 0, 8; away 7
                "right_interval": (0, 2),  # m: 1, n: 1 - 1
                "wrong": 2,  # towards it 2, 6
                "wrong_interval": (2, 2),
            },
        },
        {
            "with": "teacher b",
            "differs": 6,  # all but 0, 2, 7
            "moved": 3,  # 1, 3, 8
            "moved_right": 2,  # 1, 8
            "won": 2,  # 1, 8
            "lost": 1,  # 3
            "net": 1,
            "net_interval": (0, 2),  # m: 1 - 1, n: 1
            "nearer": {
                "right": 0,  # towards it 1, 8; away 2, 7
                "right_interval": (0, 0),
                "wrong": 0,  # towards it 3; away 0
                "wrong_interval": (0, 0),
            },
        },
    ]


def test_one_speaker_gives_no_interval():
    found = helped({"teacher a": A_SAYS}, ALONE_SAYS, DISTILLED_SAYS, TRUTH, ["m"] * 9)
    (row,) = found["teachers"]
    assert row["net"] == 0
    assert row["net_interval"] is None
    assert row["nearer"]["right_interval"] is row["nearer"]["wrong_interval"] is None


def test_what_net_and_nearer_are_made_of():
    """A good teacher that nobody learnt from has a good net, but nobody comes nearer to it."""
    rng = np.random.default_rng(0)
    clips = 30_000
    truth = rng.integers(6, size=clips)
    speakers = [f"s{number % 50}" for number in range(clips)]

    def says(accuracy: float) -> np.ndarray:
        wrong = (truth + rng.integers(1, 6, size=clips)) % 6
        return np.where(rng.random(clips) < accuracy, truth, wrong)

    alone, distilled, good, poor = says(0.6), says(0.6), says(0.8), says(0.3)
    found = helped({"good": good, "poor": poor}, alone, distilled, truth, speakers)
    contested = (alone == truth) != (distilled == truth)
    for row, labels in zip(found["teachers"], (good, poor), strict=True):
        assert row["net"] == np.sum(contested & (labels == truth)) - found["lost"]
        nearer = row["nearer"]
        difference = np.sum(distilled == labels) - np.sum(alone == labels)
        assert nearer["right"] + nearer["wrong"] == difference
        for key in ("right", "wrong"):
            low, high = nearer[f"{key}_interval"]
            assert low <= 0 <= high
    assert found["teachers"][0]["net_interval"][0] > 0 > found["teachers"][1]["net_interval"][1]


def test_whether_teachers_know_different_things():
    teachers = {"a": A_SAYS, "b": B_SAYS, "b again": B_SAYS}
    pairs = between_teachers(teachers, TRUTH)
    assert [pair["teachers"] for pair in pairs] == [["a", "b"], ["a", "b again"], ["b", "b again"]]
    first, _, same = pairs
    assert first["same_label"] == pytest.approx(3 / 9)  # 5, 7, 8
    counts = [first[key] for key in ("both_right", "first_right", "second_right", "neither")]
    assert counts == [3, 2, 3, 1]  # 5, 7, 8; 0, 4; 1, 2, 6; 3
    assert same["same_label"] == 1.0
    assert (same["first_right"], same["second_right"]) == (0, 0)
    assert between_teachers({"a": A_SAYS}, TRUTH) == []


def test_divergence():
    """KL((1/2, 1/2) || (1/4, 3/4)) = log(4/3) / 2; the mean over clips."""
    teacher = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    student = np.array([[0.25, 0.75], [0.9, 0.1]], np.float32)
    assert divergence(teacher, student) == pytest.approx(math.log(4 / 3) / 4, rel=1e-6)
    assert divergence(teacher, teacher) == 0.0
    # A certain teacher and a student that is certain of something else: large, not infinite.
    assert 20 < divergence(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])) < 30


def sure_of(labels: np.ndarray) -> np.ndarray:
    return 0.7 * np.eye(3)[labels] + 0.1


def test_agreement_with_students():
    teachers = {"teacher a": sure_of(A_SAYS), "teacher b": sure_of(B_SAYS)}
    students = {ALONE: sure_of(ALONE_SAYS), DISTILLED: sure_of(DISTILLED_SAYS)}
    found = compare(teachers, sure_of(A_SAYS), students, TRUTH, SPEAKERS)
    assert (found["clips"], found["speakers"]) == (9, 2)
    rows = {row["with"]: row["students"] for row in found["agreement"]}
    assert list(rows) == ["teacher a", "teacher b", MIX]
    assert rows[MIX] == rows["teacher a"]
    # Where the label is another one: 0.8 log(0.8 / 0.1) + 0.1 log(0.1 / 0.8).
    apart = 0.7 * math.log(8)
    for teacher, name, same, ends in (
        ("teacher a", ALONE, 2, (0, 2 / 5)),  # 4, 7, both of n
        ("teacher a", DISTILLED, 5, (2 / 4, 3 / 5)),  # 0, 2; 4, 6, 8
        ("teacher b", ALONE, 3, (1 / 5, 2 / 4)),  # 0, 2; 7
        ("teacher b", DISTILLED, 3, (1 / 5, 2 / 4)),  # 1, 3; 8
    ):
        item = rows[teacher][name]
        assert item["same_label"] == pytest.approx(same / 9)
        assert item["interval"] == pytest.approx(ends)
        assert item["kl"] == pytest.approx(apart * (9 - same) / 9)
    assert [row["with"] for row in found["help"]["teachers"]] == list(rows)
    assert len(found["between"]) == 1  # the mixture is no teacher

    alone = compare(teachers, None, {DISTILLED: students[DISTILLED]}, TRUTH, ["m"] * 9)
    assert alone["help"] is None
    assert [row["with"] for row in alone["agreement"]] == ["teacher a", "teacher b"]
    assert alone["agreement"][0]["students"][DISTILLED]["interval"] is None


def targets(probs: list[list[float]], ids: str = "pq", view: int = 0) -> Targets:
    rows = len(probs)
    logits = np.log(np.array(probs, np.float32))
    return Targets(tuple(ids), logits, np.zeros((rows, 0)), np.full(rows, -1), np.full(rows, view))


def test_weights():
    assert weights(DistillConfig(), ["a", "b"]) == {
        "shares": {"teacher a": 0.5, "teacher b": 0.5},
        "embedding_weights": {},
    }
    uneven = DistillConfig(teachers={"a": 3.0, "c": 1.0}, embedding_weights={"a": 0.0, "b": 2.0})
    assert weights(uneven, ["a", "b", "c"]) == {
        "shares": {"teacher a": 0.75, "teacher b": 0.0, "teacher c": 0.25},
        "embedding_weights": {"teacher b": 2.0},
    }
    by_embedding = DistillConfig(logit_weight=0.0, embedding_weights={"a": 1.0})
    assert weights(by_embedding, ["a"])["shares"] == {"teacher a": 0.0}


def test_the_mixture_is_what_was_learnt():
    two = {"a": targets([[0.8, 0.2], [0.5, 0.5]]), "b": targets([[0.4, 0.6], [0.1, 0.9]])}
    shares = {"a": 3.0, "b": 1.0}
    mixed = mixture(DistillConfig(temperature=1.0, teachers=shares), two, ["q", "p"])
    assert mixed is not None
    np.testing.assert_allclose(mixed, [[0.4, 0.6], [0.7, 0.3]], atol=1e-6)
    # Softened at the temperature it is the mean of the softened: 0.8 : 0.2 is 2 : 1 then.
    warm = mixture(DistillConfig(temperature=2.0), two | {"b": two["a"]}, ["p"])
    assert warm is not None
    np.testing.assert_allclose(warm, [[0.8, 0.2]], atol=1e-6)
    for config, teachers in (
        (DistillConfig(teachers={"a": 1.0}), two),
        (DistillConfig(logit_weight=0.0), two),
        (DistillConfig(), {"a": two["a"]}),
        (DistillConfig(), two | {"b": targets([[0.4, 0.6]], "p")}),
        (DistillConfig(), two | {"b": targets([[0.4, 0.6], [0.1, 0.9]], view=1)}),
    ):
        assert mixture(config, teachers, ["p", "q"]) is None


# A finished run.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two teachers from files, and students as they are before training."""
    place = tmp_path_factory.mktemp("teaching")
    table = settings(
        write_corpus(place / "corpus"),
        teachers={
            name: {"kind": "file", "path": str(place / f"{name}.npz")} for name in ("one", "two")
        },
        distill={"teachers": {"one": 1.0, "two": 3.0}, "temperature": 1.0},
    )
    run = Run.create(config_from_dict(table), place / "runs" / "tiny")
    run_data = run.data()
    rng = np.random.default_rng(3)
    ids = [i for part in ("training", "validation", "test") for i in run_data.ids(part)]
    teachers = {}
    for name in ("one", "two"):
        logits = rng.normal(size=(len(ids), 3)).astype(np.float32)
        zeros = np.zeros(len(ids), np.int64)
        teachers[name] = Targets(tuple(ids), logits, logits[:, :0], zeros - 1, zeros)
        write_targets(place / f"{name}.npz", teachers[name])
    frames = run.config.logmel.frames(run.config.audio.window_samples)
    students = {}
    for name, path in (
        (ALONE, run.baseline_dir / "student.keras"),
        (DISTILLED, run.student_path),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        students[name] = build_student(run.config.student, frames, 16, 3)
        students[name].save(path)
    return run, run_data, teachers, students


@pytest.fixture
def two_students(monkeypatch):
    """Without the export, which these are not about."""

    def files(run: Run) -> dict:
        return {ALONE: run.baseline_dir / "student.keras", DISTILLED: run.student_path}

    monkeypatch.setattr(run_scores, "student_files", files)


def test_a_run_of_two_teachers(run, two_students, capsys):
    run, run_data, teachers, students = run
    found = run_scores.evaluate(run, run_data, teachers)["teaching"]
    assert json.loads((run.directory / "eval.json").read_text())["teaching"] == json.loads(
        json.dumps(found)
    )
    assert found["shares"] == {"teacher one": 0.25, "teacher two": 0.75}
    assert list(found["parts"]) == ["validation", "test"]
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    for part, facts in found["parts"].items():
        ids = run_data.ids(part)
        truth = run_data.one_hot(ids).argmax(1)
        probs = {name: softmax(t.logits_of(ids, name)) for name, t in teachers.items()}
        said = {f"teacher {name}": p.argmax(1) for name, p in probs.items()}
        said[MIX] = (0.25 * probs["one"] + 0.75 * probs["two"]).argmax(1)
        arrays = run_data.logmel.select(ids)
        of = {
            name: LogMelPredictor(model, windowing).predict(arrays)[0].argmax(1)
            for name, model in students.items()
        }
        assert [row["with"] for row in facts["agreement"]] == list(said)
        for row in facts["agreement"]:
            for name, item in row["students"].items():
                same = np.mean(said[row["with"]] == of[name])
                assert item["same_label"] == pytest.approx(same), (part, row["with"], name)
        won = (of[ALONE] != truth) & (of[DISTILLED] == truth)
        lost = (of[ALONE] == truth) & (of[DISTILLED] != truth)
        for row in facts["help"]["teachers"]:
            right = said[row["with"]] == truth
            assert row["net"] == np.sum(won & right) - np.sum(lost & ~right)

    capsys.readouterr()
    assert run_scores.evaluate(run, run_data, teachers)["teaching"] == json.loads(json.dumps(found))
    assert "eval.json is there" in capsys.readouterr().out


def test_an_older_eval_json_is_made_again(run, two_students):
    run, run_data, teachers, _ = run
    path = run.directory / "eval.json"
    whole = run_scores.evaluate(run, run_data, teachers)
    path.write_text(json.dumps({k: v for k, v in whole.items() if k != "teaching"}))
    run_scores.evaluate(run, run_data, teachers)
    assert json.loads(path.read_text()) == json.loads(json.dumps(whole))


def test_without_teachers_there_is_nothing_to_tell(run, two_students):
    run, run_data, _, _ = run
    (run.directory / "eval.json").unlink(missing_ok=True)
    try:
        assert run_scores.evaluate(run, run_data, {})["teaching"] == {}
        assert stored_teaching(run, "test", 12) == {}
    finally:
        (run.directory / "eval.json").unlink()


def test_what_the_page_is_told(run, two_students):
    """Only of the run's own clips, by a table that is not older than its models."""
    run, run_data, teachers, _ = run
    assert stored_teaching(run, "test", 12) == {}
    run_scores.evaluate(run, run_data, teachers)
    found = stored_teaching(run, "test", 12)
    assert found["clips"] == 12
    assert found["shares"] == {"teacher one": 0.25, "teacher two": 0.75}
    assert stored_teaching(run, "test", 11) == {}
    assert stored_teaching(run, "train", 12) == {}
    later = (run.directory / "eval.json").stat().st_mtime + 10
    os.utime(run.student_path, (later, later))
    assert stored_teaching(run, "test", 12) == {}
