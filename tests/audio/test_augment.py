"""Augmentation of log-mel windows, and mixup."""

import dataclasses

import numpy as np
import pytest
import scipy.fft
import scipy.signal
import scipy.special
import scipy.stats
import tensorflow as tf

from ser_kd.audio.augment import augment_logmel, mixup
from ser_kd.audio.logmel import LogMel
from ser_kd.config import AugmentConfig, LogMelConfig

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
    {"babble_probability": 0.5},
    {"room_probability": 0.5},
    {"microphone_db": 4.0},
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


@pytest.mark.parametrize(
    "changes",
    [
        {"gain_db": 20.0},
        {"noise_probability": 1.0},
        {"babble_probability": 1.0},
        {"room_probability": 1.0},
        {"microphone_db": 4.0},
    ],
)
def test_what_follows_a_short_clip_stays_silent(windows, changes):
    padded = windows.copy()
    padded[:, FRAMES // 2 :] = FLOOR_DB
    result = augmented(padded, **changes)
    assert (result[:, FRAMES // 2 :] == FLOOR_DB).all()
    assert (result[:, : FRAMES // 2] != padded[:, : FRAMES // 2]).any()


def test_noise_has_the_asked_ratio_to_the_speech(windows):
    speech = np.full_like(windows, -30.0)
    speech[:, FRAMES // 2 :] = FLOOR_DB + 0.1  # pauses do not lower the speech's power
    noisy = augmented(speech, noise_probability=1.0, noise_snr_db=(12.0, 12.0))
    noise_power = power(noisy) - power(speech)
    np.testing.assert_allclose(decibels(noise_power.mean((1, 2))), -42.0, atol=0.05)
    noise_db = decibels(noise_power[:, FRAMES // 2 :])
    scatter = (noise_db - noise_db.mean(1, keepdims=True)).std()
    assert 2.5 < scatter < 3.5
    assert noisy[:, : FRAMES // 2].min() >= -30.0
    tilt = noise_db.mean(1)[:, 0] - noise_db.mean(1)[:, -1]  # white to brown: falls by 0 to 20 dB
    assert -3.0 < tilt.min() < 8.0 < 12.0 < tilt.max() < 23.0


@pytest.mark.parametrize("kind", ["noise", "babble"])
def test_the_ratio_is_that_of_mean_powers_in_made_up_audio(rng, kind):
    """Half a second of tone, a pause and padding: computed by hand from the front end's cells."""
    rate_hz, logmel = 16_000, LogMelConfig()
    seconds = np.arange(rate_hz // 2) / rate_hz
    samples = np.zeros((8, 2 * rate_hz), np.float32)
    for row, hz in zip(samples, rng.uniform(150.0, 3_000.0, 8), strict=True):
        row[: rate_hz // 2] = rng.uniform(0.05, 0.5) * np.sin(2 * np.pi * hz * seconds)
        row[rate_hz // 2 : rate_hz] = 1e-3 * rng.standard_normal(rate_hz // 2)
    clean = LogMel(logmel)(samples).numpy()
    noisy = augmented_bands(clean, **{f"{kind}_probability": 1.0, f"{kind}_snr_db": (7.0, 7.0)})
    for before, after in zip(power(clean), power(noisy), strict=True):
        is_recorded = before.max(1) > 10.0 ** (logmel.floor_db / 10.0) * 1.001
        frames = np.sort(before[is_recorded].mean(1))[::-1]
        speech = frames[: len(frames) // 2].mean()
        added = (after - before)[is_recorded].mean()
        np.testing.assert_allclose(10.0 * np.log10(speech / added), 7.0, atol=0.1)


@pytest.mark.parametrize("kind", ["noise", "babble", "room"])
def test_a_change_comes_with_its_probability(rng, kind):
    many = rng.uniform(-60.0, -20.0, (400, 20, MELS)).astype(np.float32)
    result = augmented(many, **{f"{kind}_probability": 0.3})
    changed = (result != many).any((1, 2))
    assert 0.22 < changed.mean() < 0.38
    np.testing.assert_array_equal(result[~changed], many[~changed])


def power(decibels: np.ndarray) -> np.ndarray:
    return 10.0 ** (decibels.astype(np.float64) / 10.0)


def decibels(power: np.ndarray) -> np.ndarray:
    return 10.0 * np.log10(power)


def babble_of(batch: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Clips, and the power ``[clip, voice]`` of what babble at 10 dB adds to them.

    Clip c is heard in band c alone, so that what is added to a clip tells whose voices they are.
    """
    clips = np.full((batch, 40, batch), -79.0, np.float32)
    for clip, level in enumerate(rng.uniform(-50.0, -20.0, batch)):
        clips[clip, :, clip] = level
    result = augmented_bands(clips, babble_probability=1.0, babble_snr_db=(10.0, 10.0))
    return clips, power(result).mean(1) - power(clips).mean(1)


def test_nobody_babbles_over_themselves_in_a_small_batch(rng):
    _, added = babble_of(3, rng)
    heard = added > 0.01 * added.max(1, keepdims=True)
    np.testing.assert_array_equal(heard, ~np.eye(3, dtype=bool))


def test_babble_is_four_to_seven_equally_loud_others(rng):
    clips, added = babble_of(BATCH, rng)
    own_speech = power(clips).mean((1, 2))
    np.testing.assert_allclose(decibels(own_speech / added.mean(1)), 10.0, atol=0.05)
    heard = added > 0.01 * added.max(1, keepdims=True)
    assert not heard[np.arange(BATCH), np.arange(BATCH)].any()
    assert set(heard.sum(1)) == {4, 5, 6, 7}
    for voices, which in zip(added, heard, strict=True):
        np.testing.assert_allclose(voices[which], voices[which].mean(), rtol=0.02)


def test_babble_begins_anywhere(rng):
    """Other clips are heard from a frame of their own on, and from their start again."""
    clips = np.full((BATCH, FRAMES, 1), -30.0, np.float32)
    clips[:, 10:] = -75.0  # they speak in 10 of 50 frames
    babble = augmented_bands(clips, babble_probability=1.0, babble_snr_db=(0.0, 0.0))
    loud = (babble > clips + 20.0)[:, 10:, 0]
    assert loud.any(axis=0).mean() > 0.9  # anywhere, over the clips
    assert 0.1 < loud.mean() < 0.9


def augmented_bands(windows: np.ndarray, **changes) -> np.ndarray:
    """With as many bands as there are."""
    bands = windows.shape[2]
    return augment_logmel(
        tf.constant(windows),
        dataclasses.replace(OFF, **changes),
        FRAMES_PER_SECOND,
        FLOOR_DB,
        np.zeros(bands, np.float32),
        np.geomspace(80.0, 7_600.0, bands) if bands > 1 else np.array([1_000.0]),
        tf.constant((1, 2), tf.int64),
    ).numpy()


ROOM = {
    "room_probability": 1.0,
    "reverberation_seconds": (0.4, 0.4),
    "direct_to_reverberant_db": (3.0, 3.0),
}


def test_a_room_is_the_exponential_filter_of_each_band(windows):
    """As SciPy's recursive filter has it: one pole, echoes of half the direct sound's power."""
    kept = 10.0 ** (-6.0 / (0.4 * FRAMES_PER_SECOND))
    first = (1.0 - kept) * 10.0**-0.3  # times kept^0 at one frame's delay
    echoes = scipy.signal.lfilter([0.0, first], [1.0, -kept], power(windows), axis=1)
    expected = decibels(power(windows) + echoes)
    np.testing.assert_allclose(augmented(windows, **ROOM), expected, atol=1e-3)


def test_a_room_sounds_as_a_convolved_recording_does(rng):
    """Against waveforms: bursts of noise, an impulse response of falling noise."""
    rate, hop = 16_000, 160
    time = np.arange(2 * rate) / rate
    bursts = rng.standard_normal(len(time)) * ((time % 0.5) < 0.1) * 0.1
    delay = np.arange(rate) / rate
    tail = rng.standard_normal(rate) * 10.0 ** (-3.0 * delay / 0.4) * (delay >= hop / rate)
    tail *= np.sqrt(10.0**-0.3 / np.sum(tail**2))
    in_room = bursts + scipy.signal.fftconvolve(bursts, tail)[: len(bursts)]

    def bands(waveform: np.ndarray) -> np.ndarray:
        _, _, spectrum = scipy.signal.stft(waveform, rate, nperseg=512, noverlap=512 - hop)
        octaves = np.split(np.abs(spectrum[1:]) ** 2, [32, 64, 128])  # 256 bins, 4 bands
        power = np.stack([octave.mean(axis=0) for octave in octaves], axis=1)
        return decibels(power + 1e-10)[None].astype(np.float32)  # floor far below the echoes

    changed = augment_logmel(
        tf.constant(bands(bursts)),
        dataclasses.replace(OFF, **ROOM),
        rate / hop,
        -120.0,
        np.zeros(4, np.float32),
        np.array([500.0, 1_500.0, 3_000.0, 6_000.0]),
        tf.constant((1, 2), tf.int64),
    ).numpy()[0]
    recorded, dry = bands(in_room)[0], bands(bursts)[0]
    pauses = ((np.arange(len(recorded)) * hop / rate) % 0.5) > 0.15
    off = changed - recorded
    assert (recorded - dry)[pauses].mean() > 10.0  # the pauses are filled
    assert abs(off[pauses].mean()) < 1.0
    assert abs(off[~pauses].mean()) < 1.0
    assert off.std() < 4.0  # power of noise scatters, band by band


def test_rooms_differ(windows):
    speech = np.full_like(windows, -75.0)
    speech[:, 5:10] = -20.0
    result = augmented(
        speech,
        room_probability=1.0,
        reverberation_seconds=(0.2, 1.0),
        direct_to_reverberant_db=(0.0, 15.0),
    )
    fall_db = (result[:, 11, 0] - result[:, 13, 0]) / 2  # of 60 dB in 10 to 50 frames
    assert 1.1 < fall_db.min() < 2.0 < 3.5 < fall_db.max() < 6.1
    assert result[:, :5].max() < -70.0  # nothing is heard before it was said


def test_a_microphone_is_a_smooth_response_that_keeps_the_level(rng):
    many = rng.uniform(-50.0, -20.0, (2_000, 3, MELS)).astype(np.float32)
    responses = augmented(many, microphone_db=4.0) - many
    np.testing.assert_allclose(
        responses, np.broadcast_to(responses[:, :1], responses.shape), atol=1e-4
    )
    responses = responses[:, 0]
    np.testing.assert_allclose(responses.mean(1), 0.0, atol=1e-4)
    assert responses.std() == pytest.approx(4.0, rel=0.05)
    spectrum = np.abs(scipy.fft.dct(responses, axis=1))
    assert spectrum[:, 5:].max() < 1e-3 * spectrum.max()


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
