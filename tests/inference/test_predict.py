"""Prediction: formats, lengths, models, the command line."""

import csv
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from export_maker import EMOTIONS, exported_run

from ser_kd.audio.windows import Windowing
from ser_kd.commands.main import main
from ser_kd.data.targets import softmax
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Predictor, default_model
from ser_kd.students.saved import load_keras


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return exported_run(tmp_path_factory)[0]


@pytest.fixture(scope="module")
def int8(run):
    return run.export_dir / "student_int8.tflite"


def tone(seconds: float, rate_hz: int = 16_000, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * 220 * times) * (1.0 + np.sin(2 * np.pi * 3 * times)) / 2
    return np.stack([wave] * channels, axis=1)


def vowels(seconds: float, rate_hz: int = 16_000) -> np.ndarray:
    """Harmonics under a formant that moves: speech to the voice activity detector."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    pitch_hz = 140 + 20 * np.sin(2 * np.pi * 2 * times)
    formant_hz = 1_200 + 900 * np.sin(2 * np.pi * 3 * times)
    phase = 2 * np.pi * np.cumsum(pitch_hz) / rate_hz
    numbers = np.arange(1, 25)[:, None]
    gains = np.exp(-(((numbers * pitch_hz - formant_hz) / 300) ** 2)) + 0.05
    return 0.05 * (gains * np.sin(numbers * phase)).sum(axis=0)


def ask(capsys, *arguments: object) -> tuple[int, list[str], str]:
    status = main(["predict", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.strip().splitlines(), err


def test_the_same_as_in_evaluation(run, tmp_path_factory):
    """Every clip, window by window, against the path that training's scores take."""
    run_data = exported_run(tmp_path_factory)[1]
    model = load_keras(run.student_path)
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    predictor = Predictor.load(run.student_path)
    temperature = predictor.frontend.temperature
    expected = LogMelPredictor(model, windowing, temperature).predict(run_data.logmel)[0]
    for clip in run_data.corpus.clips[::5]:
        probs = predictor.predict_file(clip.path)
        row = run_data.logmel.ids.index(clip.id)
        np.testing.assert_allclose(probs, expected[row], atol=1e-5)
        assert probs.sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_formats(int8, tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, tone(1.5, 44_100, 2), 44_100)
    predictor = Predictor.load(int8)
    expected = predictor.predict_waveform(tone(1.5)[:, 0].astype(np.float32))
    np.testing.assert_allclose(predictor.predict_file(path), expected, atol=0.1)


@pytest.mark.parametrize("seconds", [0.02, 0.999, 1.0, 1.001, 61.0])
def test_lengths(int8, tmp_path, seconds):
    path = tmp_path / "clip.wav"
    soundfile.write(path, tone(seconds), 16_000)
    prediction = Predictor.load(int8).predict(path)
    assert prediction.seconds == pytest.approx(seconds)
    assert prediction.probabilities.shape == (len(EMOTIONS),)
    assert prediction.probabilities.sum() == pytest.approx(1.0, abs=1e-5)


def test_windows_of_a_long_clip_are_averaged(run):
    """A second of one sound, then one of another: the mean of windows at 0, 0.5 and 1 s."""
    predictor = Predictor.load(run.export_dir / "student_float32.tflite")
    clip = np.concatenate([tone(1.0)[:, 0], 0.1 * np.random.default_rng(0).normal(size=16_000)])
    clip = clip.astype(np.float32)
    parts = []
    for start in (0, 8_000, 16_000):
        parts.append(predictor.predict_waveform(clip[start : start + 16_000]))
    np.testing.assert_allclose(predictor.predict_waveform(clip), np.mean(parts, 0), atol=0.02)


def test_softmax():
    logits = np.array([[1000.0, 1000.0], [0.0, np.log(3.0)]])
    np.testing.assert_allclose(softmax(logits), [[0.5, 0.5], [0.25, 0.75]])


