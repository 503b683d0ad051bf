"""Teacher predictions on disk, and mixtures of teachers."""

import csv
import dataclasses
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ser_kd.data.targets import (
    ALL_FOLDS,
    Targets,
    mix_teachers,
    read_targets,
    softmax,
    write_targets,
)
from ser_kd.errors import UserError

LABELS = ("ANG", "HAP", "SAD")
IDS = ("a", "b", "ü/1.wav")
LOGITS = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, 0.5], [4.0, 0.0, 0.0]], np.float32)


def targets(logits=LOGITS, ids=IDS, size=2) -> Targets:
    clips = len(ids)
    return Targets(
        tuple(ids),
        np.asarray(logits, np.float32),
        np.arange(clips * size, dtype=np.float32).reshape(clips, size),
        np.arange(clips) - 1,
        np.zeros(clips, int),
    )


def test_npz_round_trip(tmp_path):
    path = tmp_path / "teachers" / "targets.npz"
    write_targets(path, targets())
    found = read_targets(path, LABELS)
    assert found.ids == IDS
    for name in ("logits", "embedding", "fold", "view"):
        np.testing.assert_array_equal(getattr(found, name), getattr(targets(), name))
    assert found.logits.dtype == found.embedding.dtype == np.float32
    assert [path.name for path in path.parent.iterdir()] == ["targets.npz"]


def test_npz_from_outside_needs_ids_and_logits_only(tmp_path):
    np.savez(tmp_path / "t.npz", ids=np.array([b"a", b"b"]), logits=LOGITS[:2].astype(np.float64))
    found = read_targets(tmp_path / "t.npz", LABELS)
    assert found.ids == ("a", "b")
    assert found.embedding.shape == (2, 0)
    assert found.fold.tolist() == [ALL_FOLDS, ALL_FOLDS]
    assert found.view.tolist() == [0, 0]
    np.testing.assert_array_equal(found.logits, LOGITS[:2])


def test_npz_may_have_its_own_order_of_labels_and_further_ones(tmp_path):
    order = ["SAD", "CALM", "ANG", "HAP"]
    logits = np.stack([LOGITS[:, 2], np.full(3, 9.0), LOGITS[:, 0], LOGITS[:, 1]], axis=1)
    np.savez(tmp_path / "t.npz", ids=IDS, logits=logits, labels=order)
    np.testing.assert_array_equal(read_targets(tmp_path / "t.npz", LABELS).logits, LOGITS)


def write_csv(path: Path, rows: list[list[object]], encoding: str = "utf-8") -> Path:
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows(rows)
    return path


def test_csv_columns_in_any_order_with_embedding(tmp_path):
    rows = [["SAD", "id", "ANG", "embedding_1", "HAP", "embedding_0", "note"]]
    for clip_id, (a, h, s) in zip(IDS, LOGITS, strict=True):
        rows.append([s, clip_id, a, 20, h, 10, "x"])
    found = read_targets(write_csv(tmp_path / "t.csv", rows, "utf-8-sig"), LABELS)
    assert found.ids == IDS
    np.testing.assert_array_equal(found.logits, LOGITS)
    np.testing.assert_array_equal(found.embedding, [[10, 20]] * 3)
    assert found.fold.tolist() == [ALL_FOLDS] * 3


def test_csv_without_embedding(tmp_path):
    path = write_csv(tmp_path / "t.csv", [["id", *LABELS], ["a", 1, 2, 3]])
    assert read_targets(path, LABELS).embedding.shape == (1, 0)


def test_logits_come_in_the_order_that_is_asked_for():
    np.testing.assert_array_equal(targets().logits_of(["b", "a", "b"], "t"), LOGITS[[1, 0, 1]])
    assert targets().logits_of([], "t").shape == (0, 3)


def with_views() -> Targets:
    """Clips a and b in views 0 to 2, c in view 0 alone; row r has the logits (r, 0, 0)."""
    keys = [(clip_id, view) for view in (2, 0, 1) for clip_id in "ab"] + [("c", 0)]
    logits = np.zeros((7, 3), np.float32)
    logits[:, 0] = np.arange(7)
    views = np.array([view for _, view in keys])
    return Targets(tuple(i for i, _ in keys), logits, logits[:, :2], np.zeros(7, int), views)


