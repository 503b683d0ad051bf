"""The student networks: shapes, sizes, files."""

import keras
import numpy as np
import pytest

from ser_kd.config import StudentConfig
from ser_kd.students import architectures
from ser_kd.students.layers import FusedBatchNormalization, Standardize

KINDS = ["mobilenet", "yamnet", "cnn", "crnn"]
FRAMES, MELS, CLASSES = 40, 32, 5


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def build(kind: str = "mobilenet", width: float = 0.25, dropout: float = 0.0) -> keras.Model:
    return architectures.build_student(StudentConfig(kind, width, dropout), FRAMES, MELS, CLASSES)


@pytest.fixture
def logmel(rng) -> np.ndarray:
    return rng.normal(-45.0, 15.0, (3, FRAMES, MELS)).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_gives_logits_and_embedding_and_survives_its_file(kind, logmel, tmp_path):
    model = build(kind)
    mean, deviation = logmel.mean((0, 1)), logmel.std((0, 1))
    model.get_layer("standardize").set_statistics(mean, deviation)
    for layer in model.layers:  # not at their initial values, as after training
        if isinstance(layer, FusedBatchNormalization):
            layer.set_weights([w + 0.1 * np.arange(len(w)) / len(w) for w in layer.get_weights()])
    logits = model.predict(logmel, verbose=0)
    assert logits.shape == (3, CLASSES)
    # Logits, not probabilities: some are negative, and they do not sum to one.
    assert logits.min() < 0.0
    assert (abs(logits.sum(1) - 1.0) > 1e-3).any()
    same_logits, embedding = architectures.embedding_model(model).predict(logmel, verbose=0)
    np.testing.assert_array_equal(same_logits, logits)
    kernel, bias = model.get_layer("logits").get_weights()
    np.testing.assert_allclose(embedding @ kernel + bias, logits, rtol=1e-4, atol=1e-5)
    model.save(tmp_path / "student.keras")
    loaded = keras.saving.load_model(tmp_path / "student.keras")
    np.testing.assert_array_equal(loaded.predict(logmel, verbose=0), logits)
    np.testing.assert_array_equal(loaded.get_layer("standardize").mean, mean)


def test_level_statistics_are_all_that_tells_decibels_from_standard_units(logmel):
    model = build()
    raw = build()
    raw.set_weights(model.get_weights())
    mean, deviation = logmel.mean((0, 1)), logmel.std((0, 1))
    model.get_layer("standardize").set_statistics(mean, deviation)
    standardized = ((logmel - mean) / deviation).astype(np.float32)
    np.testing.assert_allclose(model(logmel), raw(standardized), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_fits_into_600_kb_as_int8(kind):
    model = architectures.build_student(StudentConfig(kind), 149, 64, 6)
    normalisations = sum(
        layer.count_params()
        for layer in model.layers
        if isinstance(layer, (FusedBatchNormalization, Standardize))
    )
    # Normalisation folds into the convolutions; each of their outputs then has an int32 bias.
    int8_bytes = model.count_params() - normalisations + normalisations // 4 * 4
    assert 100_000 < int8_bytes <= 600_000


@pytest.mark.parametrize("kind", KINDS)
def test_width_scales_the_size(kind):
    sizes = [build(kind, width).count_params() for width in (0.25, 0.5, 1.0)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_widths_keep_channels_at_multiples_of_8():
    for layer in build(width=0.7).layers:
        if isinstance(layer, keras.layers.Conv2D) and not layer.name.startswith("depthwise"):
            assert layer.filters % 8 == 0


def test_the_only_activation_is_relu6():
    model = build(dropout=0.1)
    known = {
        "InputLayer", "Standardize", "Conv2D", "DepthwiseConv2D", "ReLU", "Add",
        "FusedBatchNormalization", "GlobalAveragePooling2D", "Identity", "Dropout", "Dense",
    }  # fmt: skip
    assert {type(layer).__name__ for layer in model.layers} == known
    relus = [layer for layer in model.layers if isinstance(layer, keras.layers.ReLU)]
    assert {float(relu.max_value) for relu in relus} == {6.0}
    for layer in model.layers:
        assert getattr(layer, "activation", keras.activations.linear) is keras.activations.linear


def test_the_table_is_the_architecture(monkeypatch):
    rows = (architectures.Row(8, 1, 1, 1), architectures.Row(16, 3, 2, 2))
    monkeypatch.setattr(architectures, "MOBILENET_ROWS", rows)
    model = build(width=1.0)
    depthwise = [m for m in model.layers if isinstance(m, keras.layers.DepthwiseConv2D)]
    assert [layer.strides for layer in depthwise] == [(1, 1), (2, 2), (1, 1), (1, 1)]
    assert [layer.output.shape[-1] for layer in depthwise] == [16, 16, 32, 32]
    # Shortcuts where shape stays: the second and third repeat. The stem halves, the row halves.
    assert sum(isinstance(layer, keras.layers.Add) for layer in model.layers) == 2
    assert depthwise[-1].output.shape[1:3] == (FRAMES // 4, MELS // 4)


def test_dropout_acts_in_training_only(logmel):
    model = build(dropout=0.5)
    np.testing.assert_array_equal(model(logmel, training=False), model(logmel, training=False))
    assert np.abs(model(logmel, training=True) - model(logmel, training=True)).max() > 1e-3
    plain = build(dropout=0.0)
    first = np.array(plain(logmel, training=True))
    np.testing.assert_array_equal(first, plain(logmel, training=True))
