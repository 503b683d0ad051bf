"""Changes of the sound against SciPy and libsndfile, and the limits by hand."""

import io

import numpy as np
import pytest
import soundfile
from scipy import signal

from ser_kd import metrics
from ser_kd.audio import codecs
from ser_kd.evaluation import degradations, limits, robustness

RATE_HZ = 16_000


def db(ratio_of_powers: float) -> float:
    return 10.0 * np.log10(ratio_of_powers)


def power(values: np.ndarray) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))


def power_at(waveform: np.ndarray, hz: float) -> float:
    """Of a tone, by projection; one second at least, and whole Hz."""
    times = np.arange(len(waveform)) / RATE_HZ
    return float(abs(np.mean(waveform * np.exp(-2j * np.pi * hz * times))) ** 2)


@pytest.mark.parametrize("gain_db", [-12.0, -6.0, 2.0])
def test_gain(noise, gain_db):
    clip = noise()
    louder = degradations.with_gain(clip, gain_db)
    assert louder.dtype == np.float32
    assert db(power(louder) / power(clip)) == pytest.approx(gain_db, abs=1e-4)


def test_gain_beyond_full_scale_clips_as_16_bits_do():
    clip = np.array([-0.6, -0.4, 0.0, 0.4, 0.6], np.float32)
    louder = degradations.with_gain(clip, 20.0 * np.log10(2.0))
    np.testing.assert_allclose(louder, [-1.0, -0.8, 0.0, 0.8, 32_767 / 32_768], rtol=1e-6)


@pytest.mark.parametrize("share", [0.003, 0.05])
def test_so_many_samples_are_clipped(noise, share):
    clip = noise()
    cut = degradations.clipped(clip, share)
    changed = cut != clip
    assert changed.mean() == pytest.approx(share, abs=2 / len(clip))
    level = np.abs(cut).max()
    assert np.all(np.abs(clip[changed]) > level)
    np.testing.assert_allclose(np.abs(cut[changed]), level)
    assert np.all(np.sign(cut) == np.sign(clip))


def test_crop_and_pad():
    clip = np.arange(1.0, 9.0, dtype=np.float32)
    assert degradations.cropped(clip, first_samples=3).tolist() == [4, 5, 6, 7, 8]
    assert degradations.cropped(clip, last_samples=3).tolist() == [1, 2, 3, 4, 5]
    assert degradations.cropped(clip, first_samples=99).tolist() == [8]
    assert degradations.cropped(clip, last_samples=99).tolist() == [1]
    padded = degradations.padded(clip[:2], before_samples=1, after_samples=2)
    assert (padded.tolist(), padded.dtype) == ([0, 1, 2, 0, 0], np.float32)


@pytest.mark.parametrize("snr_db", [35.0, 20.0, 5.0])
def test_the_ratio_of_signal_to_noise(sine, rng, snr_db):
    clip = sine(amplitude=0.2)
    mixed = degradations.with_noise(clip, 7.0 * rng.standard_normal(len(clip)), snr_db)
    assert mixed.dtype == np.float32
    assert db(power(clip) / power(mixed - clip)) == pytest.approx(snr_db, abs=0.01)


def test_noise_does_not_clip_but_turns_down(sine, rng):
    clip, hiss = sine(amplitude=0.99), rng.standard_normal(RATE_HZ)
    mixed = degradations.with_noise(clip, hiss, 5.0)
    assert 0.999 < np.abs(mixed).max() <= 32_767 / 32_768
    scale = 10.0 ** (-5.0 / 20.0) * np.sqrt(power(clip) / power(hiss))
    np.testing.assert_allclose(np.corrcoef(mixed, clip + scale * hiss)[0, 1], 1.0, atol=1e-6)


def test_silence_stays_silent_and_no_noise_changes_nothing(sine, rng):
    zeros = np.zeros(100, np.float32)
    assert not degradations.with_noise(zeros, rng.standard_normal(100), 5.0).any()
    np.testing.assert_array_equal(degradations.with_noise(sine(), np.zeros(RATE_HZ), 5.0), sine())


