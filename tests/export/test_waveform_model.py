"""The waveform model: its front end against librosa, its body, its package, its README."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import flatbuffers
import librosa
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from export_maker import EMOTIONS, exported_run
from tensorflow.lite.python import schema_py_generated as schema
from voice_maker import speech

from ser_kd.audio.logmel import LogMel
from ser_kd.config import LogMelConfig
from ser_kd.data.targets import softmax
from ser_kd.export import convert
from ser_kd.export.chain import Route, chain
from ser_kd.export.describe import describe
from ser_kd.export.frontend import FrontEnd, split
from ser_kd.export.model_file import compact, store_as_float16
from ser_kd.inference.predictor import Predictor
from ser_kd.tflite.interpreters import TFLiteModel
from ser_kd.tflite.structure import check_flatbuffer, read_tensors


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model(exported) -> Path:
    return exported[0].export_dir / "student_waveform.tflite"


@pytest.mark.parametrize(
    ("fft", "hop_seconds", "mels", "samples"),
    [
        (512, 0.02, 64, 48_000),
        (512, 0.01, 64, 16_000),
        (400, 0.01, 40, 15_999),
        (512, 0.04, 32, 20_000),
    ],
)
def test_front_end_is_librosas(fft, hop_seconds, mels, samples):
    config = LogMelConfig(fft_samples=fft, hop_seconds=hop_seconds, mels=mels)
    wave = speech(samples)
    ours = FrontEnd(config, samples)(tf.constant(wave[None])).numpy()[0]
    power = librosa.feature.melspectrogram(
        y=wave.astype(np.float64),
        sr=16_000,
        n_fft=fft,
        hop_length=config.hop_samples,
        center=False,
        n_mels=mels,
        fmin=config.min_hz,
        fmax=config.max_hz,
    )
    expected = librosa.power_to_db(power, ref=1.0, amin=1e-8, top_db=None).T
    # float32 has no digits left for cells 80 dB below their frame's strongest.
    heard = expected > expected.max(axis=1, keepdims=True) - 80
    assert np.abs(ours - expected)[heard].max() < 5e-3
    assert (ours[-1] == -80).all()
    np.testing.assert_allclose(ours, LogMel(config)(wave[None]).numpy()[0], atol=0.01)


@pytest.mark.parametrize("samples", [512, 400, 256, 510, 2])
def test_a_transform_is_split_into_whole_parts(samples):
    outer, inner = split(samples)
    assert outer * inner == samples
    assert outer % 2 == 0


def test_stored_front_end_is_within_a_fifth_of_a_decibel(tmp_path):
    config = LogMelConfig()
    front = FrontEnd(config, 16_000)
    content = convert.convert_module(front, tf.TensorSpec((1, 16_000), tf.float32, name="pcm"))
    small = store_as_float16(content, front.filters.shape[::-1])
    assert len(content) - len(small) > front.filters.size * 1.9
    path = tmp_path / "front.tflite"
    path.write_bytes(small)
    check_flatbuffer(path)
    wave = speech()[None]
    difference = np.abs(TFLiteModel(path).predict(wave) - LogMel(config)(wave).numpy())
    assert 0 < difference.max() < 0.2
    assert difference.mean() < 1e-3


def test_its_body_is_the_int8_student(exported, model):
    """Bit for bit: what was verified of the student holds for it."""
    body = TFLiteModel(model.with_name("student_int8.tflite"))
    whole = TFLiteModel(model)
    logmel = LogMel(exported[0].config.logmel)
    waves = np.stack([speech(seed=seed) for seed in range(8)])
    temperature = json.loads(model.with_name("frontend.json").read_text())["temperature"]
    expected = softmax(body.predict(logmel(waves).numpy()) / temperature)
    found = whole.predict(waves)
    # One step of the input may fall on its other side.
    step = body.output_step
    assert np.abs(np.log(found) - np.log(expected)).max() < 3 * step / temperature
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)

    def weights(path: Path) -> list[tuple[tuple[int, ...], str]]:
        tensors = read_tensors(path)
        return sorted(
            (t.shape, t.dtype) for t in tensors if t.role != "activation" and t.dtype == "int8"
        )

    assert weights(model) == weights(model.with_name("student_int8.tflite"))


def test_what_an_app_sees(exported, model):
    interpreter = Interpreter(str(model))
    assert interpreter.get_signature_list() == {
        "classify": {"inputs": ["pcm"], "outputs": ["probabilities"]},
        "classify_owner": {"inputs": ["pcm", "statistics"], "outputs": ["probabilities"]},
        "listen_to_owner": {"inputs": ["pcm"], "outputs": ["frames", "squares", "total"]},
    }
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (given["shape"].tolist(), given["dtype"]) == ([1, 16_000], np.float32)
    assert (taken["shape"].tolist(), taken["dtype"]) == ([1, 3], np.float32)
    facts = describe(model)
    assert all(not name.startswith(("CUSTOM", "FLEX")) for name in facts["operators"])
    quantised = exported[2]["models"]["int8"]["operators"]
    for name, count in quantised.items():
        assert facts["operators"].get(name, 0) >= count


def test_figures_are_those_of_the_probabilities(exported):
    figures = exported[2]["models"]["waveform"]
    assert figures["agreement"] >= 0.9
    assert figures["mean_logit_difference"] < 0.2


def test_labels_travel_inside(model, tmp_path):
    with zipfile.ZipFile(model) as archive:
        assert archive.read("labels.txt").decode().split() == list(EMOTIONS)
        assert json.loads(archive.read("frontend.json"))["window_samples"] == 16_000
    alone = tmp_path / "alone.tflite"
    alone.write_bytes(model.read_bytes())
    predictor = Predictor.load(alone)
    assert predictor.labels == EMOTIONS
    beside = Predictor.load(model)
    np.testing.assert_array_equal(
        predictor.predict_waveform(speech(30_000)), beside.predict_waveform(speech(30_000))
    )


def test_prediction_is_that_of_the_other_forms(model):
    wave = speech(40_000, seed=3)
    expected = Predictor.load(model.with_name("student_int8.tflite")).predict_waveform(wave)
    np.testing.assert_allclose(Predictor.load(model).predict_waveform(wave), expected, atol=0.05)


def test_predict_with_it_never_loads_tensorflow(model, tmp_path):
    soundfile.write(tmp_path / "clip.wav", speech(), 16_000)
    program = """
