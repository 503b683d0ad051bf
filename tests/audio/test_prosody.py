"""Descriptors against signals whose answer is known, SciPy, and formulas worked out by hand."""

import importlib.util
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import librosa
import numpy as np
import pytest
import scipy.fft
import scipy.signal

from ser_kd.audio import prosody
from ser_kd.audio.prosody import DESCRIPTORS, EGEMAPS, descriptors, egemaps
from ser_kd.errors import UserError

RATE_HZ, HOP = 16_000, 160
NAMES = [descriptor.name for descriptor in DESCRIPTORS]
VOICED_ONLY = [d.name for d in DESCRIPTORS if d.voiced_only]


def named(waveform: np.ndarray, rate_hz: int = RATE_HZ) -> dict[str, np.ndarray]:
    """Name -> ``[frames]``."""
    values = descriptors(waveform.astype(np.float32), rate_hz)
    assert values.dtype == np.float32
    assert values.shape[1] == len(DESCRIPTORS)
    assert np.isfinite(values).all()
    return dict(zip(NAMES, values.T, strict=True))


def pulse_train(
    f0_hz: float, jitter: float, shimmer: float, seconds: float = 1.5
) -> tuple[np.ndarray, float, float]:
    """Damped 700 Hz pulses with disturbed periods and amplitudes, and how much they are disturbed.

    The disturbance is Praat's "local": mean difference of neighbours, divided by the mean.
    """
    rng = np.random.default_rng(3)
    count = int(seconds * f0_hz) - 8
    periods = (1 + jitter * rng.normal(size=count)) / f0_hz
    heights = 1 + shimmer * rng.normal(size=count)
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    wave = np.zeros(len(times))
    for start, height in zip(0.01 + np.cumsum(periods), heights, strict=True):
        first = max(0, int(start * RATE_HZ) - 10)
        after = times[first : first + 400] - start
        onset = 1 / (1 + np.exp(-3 * RATE_HZ * after))  # smooth, or samples would shift it
        decay = np.exp(-800 * np.maximum(after, 0))
        wave[first : first + 400] += height * onset * decay * np.cos(2 * np.pi * 700 * after)

    def local(values: np.ndarray) -> float:
        return float(np.mean(np.abs(np.diff(values))) / np.mean(values))

    return 0.3 * wave / np.abs(wave).max(), local(periods), local(heights)


@pytest.mark.parametrize(
    ("f0_hz", "jitter", "shimmer"),
    [(90.0, 0.01, 0.05), (150.0, 0.0, 0.1), (250.0, 0.02, 0.0), (420.0, 0.01, 0.1)],
)
def test_pulses_of_known_pitch_jitter_and_shimmer(f0_hz, jitter, shimmer):
    wave, true_jitter, true_shimmer = pulse_train(f0_hz, jitter, shimmer)
    found = named(wave)
    voiced = found["voiced"] > 0
    assert voiced.mean() > 0.9
    # The grid of pYIN is 0.2 semitones.
    expected = 12 * np.log2(f0_hz / 27.5)
    assert np.median(found["f0_semitones"][voiced]) == pytest.approx(expected, abs=0.2)
    found_jitter = found["jitter_ratio"][voiced].mean()
    assert found_jitter == pytest.approx(true_jitter, rel=0.12, abs=5e-4)
    # With jitter a pulse's tail reaches into the next one now more, now less.
    found_shimmer = found["shimmer_ratio"][voiced].mean()
    tolerance = 0.1 * true_shimmer if shimmer else 0.02
    assert found_shimmer == pytest.approx(true_shimmer, abs=tolerance)


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0])
@pytest.mark.parametrize("f0_hz", [120.0, 310.0])
def test_the_hnr_of_a_tone_in_noise_is_its_signal_to_noise_ratio(f0_hz, snr_db, sine, noise):
    wave = sine(f0_hz, 2.0, 0.2)
    wave = wave + noise(2.0, np.sqrt(0.02) * 10 ** (-snr_db / 20))
    found = named(wave)
    voiced = found["voiced"] > 0
    assert voiced.mean() > 0.7
    assert np.median(found["hnr_db"][voiced]) == pytest.approx(snr_db, abs=1.0)


def test_a_voice_after_noise_is_told_from_it(sine, noise):
    wave = np.concatenate([noise(1.0, 0.05), sine(200.0, 1.0, 0.3) + noise(1.0, 0.003)])
    found = named(wave)
    assert not found["voiced"][:95].any()
    assert found["voiced"][105:195].all()
    assert found["voicing_probability"][105:195].mean() > 0.5
    assert found["voicing_probability"][:95].mean() < 0.1
    for name in VOICED_ONLY:
        assert not found[name][found["voiced"] == 0].any(), name


@pytest.fixture(scope="module")
def speechlike() -> np.ndarray:
    """Pulses, and noise that comes and goes."""
    wave, _, _ = pulse_train(130.0, 0.01, 0.1, seconds=0.8)
    rng = np.random.default_rng(5)
    swell = np.hanning(len(wave))
    return (wave + 0.02 * swell * rng.normal(size=len(wave))).astype(np.float32)