@pytest.mark.parametrize(("colour", "slope_db"), [("white", 0.0), ("pink", -3.01)])
def test_the_colour_of_noise(rng, colour, slope_db):
    """Per octave, fitted to Welch's spectrum from 60 Hz to 7 kHz."""
    samples = 60 * RATE_HZ
    make = {
        "white": lambda: degradations.white_noise(samples, rng),
        "pink": lambda: degradations.pink_noise(samples, RATE_HZ, rng),
    }
    hz, density = signal.welch(make[colour](), RATE_HZ, nperseg=8_192)
    inside = (hz > 60) & (hz < 7_000)
    octaves = np.log2(hz[inside])
    # Each octave counts the same, however many of the frequencies lie in it.
    slope, _ = np.polyfit(octaves, 10.0 * np.log10(density[inside]), 1, w=1 / np.sqrt(hz[inside]))
    assert slope == pytest.approx(slope_db, abs=0.1)


def test_pink_noise_has_no_rumble_and_any_length(rng):
    spectrum = np.abs(np.fft.rfft(degradations.pink_noise(1 << 16, RATE_HZ, rng))) ** 2
    hz = np.fft.rfftfreq(1 << 16, 1 / RATE_HZ)
    assert spectrum[hz < 20].sum() < 1e-20 * spectrum.sum()
    for samples in (1, 37, 16_001):
        noise = degradations.pink_noise(samples, RATE_HZ, rng)
        assert noise.shape == (samples,)
        assert noise.any()


@pytest.mark.parametrize(
    ("hz", "gain_db", "within_db"),
    [(100, -35, 10), (300, -3, 0.3), (1_000, 0, 0.2), (3_000, 0, 0.5), (3_400, -3, 0.5)],
)
def test_the_band_of_a_telephone(sine, hz, gain_db, within_db):
    """Butterworth: 3 dB less at the edges, next to nothing less inside."""
    clip = sine(hz=hz, seconds=2.0, amplitude=0.5)
    heard = codecs.telephone(clip, RATE_HZ)
    assert heard.shape == clip.shape
    assert heard.dtype == np.float32
    middle = slice(8_000, 24_000)
    found = db(power_at(heard[middle], hz) / power_at(clip[middle], hz))
    assert found == pytest.approx(gain_db, abs=within_db)


def test_a_telephone_has_no_mirror_image(sine):
    """5 kHz would come back as 3 kHz if the rate were halved without a filter."""
    heard = codecs.telephone(sine(hz=5_000, seconds=2.0), RATE_HZ)[8_000:24_000]
    assert db(power_at(heard, 3_000) / (0.5**2 / 4)) < -45.0


def test_mu_law_numbers_worked_out_by_hand():
    """F(0.01) = ln(1 + 2.55) / ln 256 = 0.22850; (F + 1) / 2 * 255 = 156.6."""
    samples = np.array([-2.0, -1.0, -0.01, 0.01, 1.0, 2.0])
    codes = codecs.mu_law_encoded(samples)
    assert codes.dtype == np.uint8
    assert codes.tolist() == [0, 0, 98, 157, 255, 255]
    bent = 2 * 157 / 255 - 1
    decoded = codecs.mu_law_decoded(codes)
    assert decoded[3] == pytest.approx((256**bent - 1) / 255)
    np.testing.assert_allclose(decoded, -decoded[::-1])
    np.testing.assert_array_equal(
        codecs.mu_law_encoded(codecs.mu_law_decoded(np.arange(256))), np.arange(256)
    )


def test_mu_law_against_libsndfiles_tables(rng):
    """Both round by 3 % of a sample at most (half a step), the standard along straight pieces."""
    samples = np.sign(rng.normal(size=4_000)) * np.geomspace(0.01, 0.98, 4_000)
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, format="WAV", subtype="ULAW")
    file.seek(0)
    standard, _ = soundfile.read(file)
    ours = codecs.mu_law_decoded(codecs.mu_law_encoded(samples))
    assert np.abs(ours / standard - 1.0).max() < 0.07
    errors = [db(power(samples) / power(found - samples)) for found in (ours, standard)]
    assert errors[0] == pytest.approx(errors[1], abs=1.5)
    assert errors[0] > 35.0