def test_each_view_has_its_own_row(tmp_path):
    write_targets(tmp_path / "t.npz", with_views())
    found = read_targets(tmp_path / "t.npz", LABELS)
    ids = ["b", "a", "c", "a", "a"]
    assert found.rows_of(ids, "t", [2, 0, 0, 1, 2]).tolist() == [1, 2, 6, 4, 0]
    assert found.logits_of(ids, "t", [2, 0, 0, 1, 2])[:, 0].tolist() == [1, 2, 6, 4, 0]
    assert found.logits_of(["a", "b"], "t")[:, 0].tolist() == [2, 3]
    assert found.logits_of(["a", "b"], "t", 1)[:, 0].tolist() == [4, 5]


def test_csv_with_views(tmp_path):
    rows = [["id", "view", *LABELS], ["a", 1, 1, 2, 3], ["a", 0, 4, 5, 6]]
    found = read_targets(write_csv(tmp_path / "t.csv", rows), LABELS)
    assert found.logits_of(["a", "a"], "t", [0, 1]).tolist() == [[4, 5, 6], [1, 2, 3]]


def test_missing_views_are_named_and_so_is_how_many_are_asked_for():
    with pytest.raises(UserError) as error:
        with_views().logits_of(["a", "a", "c", "b", "c", "c"], "mine", [0, 1, 0, 2, 1, 2])
    message = str(error.value)
    assert "teacher 'mine' has no prediction for 2 views of clips, the first is view 1 of 'c'" in (
        message
    )
    assert "the run asks for 2 views of every training clip" in message
    assert "views.count = 0" in message
    # A clip that is missing altogether is named first.
    with pytest.raises(UserError, match="no prediction for 1 of 2 clips, the first is 'x'"):
        with_views().logits_of(["c", "x", "c", "x"], "mine", [0, 0, 1, 1])


def test_a_mixture_is_of_one_view():
    even = dataclasses.replace(with_views(), logits=np.zeros((7, 3), np.float32))
    mixed = mix_teachers({"a": with_views(), "b": even}, {}, ["a", "b"], 1.0, [2, 1])
    for row, number in zip(mixed, (0, 5), strict=True):
        expected = (softmax(np.array([number, 0.0, 0.0])) + 1 / 3) / 2
        np.testing.assert_allclose(softmax(row), expected, rtol=1e-5)
    alone = mix_teachers({"a": with_views()}, {}, ["a", "b"], 1.0, [2, 1])
    assert alone[:, 0].tolist() == [0, 5]


