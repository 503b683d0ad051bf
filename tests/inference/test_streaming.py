"""The gate on made-up sounds, the windows of a stream, the command line."""

import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import lfilter
from voice_maker import LABELS, RATE_HZ, at, loudness, voice

from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.commands.main import main
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Predictor
from ser_kd.inference.streaming import Streamer, Update, line
from ser_kd.students.frontend import Frontend

GATE = VoiceActivityDetector()


@dataclass(frozen=True)
class Window:
    sample_rate_hz: int = RATE_HZ
    window_samples: int = 3 * RATE_HZ


def noise(slope: float, rng: np.random.Generator, seconds: float = 3.0) -> np.ndarray:
    """Its power falls with frequency to the power of ``slope``."""
    bins = round(seconds * RATE_HZ) // 2 + 1
    spectrum = rng.normal(size=bins) + 1j * rng.normal(size=bins)
    hz = np.maximum(np.arange(bins) / seconds, 20)
    return np.fft.irfft(spectrum * hz ** (-slope / 2))


def hum(hz: float, rng: np.random.Generator) -> np.ndarray:
    times = np.arange(3 * RATE_HZ) / RATE_HZ
    parts = [rng.normal() / k * np.sin(2 * np.pi * hz * k * times + k) for k in range(1, 20)]
    return np.sum(parts, axis=0)


# --- the gate -------------------------------------------------------------------------------------


@pytest.mark.parametrize("level_dbfs", [-12, -30, -45])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_speech_passes_at_any_level_and_rate(level_dbfs, rate_hz):
    for seed in range(3):
        speech = at(level_dbfs, voice(rate_hz=rate_hz, seed=seed))
        assert GATE.speech_share(speech, rate_hz) > 0.4


def test_speech_in_noise_passes(rng):
    for seed in range(5):
        speech = voice(seed=seed) + at(-30, rng.normal(size=3 * RATE_HZ))
        assert GATE.speech_share(speech, RATE_HZ) > 0.2


@pytest.mark.skipif(
    importlib.util.find_spec("espeakng_loader") is None, reason="needs pip install '.[demo]'"
)
def test_synthetic_voices_pass(rng):
    from ser_kd.corpora.crema_d import SENTENCES
    from ser_kd.corpora.demo.espeak import Espeak
    from ser_kd.corpora.demo.voices import FIRST_SPEAKER, draw_speaker

    speakers = [draw_speaker(FIRST_SPEAKER + number, seed=0) for number in range(4)]
    with Espeak(speakers) as espeak:
        for speaker, text in zip(speakers, SENTENCES.values(), strict=False):
            speech = espeak.say(text, speaker.voice, 50, 50, 175)
            for level_dbfs in (-12, -30):
                heard = at(level_dbfs, speech)
                assert GATE.speech_share(heard, espeak.sample_rate_hz) > 0.3
            heard = at(-20, speech) + at(-30, rng.normal(size=len(speech)))
            assert GATE.speech_share(heard, espeak.sample_rate_hz) > 0.2


