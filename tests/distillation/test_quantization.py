"""Quantisation-aware fine-tuning: rounding against the int8 file, learning, the stage of a run."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from corpus_maker import settings, unmeasured, write_corpus
from test_export import tensorflow_interpreter, tiny_student

from ser_kd import export
from ser_kd.config import Config, config_from_dict
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.quantization import FakeQuantize, Int8Aware, round_kernel
from ser_kd.errors import UserError
from ser_kd.export import convert
from ser_kd.pipeline import stages
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.saved import keras_logits
from ser_kd.tflite.interpreters import TFLiteModel

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def test_kernels_are_rounded_by_output_channel(rng):
    kernel = rng.normal(size=(3, 3, 4, 5)).astype(np.float32)
    rounded = np.asarray(round_kernel(kernel))
    for channel in range(5):
        step = np.abs(kernel[..., channel]).max() / 127
        whole = rounded[..., channel] / step
        np.testing.assert_allclose(whole, np.rint(whole), atol=1e-3)
        assert np.abs(rounded - kernel)[..., channel].max() <= 0.5001 * step
    by_filter = np.asarray(round_kernel(kernel, depthwise=True)).reshape(9, 20)
    for one, other in zip(by_filter.T, kernel.reshape(9, 20).T, strict=True):
        assert np.abs(one - other).max() <= 0.5001 * np.abs(other).max() / 127
    assert not np.asarray(round_kernel(np.zeros((2, 2), np.float32))).any()


def test_activations_are_rounded_within_their_range():
    layer = FakeQuantize()
    layer.build((None,))
    layer.set_range(-1.0, 1.55)  # steps of 0.01
    x = tf.constant([-1.2, -1.0, -0.004, 0.0, 0.006, 1.55, 1.7])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x)
    np.testing.assert_allclose(y, [-1.0, -1.0, 0.0, 0.0, 0.01, 1.55, 1.55], atol=1e-6)
    np.testing.assert_array_equal(tape.gradient(y, x), [0, 1, 1, 1, 1, 1, 0])


def test_ranges_include_zero():
    layer = FakeQuantize()
    layer.build((None,))
    layer.set_range(2.0, 5.1)
    np.testing.assert_allclose(layer(tf.constant([0.0, 3.01])), [0.0, 3.02], atol=1e-6)


def config_of(**student: object) -> Config:
    table = {"audio": {"window_seconds": 1.0}, "logmel": {"mels": 32}}
    return config_from_dict({**table, "student": {"width": 0.25, **student}})


@pytest.fixture
def windows(rng):
    """Something like speech: smooth, between silence and -10 dB."""
    noise = rng.normal(-45.0, 15.0, (72, 49, 32)) + rng.normal(0.0, 10.0, (72, 1, 32))
    return np.maximum(noise, -80.0).astype(np.float32)


@pytest.mark.parametrize(("kind", "least"), [("mobilenet", 0.4), ("cnn", 0.6)])
def test_it_says_what_the_int8_file_says(kind, least, windows, tmp_path):
    """Against TensorFlow's converter, calibrator and interpreter, which know nothing of it."""
    student = tiny_student(config_of(kind=kind))
    calibration, asked = windows[:24], windows[24:]
    convert.convert(student, ("int8",), tmp_path, calibration)
    path = convert.model_path(tmp_path, "int8")
    file, aware = TFLiteModel(path), Int8Aware(student, calibration)
    trainable = {id(w) for w in student.trainable_weights}
    assert {id(w) for w in aware.model.trainable_weights} == trainable
    # The steps of all activations (first axis: a batch of 1) are those of the file.
    theirs = {
        float(item["quantization"][0])
        for item in tensorflow_interpreter(path).get_tensor_details()
        if item["dtype"] == np.int8 and item["shape"][0] == 1 and item["quantization"][0]
    }
    ours = [float(layer.high - layer.low) / 255.0 for layer in aware.ranges]
    for steps, others in ((ours, theirs), (theirs, ours)):
        for step in steps:
            assert min(abs(step - other) for other in others) < 1e-5 * step
    # What is left are ties that round the other way, and what becomes of them in a deep network.
    answers, floats = keras_logits(aware.model)(asked), keras_logits(student)(asked)
    expected = file.predict(asked)
    assert np.abs(answers - expected).mean() < 0.8 * file.output_step
    assert np.abs(answers - expected).max() < 3.01 * file.output_step
    assert np.abs(answers - expected).mean() < 0.85 * np.abs(floats - expected).mean()
    errors = (answers - floats).ravel(), (expected - floats).ravel()
    assert np.corrcoef(*errors)[0, 1] > least
    # Whoever looks for the embedding finds the rounded one.
    assert keras.Model(aware.model.input, aware.model.get_layer("embedding").output)


def test_it_teaches_the_student_itself(windows):
    student = tiny_student(config_of(kind="cnn"))
    aware = Int8Aware(student, windows[:24])
    ranges = {id(w) for layer in aware.ranges for w in layer.weights}
    assert {id(w) for w in aware.model.weights} == ranges | {
        id(w) for w in student.weights if w.name not in ("mean", "deviation")
    }
    before, said = [np.array(w) for w in student.weights], keras_logits(student)(windows)
    distiller = Distiller(aware.model, label_weight=0.5, logit_weight=0.5)
    distiller.compile(keras.optimizers.SGD(0.01), jit_compile=False)
    labels = np.eye(3, dtype=np.float32)[np.arange(len(windows)) % 3]
    lessons = {"labels": labels, "teacher_logits": 3.0 * labels}
    losses = distiller.fit(windows, lessons, 24, 3, verbose=0).history["loss"]
    assert losses[2] < losses[0]
    for weight, old in zip(student.weights, before, strict=True):
        # Statistics stay; every kernel, scale and offset learns.
        assert np.array_equal(weight, old) != weight.trainable, weight.path
    assert np.abs(keras_logits(student)(windows) - said).max() > 0.01
    high = [float(layer.high) for layer in aware.ranges]
    aware.calibrate()
    assert high[0] == float(aware.ranges[0].high)  # of the input
    assert high[-1] != float(aware.ranges[-1].high)  # of the logits