def test_missing_ids_are_counted_and_the_first_is_named():
    with pytest.raises(
        UserError, match=r"teacher 'mine' has no prediction for 2 of 3 clips, the first is 'x'"
    ):
        targets().logits_of(["a", "x", "y"], "mine")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": IDS}, "logits"),
        ({"logits": LOGITS}, "ids"),
        ({"ids": IDS, "logits": LOGITS[:2]}, r"logits have shape \(2, 3\), but there are 3 ids"),
        ({"ids": IDS, "logits": LOGITS[:, :2]}, r"shape \(3, 2\).*3 labels \(ANG, HAP, SAD\)"),
        ({"ids": IDS, "logits": LOGITS[0]}, r"logits have shape \(3,\)"),
        ({"ids": IDS, "logits": LOGITS[0], "labels": LABELS}, "holds no predictions"),
        ({"ids": IDS, "logits": LOGITS[:, :2], "labels": LABELS}, "holds no predictions"),
        ({"ids": IDS, "logits": LOGITS, "labels": ["ANG", "SAD", "x"]}, "for the label 'HAP'"),
        ({"ids": ["a", "b", "a"], "logits": LOGITS}, "some clip ids occur twice"),
        ({"ids": IDS, "logits": LOGITS * [[1], [np.nan], [1]]}, "logits of 'b' are not finite"),
        ({"ids": IDS, "logits": np.where([[0], [0], [1]], np.inf, LOGITS)}, "are not finite"),
        ({"ids": "a", "logits": LOGITS[:1]}, "holds no predictions"),
        ({"ids": IDS, "logits": [["x"] * 3] * 3}, "could not convert string to float"),
        ({"ids": IDS, "logits": LOGITS, "fold": [0, 1]}, r"fold has shape \(2,\), but .* 3 ids"),
        ({"ids": IDS, "logits": LOGITS, "embedding": [1.0] * 3}, r"embedding has shape \(3,\)"),
        ({"ids": IDS, "logits": LOGITS, "view": [[0]] * 3}, r"view has shape \(3, 1\)"),
        ({"ids": IDS, "logits": LOGITS, "view": [0, 1, -1]}, "view -1 is none"),
        ({"ids": IDS, "logits": LOGITS, "view": [0, 1, 0.5]}, "views are not whole numbers"),
        (
            {"ids": ["b", "a", "a"], "logits": LOGITS, "view": [0, 2, 2]},
            "occur twice in one view, such as 'a' in view 2",
        ),
    ],
)
def test_npz_that_does_not_fit(tmp_path, arrays, message):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(UserError, match=message) as error:
        read_targets(tmp_path / "t.npz", LABELS)
    assert "t.npz" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "no column 'id', 'ANG', 'HAP', 'SAD'"),
        ([["clip", *LABELS]], "no column 'id'; its columns are clip, ANG, HAP"),
        ([["id", "ANG", "SAD"], ["a", 1, 2]], "no column 'HAP'"),
        ([["id", *LABELS], ["a", 1, 2, "many"]], "could not convert string to float"),
        ([["id", *LABELS], ["a", 1, 2]], "row 2, is cut short"),
        ([["id", *LABELS], ["", 1, 2, 3]], "row 2: the id is empty"),
        ([["id", *LABELS], ['a" b', 1, 2, 3, 4]], "row 2, has more cells"),
        ([["id", *LABELS], ["a", 1, 2, 3], ["a", 1, 2, 3]], "occur twice"),
        ([["id", "view", *LABELS], ["a", 0.5, 1, 2, 3]], "invalid literal for int"),
        ([["id", *LABELS], ["a", 1, 2, "nan"]], "the logits of 'a' are not finite"),
        ([["id", *LABELS, "embedding_1"], ["a", 1, 2, 3, 4]], "embedding_0"),
    ],
)
def test_csv_that_does_not_fit(tmp_path, rows, message):
    with pytest.raises(UserError, match=message) as error:
        read_targets(write_csv(tmp_path / "t.csv", rows), LABELS)
    assert "\n" not in str(error.value)