def scipy_magnitudes(wave: np.ndarray) -> np.ndarray:
    """``[frames, bins]``; a sine of full scale has 1."""
    window = np.hanning(402)[1:-1]
    wave = wave - wave.mean()
    # SciPy divides by the window's sum and pads by half a window at either end.
    _, _, spectra = scipy.signal.stft(wave, window=window, nperseg=400, noverlap=240, nfft=512)
    return 2 * np.abs(spectra.T)


def test_slope_and_flux_as_worked_out_from_scipys_spectra(speechlike):
    magnitudes = scipy_magnitudes(speechlike)
    found = named(speechlike)
    khz = np.arange(257) * 16 / 512
    for frame in range(len(found["flux"])):
        decibel = 10 * np.log10(magnitudes[frame] ** 2 + 1e-10)
        slope = np.polyfit(khz[1:17], decibel[1:17], 1)[0]  # 31 to 500 Hz
        assert found["slope_to_500_hz"][frame] == pytest.approx(slope, abs=1e-2)
        slope = np.polyfit(khz[17:49], decibel[17:49], 1)[0]  # 531 to 1500 Hz
        assert found["slope_500_to_1500_hz"][frame] == pytest.approx(slope, abs=1e-2)
        if frame:
            now, before = (m / np.sqrt(np.sum(m**2)) for m in magnitudes[[frame, frame - 1]])
            distance = np.sqrt(np.sum((now - before) ** 2))
            assert found["flux"][frame] == pytest.approx(distance, abs=1e-5)
    assert found["flux"][0] == 0


def test_the_slope_of_a_filter_whose_response_is_known():
    """One click through one pole: |H| = 1 / |1 - 0.9 exp(-iw)|, in the middle of a frame."""
    wave = np.zeros(4_000)
    wave[1_600:1_760] = 0.9 ** np.arange(160)
    found = named(wave)
    for name, low, high in (
        ("slope_to_500_hz", 31.25, 500),
        ("slope_500_to_1500_hz", 531.25, 1_500),
    ):
        hz = np.linspace(low, high, 200)
        decibel = -20 * np.log10(np.abs(1 - 0.9 * np.exp(-2j * np.pi * hz / RATE_HZ)))
        expected = np.polyfit(hz / 1e3, decibel, 1)[0]
        assert expected < -5
        assert found[name][10] == pytest.approx(expected, rel=0.05)


def test_flux_is_of_shape_and_not_of_loudness(sine):
    tone = sine(1_000.0, 1.0, 0.1)
    tone[8_000:] *= 4
    louder = named(tone)["flux"]
    other = named(np.concatenate([sine(1_000.0, 0.5), sine(3_000.0, 0.5)]))["flux"]
    # The step itself is a change of shape, though a smaller one.
    assert louder[10:].max() < 0.4
    assert other[47:54].max() > 0.8
    assert other[10:40].max() < 0.01
    # From silence to sound: from nothing to a vector of length 1.
    begun = named(np.concatenate([np.zeros(8_000), sine(1_000.0, 0.5)]))["flux"]
    assert begun[:45].max() == 0
    assert begun.max() == pytest.approx(1.0, abs=0.01)


def test_cepstrum_as_worked_out_with_scipy(speechlike):
    mel = librosa.filters.mel(sr=RATE_HZ, n_fft=512, n_mels=40, norm=None)
    logmel = 10 * np.log10(scipy_magnitudes(speechlike) ** 2 @ mel.T + 1e-10)
    cepstrum = scipy.fft.dct(logmel, norm="ortho")[:, :13]
    found = named(speechlike)
    frames = len(found["mfcc_0"])
    times = np.arange(-4, 5)
    for i in range(13):
        np.testing.assert_allclose(found[f"mfcc_{i}"], cepstrum[:frames, i], atol=2e-3)
        for frame in range(4, frames - 4):
            slope = np.polyfit(times, found[f"mfcc_{i}"][frame - 4 : frame + 5], 1)[0]
            assert found[f"delta_mfcc_{i}"][frame] == pytest.approx(slope, abs=2e-3)


def test_level_and_when_it_is(sine):
    assert named(sine(500.0, 1.0, 0.5))["level_db"][50] == pytest.approx(-9.03, abs=0.01)
    click = np.zeros(16_000)
    click[37 * HOP] = 0.5
    level = named(click - click.mean())["level_db"]
    # Around frame 37 in equal parts; 0.5 ** 2 / 400.
    np.testing.assert_allclose(level[[36, 37, 38]], 10 * np.log10(0.25 / 400), atol=0.1)
    assert max(level[35], level[39]) < -80


