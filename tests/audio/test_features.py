"""The front end against librosa, and clip frames against window frames."""

import keras
import librosa
import numpy as np
import pytest

from ser_kd.audio.logmel import LogMel
from ser_kd.audio.mel import NumpyLogMel, mel_filters
from ser_kd.config import LogMelConfig
from ser_kd.data.clip_arrays import clip_logmel

CONFIGS = [
    LogMelConfig(),
    LogMelConfig(hop_seconds=0.010, mels=40, min_hz=0.0, max_hz=8_000.0),
    LogMelConfig(fft_samples=1024, mels=128, min_hz=20.0, floor_db=-100.0),
    LogMelConfig(sample_rate_hz=8_000, fft_samples=256, mels=32, max_hz=3_800.0),
]

FRONT_ENDS = pytest.mark.parametrize("front_end", [LogMel, NumpyLogMel])


def librosa_logmel(waveform: np.ndarray, config: LogMelConfig) -> np.ndarray:
    """``[frames, mels]`` in dB."""
    power = librosa.feature.melspectrogram(
        y=waveform.astype(np.float64),
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        hop_length=config.hop_samples,
        center=False,
        n_mels=config.mels,
        fmin=config.min_hz,
        fmax=config.max_hz,
    )
    floor = 10.0 ** (config.floor_db / 10.0)
    return librosa.power_to_db(power, ref=1.0, amin=floor, top_db=None).T


@pytest.mark.parametrize("config", CONFIGS)
def test_mel_filters_are_librosas(config):
    expected = librosa.filters.mel(
        sr=config.sample_rate_hz,
        n_fft=config.fft_samples,
        n_mels=config.mels,
        fmin=config.min_hz,
        fmax=config.max_hz,
        dtype=np.float64,
    ).T
    filters = mel_filters(config)
    assert filters.dtype == np.float32
    np.testing.assert_allclose(filters, expected, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("kind", ["noise", "faint noise", "chirp", "mixture"])
@FRONT_ENDS
def test_logmel_agrees_with_librosa_to_a_thousandth_of_a_db(front_end, config, kind, rng):
    rate = config.sample_rate_hz
    white = rng.normal(size=rate)
    chirp = librosa.chirp(fmin=80.0, fmax=rate / 2.2, sr=rate, duration=1.0)
    waveform = {
        "noise": 0.2 * white,
        "faint noise": 3e-4 * white,
        "chirp": 0.9 * chirp + 1e-2 * white,
        "mixture": np.where(np.arange(rate) < rate // 2, 0.3 * chirp + 0.01 * white, 0.0),
    }[kind].astype(np.float32)
    expected = librosa_logmel(waveform, config)
    logmel = np.asarray(front_end(config)(waveform[np.newaxis]))[0]
    assert logmel.shape == expected.shape == (config.frames(rate), config.mels)
    assert expected.std() > 1.0  # there is something to compare
    np.testing.assert_allclose(logmel, expected, atol=1e-3)


@FRONT_ENDS
def test_a_pure_tone_agrees_where_it_stands_above_rounding(front_end, sine):
    # 120 dB below the tone float32 has nothing left; what a network sees is far above that.
    config = LogMelConfig()
    waveform = sine(1_000.0)
    expected = librosa_logmel(waveform, config)
    logmel = np.asarray(front_end(config)(waveform[np.newaxis]))[0]
    loud = expected > expected.max() - 90.0
    np.testing.assert_allclose(logmel[loud], expected[loud], atol=1e-3)
    assert not (logmel[~loud] > expected.max() - 85.0).any()
    centres_hz = librosa.mel_frequencies(n_mels=66, fmin=60.0, fmax=7_800.0)[1:-1]
    assert abs(centres_hz[logmel.mean(0).argmax()] - 1_000.0) < 60.0


@FRONT_ENDS
def test_silence_is_the_floor(front_end):
    config = LogMelConfig(floor_db=-70.0)
    logmel = np.asarray(front_end(config)(np.zeros((2, 16_000), np.float32)))
    assert logmel.dtype == np.float32
    np.testing.assert_allclose(logmel, -70.0, atol=1e-4)


def test_numpy_and_the_layer_agree_on_a_batch(noise):
    config = LogMelConfig()
    batch = np.stack([noise(), noise(amplitude=1e-3), np.zeros(16_000, np.float32)])
    expected = np.asarray(LogMel(config)(batch))
    np.testing.assert_allclose(NumpyLogMel(config)(batch), expected, atol=1e-3)


@pytest.mark.parametrize("hop_seconds", [0.010, 0.020, 0.040])
def test_frames_of_a_window_are_frames_of_the_clip(hop_seconds, noise):
    config = LogMelConfig(hop_seconds=hop_seconds)
    logmel, waveform, window = LogMel(config), noise(1.3), 8_000
    frames = clip_logmel(logmel, waveform)
    for first in (0, 3, 7):
        start = first * config.hop_samples
        expected = np.asarray(logmel(waveform[np.newaxis, start : start + window]))[0]
        np.testing.assert_allclose(frames[first : first + len(expected)], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 1), (1, 1), (320, 1), (321, 2), (512, 2), (640, 2), (16_100, 51)]
)
def test_a_clips_frames_are_those_that_hear_it(samples, frames, rng):
    config = LogMelConfig()
    clip = clip_logmel(LogMel(config), rng.normal(size=samples).astype(np.float32))
    assert clip.shape == (frames, config.mels)
    if samples == 321:  # one sample of the second frame, at its very first place
        np.testing.assert_allclose(clip[1], config.floor_db, atol=1e-4)  # the window is 0 there
    if samples > 321:
        assert clip.max(1).min() > config.floor_db + 10.0


def test_frames_counts_what_the_layer_yields():
    for config in CONFIGS:
        for samples in (config.fft_samples, config.fft_samples + config.hop_samples - 1, 8_000):
            layer = LogMel(config)
            result = np.asarray(layer(np.zeros((1, samples), np.float32)))
            assert result.shape == layer.compute_output_shape((1, samples))
            assert result.shape[1] == config.frames(samples)


def test_a_model_with_the_front_end_is_saved_and_loaded(tmp_path, noise):
    config = LogMelConfig(hop_seconds=0.010, mels=40)
    model = keras.Sequential([keras.Input((4_000,)), LogMel(config)])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    waveform = noise(0.25)[np.newaxis]
    np.testing.assert_array_equal(loaded.predict(waveform, verbose=0), model(waveform))
    assert loaded.layers[-1].logmel == config
    assert not loaded.trainable_weights
