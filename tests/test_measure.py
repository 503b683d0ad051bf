"""Latency and memory in fresh processes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.errors import UserError
from ser_kd.measure import measure, measure_all


def models(folder):
    """The same small network as .keras and .tflite."""
    inputs = keras.Input((40, 16))
    network = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    network.save(folder / "a.keras")
    spec = tf.TensorSpec((1, 40, 16), tf.float32)
    network.export(folder / "saved", verbose=False, input_signature=[spec])
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved"))
    (folder / "a.tflite").write_bytes(converter.convert())
    return [folder / "a.keras", folder / "a.tflite"]


def test_measure_all(tmp_path, capfd):
    ballast = np.ones(100_000_000)  # 800 MB, which must not be counted as the models' memory
    paths = models(tmp_path)
    capfd.readouterr()
    in_keras, in_tflite = measure_all(paths, rounds=3, inferences=5)
    assert (in_keras["runtime"], in_tflite["runtime"]) == ("Keras", "LiteRT")
    for figures in (in_keras, in_tflite):
        assert 0 < figures["latency_ms"] <= figures["latency_p95_ms"]
    # Python, NumPy and the interpreter only: TensorFlow alone would take 300 MB.
    assert 10 < in_tflite["peak_memory_mb"] < 150
    assert 200 < in_keras["peak_memory_mb"] < 800
    assert ballast.size
    assert capfd.readouterr().out == ""


def test_named_inputs_are_given_as_an_example(tmp_path):
    first, second = keras.Input((4,), name="first"), keras.Input((4,), name="second")
    output = keras.layers.Dense(2)(keras.layers.Add()([first, second]))
    keras.Model({"first": first, "second": second}, output).save(tmp_path / "two.keras")
    example = {name: np.ones((1, 4), np.float32) for name in ("first", "second")}
    assert measure(tmp_path / "two.keras", example)["latency_ms"] > 0


def test_a_model_that_cannot_be_loaded(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"1234TFL3")
    with pytest.raises(UserError, match=r"bad.tflite cannot be measured: .*truncated or damaged"):
        measure(tmp_path / "bad.tflite")
