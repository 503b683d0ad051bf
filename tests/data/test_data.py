"""Clips in memory, training batches, evaluation windows."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from sklearn.preprocessing import StandardScaler

from ser_kd.audio import decoding
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.windows import Windowing
from ser_kd.config import AudioConfig, AugmentConfig, LogMelConfig
from ser_kd.corpora.clip import Clip
from ser_kd.data import batching, clip_arrays
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.training_set import TrainingSet
from ser_kd.errors import UserError

WINDOW, PADDING = 10, -7.0
LENGTHS = [3, 10, 11, 25, 10, 4, 17, 30, 9, 12, 1]
AUDIO = AudioConfig(window_seconds=0.5, window_hop_seconds=0.2)


def numbered(lengths: list[int] = LENGTHS, cell_samples: int = 1) -> ClipArrays:
    """Cell c of clip i is ``1000 i + c``."""
    parts = [1000.0 * i + np.arange(n, dtype=np.float32)[:, None] for i, n in enumerate(lengths)]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = tuple(f"clip{i}" for i in range(len(lengths)))
    samples = np.array(lengths) * cell_samples
    return ClipArrays(ids, np.concatenate(parts), offsets, samples, cell_samples, PADDING)


def training_set(arrays, views=None) -> TrainingSet:
    """Every clip's target is its number."""
    return TrainingSet(arrays, np.arange(len(arrays))[:, np.newaxis], views)


def plain(windows, lengths, targets, seed):
    return windows, {"number": targets["labels"][:, 0], "lengths": lengths, "seed": seed}


def batches(epochs: range, arrays=None, roll=0, batch_size=4, seed=3, transform=plain):
    plan = batching.BatchPlan(WINDOW, transform, roll)
    dataset = batching.training_batches(
        training_set(arrays or numbered()), plan, batch_size, seed, epochs
    )
    return [tf.nest.map_structure(np.asarray, batch) for batch in dataset]


def order(epochs: range, **settings) -> list[int]:
    return np.concatenate([y["number"] for _, y in batches(epochs, **settings)]).tolist()


def test_an_epoch_has_every_clip_at_most_once_in_full_batches():
    found = batches(range(1))
    assert [len(y["number"]) for _, y in found] == [4, 4]  # 11 clips
    assert len(set(order(range(1)))) == 8
    assert sorted(order(range(1), batch_size=11)) == list(range(11))
    # Fewer clips than a batch: one smaller batch.
    assert sorted(order(range(1), batch_size=32)) == list(range(11))


def test_over_epochs_every_clip_comes():
    assert set(order(range(12))) == set(range(11))


def test_the_order_depends_on_epoch_and_seed():
    first = order(range(2), batch_size=11)
    assert first[:11] != first[11:]
    assert order(range(2), batch_size=11) == first
    assert order(range(2), batch_size=11, seed=4)[:11] != first[:11]


def test_starting_at_an_epoch_is_skipping_to_it():
    augment = AugmentConfig(time_masks=1, mel_masks=0, time_mask_seconds=0.06)
    transform = batching.logmel_transform(augment, LogMelConfig(), np.zeros(1, np.float32), 2.0)

    def labelled(windows, lengths, targets, seed):
        labels = tf.one_hot(targets["labels"][:, 0], 11)
        return transform(windows, lengths, {"labels": labels, "teacher_logits": labels}, seed)

    straight = batches(range(4), roll=5, transform=labelled)
    resumed = batches(range(2, 4), roll=5, transform=labelled)
    assert len(resumed) == 4
    tf.nest.map_structure(np.testing.assert_array_equal, straight[4:], resumed)
    assert (straight[4][0] != straight[0][0]).any()


# Clip 0 is entries 0, 3 and 6; clip 1 is entries 1, 4 and 7; clip 2 has one view only.
VIEWS = np.array([[0, 3, 6], [1, 4, 7], [2, 2, 2]])


def drawn(epochs: range, views=VIEWS, **changes) -> np.ndarray:
    settings = {"batch_size": 3, "seed": 3, **changes}
    found = batching.training_batches(
        training_set(numbered(), views),
        batching.BatchPlan(WINDOW, plain),
        epochs=epochs,
        **settings,
    ).as_numpy_iterator()
    entries = []
    for x, y in found:
        np.testing.assert_array_equal(
            x.min((1, 2), where=x != PADDING, initial=1e9) // 1000, (y["number"])
        )  # the window and the targets are of one entry
        entries.append(y["number"])
    return np.array(entries)


