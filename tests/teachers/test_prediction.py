"""Prediction in shards: killed anywhere, it ends as if nothing had been."""

import os
from pathlib import Path

import numpy as np
import pytest

from ser_kd import files, progress
from ser_kd.data import clip_arrays
from ser_kd.teachers import prediction
from ser_kd.teachers.prediction import predict_in_shards

VIEWS = [(f"clip{number % 7}", number // 7) for number in range(23)]
SHARD = 5


def seconds_of(view: tuple[str, int]) -> float:
    return 0.5 + (3 * int(view[0][4:]) % 7) / 10


class FakeTeacher:
    """Predicts sums of samples; counts its calls and dies in one of them."""

    def __init__(self, network: Path, dies_in_call: int = 0) -> None:
        self.network, self.dies_in_call = network, dies_in_call
        self.loaded, self.calls = 0, 0
        self.asked: list[tuple[str, int]] = []

    def arrays(self, views) -> clip_arrays.ClipArrays:
        self.asked += views
        parts = []
        for clip_id, view in views:
            rng = np.random.default_rng([*clip_id.encode(), view])
            parts.append(rng.integers(-9, 9, round(100 * seconds_of((clip_id, view)))))
        ids = [clip_id for clip_id, _ in views]
        samples = np.array([len(part) for part in parts])
        return clip_arrays.join(ids, parts, samples, clip_arrays.NO_WAVEFORMS)

    def load(self) -> prediction.Predictor:
        self.loaded += 1
        return self.predict

    def predict(self, arrays: clip_arrays.ClipArrays) -> tuple[np.ndarray, np.ndarray]:
        self.calls += 1
        if self.calls == self.dies_in_call:
            raise KeyboardInterrupt
        clips = [arrays.clip(row) for row in range(len(arrays))]
        probs = np.array([[np.sum(clip), np.sum(clip**2)] for clip in clips], np.float32)
        return probs, np.array([clip[:3] for clip in clips], np.float32)

    def run(self, path: Path, views=VIEWS) -> dict[str, np.ndarray]:
        seconds = [seconds_of(view) for view in views]
        predict_in_shards(views, seconds, self.arrays, self.load, [self.network], path, "fake")
        with np.load(path) as stored:
            return dict(stored)


@pytest.fixture
def network(tmp_path) -> Path:
    path = tmp_path / "network.keras"
    path.touch()
    os.utime(path, (1, 1))
    return path


@pytest.fixture(autouse=True)
def shard_size(monkeypatch):
    monkeypatch.setattr(prediction, "SHARD_VIEWS", SHARD)


@pytest.fixture
def straight(network, tmp_path) -> dict[str, np.ndarray]:
    return FakeTeacher(network).run(tmp_path / "straight" / "predictions.npz")


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert set(one) == set(other) == {"ids", "view", "probs", "embedding"}
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], err_msg=name)


def test_every_view_is_predicted_from_its_own_array(straight, network):
    keys = list(zip(straight["ids"].tolist(), straight["view"].tolist(), strict=True))
    assert sorted(keys) == sorted(VIEWS)
    fake = FakeTeacher(network)
    for row, key in enumerate(keys):
        probs, embedding = fake.predict(fake.arrays([key]))
        np.testing.assert_array_equal(straight["probs"][row], probs[0])
        np.testing.assert_array_equal(straight["embedding"][row], embedding[0])


def test_batches_hold_clips_of_like_length(network, tmp_path):
    fake = FakeTeacher(network)
    fake.run(tmp_path / "predictions.npz")
    lengths = [seconds_of(view) for view in fake.asked]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


@pytest.mark.parametrize("size", [1, 4, 22, 23, 500])
def test_the_size_of_a_shard_does_not_matter(straight, network, tmp_path, monkeypatch, size):
    monkeypatch.setattr(prediction, "SHARD_VIEWS", size)
    assert_same(FakeTeacher(network).run(tmp_path / "predictions.npz"), straight)


@pytest.mark.parametrize("dies_in_call", [1, 2, 3, 4, 5])
def test_killed_it_goes_on_with_the_first_missing_shard(straight, network, tmp_path, dies_in_call):
    path = tmp_path / "fold_0" / "predictions.npz"
    with pytest.raises(KeyboardInterrupt):
        FakeTeacher(network, dies_in_call).run(path)
    shards = sorted(item.name for item in path.parent.rglob("*.npz"))
    assert shards == [f"shard_{number:04d}.npz" for number in range(dies_in_call - 1)]
    again = FakeTeacher(network)
    assert_same(again.run(path), straight)
    assert (again.loaded, again.calls) == (1, 5 - (dies_in_call - 1))
    assert [item.name for item in path.parent.iterdir()] == ["predictions.npz"]


def test_killed_before_joining_it_does_not_load_the_networks(
    straight, network, tmp_path, monkeypatch
):
    path, write = tmp_path / "fold_0" / "predictions.npz", files.write_npz

    def write_or_die(target, **arrays):
        if target == path:
            raise KeyboardInterrupt
        write(target, **arrays)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_npz", write_or_die)
        with pytest.raises(KeyboardInterrupt):
            FakeTeacher(network).run(path)
    again = FakeTeacher(network)
    assert_same(again.run(path), straight)
    assert (again.loaded, again.calls) == (0, 0)


@pytest.mark.parametrize(
    "others",
    [
        [(f"clip{number % 7}", number // 7 + 1) for number in range(23)],  # other views
        [(f"clip{number % 6}", number // 6) for number in range(23)],  # other clips
        VIEWS[:-4],
        [*VIEWS, ("clip0", 9), ("clip6", 9)],
    ],
)
def test_shards_of_another_plan_are_not_joined(straight, network, tmp_path, others):
    path = tmp_path / "fold_0" / "predictions.npz"
    with pytest.raises(KeyboardInterrupt):
        FakeTeacher(network, dies_in_call=4).run(path, others)
    assert_same(FakeTeacher(network).run(path), straight)


def test_shards_of_earlier_networks_are_not_joined(straight, network, tmp_path):
    path = tmp_path / "fold_0" / "predictions.npz"
    with pytest.raises(KeyboardInterrupt):
        FakeTeacher(network, dies_in_call=4).run(path)
    network.touch()
    os.utime(network, (4e9, 4e9))  # trained again
    again = FakeTeacher(network)
    assert_same(again.run(path), straight)
    assert again.calls == 5


def test_how_fast_it_goes_is_said(network, tmp_path, monkeypatch, capsys):
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    fake = FakeTeacher(network)
    load = fake.load

    def slow_load():
        predict = load()

        def slow_predict(arrays):
            clock[0] += 2.5
            return predict(arrays)

        return slow_predict

    monkeypatch.setattr(fake, "load", slow_load)
    fake.run(tmp_path / "predictions.npz")
    seconds = sorted(map(seconds_of, VIEWS))
    first, second, whole = (round(sum(seconds[:n]) / t) for n, t in ((10, 5), (20, 10), (23, 12.5)))
    assert capsys.readouterr().out.splitlines() == [
        f"  fake: predicted 10 of 23 clips, {first} s of speech/s, 6 s left",
        f"  fake: predicted 20 of 23 clips, {second} s of speech/s, 2 s left",
        f"  fake: predicted 23 clips in 12 s, {whole} s of speech/s",
    ]