def test_mu_law_is_as_good_for_soft_sounds(sine):
    """8 linear bits lose 6 dB whenever the level is halved; mu-law hardly any."""
    for amplitude in (0.05, 0.8):
        clip = sine(amplitude=amplitude)
        heard = codecs.mu_law_decoded(codecs.mu_law_encoded(clip))
        assert db(power(clip) / power(heard - clip)) > 34.0
    soft = sine(amplitude=0.05)
    assert db(power(soft) / power(np.round(soft * 128) / 128 - soft)) < 27.0


@pytest.fixture
def voice(rng):
    """A buzz of 120 Hz through a formant that moves: something a speech codec is made for."""
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    buzz = signal.sawtooth(2 * np.pi * 120 * times)
    formant = np.sin(2 * np.pi * (700 + 300 * np.sin(2 * np.pi * 2 * times)) * times)
    return (0.2 * buzz * (1 + formant) / 2).astype(np.float32)


def test_opus_loses_more_with_fewer_bits(voice):
    losses = []
    for bits_per_second in (6_000, 12_000, 64_000):
        heard = codecs.opus(voice, RATE_HZ, bits_per_second)
        assert heard.shape == voice.shape
        assert heard.dtype == np.float32
        losses.append(power(heard - voice) / power(voice))
    assert 1.0 > losses[0] > losses[1] > losses[2] > 1e-6
    assert losses[2] < 0.05


def test_the_bits_of_opus(voice, monkeypatch):
    """What libsndfile writes; the rate varies, and the container takes up to 5 kbit/s."""
    sizes = []
    write = soundfile.write

    def measured(file, *arguments, **named):
        write(file, *arguments, **named)
        sizes.append(file.tell() * 8 / 2.0)

    monkeypatch.setattr(soundfile, "write", measured)
    for bits_per_second in (12_000, 32_000):
        codecs.opus(voice, RATE_HZ, bits_per_second)
        assert 0.9 * bits_per_second < sizes[-1] < bits_per_second + 5_000


def test_opus_where_it_cannot_be_had(voice, monkeypatch):
    with pytest.raises(codecs.UnavailableError):
        codecs.opus(voice, 22_050, 12_000)  # no rate of Opus

    def old_write(file, data, rate, subtype=None, endian=None, format=None, closefd=True):
        raise AssertionError("not reached")

    monkeypatch.setattr(soundfile, "write", old_write)
    with pytest.raises(codecs.UnavailableError, match=r"soundfile 0\.13"):
        codecs.opus(voice, RATE_HZ, 12_000)


# Babble: every speaker is a tone of its own, so that one hears who speaks.
TALKERS = 9


def tone_of(speaker: int, sine) -> np.ndarray:
    return sine(hz=200.0 * (speaker + 1), seconds=1.0, amplitude=0.05 * (speaker + 1))


@pytest.fixture
def babble(sine):
    speakers = [f"s{number}" for number in range(TALKERS)]
    return degradations.Babble(speakers, lambda index: tone_of(index, sine))


def test_babble_is_four_to_seven_others_all_equally_loud(babble, rng):
    seen = set()
    for own in range(TALKERS):
        mixed = babble.make(f"s{own}", 2 * RATE_HZ, rng)
        powers = np.array([power_at(mixed, 200.0 * (n + 1)) for n in range(TALKERS)])
        talking = powers > 0.01 * powers.max()
        assert not talking[own]
        assert 4 <= talking.sum() <= 7
        seen.add(int(talking.sum()))
        np.testing.assert_allclose(powers[talking], powers.max(), rtol=0.01)
    assert len(seen) > 1


def test_babble_with_two_speakers_and_with_one(sine, rng):
    two = degradations.Babble(["a", "b"], lambda index: tone_of(index, sine))
    assert two.possible
    mixed = two.make("a", RATE_HZ, rng)
    assert power_at(mixed, 400.0) > 1e6 * power_at(mixed, 200.0)
    assert not degradations.Babble(["a", "a"], lambda index: tone_of(index, sine)).possible


