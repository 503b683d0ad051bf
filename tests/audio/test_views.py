"""Views of clips: what changes, by how much, and that it is the same wherever it is made."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ser_kd.audio import codecs
from ser_kd.audio.views import make_view
from ser_kd.config import ViewsConfig, config_from_dict, load_config
from ser_kd.errors import UserError

RATE_HZ = 16_000
NOTHING = {"gain_db": 0.0, "speed": 0.0, "noise_probability": 0.0}


def settings(**changes) -> ViewsConfig:
    return ViewsConfig(count=9, **{**NOTHING, **changes})


def views(waveform: np.ndarray, count: int = 40, **changes) -> list[np.ndarray]:
    config = settings(**changes)
    return [make_view(waveform, config, 0, "clip", view) for view in range(1, count + 1)]


def decibels(ratio: float) -> float:
    return 10.0 * float(np.log10(ratio))


def test_view_0_is_the_clip(noise):
    clip = noise(0.7)
    view = make_view(clip, ViewsConfig(count=3, speed=0.2, noise_probability=1.0), 5, "a", 0)
    assert view.dtype == np.float32
    assert view.tobytes() == clip.tobytes()


EACH = [{"gain_db": 6.0}, {"speed": 0.1}, {"noise_probability": 1.0}, {"codec_probability": 1.0}]


@pytest.mark.parametrize("changes", EACH)
def test_seed_clip_and_view_decide(sine, changes):
    clip, config = sine(), settings(**changes)
    first = make_view(clip, config, 1, "a", 2)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(make_view(clip.copy(), config, 1, "a", 2), first)
    for seed, clip_id, view in ((2, "a", 2), (1, "b", 2), (1, "a", 1), (1, "a2", 2), (-1, "a", 2)):
        assert not np.array_equal(make_view(clip, config, seed, clip_id, view), first)


def test_another_process_makes_the_same(sine):
    program = (
        "import hashlib, numpy as np; from ser_kd.config import ViewsConfig;"
        "from ser_kd.audio.views import make_view;"
        "clip = np.sin(np.arange(8000) / 7).astype(np.float32) / 2;"
        "view = make_view(clip, ViewsConfig(speed=0.1, noise_probability=1.0), 3, 'ä/1.wav', 2);"
        "print(hashlib.sha256(view.tobytes()).hexdigest())"
    )
    clip = np.sin(np.arange(8_000) / 7).astype(np.float32) / 2
    view = make_view(clip, ViewsConfig(speed=0.1, noise_probability=1.0), 3, "ä/1.wav", 2)
    environment = {
        **os.environ, "PYTHONHASHSEED": "11", "PYTHONPATH": str(Path(__file__).parents[2])
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(view.tobytes()).hexdigest()


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 30.0])
def test_the_noise_has_the_asked_for_distance_from_the_speech(sine, snr_db):
    # A tone of power a^2 / 2, then a pause of the same length, which does not count.
    clip = np.concatenate([sine(400.0, 1.0, 0.2), np.zeros(RATE_HZ, np.float32)])
    for view in views(clip, 10, noise_probability=1.0, noise_snr_db=(snr_db, snr_db)):
        noise = view.astype(np.float64) - clip
        assert decibels(0.2**2 / 2 / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.02)


def test_the_distance_and_the_colour_are_drawn(sine):
    clip = sine(400.0, 2.0, 0.2)
    distances, slopes = [], []
    for view in views(clip, 60, noise_probability=1.0, noise_snr_db=(5.0, 20.0)):
        noise = view.astype(np.float64) - clip
        distances.append(decibels(0.2**2 / 2 / np.mean(noise**2)))
        power = np.abs(np.fft.rfft(noise)) ** 2  # bins of 0.5 Hz
        # Three octaves apart: 9 dB where power falls with the frequency, 18 with its square.
        slopes.append(decibels(power[1_000:2_000].mean() / power[8_000:].mean()))
    assert 4.9 < min(distances) < 8.0
    assert 17.0 < max(distances) < 20.1
    assert -1.0 < min(slopes) < 3.0
    assert 15.0 < max(slopes) < 19.5


def test_the_probability_of_noise(sine):
    clip = sine()
    noisy = [not np.array_equal(v, clip) for v in views(clip, 200, noise_probability=0.3)]
    assert 0.2 < np.mean(noisy) < 0.4


@pytest.fixture
def voice() -> np.ndarray:
    """A buzz through a formant that moves: something a speech codec is made for."""
    times = np.arange(RATE_HZ) / RATE_HZ
    buzz = 2 * ((120 * times) % 1) - 1
    formant = np.sin(2 * np.pi * (700 + 300 * np.sin(2 * np.pi * 2 * times)) * times)
    return (0.1 * buzz * (1 + formant)).astype(np.float32)


def test_a_codec_comes_with_its_probability_and_one_in_four_is_a_telephone(rng):
    """White noise tells: a telephone hears nothing above 4 kHz, Opus with many bits all of it."""
    hiss = (0.05 * rng.standard_normal(RATE_HZ)).astype(np.float32)
    changes = {"codec_probability": 0.5, "opus_bits_per_second": (64_000.0, 64_000.0)}
    heard = views(hiss, 120, **changes)
    coded = [view for view in heard if not np.array_equal(view, hiss)]
    assert 0.35 < len(coded) / len(heard) < 0.65
    assert all(len(view) == len(hiss) for view in coded)
    highs = [np.square(np.abs(np.fft.rfft(view))[4_200:7_500]).sum() for view in coded]
    whole = np.square(np.abs(np.fft.rfft(hiss))[4_200:7_500]).sum()
    losses = decibels_of(highs) - decibels(whole)
    telephones = losses < -20.0
    assert 0.1 < telephones.mean() < 0.4
    assert np.abs(losses[~telephones]).max() < 3.0


def decibels_of(values: list[float]) -> np.ndarray:
    return 10.0 * np.log10(values)


def test_the_bits_of_opus_are_drawn_within_their_range(voice):
    """What is lost lies between what the least and the most bits lose."""

    def losses(low: float, high: float) -> np.ndarray:
        limits = {"codec_probability": 1.0, "opus_bits_per_second": (low, high)}
        power = [np.square(view - voice).mean() for view in views(voice, 16, **limits)]
        return np.sort(decibels_of(power))

    few, drawn, many = losses(6e3, 6e3), losses(6e3, 64e3), losses(64e3, 64e3)
    assert len(np.unique(few.round(6))) == 2  # that of Opus, and that of the telephone
    assert len(np.unique(drawn.round(6))) > 8
    assert many.min() <= drawn.min() < drawn.max() <= few.max() + 0.1


def test_without_opus_the_error_says_what_to_do(voice, monkeypatch):
    def no_opus(*_):
        raise codecs.UnavailableError("soundfile 0.13 or newer is needed")

    monkeypatch.setattr(codecs, "opus", no_opus)
    with pytest.raises(
        UserError, match=r"views\.codec_probability .* soundfile 0\.13 .* make it 0"
    ):
        views(voice, 10, codec_probability=1.0)


def test_the_gain_is_one_number_per_view_within_its_range(sine):
    clip = sine(amplitude=0.1)
    gains = []
    for view in views(clip, gain_db=6.0):
        gain = np.abs(view).max() / np.abs(clip).max()
        np.testing.assert_allclose(view, gain * clip, atol=1e-6)
        gains.append(20 * np.log10(gain))
    assert -6.001 < min(gains) < -5.0
    assert 5.0 < max(gains) < 6.001


def test_a_peak_is_never_cut_off(sine):
    clip = sine(amplitude=0.9)
    peaks = []
    for view in views(clip, gain_db=20.0):
        peaks.append(np.abs(view).max())
        assert peaks[-1] < 1.0
        np.testing.assert_allclose(view, peaks[-1] / np.abs(clip).max() * clip, atol=1e-6)
    assert max(peaks) > 0.9999
    for view in views(clip, noise_probability=1.0, noise_snr_db=(0.0, 0.0)):
        assert np.abs(view).max() < 1.0


@pytest.mark.parametrize("level", [0.0, 5e-5])
def test_silence_stays_silent(rng, level):
    clip = (level * rng.uniform(-1, 1, 8_000)).astype(np.float32)
    for view in views(clip, 5, gain_db=20.0, speed=0.2, noise_probability=1.0):
        np.testing.assert_array_equal(view, clip)


def test_speed_moves_length_and_pitch_alike(sine):
    clip = sine(1_000.0, 1.0, 0.5)
    factors = []
    for view in views(clip, 30, speed=0.1):
        factor = len(clip) / len(view)
        factors.append(factor)
        # A pure tone of just that much higher a pitch, the ends (of the filter) apart.
        time = np.arange(len(view)) / RATE_HZ
        inner = slice(400, -400)
        spectrum = np.abs(np.fft.rfft(view[inner] * np.hanning(len(view) - 800), 1 << 18))
        top = int(np.argmax(spectrum))
        before, here, after = np.log(spectrum[top - 1 : top + 2])
        hz = (top + (before - after) / (2 * (before - 2 * here + after))) * RATE_HZ / (1 << 18)
        assert hz == pytest.approx(1_000 * factor, rel=2e-4)
        waves = np.stack([np.cos(2 * np.pi * hz * time), np.sin(2 * np.pi * hz * time)], axis=1)
        fitted = waves[inner] @ np.linalg.lstsq(waves[inner], view[inner], rcond=None)[0]
        assert decibels(np.mean((view[inner] - fitted) ** 2) / np.mean(fitted**2)) < -70.0
    assert 0.9 <= min(factors) < 0.93
    assert 1.07 < max(factors) <= 1.101


def test_one_strength_does_not_change_what_another_does(sine):
    clip = sine(amplitude=0.05)
    for view in range(1, 6):
        noisy = make_view(clip, settings(noise_probability=1.0), 0, "a", view)
        louder = make_view(clip, settings(noise_probability=1.0, gain_db=6.0), 0, "a", view)
        plain = make_view(clip, settings(gain_db=6.0), 0, "a", view)
        gain = np.abs(plain).max() / np.abs(clip).max()
        np.testing.assert_allclose(louder, gain * noisy, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 2, 3, 319, 320, 321])
def test_clips_of_a_few_samples(samples):
    clip = np.full(samples, 0.3, np.float32)
    clip[0] = -0.3
    for view in views(clip, 5, gain_db=6.0, speed=0.5, noise_probability=1.0):
        assert len(view) >= 1
        assert np.isfinite(view).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"count": -1}, r"views\.count = -1 is out of range: it must be from 0 to 100"),
        ({"gain_db": -1}, r"views\.gain_db = -1\.0 .* from 0 to 60"),
        ({"speed": 0.6}, r"views\.speed = 0\.6 .* from 0 to 0\.5"),
        ({"noise_probability": 2}, r"views\.noise_probability = 2\.0 .* from 0 to 1"),
        ({"noise_snr_db": [20, 10]}, r"views\.noise_snr_db = \(20\.0, 10\.0\) .* lowest, highest"),
        ({"noise_snr_db": [20]}, r"views\.noise_snr_db needs 2 values"),
        ({"codec_probability": 2}, r"views\.codec_probability = 2\.0 .* from 0 to 1"),
        ({"opus_bits_per_second": [100, 200]}, r"views\.opus_bits_per_second .* 6000 to 256000"),
        ({"gain_db": float("nan")}, r"views\.gain_db = nan"),
    ],
)
def test_settings_out_of_range(table, message):
    with pytest.raises(UserError, match=message):
        config_from_dict({"views": table})


def test_views_are_off_unless_asked_for():
    assert config_from_dict({}).views.count == 0
    config = load_config("demo", ["views.count=4", "views.noise_snr_db=[0, 20]"])
    assert (config.views.count, config.views.noise_snr_db) == (4, (0.0, 20.0))
