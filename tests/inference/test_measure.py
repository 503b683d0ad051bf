"""Latency and memory in fresh processes."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.encoder.architecture import architecture
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.errors import UserError
from ser_kd.inference.measure import measure, measure_all
from ser_kd.teachers.classifier import SpeechClassifier


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
    assert 200 < in_keras["peak_memory_mb"] < 1_200
    assert ballast.size
    assert capfd.readouterr().out == ""


@pytest.mark.slow
def test_a_teacher_on_waveforms(tmp_path):
    """Subclassed, with named inputs: its classes must be found, its input be given."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    convolutions = {"conv_dim": [8, 8], "conv_kernel": [10, 4], "conv_stride": [10, 4]}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 4}
    config = architecture(**sizes, **convolutions, **positions, intermediate_size=24)
    teacher = SpeechClassifier(SpeechEncoder(config), classes=3)
    teacher.build()
    teacher.save(tmp_path / "teacher.keras")
    samples = np.array([4_000], np.int32)
    example = {"waveform": np.zeros((1, 4_000), np.float32), "samples": samples}
    assert measure(tmp_path / "teacher.keras", example)["latency_ms"] > 0


def test_a_model_that_cannot_be_loaded(tmp_path):
    (tmp_path / "bad.tflite").write_bytes(b"1234TFL3")
    with pytest.raises(UserError, match=r"bad.tflite cannot be measured: .*truncated or damaged"):
        measure(tmp_path / "bad.tflite")