def test_one_view_of_each_clip_is_drawn():
    entries = drawn(range(300))
    assert entries.shape == (300, 3)  # an epoch is as long as it is without views
    assert (np.sort(entries % 3, axis=1) == [0, 1, 2]).all()  # every clip once
    for view in (0, 3, 6, 1, 4, 7):
        assert 70 < (entries == view).sum() < 130  # of 300, a third
    assert (entries == 2).sum() == 300
    # Clips of one batch draw independently.
    together = [(set(row) & {0, 3, 6}, set(row) & {1, 4, 7}) for row in entries.tolist()]
    assert len({(min(one), min(other)) for one, other in together}) == 9


def test_views_depend_on_seed_and_step_only():
    straight = drawn(range(6))
    np.testing.assert_array_equal(drawn(range(6)), straight)
    np.testing.assert_array_equal(drawn(range(4, 6)), straight[4:])
    assert (drawn(range(6), seed=4) != straight).any()
    assert drawn(range(2), batch_size=2).shape == (2, 2)  # 3 clips // 2


def test_a_single_view_is_no_view():
    """Not one draw of a run without views is another than it would be without any of this."""
    places = np.arange(len(LENGTHS))[:, np.newaxis]
    one = drawn(range(3), views=None, batch_size=4)
    np.testing.assert_array_equal(drawn(range(3), views=places, batch_size=4), one)


def test_windows_are_runs_of_the_clip_followed_by_padding():
    starts = set()
    for x, y in batches(range(30)):
        assert x.shape == (4, WINDOW, 1)
        for window, number, length in zip(x[..., 0], y["number"], y["lengths"], strict=True):
            assert length == min(LENGTHS[number], WINDOW)
            start = window[0] - 1000.0 * number
            np.testing.assert_array_equal(window[:length], window[0] + np.arange(length))
            np.testing.assert_array_equal(window[length:], PADDING)
            assert 0 <= start <= max(0, LENGTHS[number] - WINDOW)
            starts.add((int(number), int(start)))
    assert {(2, 0), (2, 1), (0, 0)} <= starts  # the first and the last possible crop
    assert len({start for number, start in starts if number == 7}) > 8


def test_the_roll_is_circular_and_within_its_range():
    shifts = set()
    for x, y in batches(range(40), roll=3):
        for window, number, length in zip(x[..., 0], y["number"], y["lengths"], strict=True):
            first = int(window[window != PADDING].min() - 1000.0 * number)
            still = np.full(WINDOW, PADDING)
            still[:length] = 1000.0 * number + first + np.arange(length)
            matches = [s for s in range(-3, 4) if np.array_equal(np.roll(still, s), window)]
            assert len(matches) == 1
            shifts.add(matches[0])
    assert shifts == set(range(-3, 4))


def test_each_batch_has_its_own_seed():
    seeds = [tuple(y["seed"]) for _, y in batches(range(5))]
    assert len(set(seeds)) == len(seeds) == 10


def test_select_keeps_the_order_asked_for_and_passes_over_the_absent():
    chosen = numbered(cell_samples=320).select(["clip6", "absent", "clip0"])
    assert chosen.ids == ("clip6", "clip0")
    assert chosen.lengths.tolist() == [17, 3]
    assert chosen.samples.tolist() == [17 * 320, 3 * 320]
    np.testing.assert_array_equal(chosen.clip(0)[:, 0], 6000.0 + np.arange(17))
    np.testing.assert_array_equal(chosen.clip(1)[:, 0], np.arange(3))
    assert (chosen.padding, chosen.cell_samples) == (PADDING, 320)
    assert len(numbered().select(["absent"])) == 0


def test_take_is_by_place_and_may_repeat():
    taken = numbered(cell_samples=320).take(np.array([6, 0, 6]))
    assert taken.ids == ("clip6", "clip0", "clip6")
    assert taken.samples.tolist() == [17 * 320, 3 * 320, 17 * 320]
    np.testing.assert_array_equal(taken.clip(2)[:, 0], 6000.0 + np.arange(17))


