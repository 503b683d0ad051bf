"""Learning a voice from clip to clip, with a made-up model, and the commands with real ones."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from voice_maker import LABELS, RATE_HZ, voice

from ser_kd.audio.logmel import LogMel
from ser_kd.commands.main import main
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Predictor
from ser_kd.inference.streaming import Streamer
from ser_kd.speaker.statistics import VoiceStatistics, to_corpus
from ser_kd.speaker.voice import Voice
from ser_kd.speaker.voice_loop import VoiceLoop
from ser_kd.students import saved
from ser_kd.students.frontend import Corpus, Frontend
from ser_kd.tflite.interpreters import TFLiteModel

MELS = 2
CORPUS = Corpus(np.zeros(MELS, np.float32), np.ones(MELS, np.float32))
FRONTEND = Frontend(RATE_HZ, 3 * RATE_HZ, RATE_HZ, 512, 320, MELS, 60.0, 7_800.0, -80.0, 149)


@dataclass
class Model:
    """Says with what it was asked; a window's only frame is its energy and its sounding samples."""

    asked: list
    heard: list
    corpus: Corpus = CORPUS

    def predict_windows(self, windows, voice):
        self.asked.append(voice)
        return np.tile(np.array([[0.25, 0.75]], np.float32), (len(windows), 1))

    def sums(self, windows):
        frame = np.array([np.square(windows).sum(), np.count_nonzero(windows)])
        self.heard.append(frame)
        return 1.0, frame, frame**2


@pytest.fixture
def model() -> Model:
    return Model([], [])


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "folder" / "owner.json"


def test_an_answer_takes_what_was_known_before_it(model, path):
    owner = VoiceLoop(path, model, FRONTEND)
    owner.predict_windows(np.zeros((2, 3 * RATE_HZ), np.float32))
    np.testing.assert_array_equal(model.asked[0], [CORPUS.mean_db, CORPUS.deviation_db])
    assert not path.exists()
    clip = voice(2.0)
    assert owner.learn(clip)
    owner.predict_windows(np.zeros((1, 3 * RATE_HZ), np.float32))
    # By hand: one clip against a corpus that counts as eight.
    np.testing.assert_allclose(model.asked[1][0], model.heard[0] / 9, rtol=1e-6)
    again = VoiceLoop(path, model, FRONTEND)
    assert again.voice.clips == 1
    path.unlink()
    assert VoiceLoop(path, model, FRONTEND).voice.clips == 0


def test_only_speech_is_learnt(model, path, rng):
    owner = VoiceLoop(path, model, FRONTEND)
    hiss = (0.05 * rng.normal(size=2 * RATE_HZ)).astype(np.float32)
    for sound in (hiss, np.zeros(RATE_HZ, np.float32), np.zeros(0, np.float32), voice(0.05)):
        assert not owner.learn(sound)
    assert (owner.voice.clips, path.exists(), model.heard) == (0, False, [])