import sys
sys.modules["tensorflow"] = None
from ser_kd.commands.main import main
sys.exit(main(["predict", *sys.argv[1:]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(model), str(tmp_path / "clip.wav")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "clip.wav: " in done.stdout


def test_the_readmes_python_snippet_runs(exported, model, tmp_path):
    text = (model.parent / "README.md").read_text()
    snippet = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    for name in ("student_waveform.tflite", "labels.txt"):
        (tmp_path / name).write_bytes((model.parent / name).read_bytes())
    soundfile.write(tmp_path / "clip.wav", speech(9_000), 16_000)
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    label, probability = done.stdout.split()
    wave, _ = soundfile.read(tmp_path / "clip.wav", dtype="float32")
    expected = Predictor.load(model).predict_waveform(wave)
    assert label == EMOTIONS[expected.argmax()]
    assert float(probability) == pytest.approx(expected.max(), abs=1e-3)
    assert "$" not in text + (model.parent / "MODEL_CARD.md").read_text()


def test_checksums(model):
    import hashlib

    lines = (model.parent / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {path.name for path in model.parent.glob("*.tflite")}
    for name, digest in sums.items():
        assert hashlib.sha256((model.parent / name).read_bytes()).hexdigest() == digest


def test_only_what_fits_is_chained(model):
    body = model.with_name("student_int8.tflite").read_bytes()
    pieces = {"one": body, "other": body}
    with pytest.raises(ValueError, match=r"shape \[1, 3\] does not fit"):
        chain(pieces, [Route("both", ("one", "other"), ("a",), ("b",))])
    with pytest.raises(ValueError, match=r"one has the outputs \['output_0'\], not 'b'"):
        chain(pieces, [Route("one", ("one",), ("a",), ("b", "c"))])
    with pytest.raises(ValueError, match=r"no piece of it has the inputs \['side'\]"):
        chain(pieces, [Route("one", ("one",), ("a", "side"), ("b",))])
    routes = [Route(name, (name,), ("a",), ("b",)) for name in pieces]
    with pytest.raises(ValueError, match="two: other lies apart"):
        chain(pieces, [*routes, Route("two", ("one", "other"), ("a",), ("b",))])
    with pytest.raises(ValueError, match="model: one graph and one signature are needed"):
        chain({"model": model.read_bytes()}, [Route("m", ("model",), ("a",), ("b",))])
    with pytest.raises(ValueError, match="0 constants of shape"):
        store_as_float16(body, (7, 7))


def constants(path: Path) -> list[int]:
    """Where the constants of a file lie, in bytes from its start."""
    content = schema.Model.GetRootAs(path.read_bytes(), 0)
    data = schema.BufferT.InitFromObj(content.Buffers(0)).data  # the schema's first field
    assert data is None or len(data) == 0  # buffer 0 is empty by convention
    buffers = [content.Buffers(number) for number in range(content.BuffersLength())]
    return [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]


def test_constants_are_aligned_as_the_schema_asks(model):
    """``force_align: 16``, which TensorFlow's own converter forgets on its way through Python."""
    for path in sorted(model.parent.glob("*.tflite")):
        places = constants(path)
        assert len(places) > 10
        assert [place for place in places if place % 16] == []


def packed(told):
    """As TensorFlow's own Python code writes a model."""
    builder = flatbuffers.Builder(1_000_000)
    builder.Finish(told.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def test_equal_zero_points_are_stored_once(model):
    """And nothing else changes: the same tensors, the same answers."""
    original = model.with_name("student_int8.tflite").read_bytes()
    spread = schema.ModelT.InitFromObj(schema.Model.GetRootAs(original, 0))
    wide = model.parent / "wide.tflite"
    wide.write_bytes(packed(spread))
    try:
        again = compact(wide.read_bytes())
        assert again == original
        assert len(again) < 0.95 * len(wide.read_bytes())
        assert read_tensors(wide) == read_tensors(model.with_name("student_int8.tflite"))
        logmel = np.random.default_rng(0).uniform(-80, 0, (4, *TFLiteModel(wide).input_shape[1:]))
        logmel = logmel.astype(np.float32)
        np.testing.assert_array_equal(
            TFLiteModel(wide).predict(logmel),
            TFLiteModel(model.with_name("student_int8.tflite")).predict(logmel),
        )
    finally:
        wide.unlink()


def test_names_of_fused_layers_are_cut(model):
    """A tensor keeps its own layer and operation; of the layers fused into it nothing is said."""
    path = model.with_name("student_int8.tflite")
    told = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = [tensor.name.decode() for tensor in told.subgraphs[0].tensors]
    assert max(map(len, names)) < 60
    assert len(set(names)) == len(names)
    assert "conv2d" in " ".join(names)
    tensor = told.subgraphs[0].tensors[names.index(max(names, key=len))]
    own = max(names, key=len).split(";")[0]
    tensor.name = f"student_1/{own};student_1/fused_batch_normalization_3/add_1"
    assert compact(packed(told)) == path.read_bytes()