def damaged(tmp_path: Path) -> dict[str, bytes]:
    whole = tmp_path / "whole.npz"
    np.savez_compressed(whole, ids=IDS, logits=np.tile(LOGITS, (1, 400)))
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 0xFF
    np.save(tmp_path / "one.npy", LOGITS)
    return {
        "empty.npz": b"",
        "cut.npz": content[: len(content) // 2],
        "flipped.npz": bytes(flipped),
        "text.npz": b"id,ANG\n",
        "zip_of_nothing.npz": b"PK\x05\x06" + bytes(18),
        "array.npz": (tmp_path / "one.npy").read_bytes(),
        "latin.csv": "id,ANG,HAP,SAD\n\xe4,1,2,3\n".encode("latin-1"),
        "zero.csv": b"id,ANG,HAP,SAD\na,1,2,3\x00\n",
        "empty.csv": b"",
    }


@pytest.mark.parametrize(
    "name",
    ["empty.npz", "cut.npz", "flipped.npz", "text.npz", "zip_of_nothing.npz", "array.npz",
     "latin.csv", "zero.csv", "empty.csv"],
)  # fmt: skip
def test_damaged_files_are_one_line(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(damaged(tmp_path)[name])
    with pytest.raises(UserError, match=name) as error:
        read_targets(path, LABELS)
    assert "\n" not in str(error.value)


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_pickles_are_never_run(tmp_path):
    mark = tmp_path / "mark"
    np.savez(tmp_path / "a.npz", ids=IDS, logits=np.array([Bomb(mark)], object))
    (tmp_path / "b.npz").write_bytes(pickle.dumps(Bomb(mark)))
    with zipfile.ZipFile(tmp_path / "c.npz", "w") as archive:
        archive.writestr("ids", pickle.dumps(Bomb(mark)))
        archive.writestr("logits.npy", pickle.dumps(Bomb(mark)))
    for name in "abc":
        with pytest.raises(UserError, match="holds no predictions"):
            read_targets(tmp_path / f"{name}.npz", LABELS)
    assert not mark.exists()
    pickle.loads((tmp_path / "b.npz").read_bytes())  # the bomb is a real one
    assert mark.exists()


def test_a_file_that_is_not_there(tmp_path):
    for path in (tmp_path / "absent.npz", tmp_path):
        with pytest.raises(UserError, match="no predictions file"):
            read_targets(path, LABELS)


def test_softmax_by_hand():
    logits = np.log([[1.0, 2.0, 5.0], [1.0, 1.0, 2.0]])
    expected = [[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]]
    np.testing.assert_allclose(softmax(logits), expected, rtol=1e-12)
    np.testing.assert_allclose(softmax(logits + 1e4), expected, rtol=1e-9)
    np.testing.assert_array_equal(softmax(np.array([[0.0, -1e30]])), [[1.0, 0.0]])


def test_one_teacher_passes_through():
    mixed = mix_teachers({"a": targets()}, {"a": 0.3}, ["b", "a"], 4.0)
    np.testing.assert_array_equal(mixed, LOGITS[[1, 0]])


def two_teachers() -> dict[str, Targets]:
    return {
        "a": targets(np.log([[0.2, 0.3, 0.5]]), ["x"]),
        "b": targets(np.log([[0.6, 0.3, 0.1]]), ["x"]),
    }


def test_mixture_at_temperature_1_is_the_mean_of_the_probabilities():
    mixed = mix_teachers(two_teachers(), {}, ["x"], 1.0)
    assert mixed.dtype == np.float32
    np.testing.assert_allclose(softmax(mixed), [[0.4, 0.3, 0.3]], rtol=1e-6)


def test_mixture_with_weights():
    mixed = mix_teachers(two_teachers(), {"a": 3.0, "b": 1.0}, ["x"], 1.0)
    np.testing.assert_allclose(softmax(mixed), [[0.3, 0.3, 0.4]], rtol=1e-6)
    # A teacher without a weight is not listened to, nor asked.
    teachers = {**two_teachers(), "deaf": targets(ids=())}
    teachers["deaf"] = targets(np.zeros((0, 3)), ())
    mixed = mix_teachers(teachers, {"b": 2.0}, ["x"], 1.0)
    np.testing.assert_allclose(softmax(mixed), [[0.6, 0.3, 0.1]], rtol=1e-6)


def test_mixture_at_temperature_2_by_hand():
    # Halving the logits takes the square root of the odds: 1:4 and 9:1 become 1:2 and 3:1.
    teachers = {
        "a": targets(np.log([[0.2, 0.8]]), ["x"]),
        "b": targets(np.log([[0.9, 0.1]]), ["x"]),
    }
    mixed = mix_teachers(teachers, {}, ["x"], 2.0)
    softened = [(1 / 3 + 3 / 4) / 2, (2 / 3 + 1 / 4) / 2]
    np.testing.assert_allclose(softmax(mixed / 2.0), [softened], rtol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_learning_from_the_mixture_is_learning_from_all(temperature):
    """KL's gradient by the student's logits z is (softmax(z / T) - p) / T, linear in p."""
    rng = np.random.default_rng(0)
    ids = [str(i) for i in range(5)]
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    teachers = {name: targets(3.0 * rng.normal(size=(5, 3)), ids) for name in shares}
    student = rng.normal(size=(5, 3))

    def kl(teacher_logits: np.ndarray, z: np.ndarray) -> np.ndarray:
        p = softmax(teacher_logits.astype(np.float64) / temperature)
        return (p * (np.log(p) - np.log(softmax(z / temperature)))).sum(1)

    def gradient(teacher_logits: np.ndarray) -> np.ndarray:
        result, step = np.zeros((5, 3)), 1e-5
        for column in range(3):
            offset = step * np.eye(3)[column]
            change = kl(teacher_logits, student + offset) - kl(teacher_logits, student - offset)
            result[:, column] = change / (2 * step)
        return result

    mixed = mix_teachers(teachers, shares, ids, temperature)
    apart = sum(share * gradient(teachers[name].logits) for name, share in shares.items())
    np.testing.assert_allclose(gradient(mixed), apart, atol=1e-6)


def test_mixture_of_certain_teachers_stays_finite():
    certain = targets([[1000.0, 0.0, 0.0]], ["x"])
    mixed = mix_teachers({"a": certain, "b": certain}, {}, ["x"], 1.0)
    assert np.isfinite(mixed).all()
    np.testing.assert_allclose(softmax(mixed), [[1.0, 0.0, 0.0]], atol=1e-6)
