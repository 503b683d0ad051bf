"""What a student is shown of known speakers: the draws, and what they do to a window."""

import numpy as np
import pytest
import tensorflow as tf
from corpus_maker import settings, write_corpus

from ser_kd.audio.augment import moved_to_corpus
from ser_kd.config import config_from_dict
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.distillation.distiller import Distiller
from ser_kd.errors import UserError
from ser_kd.pipeline import students
from ser_kd.runs.folder import Run
from ser_kd.speaker.voices import drawn_voices

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

MELS, CLIPS = 4, 40
MEAN, DEVIATION = np.full(MELS, -40.0), np.full(MELS, 10.0)


@pytest.fixture
def arrays(rng):
    """Two speakers, one 12 dB louder than the corpus and half as lively, one as the corpus."""
    loud = np.arange(CLIPS) % 2 == 0
    frames = [
        rng.normal(*((-28.0, 5.0) if is_loud else (-40.0, 10.0)), (200, MELS)) for is_loud in loud
    ]
    arrays = ClipArrays(
        tuple(map(str, range(CLIPS))),
        np.concatenate(frames).astype(np.float32),
        200 * np.arange(CLIPS + 1),
        np.full(CLIPS, 32_000),
        160,
        -80.0,
    )
    return arrays, ["loud" if is_loud else "usual" for is_loud in loud]


def test_draws_lie_between_the_corpus_and_the_speaker(arrays):
    voices = drawn_voices(*arrays, MEAN, DEVIATION, 8, 0)
    assert voices.shape == (CLIPS, 8, 2, MELS)
    moved = voices[:, :, 0] * -28.0 + voices[:, :, 1]  # the loud speaker's mean
    shares = {clips / (clips + 2.0) for clips in (1, 3, 5, 10, 20)}
    # With this share of the way to the speaker's own: mean and deviation by hand.
    by_hand = {
        s: (-28.0 - (-40.0 + 12.0 * s)) * 10.0 / (10.0 - 5.0 * s) - 40.0 for s in sorted(shares)
    }
    for value in moved[::2].ravel():
        assert min(abs(value - wanted) for wanted in by_hand.values()) < 1.5
    # Every number of clips is drawn (20 is all of them).
    nearest = [min(by_hand, key=lambda s: abs(v - by_hand[s])) for v in moved[::2, :, 0].ravel()]
    assert set(nearest) == shares
    np.testing.assert_allclose(voices[1::2, :, 0], 1.0, atol=0.06)


def test_the_same_seed_draws_the_same(arrays):
    one, two, other = (drawn_voices(*arrays, MEAN, DEVIATION, 2, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_a_clip_of_nobody_known_is_its_own_speaker(arrays):
    voices = drawn_voices(arrays[0], [""] * CLIPS, MEAN, DEVIATION, 4, 0)
    # One clip whatever is drawn: a third of the way.
    third = (-28.0 - (-40.0 + 4.0)) * 10.0 / (10.0 - 5.0 / 3) - 40.0
    moved = voices[::2, :, 0] * -28.0 + voices[::2, :, 1]
    np.testing.assert_allclose(moved, third, atol=1.5)
    assert (voices[:, :1] == voices).all()


def test_windows_are_moved_as_often_as_asked_and_silence_is_not(rng):
    windows = rng.normal(-40.0, 5.0, (400, 6, MELS)).astype(np.float32)
    windows[:, 4:] = -80.0
    voices = np.zeros((400, 2, 2, MELS), np.float32)
    voices[:, 0] = np.array([[2.0], [30.0]])
    voices[:, 1] = np.array([[1.0], [7.0]])
    moved = np.asarray(moved_to_corpus(windows, voices, 0.6, -80.0, [1, 2]))
    assert (moved[:, 4:] == -80.0).all()
    one = np.isclose(moved[:, :4], 2.0 * windows[:, :4] + 30.0, atol=1e-4).all((1, 2))
    other = np.isclose(moved[:, :4], windows[:, :4] + 7.0, atol=1e-4).all((1, 2))
    same = (moved == windows).all((1, 2))
    assert (one ^ other ^ same).all()
    assert one.mean() == pytest.approx(0.3, abs=0.07)
    assert other.mean() == pytest.approx(0.3, abs=0.07)


def test_a_student_is_shown_known_speakers(tmp_path, monkeypatch):
    """Of every batch about the asked share is moved as the clip's own speaker would be."""
    table = settings(write_corpus(tmp_path / "corpus"))
    table |= {"teachers": {}, "fit": {**table["fit"], "epochs": 1}}
    table["augment"] = {
        **dict.fromkeys(["shift_seconds", "gain_db", "time_masks", "mel_masks"], 0),
        "mixup_alpha": 0.0,
        "known_speaker_probability": 0.5,
    }
    run = Run.create(config_from_dict(table), tmp_path / "run")
    run_data, seen = run.data(), []
    step = Distiller.train_step

    def keep(self, data):
        windows, targets = data
        seen.append((set(targets), tf.numpy_function(shown.append, [windows], [])))
        return step(self, data)

    shown: list[np.ndarray] = []
    monkeypatch.setattr(Distiller, "train_step", keep)
    students.baseline_student(run, run_data)
    assert seen[0][0] == {"labels"}, "the network is not told"
    frames = run.config.logmel.frames(run.config.audio.window_samples)
    clips = run_data.logmel.select(run_data.ids("training"))
    plain = {clips.clip(row)[:5].tobytes() for row in range(len(clips))}
    windows = np.concatenate(shown)
    assert windows.shape[1] == frames
    as_they_are = np.mean([window[:5].tobytes() in plain for window in windows])
    assert 0.25 < as_they_are < 0.75


def test_a_teacher_is_not(tmp_path):
    table = settings(tmp_path)
    table["teachers"]["ensemble"]["augment"] = {"known_speaker_probability": 0.5}
    with pytest.raises(UserError, match=r"teachers.ensemble.augment.known_speaker_probability"):
        config_from_dict(table)