@pytest.mark.parametrize("level_dbfs", [-70, -40, -10])
def test_noise_hum_and_tones_are_no_speech(rng, sine, level_dbfs):
    sounds = [noise(slope, rng) for slope in (0, 1, 2) for _ in range(5)]
    sounds += [hum(hz, rng) for hz in (50, 60, 100, 120)]
    sounds += [sine(hz, 3.0) for hz in (60, 110, 220, 440, 1_000, 3_000)]
    for sound in sounds:
        assert GATE.speech_share(at(level_dbfs, sound), RATE_HZ) < GATE.min_share
        # Setting in halfway: change by itself is no speech, either.
        sound[: len(sound) // 2] = 0
        assert GATE.speech_share(at(level_dbfs, sound), RATE_HZ) < GATE.min_share


def test_silence_and_clicks_are_no_speech(rng):
    silence = np.zeros(3 * RATE_HZ, np.float32)
    click = silence.copy()
    click[20_000] = 1.0
    ring = lfilter([1], [1, -1.9, 0.99], click).astype(np.float32)
    for sound in (silence, silence + 0.5, click, at(-20, ring), silence[:0], silence[:999]):
        assert GATE.speech_share(sound, RATE_HZ) == 0


def test_share_is_that_of_the_speech():
    """A second of voice in three seconds; 0.1 s on either side count as well."""
    sound = np.zeros(3 * RATE_HZ, np.float32)
    sound[RATE_HZ : 2 * RATE_HZ] = voice(1.0)
    assert GATE.speech_share(sound, RATE_HZ) == pytest.approx(1 / 3, abs=0.1)
    assert VoiceActivityDetector(floor_dbfs=0.0).speech_share(sound, RATE_HZ) == 0


# --- the stream -----------------------------------------------------------------------------------


def updates_of(sound: np.ndarray, chunks: list[int] | None = None, **options) -> list[Update]:
    streamer = Streamer(loudness, LABELS, Window(), **options)
    updates = []
    for chunk in np.split(sound, np.cumsum(chunks or [])):
        updates += streamer.push(chunk)
    return updates + streamer.finish()


def fields(updates: list[Update]) -> list[tuple]:
    return [
        (u.time_seconds, u.label, None if u.probs is None else u.probs.tolist(), u.speech_share)
        for u in updates
    ]


def test_chunks_do_not_matter(rng):
    sound = np.concatenate([voice(4.0), np.zeros(4 * RATE_HZ, np.float32), voice(1.3, seed=1)])
    expected = fields(updates_of(sound))
    assert {label for _, label, _, _ in expected} == {None, "soft"}
    for largest in (1_000, 20_000):
        chunks = rng.integers(0, largest, size=40).tolist()
        assert fields(updates_of(sound, chunks)) == expected
    assert fields(updates_of(sound[:30_000], [1] * 300)) == fields(updates_of(sound[:30_000]))


def test_times():
    """Every 0.5 s from 1 s on, and the end."""
    times = [update.time_seconds for update in updates_of(voice(2.7))]
    assert times == [1.0, 1.5, 2.0, 2.5, 2.7]
    assert [update.time_seconds for update in updates_of(voice(2.0))] == [1.0, 1.5, 2.0]
    assert [update.time_seconds for update in updates_of(voice(0.4))] == [0.4]
    assert updates_of(voice(0.4)[:0]) == []
    short = Streamer(loudness, LABELS, Window(window_samples=4_000), hop_seconds=0.25)
    assert [update.time_seconds for update in short.push(voice(1.0))] == [0.25, 0.5, 0.75, 1.0]
    assert short.finish() == []


def test_windows_are_the_latest_audio():
    asked = []

    def remember(windows):
        asked.append(windows.copy())
        return loudness(windows)

    sound = voice(5.2)
    streamer = Streamer(remember, LABELS, Window())
    streamer.push(sound)
    streamer.finish()
    ends = [*range(16_000, 83_200, 8_000), 83_200]
    assert [window.shape for window in asked] == [(1, 48_000)] * len(ends)
    for window, end in zip(asked, ends, strict=True):
        heard = sound[max(0, end - 48_000) : end]
        np.testing.assert_allclose(window[0, : len(heard)], heard, atol=2**-16)
        assert not window[0, len(heard) :].any()


def test_a_short_clip_ends_with_its_prediction():
    frontend = Frontend(RATE_HZ, 48_000, 16_000, 512, 320, 64, 60.0, 7_800.0, -80.0, 149)
    predictor = Predictor(loudness, LABELS, frontend)
    clip = voice(2.2)
    last = updates_of(clip, smoothing_seconds=0.0)[-1]
    np.testing.assert_array_equal(last.probs, predictor.predict_waveform(clip))


def test_smoothing_is_exponential_and_forgets_after_a_pause():
    speech = np.concatenate([voice(2.0), 0.3 * voice(2.1, seed=1)])
    sound = np.concatenate([speech, np.zeros(4 * RATE_HZ, np.float32), voice(2.0, seed=2)])
    raw = updates_of(sound, smoothing_seconds=0.0)
    smooth = updates_of(sound, smoothing_seconds=0.8)
    state, time = None, 0.0
    for bare, found in zip(raw, smooth, strict=True):
        assert (found.label is None) == (bare.label is None) == (found.speech_share < 0.1)
        if bare.probs is None:
            state = None
            assert found.probs is None
            continue
        kept = 0.0 if state is None else np.exp((time - bare.time_seconds) / 0.8)
        state = bare.probs if state is None else kept * state + (1 - kept) * bare.probs
        time = bare.time_seconds
        np.testing.assert_allclose(found.probs, state, atol=1e-6)
        assert found.label == LABELS[found.probs.argmax()]
    assert [bare.label for bare in raw].count(None) in range(1, 5)


def test_without_speech_the_model_rests(rng):
    def fail(windows):
        raise AssertionError("asked")

    streamer = Streamer(fail, LABELS, Window())
    updates = streamer.push(at(-30, rng.normal(size=5 * RATE_HZ)))
    assert [update.label for update in updates] == [None] * 9
    eager = Streamer(loudness, LABELS, Window(), detector=VoiceActivityDetector(min_share=0.0))
    assert eager.push(np.zeros(RATE_HZ, np.float32))[0].label == "soft"


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        (np.zeros((4, 2), np.float32), ValueError, r"float32 \[4, 2\]"),
        (np.zeros(4, np.int16), ValueError, r"int16 \[4\]"),
        (np.array([0, np.nan], np.float32), UserError, "not finite"),
    ],
)
def test_wrong_samples(samples, error, message):
    with pytest.raises(error, match=message):
        Streamer(loudness, LABELS, Window()).push(samples)


