"""Listening with a microphone that is made up: its errors, its chunks, its end."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from voice_maker import LABELS, loudness, voice

from ser_kd.commands import listen
from ser_kd.commands.main import main
from ser_kd.inference import microphone as microphone_module
from ser_kd.inference import microphone as recording
from ser_kd.inference.predictor import Predictor
from ser_kd.students.frontend import Corpus, Frontend

ROOT = Path(__file__).parents[2]
FRONTEND = Frontend(16_000, 48_000, 16_000, 512, 320, 64, 60.0, 7_800.0, -80.0, 149)


class FakeSoundDevice(types.ModuleType):
    """What is used of ``sounddevice``, with a sound instead of a microphone.

    The sound arrives in chunks of 0.1 s while the stream is being opened; then the stream stops.
    """

    class PortAudioError(Exception):
        pass

    def __init__(self, sound: np.ndarray, rate_hz: int = 16_000) -> None:
        super().__init__("sounddevice")
        # [samples] or [samples, channels]
        self.sound = sound if sound.ndim == 2 else sound[:, np.newaxis]
        self.rate_hz, self.most_channels = rate_hz, self.sound.shape[1]
        self.opens_with = {self.sound.shape[1]}
        self.overflows: set[int] = set()
        self.opening_fails = False
        self.closed = 0

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return "> 0 Fake, ALSA (1 in, 0 out)"
        if device is None and not len(self.sound):
            raise self.PortAudioError("Error querying device -1")
        if device not in (None, 0, "Fake"):
            raise ValueError(f"No input device matching {device!r}")
        return {
            "name": "Fake",
            "default_samplerate": float(self.rate_hz),
            "max_input_channels": self.most_channels,
        }

    def check_input_settings(self, device, channels, dtype, samplerate):
        assert dtype == "float32"
        if samplerate != self.rate_hz:
            raise self.PortAudioError("Invalid sample rate")
        if channels not in self.opens_with:
            raise self.PortAudioError("Invalid number of channels")

    def InputStream(self, **settings):
        return FakeStream(self, **settings)


class FakeStream:
    def __init__(self, fake, samplerate, device, channels, dtype, callback, finished_callback):
        self.fake, self.hear, self.finished = fake, callback, finished_callback
        assert (samplerate, dtype) == (fake.rate_hz, "float32")
        assert channels in fake.opens_with
        self.channels = channels

    def __enter__(self):
        if self.fake.opening_fails:
            raise self.fake.PortAudioError("Device unavailable")
        count = self.fake.rate_hz // 10
        buffer = np.empty((count, self.channels), np.float32)  # one for all, as PortAudio's
        for number in range(len(self.fake.sound) // count):
            buffer[:] = self.fake.sound[number * count :][:count, : self.channels]
            status = types.SimpleNamespace(input_overflow=number in self.fake.overflows)
            self.hear(buffer, count, None, status)
        self.finished()
        return self

    active = True

    def __exit__(self, *_):
        self.fake.closed += 1


@pytest.fixture
def microphone(monkeypatch):
    """Installs a microphone, and a model that says how loud it is."""

    def install(sound: np.ndarray, rate_hz: int = 16_000) -> FakeSoundDevice:
        fake = FakeSoundDevice(sound, rate_hz)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        # The fake's sound comes all at once, a microphone's as time goes.
        monkeypatch.setattr(microphone_module, "_LONGEST_WAIT_SECONDS", 1_000.0)
        monkeypatch.setattr(
            Predictor, "load", classmethod(lambda cls, path: cls(loudness, LABELS, FRONTEND))
        )
        return fake

    return install


def ask(capsys, *arguments: str) -> tuple[int, list[str], list[str]]:
    status = main(["listen", *arguments])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


@pytest.fixture
def ctrl_c(monkeypatch):
    """Interrupts once so many lines were printed."""

    def after(lines: int) -> None:
        left = iter(range(lines - 1, -1, -1))

        def say(text: str) -> None:
            print(text)
            if not next(left):
                raise KeyboardInterrupt

        monkeypatch.setattr(listen, "say", say)

    return after


def test_updates_until_ctrl_c(microphone, ctrl_c, capsys):
    fake = microphone(np.concatenate([voice(2.0), np.zeros(5 * 16_000, np.float32)]))
    ctrl_c(10)
    status, lines, err = ask(capsys, "a.tflite", "--json")
    assert status == 0
    records = [json.loads(line) for line in lines]
    assert [record["time_seconds"] for record in records] == np.arange(1, 6, 0.5).tolist()
    assert [record["label"] for record in records][:3] == ["soft"] * 3
    assert records[-1]["label"] is None
    assert err == ["listening to Fake at 16000 Hz; Ctrl-C ends", "", "stopped after 5.5 s"]
    assert fake.closed == 1


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_another_rate_is_resampled(microphone, ctrl_c, capsys, rate_hz):
    microphone(voice(5.0, rate_hz=rate_hz), rate_hz)
    ctrl_c(5)
    status, lines, err = ask(capsys, "--device", "0", "a.tflite")
    assert status == 0
    assert lines[4].startswith("   3.0 s  soft 0.9")
    assert err[0] == f"listening to Fake at {rate_hz} Hz; Ctrl-C ends"


def test_a_chunk_wise_resampler_is_a_resampler():
    import soxr

    sound = voice(1.0, rate_hz=44_100)
    resample = recording.resampler(44_100, 16_000)
    parts = np.concatenate([resample(chunk) for chunk in np.split(sound, range(441, 44_100, 441))])
    assert 15_000 < len(parts) < 16_000
    whole = soxr.resample(sound, 44_100, 16_000)
    np.testing.assert_allclose(parts, whole[: len(parts)], atol=1e-3)


def test_it_learns_a_voice(microphone, ctrl_c, capsys, monkeypatch, tmp_path):
    microphone(voice(7.0))
    asked = []

    def predict_windows(windows, voice):
        asked.append(voice[0][0])
        return loudness(windows)

    corpus = Corpus(np.zeros(64, np.float32), np.ones(64, np.float32))
    adaptation = types.SimpleNamespace(
        corpus=corpus,
        predict_windows=predict_windows,
        sums=lambda _: (1.0, np.full(64, 3.0), np.full(64, 9.0)),
    )
    monkeypatch.setattr(
        Predictor, "load", classmethod(lambda cls, _: cls(loudness, LABELS, FRONTEND, adaptation))
    )
    path = tmp_path / "voice.json"
    ctrl_c(13)
    status, lines, err = ask(capsys, "a.tflite", "--voice", str(path))
    assert (status, len(lines)) == (0, 13)
    assert err[0] == f"voice: 0 clips known; to forget them, delete {path}"
    # From 0 to 3 s and from 3 to 6 s; an answer at 1.0, 1.5, ... 7.0 s.
    assert err[-1] == f"voice: 2 clips known; to forget them, delete {path}"
    # By hand: one clip, then two, of mean 3 against a corpus of mean 0 that counts as eight.
    np.testing.assert_allclose(asked, [0.0] * 5 + [3.0 / 9] * 6 + [6.0 / 10] * 2, rtol=1e-6)


def test_a_model_that_cannot_be_adapted_says_so(microphone, capsys, tmp_path):
    microphone(voice(1.0))
    path = tmp_path / "voice.json"
    status, lines, err = ask(capsys, "a.tflite", "--voice", str(path))
    assert (status, lines, path.exists()) == (2, [], False)
    assert err[0].startswith("error: a.tflite cannot be adapted to a voice: it has no signature")


def test_lost_sound_is_said_once_and_counted(microphone, ctrl_c, capsys):
    microphone(voice(3.0)).overflows = {3, 7}
    ctrl_c(2)
    status, _, err = ask(capsys, "a.tflite")
    assert status == 0
    assert [line for line in err if "lost" in line] == [
        "warning: sound was lost: the machine is busy",
        "stopped after 1.5 s; sound was lost 2 times",
    ]


@pytest.mark.parametrize("dead", [0, 1, 3])
def test_a_dead_channel_does_not_matter(microphone, ctrl_c, capsys, dead):
    sound = np.concatenate([voice(2.0), np.zeros(2 * 16_000, np.float32)])
    microphone(sound)
    ctrl_c(4)
    expected = ask(capsys, "a.tflite")[1]
    several = np.repeat(sound[:, np.newaxis], 4, axis=1)
    several[:, dead] = 1e-5 * np.random.default_rng(0).normal(size=len(sound))
    microphone(several)
    ctrl_c(4)
    assert ask(capsys, "a.tflite")[1] == expected
    assert any("no speech" not in line for line in expected)


def test_a_device_that_opens_with_two_channels_only(microphone, ctrl_c, capsys):
    sound = voice(2.0)
    fake = microphone(np.stack([sound, 0 * sound, 0 * sound, 0 * sound], axis=1))
    fake.opens_with = {2}
    ctrl_c(1)
    assert ask(capsys, "a.tflite")[0] == 0


def test_a_model_that_is_slower_than_the_microphone(capsys):
    backlog = microphone_module.Backlog(2.0, 1_000)
    for number in range(50):
        backlog.put(np.full(100, number))
    backlog.end()
    taken = []
    while (chunk := backlog.take()) is not None:
        taken.append(int(chunk[0]))
    assert taken == list(range(30, 50))  # the newest 2 s
    assert backlog.dropped_samples == 3_000
    assert capsys.readouterr().err.count("sound is dropped") == 1


def test_a_driver_that_does_not_say_that_the_device_is_gone():
    backlog = microphone_module.Backlog(2.0, 1_000)
    backlog.put(np.zeros(10))
    assert len(backlog.take(lambda: False)) == 10
    assert backlog.take(lambda: False) is None


def test_a_microphone_that_stops(microphone, capsys):
    fake = microphone(voice(1.2))
    status, lines, err = ask(capsys, "a.tflite")
    assert (status, len(lines)) == (2, 1)
    assert err[-1] == "error: Fake stopped; connect it and start again"
    assert fake.closed == 1


def test_a_microphone_that_does_not_open(microphone, capsys):
    microphone(voice(1.0)).opening_fails = True
    status, lines, err = ask(capsys, "a.tflite")
    assert (status, lines) == (2, [])
    assert "error: Fake cannot be recorded (Device unavailable); is it used" in err[-1]


def test_list_devices(microphone, capsys):
    microphone(np.zeros(0, np.float32))
    assert ask(capsys, "--list-devices") == (0, ["> 0 Fake, ALSA (1 in, 0 out)"], [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no microphone was found (Error querying device -1); connect one"),
        (("--device", "7"), "--device 7 is no microphone (No input device matching 7)"),
        (("--device", "Mike"), "--device Mike is no microphone (No input device"),
    ],
)
def test_no_microphone(microphone, capsys, arguments, message):
    microphone(np.zeros(0, np.float32))
    status, lines, err = ask(capsys, *arguments)
    assert (status, lines, len(err)) == (2, [], 1)
    assert err[0].startswith(f"error: {message}")


def test_no_package(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, lines, err = ask(capsys)
    assert (status, lines) == (2, [])
    assert err == ["error: listening needs the package sounddevice: pip install 'ser-kd[listen]'"]


def test_no_library(monkeypatch, capsys, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    status, lines, err = ask(capsys)
    assert (status, lines, len(err)) == (2, [], 1)
    assert "error: sounddevice cannot load the PortAudio library" in err[0]
    assert "apt install libportaudio2" in err[0]


def test_the_pretrained_student_is_the_default(microphone, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    microphone(voice(1.0))
    _, lines, err = ask(capsys)
    assert lines
    assert "pretrained/student_waveform.tflite" in err[0]


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_a_real_ctrl_c():
    """A microphone that never stops, on a thread of its own, and a signal from outside."""
    program = """
import signal, sys, threading, time, types
import numpy as np
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background
from test_listen import FakeSoundDevice, FakeStream, FRONTEND, LABELS, loudness, voice
from ser_kd.commands.main import main
from ser_kd.inference.predictor import Predictor

class Endless(FakeStream):
    def __enter__(self):
        def talk():
            while True:
                self.hear(chunk, len(chunk), None, types.SimpleNamespace(input_overflow=False))
                time.sleep(0.01)
        threading.Thread(target=talk, daemon=True).start()
        return self

chunk = voice(0.5)[:, None]
fake = FakeSoundDevice(chunk)
fake.InputStream = lambda **settings: Endless(fake, **settings)
sys.modules["sounddevice"] = fake
Predictor.load = lambda path: Predictor(loudness, LABELS, FRONTEND)
sys.exit(main(["listen", "a.tflite"]))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(
                map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "inference"))
            ),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline().startswith("   1.0 s  ")
        process.send_signal(signal.SIGINT)
        try:
            _, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0, err
    assert "\nstopped after " in err
    assert "Traceback" not in err