def test_command_line(int8, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", vowels(0.5), 16_000)
    soundfile.write(tmp_path / "silent.flac", np.zeros(8_000), 16_000)
    (tmp_path / "bad.mp3").write_bytes(b"no audio")
    files = [tmp_path / name for name in ("a.wav", "bad.mp3", "absent.wav", "silent.flac")]

    status, lines, err = ask(capsys, int8, files[0])
    assert status == 0
    assert len(lines) == 1
    assert all(re.search(rf"\b{name} [01]\.\d\d", lines[0]) for name in EMOTIONS)
    assert not err.count("error")

    status, lines, err = ask(capsys, int8, *files, "--json")
    assert status == 1
    records = [json.loads(line) for line in lines]
    assert [Path(record["file"]).name for record in records] == ["a.wav", "silent.flac"]
    assert [record["silent"] for record in records] == [False, True]
    assert records[0]["label"] == max(
        records[0]["probabilities"], key=records[0]["probabilities"].get
    )
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "bad.mp3: not readable as audio" in errors[0]
    assert "absent.wav: no such file" in errors[1]
    assert "silent.flac is silent" in err
    assert "2 of 4 files could not be read" in err


def test_the_pretrained_student_is_the_default(tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, vowels(0.5), 16_000)
    monkeypatch.chdir(tmp_path)
    status, lines, err = ask(capsys, path)
    assert (status, len(lines)) == (0, 1)
    assert "pretrained/student_waveform.tflite" in err
    assert re.search(r"\[ANG .* DIS .* FEA .* HAP .* NEU .* SAD .*\]", lines[0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{int8}"], "which audio files?"),
        (["absent.tflite", "a.wav"], "absent.tflite: no such model"),
        (["empty.tflite", "a.wav"], "the file is empty"),
        (["cut.tflite", "a.wav"], "truncated or damaged"),
        (["cut.keras", "a.wav"], "is damaged or no Keras model"),
        (["hollow"], "hollow holds neither audio nor a model"),
        (["nobody/lonely.tflite", "a.wav"], "labels.txt and frontend.json are needed"),
        (["nobody/lonely.keras", "a.wav"], "labels.txt and frontend.json are needed"),
        (["nobody/cut.tflite", "a.wav"], "truncated or damaged"),
        (["nobody/cut.keras", "a.wav"], "is damaged or no Keras model"),
        (["nobody/half.tflite", "a.wav"], "truncated or damaged"),
        (["nobody/without_end.tflite", "a.wav"], "truncated or damaged"),
    ],
)
def test_bad_models(run, int8, tmp_path, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", tone(0.5), 16_000)
    for name in ("labels.txt", "frontend.json"):
        shutil.copy(run.export_dir / name, name)
    content = int8.read_bytes()
    Path("empty.tflite").touch()
    Path("cut.tflite").write_bytes(content[: len(content) // 2])
    Path("cut.keras").write_bytes(run.student_path.read_bytes()[:9_000])
    Path("nobody").mkdir()
    Path("hollow").mkdir()
    Path("nobody/lonely.tflite").write_bytes(content)
    shutil.copy(run.student_path, "nobody/lonely.keras")
    for name in ("cut.tflite", "cut.keras"):
        shutil.copy(name, "nobody")
    waveform = default_model().read_bytes()
    Path("nobody/half.tflite").write_bytes(waveform[: len(waveform) // 2])
    Path("nobody/without_end.tflite").write_bytes(waveform[:-40])
    status, lines, err = ask(capsys, *(argument.format(int8=int8) for argument in arguments))
    assert (status, lines) == (2, [])
    assert len(err.strip().splitlines()) == 1
    assert message in err


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("labels.txt", lambda text: text + "extra\n", "does not fit"),
        ("frontend.json", lambda text: text.replace('"mels": 32', '"mels": 40'), "does not fit"),
        ("frontend.json", lambda text: text.replace('"frames"', '"framez"'), "KeyError: 'frames'"),
        ("frontend.json", lambda text: text[:30], "JSONDecodeError"),
        ("frontend.json", lambda text: text.replace(": 16000", ": 15000"), "but a window has"),
    ],
)
def test_front_end_that_does_not_fit(run, int8, tmp_path, name, change, message):
    for file in (int8, run.export_dir / "labels.txt", run.export_dir / "frontend.json"):
        shutil.copy(file, tmp_path)
    (tmp_path / name).write_text(change((tmp_path / name).read_text()))
    with pytest.raises(UserError, match=message):
        Predictor.load(tmp_path / int8.name)


def test_folders_patterns_and_standard_input(int8, tmp_path, capsys, monkeypatch):
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("a.wav", "b.wav", "c.flac"):
        soundfile.write(clips / name, tone(1.0), 16_000)
    (clips / "notes.txt").write_text("no audio")

    def files(*arguments: object) -> list[str]:
        status, lines, _ = ask(capsys, "--json", *arguments)
        assert status == 0
        return [Path(json.loads(line)["file"]).name for line in lines]

    assert files(int8, clips) == ["a.wav", "b.wav", "c.flac"]
    assert files(clips, "--model", int8) == ["a.wav", "b.wav", "c.flac"]
    assert files("--model", int8.parent, clips / "*.wav") == ["a.wav", "b.wav"]
    with (clips / "a.wav").open("rb") as sound:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=sound))
        assert files("--model", int8, "-") == ["-"]
    status, _, err = ask(capsys, "--model", int8, clips / "*.ogg")
    assert status == 1
    assert "*.ogg: no such file" in err
    status, _, err = ask(capsys, "--model", tmp_path / "none.tflite", clips)
    assert status == 2
    assert "none.tflite: no such model" in err


@pytest.mark.parametrize("first", ["model", "clip", "option"])
def test_options_stand_anywhere(int8, tmp_path, capsys, first):
    soundfile.write(tmp_path / "a.wav", vowels(0.5), 16_000)
    clip = tmp_path / "a.wav"
    orders = {
        "model": [int8, "--json", clip],
        "clip": [clip, "--json", clip, int8],
        "option": ["--json", int8, "--timeline", clip],
    }
    status, lines, _ = ask(capsys, *orders[first])
    assert status == 0
    assert {json.loads(line)["file"] for line in lines} == {str(clip)}


def test_a_timeline_has_every_window_and_csv_and_json_agree(tmp_path, capsys):
    wave = np.concatenate([vowels(4.0), 0.1 * np.random.default_rng(0).standard_normal(64_000)])
    path = tmp_path / "a, long.wav"
    soundfile.write(path, wave, 16_000)
    rows = list(csv.DictReader(ask(capsys, path, "--timeline", "--csv")[1]))
    records = [json.loads(line) for line in ask(capsys, path, "--timeline", "--json")[1]]
    assert [float(row["start_seconds"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    predictor = Predictor.load(default_model())
    samples = soundfile.read(path, dtype="float32")[0]
    for second, (row, record) in enumerate(zip(rows, records, strict=True)):
        window = samples[16_000 * second : 16_000 * (second + 3)]
        expected = predictor.predict_waveform(window)
        values = [float(row[f"p_{label}"]) for label in predictor.labels]
        np.testing.assert_allclose(values, expected, atol=6e-5)
        assert list(record["probabilities"].values()) == values
        assert row["file"] == record["file"] == str(path)
        assert row["speech"] == str(record["speech"]).lower() == str(second < 4).lower()
        assert row["label"] == (record["label"] or "")
    text = ask(capsys, path, "--timeline")[1]
    assert text[-1].endswith("5.0-8.0 s  no speech")


def test_the_bundled_sample(capsys):
    status, lines, _ = ask(capsys, "--sample", "--json", "--timeline")
    assert status == 0
    labels = [json.loads(line)["label"] for line in lines]
    assert labels[0] == "ANG"
    assert labels[-1] in ("SAD", "NEU")
    for arguments in ([], ["--sample", "--stream", "--csv"]):
        assert ask(capsys, *arguments)[0] == 2


def test_noise_is_no_speech_and_labels_are_in_words(tmp_path, capsys):
    noise = 0.1 * np.random.default_rng(0).standard_normal(32_000)
    soundfile.write(tmp_path / "noise.wav", noise, 16_000)
    soundfile.write(tmp_path / "voice.wav", vowels(2.0), 16_000)
    lines = ask(capsys, tmp_path)[1]
    assert lines[0].endswith("noise.wav: no speech")
    assert re.search(r"voice.wav: (ANG anger|DIS disgust|FEA fear|HAP happiness|NEU|SAD)", lines[1])
    noise_row, voice_row = map(json.loads, ask(capsys, "--json", tmp_path)[1])
    assert noise_row["label"] is None
    assert noise_row["probability"] is None
    assert not noise_row["speech"]
    assert voice_row["label"] in voice_row["probabilities"]
    assert voice_row["speech"]
