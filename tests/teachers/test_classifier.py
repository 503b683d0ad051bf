"""The classifier on a speech encoder: pooling, layer sum, what is trained, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from encoder_maker import QUIET, TINY, TINY_WHISPER, numpy

from ser_kd.encoder.architecture import architecture
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.encoder.whisper import WhisperEncoder
from ser_kd.teachers.classifier import AttentiveStatistics, LayerSum, SpeechClassifier

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SMALL = {**TINY, **QUIET, "num_hidden_layers": 1}


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def tones(clips: int, samples: int = 800) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Clips of two classes, which differ in frequency only."""
    rng = np.random.default_rng(3)
    labels = np.arange(clips) % 2
    hz = np.where(labels, 2500, 600)[:, None]
    phase = rng.uniform(0, 6, (clips, 1))
    waveform = np.sin(2 * np.pi * hz * np.arange(samples) / 16_000 + phase)
    waveform = (waveform + 0.1 * rng.normal(size=waveform.shape)).astype("float32")
    lengths = rng.integers(samples // 2, samples + 1, clips)
    waveform[np.arange(samples) >= lengths[:, None]] = 0
    return {"waveform": waveform, "samples": lengths.astype("int32")}, labels


def classifier(architecture_fields: dict | None = None, **arguments) -> SpeechClassifier:
    encoder = SpeechEncoder(
        architecture(**{**SMALL, **(architecture_fields or {})}), name="encoder"
    )
    settings = {"projection": 8, "dropout": 0.0, **arguments}
    model = SpeechClassifier(encoder, 2, name="teacher", **settings)
    model.build()
    model.compile(
        keras.optimizers.Adam(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("combine", "pooling"), [("last", "mean"), ("weighted", "attentive_statistics")]
)
def test_it_learns_two_tones_and_trains_its_convolutions(combine, pooling):
    model, (x, y) = classifier(frozen="nothing", combine=combine, pooling=pooling), tones(32)
    before = [numpy(w) for w in model.encoder.feature_encoder.weights]
    history = model.fit(x, y, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert history[0] > 0.3
    assert (numpy(model(x)).argmax(axis=1) == y).all()
    for old, weight in zip(before, model.encoder.feature_encoder.weights, strict=True):
        assert not np.array_equal(old, numpy(weight)), weight.path


@pytest.mark.slow
@pytest.mark.parametrize("combine", ["last", "weighted"])
@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
def test_frozen_convolutions_stay_as_they_are_and_the_model_loads_bit_equal(
    tmp_path, combine, pooling
):
    model, (x, y) = classifier(combine=combine, pooling=pooling), tones(8)
    before = [numpy(w) for w in model.encoder.feature_encoder.weights]
    projection = numpy(model.encoder.feature_projection.dense.kernel)
    model.fit(x, y, batch_size=4, verbose=0)
    for old, weight in zip(before, model.encoder.feature_encoder.weights, strict=True):
        np.testing.assert_array_equal(old, numpy(weight))
    assert not np.array_equal(projection, numpy(model.encoder.feature_projection.dense.kernel))

    model.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    assert loaded.get_config() == model.get_config()
    assert not loaded.encoder.feature_encoder.trainable


def test_a_frozen_encoder_is_not_trained_and_draws_nothing():
    drawing = {"hidden_dropout": 0.5, "layerdrop": 0.5, "apply_spec_augment": True}
    model, (x, y) = classifier(drawing, frozen="encoder"), tones(8)
    assert {weight.path.split("/")[1] for weight in model.trainable_weights} == {"head"}
    before = model.encoder.get_weights()
    np.testing.assert_array_equal(numpy(model(x, training=True)), numpy(model(x)))
    model.fit(x, y, batch_size=4, verbose=0)
    for old, weight in zip(before, model.encoder.get_weights(), strict=True):
        np.testing.assert_array_equal(old, weight)


@pytest.mark.parametrize("stable", [False, True])
@pytest.mark.parametrize("combine", ["last", "weighted"])
@pytest.mark.parametrize("pooling", ["mean", "attentive_statistics"])
@pytest.mark.parametrize("model_type", ["wav2vec2", "wavlm"])
def test_gradient_reaches_every_weight(stable, combine, pooling, model_type):
    fields = {"do_stable_layer_norm": stable, "conv_bias": True, "model_type": model_type}
    model = classifier(fields, combine=combine, pooling=pooling, frozen="nothing")
    x, y = tones(4)
    with tf.GradientTape() as tape:
        loss = keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
    weights = model.trainable_variables
    paths = {weight.path for weight in weights}
    assert len(paths) == len(weights)
    assert "teacher/encoder/layer_0/attention/query/kernel" in paths
    gradients = tape.gradient(loss, [weight.value for weight in weights])
    for weight, gradient in zip(weights, gradients, strict=True):
        assert gradient is not None, weight.path
        # Softmax ignores what all keys share, so the key bias moves nothing; and a norm over the
        # clip's time takes out the bias of the convolution before it.
        if not weight.path.endswith(("key/bias", "conv_0/conv/bias")):
            assert np.abs(numpy(gradient)).max() > 0, weight.path


def test_embedding_comes_with_the_logits_and_ignores_padding():
    for pooling in ("mean", "attentive_statistics"):
        model = classifier({"feat_extract_norm": "layer"}, pooling=pooling, combine="weighted")
        x, _ = tones(3)
        logits, embedding = model.logits_and_embedding(x)
        assert embedding.shape == (3, 8)
        np.testing.assert_allclose(numpy(logits), numpy(model(x)), atol=1e-6)
        longer = {**x, "waveform": np.pad(x["waveform"], [(0, 0), (0, 333)])}
        np.testing.assert_allclose(numpy(model(longer)), numpy(logits), atol=1e-5)


@pytest.mark.parametrize("frozen", ["nothing", "feature_encoder", "encoder"])
def test_a_classifier_on_whisper(tmp_path, frozen):
    encoder = WhisperEncoder(architecture(**TINY_WHISPER), name="encoder")
    model = SpeechClassifier(encoder, 2, combine="weighted", frozen=frozen, name="teacher")
    model.build()
    trained = " ".join(weight.path for weight in model.trainable_weights)
    assert ("conv_0" in trained) == (frozen == "nothing")
    assert ("layer_0" in trained) == (frozen != "encoder")
    x, _ = tones(3, samples=4000)
    means, output = numpy(model.layer_means(x)), numpy(model(x))
    assert means.shape == (3, 3, 16)
    clip = encoder.preprocess(x["waveform"][1:2, : x["samples"][1]])
    np.testing.assert_allclose(means[1, -1], numpy(encoder(clip))[0].mean(axis=0), atol=1e-5)
    model.save(tmp_path / "teacher.keras")
    loaded = keras.saving.load_model(tmp_path / "teacher.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), output)


@pytest.mark.parametrize("combine", ["last", "weighted"])
def test_the_layers_means_are_all_that_the_head_needs(combine):
    model, (x, _) = classifier({"do_stable_layer_norm": True}, combine=combine), tones(3)
    means = model.layer_means(x)
    assert means.shape == (3, 2 if combine == "weighted" else 1, 16)
    np.testing.assert_allclose(numpy(model.head(means)), numpy(model(x)), atol=1e-5)
    alone = model.encoder(
        model.encoder.preprocess(x["waveform"][:1, : x["samples"][0]]), training=False
    )
    if model.encoder.config.feat_extract_norm == "layer":
        np.testing.assert_allclose(numpy(means)[0, -1], numpy(alone)[0].mean(axis=0), atol=1e-5)


def test_the_last_layers_mean_is_that_of_the_encoders_output():
    fields = {"do_stable_layer_norm": True, "feat_extract_norm": "layer"}
    model, (x, _) = classifier(fields, combine="weighted"), tones(1)
    clip = x["waveform"][:, : x["samples"][0]]
    output = model.encoder(model.encoder.preprocess(clip))
    mean = numpy(model.layer_means(x))[0, -1]
    np.testing.assert_allclose(mean, numpy(output)[0].mean(axis=0), atol=1e-5)


def test_layer_sum_by_hand():
    layer = LayerSum()
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    layer.build(x.shape)
    np.testing.assert_allclose(numpy(layer(x)), x.mean(axis=1), atol=1e-6)
    layer.scores.assign([0.0, np.log(2.0), np.log(5.0)])
    expected = (x[:, 0] + 2 * x[:, 1] + 5 * x[:, 2]) / 8
    np.testing.assert_allclose(numpy(layer(x)), expected, atol=1e-6)


def test_attentive_statistics_by_hand():
    layer = AttentiveStatistics(hidden=3)
    rng = np.random.default_rng(0)
    x, real = rng.normal(size=(2, 6, 4)).astype("float32"), np.arange(6) < [[6], [4]]
    layer.build(x.shape)
    layer.hidden.bias.assign(rng.normal(size=3))
    pooled = numpy(layer(x, real))
    for clip, frames in ((0, 6), (1, 4)):
        seen = x[clip, :frames]
        hidden = np.tanh(seen @ numpy(layer.hidden.kernel) + numpy(layer.hidden.bias))
        score = np.exp(hidden @ numpy(layer.score.kernel))
        weight = score / score.sum()
        mean = (weight * seen).sum(axis=0)
        deviation = np.sqrt((weight * (seen - mean) ** 2).sum(axis=0))
        np.testing.assert_allclose(pooled[clip], np.concatenate([mean, deviation]), atol=1e-5)


def test_a_clip_shorter_than_a_frame_is_finite():
    model = classifier(pooling="attentive_statistics")
    waveform = np.random.default_rng(0).normal(size=(2, 500)).astype("float32")
    x = {"waveform": waveform, "samples": np.array([3, 0], "int32")}
    assert np.isfinite(numpy(model(x))).all()


def test_the_head_stays_in_float32_beside_a_half_precision_encoder():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = classifier(combine="weighted", pooling="attentive_statistics")
    finally:
        keras.config.set_dtype_policy("float32")
    x, _ = tones(2)
    states, _ = model.states(x)
    assert states[0].dtype == "float16"
    logits, embedding = model.logits_and_embedding(x)
    assert (logits.dtype, embedding.dtype) == ("float32", "float32")