def test_recurrent_students_are_refused(windows):
    with pytest.raises(
        UserError, match=r"quantization\.epochs = 1 .* 0 for student\.kind = 'crnn'"
    ):
        config_from_dict({"student": {"kind": "crnn"}, "quantization": {"epochs": 1}})
    student = tiny_student(config_of(kind="crnn"))
    with pytest.raises(UserError, match="does not know LSTM"):
        Int8Aware(student, windows)


def test_wrong_settings_are_named():
    for key, value in (("epochs", -1), ("learning_rate", 0.0)):
        with pytest.raises(UserError, match=rf"quantization\.{key} = {value}"):
            config_from_dict({"quantization": {key: value}})


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A run whose teacher's predictions came from elsewhere: nothing but a student to train."""
    folder = tmp_path_factory.mktemp("int8")
    corpus = write_corpus(folder / "corpus")
    ids = [path.relative_to(corpus).as_posix() for path in sorted(corpus.rglob("*.wav"))]
    logits = np.random.default_rng(0).normal(size=(len(ids), 3)).astype(np.float32)
    np.savez(folder / "teacher.npz", ids=np.array(ids), logits=logits)
    teachers = {"mine": {"kind": "file", "path": str(folder / "teacher.npz")}}
    return settings(corpus, name="int8", teachers=teachers)


def trained(table: dict, directory: Path, epochs: int) -> tuple[Run, RunData]:
    """As ``train.py`` does it, up to the student for int8."""
    quantization = {"epochs": epochs, "learning_rate": 0.01}
    run = Run.create(config_from_dict({**table, "quantization": quantization}), directory)
    run_data = run.data()
    targets = stages.all_teacher_targets(run, run_data)
    stages.distilled_student(run, run_data, targets)
    if epochs:
        windows = convert.calibration_windows(run_data.logmel, run_data.ids("training"), run.config)
        stages.int8_student(run, run_data, targets, windows)
    return run, run_data


def history(folder: Path) -> list[dict]:
    rows = [json.loads(row) for row in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_the_stage_of_a_run(table, tmp_path, monkeypatch):
    directory = tmp_path / "runs" / "run"
    run, _ = trained(table, directory, epochs=0)
    assert run.int8_student_path == run.student_path
    assert not run.int8_aware_dir.exists()
    student = run.student_path.read_bytes()

    # Asked for later: interrupted after the first epoch of two, then gone on with.
    save = fit_loop.TrainingState.save

    def save_and_die(state):
        save(state)
        raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        trained(table, directory, epochs=2)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"int8_aware/student\.keras is not there"):
        export.export_run(Run.open(directory), run_data=None)  # before any data is asked for
    run, run_data = trained(table, directory, epochs=2)
    monkeypatch.setattr(export, "measure_all", unmeasured)
    figures = export.export_run(run, run_data)
    assert run.student_path.read_bytes() == student
    rows = history(run.int8_aware_dir)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert all(row["logit_loss"] > 0 for row in rows)
    assert rows[0]["learning_rate"] > rows[1]["learning_rate"]
    assert rows[1]["learning_rate"] == pytest.approx(1e-4)  # a hundredth
    assert not list(run.int8_aware_dir.glob("*state*"))

    # float32 is the student's, int8 that of the fine-tuned one.
    asked = convert.all_windows(run_data.logmel.select(run_data.ids("validation")), run.config)[1]
    fine = keras.models.load_model(run.int8_student_path)
    for kind, model in figures["models"].items():
        fine_tuned = kind in ("int8", "waveform")
        assert model["student"] == ("int8_aware/student.keras" if fine_tuned else "student.keras")
        if kind in ("float32", "int8"):
            source = fine if fine_tuned else keras.models.load_model(run.student_path)
            file = TFLiteModel(run.export_dir / model["file"])
            off = np.abs(file.predict(asked) - keras_logits(source)(asked)).mean()
            if fine_tuned:
                assert model["own_mean_logit_difference"] == pytest.approx(off, rel=1e-3)
                assert off < 0.5 * model["mean_logit_difference"]
            else:
                assert off < 1e-5
        assert ("own_agreement" in model) == fine_tuned

    # Found again; the same as without an interruption; and not to be changed any more.
    before = run.int8_student_path.stat().st_mtime_ns
    trained(table, directory, epochs=2)
    assert export.export_run(run, run_data) == figures
    assert run.int8_student_path.stat().st_mtime_ns == before
    straight, _ = trained(table, tmp_path / "runs" / "straight", epochs=2)
    assert history(straight.int8_aware_dir) == rows
    again = keras.models.load_model(straight.int8_student_path)
    for one, other in zip(again.get_weights(), fine.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(
        UserError, match=r"quantization\.epochs = 2, now 0\); .* or delete .*aware$"
    ):
        trained(table, directory, epochs=0)

    # Given up: int8 is the student's again, although the file of the other is younger.
    shutil.rmtree(run.int8_aware_dir)
    run, run_data = trained(table, directory, epochs=0)
    plain = export.export_run(run, run_data)
    assert "int8_student_sha256" not in plain
    assert not any(
        {"student", "own_agreement"} & model.keys() for model in plain["models"].values()
    )
    kinds = {k for k, m in plain["models"].items() if m["sha256"] != figures["models"][k]["sha256"]}
    assert kinds == {"int8", "waveform"}