@pytest.mark.parametrize("options", [{"hop_seconds": 0.0}, {"smoothing_seconds": -1.0}])
def test_wrong_times(options):
    with pytest.raises(ValueError, match=r"_seconds = "):
        Streamer(loudness, LABELS, Window(), **options)


def test_lines():
    update = Update(2.5, "loud", np.array([0.75, 0.25], np.float32), 0.5)
    assert line(update, LABELS) == "   2.5 s  loud 0.75   [loud 0.75  soft 0.25]"
    assert line(Update(3.0, None, None, 0.0), LABELS, file="a.wav") == "a.wav:    3.0 s  no speech"
    assert json.loads(line(update, LABELS, as_json=True)) == {
        "time_seconds": 2.5,
        "label": "loud",
        "probability": 0.75,
        "probabilities": {"loud": 0.75, "soft": 0.25},
        "speech_share": 0.5,
    }


# --- the command line -----------------------------------------------------------------------------


def ask(capsys, *arguments: object) -> tuple[int, list[str], str]:
    status = main(["predict", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.strip().splitlines(), err


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    from export_maker import exported_run  # TensorFlow is not needed by the tests above

    return exported_run(tmp_path_factory)[0].export_dir / "student_waveform.tflite"


@pytest.fixture
def talk(tmp_path) -> Path:
    """A second of silence, two of speech, two and a bit of silence."""
    silence = np.zeros(RATE_HZ, np.float32)
    path = tmp_path / "talk.wav"
    soundfile.write(path, np.concatenate([silence, voice(2.0), silence, silence[:9_600]]), RATE_HZ)
    return path


def test_stream_command(model, talk, capsys):
    status, lines, err = ask(capsys, "--stream", talk, model)
    assert (status, err) == (0, "")
    assert len(lines) == 9
    assert lines[0] == f"{talk}:    1.0 s  no speech"
    assert re.search(r":    2\.0 s  (angry|calm|sad) [01]\.\d\d   \[angry ", lines[2])

    status, lines, err = ask(capsys, "--stream", "--json", model, "absent.wav", talk)
    assert status == 1
    assert "error: absent.wav: no such file" in err
    records = [json.loads(text) for text in lines]
    assert [record["time_seconds"] for record in records] == [
        *np.arange(1.0, 4.6, 0.5).tolist(),
        4.6,
    ]
    assert records[0]["label"] is records[0]["probabilities"] is None
    assert records[2]["probability"] == max(records[2]["probabilities"].values())
    assert {record["file"] for record in records} == {str(talk)}


def test_keras_models_stream(model, talk, capsys):
    expected = ask(capsys, "--stream", "--json", model, talk)[1]
    student = model.parents[1] / "student.keras"
    status, lines, _ = ask(capsys, "--stream", "--json", student, talk)
    assert status == 0
    for ours, theirs in zip(map(json.loads, expected), map(json.loads, lines), strict=True):
        if ours["probabilities"] is None:
            assert theirs["probabilities"] is None
        else:
            assert ours["probabilities"] == pytest.approx(theirs["probabilities"], abs=0.1)


def test_streaming_never_loads_tensorflow(model, talk):
    program = """
import sys
sys.modules["tensorflow"] = None
from ser_kd.commands.main import main
sys.exit(main(["predict", "--stream", *sys.argv[1:]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(talk), str(model)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "talk.wav:    2.0 s  " in done.stdout
