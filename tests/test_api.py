"""The front door: what ``import ser_kd`` offers, as a user calls it."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from voice_maker import voice

import ser_kd
from ser_kd.inference.predictor import Predictor

ROOT = Path(__file__).parents[1]
PRETRAINED = ROOT / "ser_kd" / "pretrained"
LABELS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
RATE_HZ = 16_000


def speech(seconds: float, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """float64 ``[samples]``: made-up syllables."""
    longer = voice(max(seconds, 1.0), rate_hz, seed)
    return longer[: round(seconds * rate_hz)].astype(np.float64)


@pytest.fixture(scope="module")
def model():
    return ser_kd.load()


@pytest.fixture(scope="module")
def small():
    """A log-mel file: its front end is NumPy's."""
    return ser_kd.load(PRETRAINED / "small" / "student_int8.tflite")


def test_the_bundled_student_is_the_default(model):
    assert model.labels == LABELS
    assert model.sample_rate_hz == RATE_HZ
    assert "ANG" in repr(model)


@pytest.mark.parametrize("seconds", [1 / RATE_HZ, 0.5, 3.0, 7.3])
def test_any_length(model, small, seconds):
    for some in (model, small):
        probabilities = some.probabilities(speech(seconds))
        assert probabilities.dtype == np.float32
        assert probabilities.shape == (6,)
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-2)


def test_a_file_and_its_samples_are_the_same(model, tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, speech(2.0, 44_100), 44_100, subtype="FLOAT")
    prediction = model.predict(str(path))
    samples = soundfile.read(path, dtype="float32")[0]
    np.testing.assert_array_equal(
        prediction.probabilities, model.probabilities(samples, rate_hz=44_100)
    )
    assert prediction.label == LABELS[prediction.probabilities.argmax()]
    assert prediction.probability == prediction.probabilities.max()
    assert prediction.seconds == pytest.approx(2.0)
    assert not prediction.silent
    assert model.predict(samples, rate_hz=44_100).label == prediction.label
    assert model.predict(np.zeros(RATE_HZ)).silent


def test_kinds_of_samples_mean_the_same(model):
    integers = np.round(speech(1.0) * 32_768).astype(np.int16)
    expected = model.probabilities(integers)
    for samples in (
        integers / 32_768,
        (integers / 32_768).astype(np.float32),
        (integers / 32_768).tolist(),
        np.repeat(integers, 2)[::2],  # strided
    ):
        np.testing.assert_array_equal(model.probabilities(samples), expected)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], r"0 samples"),
        (np.zeros((2, 100)), r"\[2, 100\]: one channel"),
        (0.5, r"\[\]: one channel"),
        ([0.0, np.nan], r"samples\[1\] is nan"),
        ([np.inf, 0.0], r"samples\[0\] is inf"),
        ([0, 40_000], r"0 to 40000.*int16"),
        (np.zeros(9, np.uint8), r"uint8"),
        (np.zeros(9, np.int32), r"int32.*2\*\*31"),
        (np.zeros(9, bool), r"bool"),
        (np.zeros(9, complex), r"complex128"),
        (["a"], r"<U1"),
        ([[1.0], [2.0, 3.0]], r"no array"),
    ],
)
def test_samples_that_are_none(model, samples, message):
    with pytest.raises(ValueError, match=message):
        model.probabilities(samples)
    with pytest.raises(ValueError, match=message):
        model.predict(samples)


@pytest.mark.parametrize(
    "rate_hz", [0, -16_000, float("nan"), float("inf"), 16, 1e9, "16000", True]
)
def test_rates_that_are_none(model, rate_hz):
    with pytest.raises(ValueError, match=r"rate_hz = .*16000 or 44100"):
        model.probabilities(speech(1.0), rate_hz=rate_hz)


def test_too_few_samples_to_resample(model):
    with pytest.raises(ValueError, match=r"1 samples are too few to resample from 44100"):
        model.probabilities([0.5], rate_hz=44_100)