def test_a_long_clip_is_heard_in_parts_and_its_noise_is_not(model, path):
    owner = VoiceLoop(path, model, FRONTEND)
    assert owner.learn(np.concatenate([voice(2.5), np.zeros(5 * RATE_HZ // 2), voice(2.5)]))
    assert owner.voice.clips == len(model.heard) == 2
    assert "voice: 2 clips known" in str(owner)


def test_a_file_of_other_mel_bands_is_refused(model, path):
    owner = VoiceLoop(path, model, FRONTEND)
    owner.learn(voice(2.0))
    with pytest.raises(
        UserError, match=r"owner\.json: the voice there was learnt with the mel bands"
    ):
        VoiceLoop(path, model, dataclasses.replace(FRONTEND, sample_rate_hz=8_000))
    path.write_text("{}")
    with pytest.raises(UserError, match="delete it to begin anew"):
        VoiceLoop(path, model, FRONTEND)


def test_a_stream_learns_every_sample_once():
    offered: list[np.ndarray] = []

    def learn(samples):
        offered.append(samples.copy())
        return len(offered) != 2  # the second time there is too little speech

    def ask(windows):
        return np.tile(np.array([[0.5, 0.5]], np.float32), (len(windows), 1))

    sound = voice(9.0)
    streamer = Streamer(ask, LABELS, FRONTEND, learn=learn)
    for chunk in np.array_split(sound, 70):
        streamer.push(chunk)
    # From 0 to 3 s; 3 to 6 s is refused, 3.5 to 6.5 s is not; what is left is too short.
    starts = [0, 3 * RATE_HZ, 7 * RATE_HZ // 2]
    assert [len(samples) for samples in offered] == [3 * RATE_HZ] * 3
    for start, samples in zip(starts, offered, strict=True):
        np.testing.assert_allclose(samples, sound[start:][: len(samples)], atol=1e-4)
    streamer.push(voice(0.2))
    streamer.finish()
    assert len(offered[3]) == round(2.7 * RATE_HZ)
    assert len(offered) == 4


def test_a_stream_without_speech_offers_nothing():
    def fail(_):
        raise AssertionError("asked")

    streamer = Streamer(fail, LABELS, FRONTEND, learn=fail)
    streamer.push(np.zeros(7 * RATE_HZ, np.float32))
    streamer.finish()


# --- real models ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    from export_maker import exported_run  # TensorFlow is not needed by the tests above

    return exported_run(tmp_path_factory)[0]


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    """A loud and a soft clip of speech, hiss, and the first again."""
    rng = np.random.default_rng(0)
    sounds = [voice(0.9), 0.1 * voice(0.8, seed=1), 0.02 * rng.normal(size=RATE_HZ), voice(0.9)]
    paths = [tmp_path / f"{number}.wav" for number in range(len(sounds))]
    for path, sound in zip(paths, sounds, strict=True):
        soundfile.write(path, sound, RATE_HZ)
    return paths


def ask(capsys, *arguments: object) -> tuple[int, list[str], list[str]]:
    status = main(["predict", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out.splitlines(), err.splitlines()


MODELS = ("student.keras", "export/student_int8.tflite", "export/student_waveform.tflite")


@pytest.mark.parametrize("name", MODELS)
def test_predict_learns_from_clip_to_clip(run, clips, path, capsys, name):
    model = run.directory / name
    plain = ask(capsys, model, *clips, "--json")[1]
    arguments = model, *clips, "--json", "--voice", path
    status, lines, err = ask(capsys, *arguments)
    assert status == 0
    assert [line.split(";")[0] for line in err] == [
        "voice: 0 clips known",
        "voice: 3 clips known",  # not the hiss
    ]
    probs = [list(json.loads(line)["probabilities"].values()) for line in lines]
    before = [list(json.loads(line)["probabilities"].values()) for line in plain]
    assert probs[0] == before[0]  # nobody was known
    assert probs[3] != before[3]

    # The whole loop by hand: the log-mel layer, NumPy, the student.
    predictor = Predictor.load(run.student_path)
    frontend, corpus = predictor.frontend, predictor.adaptation.corpus
    known, logmel = VoiceStatistics(), LogMel(frontend.logmel)
    target = corpus.mean_db, corpus.deviation_db
    student = saved.keras_logits(saved.load_keras(run.student_path))
    if name.endswith(".tflite"):
        student = TFLiteModel(run.export_dir / "student_int8.tflite").predict
    for number, clip in enumerate(clips):
        window = np.zeros((1, frontend.window_samples), np.float32)
        samples = soundfile.read(clip, dtype="float32")[0]
        window[0, : len(samples)] = samples
        frames = np.asarray(logmel(window))
        logits = student(to_corpus(frames, known.voice(*target), target, -80.0))
        expected = softmax(logits / frontend.temperature)[0]
        # The waveform model's own front end: steps of int8 may fall on their other side.
        atol = 0.02 if "waveform" in name else 2e-4
        np.testing.assert_allclose(probs[number], expected, atol=atol)
        if number != 2:
            known = known.after(frames[0][(frames[0] > -80.0).any(axis=1)])
    kept = Voice.load(path).statistics
    assert kept.frames == known.frames
    np.testing.assert_allclose(kept.total, known.total, atol=0.05 * known.frames)

    # Again from the start: the same; from what is known: something else.
    assert ask(capsys, *arguments)[1] != lines
    path.unlink()
    assert ask(capsys, *arguments)[1] == lines


def test_a_stream_learns_on_the_command_line(run, tmp_path, path, capsys):
    soundfile.write(tmp_path / "talk.wav", voice(3.3), RATE_HZ)
    model = run.export_dir / "student_waveform.tflite"
    arguments = "--stream", model, tmp_path / "talk.wav", "--voice", path
    status, lines, err = ask(capsys, *arguments)
    assert (status, len(lines)) == (0, 6)
    # Windows of 1 s, one after the other.
    assert err[-1] == f"voice: 3 clips known; to forget them, delete {path}"


def test_older_exports_say_what_is_missing(run, clips, path, tmp_path, capsys):
    for name in ("student_int8.tflite", "labels.txt", "frontend.json"):
        shutil.copy(run.export_dir / name, tmp_path)
    told = tmp_path / "frontend.json"
    facts = json.loads(told.read_text())
    corpus = facts.pop("corpus")
    told.write_text(json.dumps(facts))
    model = tmp_path / "student_int8.tflite"
    assert ask(capsys, model, clips[0])[0] == 0
    status, lines, err = ask(capsys, model, clips[0], "--voice", path)
    assert (status, lines) == (2, [])
    assert "student_int8.tflite cannot be adapted to a voice" in err[0]
    assert "ser-kd export RUN" in err[0]
    for wrong in ({"mean_db": [1.0]}, {**corpus, "deviation_db": [0.0] * 32}, [1]):
        told.write_text(json.dumps({**facts, "corpus": wrong}))
        with pytest.raises(UserError, match="not a front end's description"):
            Predictor.load(model)
    other = {**corpus, "mean_db": [0.0], "deviation_db": [1.0]}
    told.write_text(json.dumps({**facts, "corpus": other}))
    with pytest.raises(UserError, match="mels = 32 does not fit corpus, which has 1"):
        Predictor.load(model)
