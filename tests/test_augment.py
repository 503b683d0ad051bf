"""Augmentation of log-mel windows, and mixup."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from ser_kd.augment import augment_logmel, mixup
from ser_kd.config import AugmentConfig

OFF = AugmentConfig(
    shift_seconds=0.0,
    gain_db=0.0,
    noise_probability=0.0,
    time_masks=0,
    mel_masks=0,
    mixup_alpha=0.0,
)
BATCH, FRAMES, MELS = 16, 50, 24
FRAMES_PER_SECOND = 50.0
FLOOR_DB = -80.0
CENTRES_HZ = np.geomspace(80.0, 7_600.0, MELS)
MEAN_DB = np.linspace(-60.0, -30.0, MELS).astype(np.float32)


@pytest.fixture
def windows(rng) -> np.ndarray:
    return rng.uniform(-60.0, -20.0, (BATCH, FRAMES, MELS)).astype(np.float32)


def augmented(windows: np.ndarray, seed: tuple[int, int] = (1, 2), **changes) -> np.ndarray:
    result = augment_logmel(
        tf.constant(windows),
        dataclasses.replace(OFF, **changes),
        FRAMES_PER_SECOND,
        FLOOR_DB,
        MEAN_DB,
        CENTRES_HZ,
        tf.constant(seed, tf.int64),
    )
    return result.numpy()


EACH = [
    {"gain_db": 10.0},
    {"noise_probability": 0.5},
    {"band_limit_probability": 0.5},
    {"time_masks": 2},
    {"mel_masks": 2},
]


def test_all_off_is_the_identity(windows):
    np.testing.assert_array_equal(augmented(windows), windows)


@pytest.mark.parametrize("changes", EACH)
def test_the_seed_decides(windows, changes):
    first = augmented(windows, (1, 2), **changes)
    np.testing.assert_array_equal(augmented(windows, (1, 2), **changes), first)
    for seed in ((1, 3), (2, 2)):
        assert (augmented(windows, seed, **changes) != first).any()


def test_gain_is_one_number_per_clip_within_its_range(windows):
    gains = augmented(windows, gain_db=6.0) - windows
    per_clip = gains.mean((1, 2))
    np.testing.assert_allclose(gains, per_clip[:, None, None] * np.ones_like(gains), atol=1e-4)
    assert len(set(per_clip.round(3))) == BATCH
    assert np.abs(per_clip).max() <= 6.0
    assert per_clip.min() < -2.0 < 2.0 < per_clip.max()


@pytest.mark.parametrize("changes", EACH)
def test_nothing_falls_below_the_floor(windows, changes):
    quiet = np.maximum(windows - 40.0, FLOOR_DB)
    assert quiet.min() == FLOOR_DB
    assert augmented(quiet, **changes).min() >= FLOOR_DB


def test_time_masks_are_whole_frames_of_the_mean_and_no_longer_than_asked(windows):
    result = augmented(windows, time_masks=1, time_mask_seconds=0.2)  # 10 frames
    masked = (result == MEAN_DB).all(2)
    np.testing.assert_array_equal(result[~masked], windows[~masked])
    lengths = masked.sum(1)
    assert 0 < lengths.mean() < lengths.max() <= 10
    for clip in masked:  # one run at most
        assert (np.diff(np.concatenate([[0], clip, [0]])) == 1).sum() <= 1


def test_mel_masks_are_whole_bands_of_the_mean_and_no_wider_than_asked(windows):
    result = augmented(windows, mel_masks=3, mel_mask_bins=4)
    masked = (result == MEAN_DB).all(1)
    expected = np.where(masked[:, None, :], MEAN_DB, windows)
    np.testing.assert_array_equal(result, expected)
    assert 0 < masked.sum(1).mean() < masked.sum(1).max() <= 3 * 4
    assert (masked.sum(0) > 0).sum() > MELS // 2  # all over the range


@pytest.mark.parametrize("changes", [{"gain_db": 20.0}, {"noise_probability": 1.0}])
def test_what_follows_a_short_clip_stays_silent(windows, changes):
    padded = windows.copy()
    padded[:, FRAMES // 2 :] = FLOOR_DB
    result = augmented(padded, **changes)
    assert (result[:, FRAMES // 2 :] == FLOOR_DB).all()
    assert (result[:, : FRAMES // 2] != padded[:, : FRAMES // 2]).any()


def test_noise_stands_at_the_asked_distance_below_the_speech(windows):
    speech = np.full_like(windows, -30.0)
    speech[:, FRAMES // 2 :] = FLOOR_DB + 0.1  # pauses do not lower the speech's level
    noisy = augmented(speech, noise_probability=1.0, noise_snr_db=(12.0, 12.0))
    noise_power = 10.0 ** (noisy.astype(np.float64) / 10.0) - 10.0 ** (speech / 10.0)
    noise_db = 10.0 * np.log10(noise_power[:, FRAMES // 2 :])  # the tilt is symmetric in dB
    np.testing.assert_allclose(noise_db.mean((1, 2)), -42.0, atol=0.6)
    scatter = (noise_db - noise_db.mean(1, keepdims=True)).std()
    assert 2.5 < scatter < 3.5
    assert noisy[:, : FRAMES // 2].min() >= -30.0
    tilt = noise_db.mean(1)[:, 0] - noise_db.mean(1)[:, -1]  # white to brown: falls by 0 to 20 dB
    assert -3.0 < tilt.min() < 8.0 < 12.0 < tilt.max() < 23.0


def test_noise_comes_with_its_probability(windows):
    many = np.repeat(windows[:1], 400, axis=0)
    changed = (augmented(many, noise_probability=0.3) != many).any((1, 2))
    assert 0.22 < changed.mean() < 0.38
    unchanged = augmented(many, noise_probability=0.3)[~changed]
    np.testing.assert_array_equal(unchanged, many[~changed])


@pytest.fixture
def labels(rng) -> np.ndarray:
    return np.eye(6, dtype=np.float32)[rng.integers(0, 6, BATCH)]


def mixed(windows, targets, alpha: float = 0.3, temperature: float = 1.0, seed=(1, 2)):
    tensors = {name: tf.constant(value) for name, value in targets.items()}
    x, y = mixup(tf.constant(windows), tensors, alpha, temperature, tf.constant(seed, tf.int64))
    return x.numpy(), {name: value.numpy() for name, value in y.items()}


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_mixup_is_one_convex_combination_of_everything(windows, labels, rng, temperature):
    teacher_logits = rng.normal(size=labels.shape).astype(np.float32)
    clip_numbers = np.eye(BATCH, dtype=np.float32)  # as labels they tell the partner and the share
    x, numbers = mixed(windows, {"labels": clip_numbers}, temperature=temperature)
    share = np.diag(numbers["labels"])[:, None]
    assert share.min() >= 0.5
    assert 0.55 < share.mean() < 0.99
    assert share.max() <= 1.0
    partner = np.argmax(numbers["labels"] - np.diag(share[:, 0]), axis=1)
    np.testing.assert_allclose(numbers["labels"].sum(1), 1.0, rtol=1e-6)
    window_share = share[:, :, None]
    expected = window_share * windows + (1.0 - window_share) * windows[partner]
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-4)
    # The same seed mixes labels and teacher alike.
    _, y = mixed(
        windows, {"labels": labels, "teacher_logits": teacher_logits}, temperature=temperature
    )
    np.testing.assert_allclose(
        y["labels"], share * labels + (1.0 - share) * labels[partner], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(y["labels"].sum(1), 1.0, rtol=1e-6)
    softened = scipy.special.softmax(teacher_logits / temperature, axis=1)
    np.testing.assert_allclose(
        scipy.special.softmax(y["teacher_logits"] / temperature, axis=1),
        share * softened + (1.0 - share) * softened[partner],
        rtol=1e-4,
        atol=1e-6,
    )


def test_mixup_survives_tiny_alpha_and_certain_teachers(windows, labels):
    certain = np.where(labels > 0, 1e4, -1e4).astype(np.float32)
    x, y = mixed(windows, {"labels": labels, "teacher_logits": certain}, alpha=1e-4)
    assert np.isfinite(x).all()
    assert np.isfinite(y["teacher_logits"]).all()
    np.testing.assert_allclose(y["labels"].sum(1), 1.0, rtol=1e-6)


def test_the_seed_decides_the_mixture(windows, labels):
    first, _ = mixed(windows, {"labels": labels})
    np.testing.assert_array_equal(mixed(windows, {"labels": labels})[0], first)
    assert (mixed(windows, {"labels": labels}, seed=(1, 3))[0] != first).any()


def test_a_band_limit_takes_away_lows_and_highs_alike(windows):
    """Every clip: nothing between the edges changes, beyond them all bands lose as much."""
    loud = windows + 100.0  # far above the floor
    changes = {
        "band_limit_probability": 1.0,
        "low_cut_hz": (200.0, 400.0),
        "high_cut_hz": (3_000.0, 4_000.0),
    }
    loss = loud - augmented(loud, **changes)
    np.testing.assert_allclose(loss, np.broadcast_to(loss[:, :1], loss.shape), atol=1e-3)
    loss = loss[:, 0]
    inside = (CENTRES_HZ > 400.0) & (CENTRES_HZ < 3_000.0)
    outside = (CENTRES_HZ < 200.0) | (CENTRES_HZ > 4_000.0)
    assert not loss[:, inside].any()
    assert loss[:, outside].min() > 9.9
    np.testing.assert_allclose(loss[:, outside], loss[:, :1].repeat(outside.sum(), 1), atol=1e-3)
    assert len(np.unique(loss[:, 0])) == BATCH  # each clip its own


def test_a_band_limit_hits_its_share_of_the_clips_and_stops_at_the_floor(rng):
    many = np.full((2_000, 2, MELS), -75.0, np.float32)
    changed = augmented(many, band_limit_probability=0.3)
    share = (changed[:, 0] != many[:, 0]).any(axis=1).mean()
    assert share == pytest.approx(0.3, abs=0.04)  # 4 standard deviations
    assert changed.min() == FLOOR_DB