def test_what_silence_gives():
    for wave in (np.zeros(8_000), np.full(8_000, 0.2), np.zeros(0)):
        found = named(wave)
        expected = {"level_db": -100.0, "mfcc_0": -632.456}
        for name, values in found.items():
            np.testing.assert_allclose(values, expected.get(name, 0.0), atol=1e-3, err_msg=name)
        assert len(found["voiced"]) == max(1, len(wave) // HOP)


def test_what_a_codec_leaves_of_silence_is_no_voice(sine):
    assert not named(sine(200.0, 1.0, 9e-5))["voiced"].any()
    assert named(sine(200.0, 1.0, 2e-3))["voiced"][10:90].all()


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 22_050, 44_100])
def test_other_sampling_rates_hear_the_same(rate_hz):
    times = np.arange(rate_hz) / rate_hz
    wave = sum(0.2 / k * np.sin(2 * np.pi * 180.0 * k * times) for k in range(1, 6))
    found = named(wave, rate_hz)
    assert len(found["voiced"]) == pytest.approx(100, abs=1)
    expected = 12 * np.log2(180.0 / 27.5)
    assert found["f0_semitones"][50] == pytest.approx(expected, abs=0.2)
    assert found["hnr_db"][50] > 30
    assert found["jitter_ratio"][50] < 1e-3
    same = named(scipy.signal.resample(wave, RATE_HZ))
    # 25 ms are four periods and a half, not always the same ones.
    level, same_level = (x["level_db"][20:80].mean() for x in (found, same))
    assert level == pytest.approx(same_level, abs=0.1)


def test_gain_changes_level_and_nothing_of_the_voice(speechlike):
    one, half = named(speechlike), named(speechlike / 2)
    voiced = one["voiced"] > 0
    np.testing.assert_array_equal(half["voiced"] > 0, voiced)
    np.testing.assert_allclose(half["level_db"][voiced], one["level_db"][voiced] - 6.02, atol=0.01)
    for name in (*VOICED_ONLY, "flux"):
        np.testing.assert_allclose(half[name][voiced], one[name][voiced], atol=1e-3, err_msg=name)


def lengths() -> list[Callable[[], np.ndarray]]:
    rng = np.random.default_rng(0)
    square = np.sign(np.sin(2 * np.pi * 100 * np.arange(9_000) / RATE_HZ))
    return [rng.normal(0, 0.3, size) for size in (1, 159, 160, 161, 700)] + [square, square[:400]]


@pytest.mark.parametrize("wave", lengths(), ids=lambda wave: str(len(wave)))
def test_any_length_has_as_many_frames_as_hops_were_begun(wave):
    assert len(named(wave)["voiced"]) == -(-len(wave) // HOP)


def test_the_tables():
    for table in (DESCRIPTORS, EGEMAPS):
        names = [descriptor.name for descriptor in table]
        assert len(set(names)) == len(names)
        assert names[0] == "voiced"
        assert all(descriptor.unit and descriptor.meaning for descriptor in table)
        assert not table[0].voiced_only


def test_egemaps_without_opensmile(monkeypatch, sine):
    monkeypatch.setitem(sys.modules, "opensmile", None)
    prosody.require("descriptors")
    with pytest.raises(UserError, match=r"needs the package opensmile: pip install 'ser-kd\[pros"):
        prosody.require("egemaps")
    with pytest.raises(UserError, match="opensmile"):
        egemaps(sine(), RATE_HZ)


def smiled(wave: np.ndarray) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    """Ours, openSMILE's own values and their names; own = None for what is too short for it."""
    import opensmile

    smile = opensmile.Smile(
        opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.LowLevelDescriptors
    )
    own = smile.process_signal(wave, RATE_HZ).to_numpy() if len(wave) > 1_000 else None
    return egemaps(wave, RATE_HZ), own, smile.feature_names


def test_egemaps(sine, noise):
    if importlib.util.find_spec("opensmile") is None:
        pytest.skip("opensmile is not installed: pip install -e '.[prosody]'")
    wave = np.concatenate([sine(220.0, 1.0), noise(1.0, 0.01)])
    silence = np.zeros(8_000, np.float32)
    # Apart from TensorFlow, which other tests bring in: see prosody.APART.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(smiled, [wave, silence, silence[:0], wave[:10]]))
    values, own, names = results[0]
    assert [descriptor.name for descriptor in EGEMAPS[1:]] == names
    voiced = values[:, 0] > 0
    assert voiced[10:80].all()
    assert not voiced[115:].any()
    pitch = values[:, 1 + names.index("F0semitoneFrom27.5Hz_sma3nz")]
    np.testing.assert_allclose(pitch[10:80], 36.0, atol=0.1)
    for index, descriptor in enumerate(EGEMAPS[1:], start=1):
        expected = np.where(voiced | (not descriptor.voiced_only), own[:, index - 1], 0.0)
        np.testing.assert_array_equal(values[:, index], expected, err_msg=descriptor.name)
    for values, _, _ in results[1:]:
        assert len(values)
        assert np.isfinite(values).all()
        assert not values[:, [descriptor.voiced_only for descriptor in EGEMAPS]].any()
