"""The head for continuous targets: bounds, gradients, shared weights, int8 files."""

import contextlib
import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert

from ser_kd import metrics
from ser_kd.config import StudentConfig
from ser_kd.distillation import losses
from ser_kd.export import convert, verify
from ser_kd.students import heads
from ser_kd.students.architectures import build_student
from ser_kd.tflite.interpreters import dequantize, quantize

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FRAMES, MELS, CLASSES, DIMENSIONS = 32, 24, 4, 3


def tiny_student() -> keras.Model:
    """Untrained, with statistics that make its answers differ from window to window."""
    keras.utils.set_random_seed(3)
    model = build_student(StudentConfig(kind="cnn", width=0.25), FRAMES, MELS, CLASSES)
    model.get_layer("standardize").set_statistics(np.full(MELS, -45.0), np.full(MELS, 15.0))
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.8, 1.6, shape))
            layer.beta.assign(rng.normal(0.3, 0.3, shape))
            layer.moving_mean.assign(rng.normal(0.0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.3, 1.0, shape))
    return model


def windows_of(count: int, seed: int = 0) -> np.ndarray:
    """Something like speech: between silence and -10 dB, float32 ``[count, frames, mels]``."""
    rng = np.random.default_rng(seed)
    level = rng.normal(0.0, 10.0, (count, 1, MELS))
    noise = rng.normal(-45.0, 15.0, (count, FRAMES, MELS)) + level
    return np.maximum(noise, -80.0).astype(np.float32)


def spread(model: keras.Model, windows: np.ndarray) -> None:
    """Weights of the head with which its linear outputs go somewhat beyond -1..1.

    They follow what differs most between windows: anything else is lost in the body's rounding.
    """
    values = keras.Model(model.input, model.get_layer("embedding").output)(windows).numpy()
    _, _, directions = np.linalg.svd(values - values.mean(0), full_matrices=False)
    mix = np.array([[1.0, 0.3, -0.6], [0.0, 1.0, 1.0]])
    kernel = directions[:2].T @ mix
    kernel *= 0.6 / (values @ kernel).std(0)
    bias = np.array([0.0, 0.3, -0.5]) - (values @ kernel).mean(0)
    model.get_layer("dimension_values").set_weights([kernel, bias])


def test_outputs_are_cut_off_but_not_in_training():
    inputs = keras.Input((2,))
    model = keras.Model(inputs, heads.dimensional_head(inputs, 2, 0.0))
    model.get_layer("dimension_values").set_weights([np.eye(2), np.zeros(2)])
    x = tf.constant([[-3.0, 0.25], [0.5, 7.0]])
    np.testing.assert_allclose(model(x, training=False), [[-1.0, 0.25], [0.5, 1.0]])
    np.testing.assert_allclose(model.predict(x, verbose=0), [[-1.0, 0.25], [0.5, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
    np.testing.assert_allclose(y, x)
    np.testing.assert_allclose(tape.gradient(y, x), np.ones((2, 2)))  # also beyond the ends


def test_dropout_is_before_the_head():
    inputs = keras.Input((400,))
    model = keras.Model(inputs, heads.dimensional_head(inputs, 1, 0.5))
    model.get_layer("dimension_values").set_weights([np.ones((400, 1)), np.zeros(1)])
    x = tf.ones((8, 400)) / 400
    np.testing.assert_allclose(model(x, training=False), np.ones((8, 1)), rtol=1e-5)
    trained = model(x, training=True).numpy()
    assert trained.std() > 0.01
    np.testing.assert_allclose(trained, 1.0, atol=0.3)


def test_both_tasks_from_one_body():
    student, windows = tiny_student(), windows_of(6)
    both = heads.multi_task_student(student, DIMENSIONS)
    answer = both(windows, training=False)
    assert set(answer) == {"logits", "dimensions"}
    np.testing.assert_array_equal(answer["logits"], student(windows, training=False))
    assert answer["dimensions"].shape == (6, DIMENSIONS)
    head = DIMENSIONS * (student.get_layer("embedding").output.shape[-1] + 1)
    assert both.count_params() == student.count_params() + head
    # What the dimensions teach the body is the student's, too.
    before = student(windows, training=False).numpy()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(both(windows, training=True)["dimensions"] ** 2)
    weights = both.trainable_weights
    gradients = tape.gradient(loss, weights)
    for weight, gradient in zip(weights, gradients, strict=True):
        if gradient is not None:
            weight.assign_sub(0.01 * gradient)
    assert np.abs(student(windows, training=False).numpy() - before).max() > 1e-4


def test_dimensions_alone():
    student, windows = tiny_student(), windows_of(5)
    alone = heads.dimensional_student(student, DIMENSIONS)
    assert set(alone.output) == {"dimensions"}
    assert alone(windows)["dimensions"].shape == (5, DIMENSIONS)
    assert "logits" not in {layer.name for layer in alone.layers}
    both = heads.multi_task_student(student, DIMENSIONS)
    both.get_layer("dimension_values").set_weights(
        alone.get_layer("dimension_values").get_weights()
    )
    said = alone(windows)["dimensions"]
    np.testing.assert_allclose(said, both(windows)["dimensions"], atol=1e-6)


def test_saved_and_loaded_again(tmp_path: Path):
    model, windows = heads.multi_task_student(tiny_student(), DIMENSIONS), windows_of(4)
    spread(model, windows)
    model.save(tmp_path / "student.keras")
    loaded = keras.models.load_model(tmp_path / "student.keras")
    again = loaded(windows)
    for name, values in model(windows).items():
        np.testing.assert_allclose(again[name], values, atol=1e-6)
    assert np.abs(again["dimensions"]).max() <= 1.0


def test_it_learns_to_concord(rng):
    """Head and loss together, with a third of the ratings missing."""
    keras.utils.set_random_seed(1)
    x = rng.normal(size=(256, 8)).astype(np.float32)
    truth = np.clip(x @ rng.normal(0.0, 0.25, (8, 2)) - [0.4, 0.0], -1, 1).astype(np.float32)
    rated = np.where(rng.random(truth.shape) < 0.33, np.nan, truth)
    inputs = keras.Input((8,))
    model = keras.Model(inputs, heads.dimensional_head(inputs, 2, 0.0))
    optimizer = keras.optimizers.Adam(0.05)
    assert (metrics.concordance(truth, model(x).numpy()) < 0.7).all()
    for _ in range(80):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses.concordance_loss(rated, model(x, training=True)))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_weights), model.trainable_weights, strict=True)
        )
    assert (metrics.concordance(truth, model(x).numpy()) > 0.97).all()


