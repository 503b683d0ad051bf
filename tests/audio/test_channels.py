"""Many channels to one, and samples beyond full scale."""

import logging

import numpy as np
import pytest
import soundfile

import ser_kd
from ser_kd.audio import full_scale
from ser_kd.audio.channels import ChannelPowers, mixed
from ser_kd.audio.decoding import AudioError, decode, is_silent
from ser_kd.errors import UserError

RATE_HZ = 16_000


@pytest.fixture
def sound() -> np.ndarray:
    rng = np.random.default_rng(0)
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    swell = 0.5 + 0.5 * np.sin(2 * np.pi * 3 * times)
    return (
        0.3 * swell * np.sin(2 * np.pi * 220 * times) + 0.01 * rng.normal(size=len(times))
    ).astype(np.float32)


def written(path, *channels, subtype="FLOAT"):
    soundfile.write(path, np.stack(channels, axis=1), RATE_HZ, subtype=subtype)
    return path


@pytest.mark.parametrize("dead_db", [-200, -60, -50])  # the tone has -18 dB
@pytest.mark.parametrize("place", [0, 1])
def test_a_dead_channel_does_not_halve_the_level(tmp_path, sound, dead_db, place):
    noise = 10 ** (dead_db / 20) * np.random.default_rng(1).normal(size=len(sound))
    pair = [sound, noise.astype(np.float32)]
    path = written(tmp_path / "a.wav", *pair[:: 1 if place else -1])
    np.testing.assert_array_equal(decode(path, RATE_HZ), sound)


@pytest.mark.parametrize("gain", [1.0, 0.9, 0.5, 0.3])
def test_antiphase_is_no_silence(tmp_path, sound, gain):
    path = written(tmp_path / "a.wav", gain * sound, -sound)
    found = decode(path, RATE_HZ)
    assert not is_silent(found)
    np.testing.assert_array_equal(np.abs(found), np.abs(sound))


def test_an_offset_is_no_sound(tmp_path, sound):
    path = written(tmp_path / "a.wav", np.full_like(sound, 0.5), sound)
    np.testing.assert_array_equal(decode(path, RATE_HZ), sound)


@pytest.mark.parametrize("channels", [2, 3, 8, 32])
def test_ordinary_channels_are_averaged_as_ever(tmp_path, sound, channels):
    rng = np.random.default_rng(2)
    several = [
        sound * rng.uniform(0.2, 1) + 0.05 * rng.normal(size=len(sound)) for _ in range(channels)
    ]
    path = written(tmp_path / "a.wav", *several)
    stored = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(decode(path, RATE_HZ), stored.mean(axis=1, dtype=np.float32))


def test_unrelated_channels_are_not_taken_for_opposites(tmp_path):
    noise = 0.1 * np.random.default_rng(3).normal(size=(32_000, 16)).astype(np.float32)
    path = written(tmp_path / "a.wav", *noise.T)
    np.testing.assert_allclose(decode(path, RATE_HZ), noise.mean(axis=1), atol=1e-7)


def test_silence_stays_silence(tmp_path, sound):
    assert is_silent(decode(written(tmp_path / "a.wav", 0 * sound, 0 * sound), RATE_HZ))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_are_no_numbers_are_refused_without_a_warning(tmp_path, sound, bad):
    broken = sound.copy()
    broken[100] = bad
    with pytest.raises(AudioError, match="not finite"):
        decode(written(tmp_path / "a.wav", sound, broken), RATE_HZ)


def test_a_stream_forgets_which_channel_was_dead():
    powers = ChannelPowers(seconds=1.0, rate_hz=100)
    loud, dead = np.random.default_rng(4).normal(size=100), np.zeros(100)
    powers.add(np.stack([loud, dead], axis=1))
    assert powers.chosen().tolist() == [0]
    for _ in range(20):
        powers.add(np.stack([dead, loud], axis=1))
    assert powers.chosen().tolist() == [1]
    np.testing.assert_allclose(mixed(np.stack([dead, loud], axis=1), powers.chosen()), loud)


@pytest.fixture(autouse=True)
def nothing_seen(monkeypatch):
    monkeypatch.setattr(full_scale, "_seen", [])


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_integers_stored_as_floats_are_scaled_and_named(tmp_path, sound, caplog, bits):
    scale = 2.0 ** (bits - 1)
    path = written(tmp_path / "a.wav", (sound * scale).astype(np.float32))
    with caplog.at_level(logging.WARNING, "ser_kd"):
        np.testing.assert_allclose(decode(path, RATE_HZ), sound, atol=1e-6)
    assert f"{bits}-bit integers and divided by {scale:,.0f}" in caplog.text
    assert str(path) in caplog.text


def test_resampled_integers_may_exceed_their_range(tmp_path, sound, caplog):
    path = written(tmp_path / "a.wav", (sound / np.abs(sound).max() * 40_000).astype(np.float32))
    assert 1.1 < np.abs(decode(path, RATE_HZ)).max() < 1.3
    assert "16-bit integers" in caplog.text


@pytest.mark.parametrize("peak", [20, 150])
def test_what_cannot_be_told_is_an_error(tmp_path, sound, peak):
    scaled = (sound / np.abs(sound).max() * peak).astype(np.float32)
    with pytest.raises(AudioError, match=rf"samples up to {peak}: floats lie within -1 to 1"):
        decode(written(tmp_path / "a.wav", scaled), RATE_HZ)
    whole = decode(written(tmp_path / "b.wav", np.round(scaled)), RATE_HZ)
    assert np.abs(whole).max() == pytest.approx(peak / 32_768)


def test_many_such_files_are_a_few_lines(tmp_path, sound, caplog):
    for number in range(6):
        decode(written(tmp_path / f"{number}.wav", 20_000 * sound), RATE_HZ)
    assert len(caplog.records) == 4
    assert "further files" in caplog.records[-1].message


@pytest.mark.parametrize(("factor", "clipped"), [(1.0, False), (3.0, False), (20.0, True)])
def test_loud_floats_stay_as_they_are(tmp_path, sound, caplog, factor, clipped):
    path = written(tmp_path / "a.wav", factor * sound)
    np.testing.assert_allclose(decode(path, RATE_HZ), factor * sound, rtol=1e-6)
    assert ("will be clipped" in caplog.text) == clipped


def test_what_no_integer_holds_is_an_error(tmp_path, sound):
    path = written(tmp_path / "a.wav", (1e12 * sound).astype(np.float32))
    with pytest.raises(AudioError, match=r"a.wav: samples up to 3\.\d+e\+11: floats lie within"):
        decode(path, RATE_HZ)


def test_samples_given_as_numbers_are_not_guessed_at(sound):
    with pytest.raises(UserError, match=r"samples reach .*: floats in -1..1 .* / 32768"):
        ser_kd.load().probabilities(20_000 * sound)