def test_one_hot_and_statistics():
    clips = [Clip(name, Path(name), "", emotion) for name, emotion in [("a", "sad"), ("b", "joy")]]
    result = clip_arrays.one_hot(clips, ["b", "a", "b"], ["joy", "fear", "sad"])
    np.testing.assert_array_equal(result, [[1, 0, 0], [0, 0, 1], [1, 0, 0]])
    arrays = numbered()
    mean, deviation = clip_arrays.feature_statistics(arrays)
    np.testing.assert_allclose(mean, arrays.values.mean(0, dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(deviation, arrays.values.std(0, dtype=np.float64), rtol=1e-5)


# --- decoding -----------------------------------------------------------------------------------


def test_restandardized_speakers_have_the_statistics_asked_for():
    """Against scikit-learn's scaler, fitted on the speaker's frames."""
    rng = np.random.default_rng(0)
    parts = [rng.normal(-40, 9, (n, 4)).astype(np.float32) for n in (5, 7, 6)]
    like = clip_arrays.no_logmel(LogMelConfig(mels=4))
    arrays = clip_arrays.join(["a", "b", "c"], parts, np.array([5, 7, 6]), like)
    speakers = ["x", "y", "x"]
    statistics = {
        "x": clip_arrays.feature_statistics(arrays.take([0, 2])),
        "y": clip_arrays.feature_statistics(arrays.take([1])),
    }
    mean, deviation = np.array([-50, -45, -40, -35.0]), np.array([8, 9, 10, 11.0])
    found = clip_arrays.restandardize(arrays, speakers, statistics, (mean, deviation))
    scaler = StandardScaler().fit(np.concatenate([parts[0], parts[2]]))
    wanted = scaler.transform(parts[2]) * deviation + mean
    np.testing.assert_allclose(found.clip(2), wanted, atol=1e-2)
    np.testing.assert_allclose(found.clip(1).mean(0), mean, atol=1e-3)
    assert found.values.dtype == np.float32
    assert found.padding == arrays.padding


@pytest.fixture
def clips(tmp_path, noise) -> list[Clip]:
    found = []
    for index, seconds in enumerate([0.013, 0.3, 0.5, 0.507, 0.93, 1.3]):
        path = tmp_path / "clips" / f"clip{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise(seconds), 16_000)
        found.append(Clip(f"clip{index}", path, "speaker", "sad"))
    return found


def load(clips, tmp_path, config=AUDIO):
    return clip_arrays.load_waveforms(clips, config, tmp_path / "cache")


def test_waveforms_are_the_decoded_files(clips, tmp_path):
    waveforms, skipped = load(clips, tmp_path)
    assert skipped == {}
    assert waveforms.ids == tuple(clip.id for clip in clips)
    assert waveforms.values.dtype == np.int16
    for index, clip in enumerate(clips):
        expected = decoding.decode(clip.path, 16_000)
        assert waveforms.samples[index] == len(expected)
        result = decoding.to_float(waveforms.clip(index))
        np.testing.assert_allclose(result, expected, atol=1.0 / 32_767)


def test_the_second_call_does_not_decode(clips, tmp_path):
    first, _ = load(clips, tmp_path)
    values = np.array(first.values)
    for clip in clips:  # other content under the same size and time
        stat = clip.path.stat()
        clip.path.write_bytes(b"\0" * stat.st_size)
        os.utime(clip.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second, skipped = load(clips, tmp_path)
    assert skipped == {}
    assert second.ids == first.ids
    np.testing.assert_array_equal(second.values, values)
    np.testing.assert_array_equal(second.offsets, first.offsets)


def test_a_changed_file_or_setting_is_decoded_anew(clips, tmp_path):
    load(clips, tmp_path)
    soundfile.write(clips[1].path, np.full(1_000, 0.25, np.float32), 16_000)
    changed, _ = load(clips, tmp_path)
    np.testing.assert_allclose(decoding.to_float(changed.clip(1)), 0.25, atol=1e-4)
    slower, _ = load(clips, tmp_path, dataclasses.replace(AUDIO, sample_rate_hz=8_000))
    assert slower.samples[5] == changed.samples[5] // 2
    fewer, _ = load(clips[:2], tmp_path)
    assert len(fewer) == 2
    again, _ = load(clips, tmp_path, dataclasses.replace(AUDIO, window_seconds=9.0))
    assert again.values.filename == changed.values.filename  # windows are cut later


def test_what_cannot_be_decoded_is_skipped_with_its_reason(clips, tmp_path):
    clips[1].path.write_bytes(b"no audio at all")
    clips[2].path.write_bytes(b"")
    for _ in range(2):  # decoded, then from the cache
        waveforms, skipped = load(clips, tmp_path)
        assert waveforms.ids == ("clip0", "clip3", "clip4", "clip5")
        assert set(skipped) == {"clip1", "clip2"}
        assert "clip1.wav" in skipped["clip1"]
        assert "the file is empty" in skipped["clip2"]


def test_nothing_decodable_is_an_error(clips, tmp_path):
    for clip in clips:
        clip.path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 6 clips.*clip0\.wav: the file is empty"):
        load(clips, tmp_path)
    with pytest.raises(UserError, match=r"none of 0 clips.*there are no clips"):
        load([], tmp_path)


# --- evaluation ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hop_seconds", [0.010, 0.020])
def test_evaluation_windows_are_the_front_end_on_windows_of_audio(clips, tmp_path, hop_seconds):
    config = LogMelConfig(hop_seconds=hop_seconds)
    waveforms, _ = load(clips, tmp_path)
    windowing = Windowing.of(AUDIO, config)
    frames = config.frames(AUDIO.window_samples)
    logmel_arrays = clip_arrays.logmel_arrays(waveforms, config)
    assert logmel_arrays.samples.tolist() == waveforms.samples.tolist()
    found = list(batching.evaluation_batches(logmel_arrays, windowing, frames, 4))
    assert [len(indices) for indices, _, _ in found[:-1]] == [4] * (len(found) - 1)
    indices = np.concatenate([batch[0] for batch in found])
    windows = np.concatenate([batch[1] for batch in found])
    expected_indices, expected = [], []
    logmel = LogMel(config)
    for index in range(len(waveforms)):
        pieces = windowing.cut(decoding.to_float(waveforms.clip(index)))
        expected_indices += [index] * len(pieces)
        expected.append(np.asarray(logmel(pieces)))
    assert indices.tolist() == expected_indices
    assert len(indices) > len(clips)
    np.testing.assert_allclose(windows, np.concatenate(expected), atol=1e-4)


def test_evaluation_windows_of_samples(clips, tmp_path):
    waveforms, _ = load(clips, tmp_path)
    windowing = Windowing.of(AUDIO, LogMelConfig())
    found = batching.evaluation_batches(waveforms, windowing, AUDIO.window_samples, 100)
    ((indices, windows, lengths),) = list(found)
    for index in range(len(waveforms)):
        expected = Windowing(8_000, windowing.hop_samples, 320).cut(
            decoding.to_float(waveforms.clip(index))
        )
        np.testing.assert_allclose(
            decoding.to_float(windows[indices == index]), expected, atol=1e-6
        )
        samples = int(waveforms.samples[index])
        starts = windowing.starts(samples)
        assert lengths[indices == index].tolist() == np.minimum(samples - starts, 8_000).tolist()


def test_windows_are_averaged_by_clip():
    arrays = numbered([5, 5, 5])
    found = [
        (np.array([0, 0, 2]), np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8]])),
        (np.array([2]), np.array([[0.4, 0.6]])),
    ]
    result = batching.average_windows(arrays, iter(found), 2)
    np.testing.assert_allclose(result, [[0.5, 0.5], [0.0, 0.0], [0.3, 0.7]])


def test_waveform_batches_are_floats_with_their_lengths():
    samples = np.array([[32_767, -32_767], [0, 16_384]], np.int16)
    x, y = batching.waveform_transform(
        tf.constant(samples), tf.constant([2, 1], tf.int64), {"a": 1}, 0
    )
    np.testing.assert_allclose(x["waveform"], [[1.0, -1.0], [0.0, 0.5]], atol=1e-4)
    np.testing.assert_array_equal(x["samples"], [2, 1])
    assert y == {"a": 1}