@pytest.fixture(scope="module")
def int8_file(tmp_path_factory) -> tuple[keras.Model, Path]:
    folder = tmp_path_factory.mktemp("int8")
    model = heads.multi_task_student(tiny_student(), DIMENSIONS)
    spread(model, windows_of(64))
    convert.convert(model, ("int8",), folder, windows_of(64))
    return model, convert.model_path(folder, "int8")


def run_file(path: Path, windows: np.ndarray, delegates: bool) -> dict[str, np.ndarray]:
    """By the names in the file's signature, dequantised."""
    kinds = litert.OpResolverType
    kind = kinds.AUTO if delegates else kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = litert.Interpreter(str(path), num_threads=1, experimental_op_resolver_type=kind)
    runner = interpreter.get_signature_runner()
    (given,), taken = runner.get_input_details().values(), runner.get_output_details()
    answers: dict[str, Any] = {name: [] for name in taken}
    for window in windows:
        for name, value in runner(logmel=quantize(window[np.newaxis], given)).items():
            answers[name].append(dequantize(value[0], taken[name]))
    return {name: np.array(values) for name, values in answers.items()}


def test_the_int8_file_is_int8_throughout_and_has_no_operator_for_cutting_off(int8_file):
    _, path = int8_file
    assert verify.not_int8(path) == []
    listing = io.StringIO()
    with contextlib.redirect_stdout(listing):
        tf.lite.experimental.Analyzer.analyze(model_path=str(path))
    assert listing.getvalue().count("FULLY_CONNECTED(") == 2
    for operator in ("MINIMUM", "MAXIMUM", "RELU_N1_TO_1", "TANH", "QUANTIZE("):
        assert operator not in listing.getvalue(), operator


@pytest.mark.parametrize("delegates", [True, False])
def test_the_int8_file_says_what_keras_says(int8_file, delegates):
    model, path = int8_file
    windows = windows_of(96, seed=1)  # not those that it was calibrated on
    expected = {name: value.numpy() for name, value in model(windows, training=False).items()}
    answers = run_file(path, windows, delegates)
    assert set(answers) == {"logits", "dimensions"}
    assert answers["logits"].shape == (96, CLASSES)
    truth, found = expected["dimensions"], answers["dimensions"]
    assert found.shape == truth.shape == (96, DIMENSIONS)
    assert np.abs(truth).max() == 1.0  # some are cut off
    assert np.abs(found).max() <= 1.001
    assert (metrics.concordance(truth, found) > 0.99).all()
    # A head that shared the logits' scale would have a twentieth of the steps.
    for column in found.T:
        assert len(np.unique(column)) > 40