@pytest.mark.parametrize("name", ["student_waveform.tflite", "small/student_int8.tflite"])
def test_four_threads_share_a_model(name):
    shared = ser_kd.load(PRETRAINED / name)
    clips = [speech(1.0 + seed / 8, seed=seed) for seed in range(8)]
    known = shared.voice(clips[:3])
    expected = [(shared.probabilities(c), shared.probabilities(c, voice=known)) for c in clips]

    def ask(number: int) -> bool:
        clip, (plain, adapted) = clips[number % 8], expected[number % 8]
        return bool(
            (shared.probabilities(clip) == plain).all()
            and (shared.probabilities(clip, voice=known) == adapted).all()
        )

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(80)))


def test_a_voice_is_learnt_kept_and_used(model, tmp_path):
    clips = [speech(1.5, seed=seed) for seed in range(3)]
    path = tmp_path / "clip.wav"
    soundfile.write(path, clips[2], RATE_HZ)
    known = model.voice([*clips[:2], path])
    assert known.clips == 3
    clip = speech(2.0, seed=7)
    adapted = model.probabilities(clip, voice=known)
    assert not np.array_equal(adapted, model.probabilities(clip))
    np.testing.assert_array_equal(model.predict(clip, voice=known).probabilities, adapted)
    known.save(tmp_path / "voice.json")
    again = ser_kd.Voice.load(tmp_path / "voice.json")
    np.testing.assert_array_equal(model.probabilities(clip, voice=again), adapted)
    assert model.voice(path).clips == model.voice(clips[0]).clips == 1


def test_a_voice_needs_speech(model):
    with pytest.raises(ValueError, match=r"2 clips, none of which is speech"):
        model.voice([np.zeros(RATE_HZ), np.zeros(RATE_HZ)])
    with pytest.raises(ValueError, match=r"0 clips"):
        model.voice([])


def test_what_can_be_loaded(tmp_path):
    for name in ("student_int8.tflite", "labels.txt", "frontend.json"):
        shutil.copy(PRETRAINED / "small" / name, tmp_path)
    export = tmp_path / "run" / "export"
    shutil.copytree(PRETRAINED / "small", export)
    clip = speech(1.0)
    int8 = ser_kd.load(tmp_path).probabilities(clip)
    np.testing.assert_array_equal(
        ser_kd.load(export / "student_int8.tflite").probabilities(clip), int8
    )
    waveform = ser_kd.load(str(tmp_path / "run")).probabilities(clip)
    np.testing.assert_array_equal(waveform, ser_kd.load(export).probabilities(clip))
    np.testing.assert_allclose(int8, waveform, atol=0.05)
    keras = ser_kd.load(export / "student.keras").probabilities(clip)
    np.testing.assert_allclose(int8, keras, atol=0.1)


def test_what_cannot_be_loaded(tmp_path):
    for path, message in (
        (tmp_path, "looked for student_waveform.tflite"),
        (tmp_path / "none.tflite", "no such model"),
        (tmp_path / "clip.wav", "a model ends in"),
    ):
        with pytest.raises(ValueError, match=message):
            ser_kd.load(path)


def test_the_names_are_there_without_their_weight():
    assert {"load", "Model", "Voice", "Prediction", "load_encoder"} <= set(dir(ser_kd))
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = ser_kd.lode
    program = (
        "import sys, ser_kd; print({'numpy', 'tensorflow'} & set(sys.modules)); ser_kd.load(); "
        f"ser_kd.load({str(PRETRAINED / 'small' / 'student_int8.tflite')!r}).probabilities([0.1]);"
        "print({'tensorflow', 'keras', 'scipy', 'sklearn', 'librosa'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["set()", "set()"]


def test_a_keras_file_without_tensorflow_names_the_extra():
    program = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['keras'] = None; "
        "import ser_kd\ntry: ser_kd.load(sys.argv[1])\nexcept ValueError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(PRETRAINED / "student.keras")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install 'ser-kd[train]'" in done.stdout


def test_it_is_what_evaluation_computes(model):
    predictor = Predictor.load(PRETRAINED / "student_waveform.tflite")
    clip = speech(7.3).astype(np.float32)
    np.testing.assert_array_equal(model.probabilities(clip), predictor.predict_waveform(clip))