def test_a_silent_clip_says_nothing_in_babble(rng):
    silent = degradations.Babble(["a", "b"], lambda _: np.zeros(10, np.float32))
    assert not silent.make("a", 20, rng).any()


# Conditions.

SPEAKERS = ("a", "b", "c")


def clip_at(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    return (0.1 * rng.standard_normal(RATE_HZ)).astype(np.float32)


def all_conditions(ids=("one", "two", "three"), speakers=SPEAKERS, seed=0):
    found = robustness.conditions(RATE_HZ, ids, speakers, clip_at, seed)
    return {condition.name: condition for condition in found}


def test_what_is_asked_for_is_there():
    found = all_conditions()
    assert {condition.kind for condition in found.values()} == {
        "small", "level", "crop", "noise", "phone", "codec",
    }  # fmt: skip
    for colour in ("white", "pink", "babble"):
        for snr_db in (20, 10, 5):
            condition = found[f"{colour} noise, {snr_db} dB"]
            changed = condition.change(clip_at(0), 0)
            assert db(power(clip_at(0)) / power(changed - clip_at(0))) == pytest.approx(
                snr_db, abs=0.01
            )
            assert condition.limit == f"noise at {snr_db} dB"
    assert len(found) == 29


def test_the_changes_do_what_their_names_say():
    found, clip = all_conditions(), clip_at(0)

    def change(name: str) -> np.ndarray:
        return found[name].change(clip, 0)

    for gain_db in (-12, -6, -2, 2, 6):
        assert db(power(change(f"gain {gain_db:+d} dB")) / power(clip)) == pytest.approx(gain_db)
    assert np.mean(np.abs(change("gain +20 dB, clipped")) > 0.999) > 0.2
    np.testing.assert_array_equal(change("first 0.06 s cut off"), clip[1_000:])
    np.testing.assert_array_equal(change("last 0.06 s cut off"), clip[:-1_000])
    np.testing.assert_array_equal(change("first 5 % cut off"), clip[800:])
    np.testing.assert_array_equal(change("last 5 % cut off"), clip[:-800])
    for name, before, after in (
        ("0.06 s of silence before", 1_000, 0),
        ("0.06 s of silence after", 0, 1_000),
        ("0.25 s of silence before", 4_000, 0),
        ("0.25 s of silence after", 0, 4_000),
    ):
        np.testing.assert_array_equal(change(name), np.pad(clip, (before, after)))
    assert np.mean(change("5 % of the samples clipped") != clip) == pytest.approx(0.05, abs=1e-3)
    assert np.mean(change("0.3 % of the samples clipped") != clip) == pytest.approx(3e-3, abs=1e-3)


def test_noise_depends_on_seed_and_id_alone():
    found = all_conditions()
    turned = all_conditions(ids=("three", "two", "one"), speakers=SPEAKERS[::-1])
    other = all_conditions(seed=1)
    for name in ("white noise, 5 dB", "pink noise, 5 dB"):
        first = found[name].change(clip_at(0), 0)
        found[name].change(clip_at(1), 1)
        np.testing.assert_array_equal(found[name].change(clip_at(0), 0), first)
        np.testing.assert_array_equal(turned[name].change(clip_at(0), 2), first)
        assert not np.allclose(found[name].change(clip_at(0), 1), first)
        assert not np.allclose(other[name].change(clip_at(0), 0), first)
    babble = found["babble noise, 5 dB"].change(clip_at(0), 0)
    np.testing.assert_array_equal(
        all_conditions()["babble noise, 5 dB"].change(clip_at(0), 0), babble
    )


@pytest.mark.parametrize("colour", ["white", "pink", "babble"])
def test_a_clip_has_the_same_noise_at_every_level(colour):
    found, clip = all_conditions(), clip_at(0)
    noises = [found[f"{colour} noise, {snr} dB"].change(clip, 0) - clip for snr in (20, 5)]
    assert np.corrcoef(*noises)[0, 1] > 0.9999


@pytest.mark.parametrize(
    "clip",
    [
        np.full(1, 0.5, np.float32),
        np.zeros(8_000, np.float32),
        np.sign(np.sin(np.arange(20_000))).astype(np.float32),
    ],
    ids=["one sample", "silence", "full scale"],
)
def test_every_change_bears_every_clip(clip):
    for condition in all_conditions().values():
        try:
            changed = condition.change(clip, 0)
        except codecs.UnavailableError:
            assert condition.kind == "codec"
            continue
        assert changed.dtype == np.float32, condition.name
        assert changed.ndim == 1
        assert changed.size
        assert np.isfinite(changed).all()
        if condition.kind == "noise":
            assert np.abs(changed).max() <= 1.0


def test_there_is_no_babble_of_one_speaker():
    found = all_conditions(speakers=("a", "a", "a"))
    assert len(found) == 26
    assert not any("babble" in name for name in found)


# Scores and limits.


def test_measure():
    """A model that hears the level: above 0.3 it says 1. Six decibels more change two of four."""
    levels, truth = np.array([0.1, 0.2, 0.25, 0.6]), np.array([0, 0, 1, 1])

    def predict(waveforms):
        loud = np.array([np.abs(waveform).mean() > 0.3 for waveform in waveforms])
        return np.stack([~loud, loud], axis=1).astype(np.float32)

    clips = [np.full(10, level, np.float32) for level in levels]
    clean = predict(clips).argmax(1)
    assert metrics.scores(truth, clean)["ua"] == 0.75
    louder = robustness.Condition(
        "louder", "level", lambda clip, _: degradations.with_gain(clip, 6.0), "none"
    )
    assert robustness.measure(louder, clips, predict, truth, clean) == {
        "name": "louder",
        "kind": "level",
        "limit": "none",
        "ua": 0.75,  # the second is wrong now, the third right
        "ua_drop": 0.0,
        "unchanged": 0.5,
    }


def result(name: str, limit: str, ua_drop: float, unchanged: float) -> dict[str, object]:
    return {"name": name, "limit": limit, "ua_drop": ua_drop, "unchanged": unchanged}


def test_limits():
    found = limits.judged(
        [
            result("white noise, 20 dB", "noise at 20 dB", 0.01, 0.95),
            result("babble noise, 20 dB", "noise at 20 dB", 0.05, 0.899),
            result("white noise, 5 dB", "noise at 5 dB", 0.3, 0.4),
            result("line", "telephone", -0.02, 0.5),
            result("gain", "small changes", 0.2, 0.96),
            result("crop", "small changes", 0.0, 0.94),
            result("codec", "", 0.5, 0.1),
        ]
    )
    assert [
        (g["name"], g["bound"], g["limit"], g["worst"], g["condition"], g["met"], g["published"])
        for g in found
    ] == [
        ("noise at 20 dB: drop of UA", "at most", 0.05, 0.05, "babble noise, 20 dB", True, True),
        (
            "noise at 20 dB: labels unchanged", "at least", 0.9, 0.899, "babble noise, 20 dB",
            False, True,
        ),
        ("noise at 5 dB: drop of UA", "at most", 0.05, 0.3, "white noise, 5 dB", False, False),
        (
            "noise at 5 dB: labels unchanged", "at least", 0.9, 0.4, "white noise, 5 dB", False,
            False,
        ),
        ("telephone: drop of UA", "at most", 0.05, -0.02, "line", True, True),
        ("telephone: labels unchanged", "at least", 0.5, 0.5, "line", True, True),
        ("small changes: labels unchanged", "at least", 0.95, 0.94, "crop", False, True),
    ]  # fmt: skip
    assert limits.judged([]) == []


def test_limits_of_the_sexes():
    """All .60: women .65 (.05 away), men .52 (.08 away): .13 between them."""
    assert limits.judged_sexes(0.6, {"female": 0.65}) == []
    away, between = limits.judged_sexes(0.6, {"female": 0.65, "male": 0.52})
    assert (away["condition"], away["met"], away["published"]) == ("male", False, True)
    assert away["worst"] == pytest.approx(0.08)
    assert (between["condition"], between["published"]) == ("male below female", False)
    assert between["worst"] == pytest.approx(0.13)
    away, between = limits.judged_sexes(0.6, {"female": 0.64, "male": 0.56})
    assert (away["met"], between["met"]) == (True, False)
