"""The Wav2Vec2 encoder and classifier: shapes, masks, LayerDrop, training, saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.errors import UserError
from ser_kd.teachers.wav2vec2 import (
    PositionalConvEmbedding,
    Wav2Vec2Classifier,
    Wav2Vec2Encoder,
    architecture,
    normalize,
)

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

TINY = {
    "conv_dim": [8, 8, 8],
    "conv_kernel": [10, 4, 3],
    "conv_stride": [5, 4, 2],
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
    "layerdrop": 0.0,
    "initializer_range": 0.2,
}
QUIET = {"hidden_dropout": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0}


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def encoder(**overrides) -> Wav2Vec2Encoder:
    model = Wav2Vec2Encoder(architecture(**{**TINY, **overrides}))
    model.build()
    return model


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def numpy(x) -> np.ndarray:
    return tf.convert_to_tensor(x).numpy()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hiden_size": 8}, "unknown Wav2Vec2 architecture key 'hiden_size'.*'hidden_size'"),
        ({"conv_dim": [8, 8]}, "conv_dim"),
        ({"hidden_size": 15}, "hidden_size 15"),
        ({"feat_extract_norm": "batch"}, "'group' or 'layer'"),
        ({"hidden_act": "gelo"}, "hidden_act 'gelo'"),
        ({"add_adapter": True}, "adapters"),
    ],
)
def test_architecture_names_what_is_wrong(overrides, message):
    with pytest.raises(UserError, match=message):
        architecture(**{**TINY, **overrides})


def test_base_architecture_has_20_ms_frames():
    lengths = Wav2Vec2Encoder(architecture(num_hidden_layers=1))
    assert [lengths.frame_lengths(n) for n in (10, 400, 719, 720, 16_000)] == [1, 1, 1, 2, 49]


@pytest.mark.parametrize("norm", ["group", "layer"])
@pytest.mark.parametrize("stable", [False, True])
def test_output_shape_follows_the_length_formula(norm, stable):
    model = encoder(feat_extract_norm=norm, do_stable_layer_norm=stable, conv_bias=stable)
    for samples in (400, 1001):
        states = model.hidden_states(noise(2, samples))
        output = model(noise(2, samples))
        assert len(states) == 3
        assert {tuple(s.shape) for s in states} == {(2, model.frame_lengths(samples), 16)}
        assert np.allclose(numpy(output), numpy(states[-1])) is not stable


def test_padded_clip_with_mask_equals_the_clip_alone():
    # "group" takes its statistics over the padding too, as the reference does.
    model = encoder(feat_extract_norm="layer")
    clips = noise(2, 1000)
    clips[1, 600:] = 0
    mask = (np.arange(1000) < np.array([[1000], [600]])).astype("int32")
    together = numpy(model(clips, mask=mask))
    frames = model.frame_lengths(600)
    np.testing.assert_allclose(
        together[1, :frames], numpy(model(clips[1:, :600]))[0], atol=1e-5, rtol=0
    )
    np.testing.assert_allclose(together[0], numpy(model(clips[:1]))[0], atol=1e-5, rtol=0)
    without = numpy(model(clips))
    assert np.abs(without[1, :frames] - together[1, :frames]).max() > 1e-3


def test_what_lies_behind_the_mask_has_no_influence():
    model = encoder(feat_extract_norm="layer", do_stable_layer_norm=True)
    clips, mask = noise(1, 1000), (np.arange(1000) < 600).astype("int32")[None]
    changed = clips.copy()
    changed[0, 600:] += 3
    frames = model.frame_lengths(600)
    before, after = (numpy(model(x, mask=mask))[0, :frames] for x in (clips, changed))
    np.testing.assert_array_equal(before, after)


def test_normalize_counts_real_samples_only():
    clip = 5 + 3 * noise(1, 400)
    padded = np.concatenate([clip, np.full((1, 100), 7, "float32")], axis=1)
    result = numpy(normalize(padded, np.arange(500)[None] < 400))
    expected = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    np.testing.assert_allclose(result[:, :400], expected, atol=1e-5)
    assert not result[:, 400:].any()
    assert not numpy(normalize(np.zeros((1, 9), "float32"))).any()


@pytest.mark.parametrize("width", [7, 8])
def test_positional_convolution_is_a_grouped_convolution(width):
    config = architecture(**{**TINY, "num_conv_pos_embeddings": width})
    layer = PositionalConvEmbedding(config)
    layer.build((None, None, 16))
    layer.activation = lambda x: x
    layer.bias.assign(noise(16))
    x, kernel = noise(1, 20, 16), numpy(layer.kernel)
    padded = np.pad(x[0], [(width // 2, width // 2), (0, 0)])
    expected = np.empty((20, 16))
    for t in range(20):
        for out in range(16):
            first = out // 4 * 4  # four channels a group
            window = padded[t : t + width, first : first + 4]
            expected[t, out] = (window * kernel[:, :, out]).sum() + numpy(layer.bias)[out]
    np.testing.assert_allclose(numpy(layer(x))[0], expected, atol=1e-5)


def test_layerdrop_is_drawn_at_every_step_of_one_graph():
    model, traces = encoder(layerdrop=0.5, **QUIET), []

    @tf.function
    def step(x):
        traces.append(1)
        return model(x, training=True)

    x = tf.constant(noise(1, 500))
    sums = {round(float(tf.reduce_sum(step(x)[0, :, 0])), 4) for _ in range(24)}
    assert len(traces) == 1
    assert len(sums) == 4  # each of two layers runs or does not
    assert len({float(tf.reduce_sum(model(x)[0, :, 0])) for _ in range(4)}) == 1


def test_layerdrop_of_one_skips_every_layer_in_training_only():
    model, x = encoder(layerdrop=1.0, **QUIET), noise(1, 500)
    skipped = model.hidden_states(x, training=True)
    np.testing.assert_array_equal(numpy(skipped[0]), numpy(skipped[2]))
    states = model.hidden_states(x)
    assert np.abs(numpy(states[0]) - numpy(states[2])).max() > 0.1


def test_one_trace_serves_every_batch_and_length():
    model, traces = encoder(), []

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, None), tf.float32),
            tf.TensorSpec((None, None), tf.int32),
        ]
    )
    def run(x, mask):
        traces.append(1)
        return model(x, mask=mask)

    for batch, samples in ((1, 400), (2, 700)):
        x, mask = noise(batch, samples), np.ones((batch, samples), "int32")
        np.testing.assert_allclose(numpy(run(x, mask)), numpy(model(x, mask=mask)), atol=1e-5)
    assert len(traces) == 1


def test_works_inside_a_functional_model():
    model = encoder()
    inputs = keras.Input((700,))
    outer = keras.Model(inputs, model(inputs))
    assert outer.output_shape == (None, model.frame_lengths(700), 16)
    x = noise(2, 700)
    np.testing.assert_allclose(numpy(outer(x)), numpy(model(x)), atol=1e-6)


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


def classifier(**arguments) -> Wav2Vec2Classifier:
    config = {**TINY, **QUIET, "num_hidden_layers": 1}
    model = Wav2Vec2Classifier(config, 2, projection=8, dropout=0.0, **arguments)
    model.compile(
        keras.optimizers.Adam(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    return model


def test_classifier_learns_two_tones_and_trains_its_convolutions():
    model, (x, y) = classifier(freeze_feature_encoder=False), tones(32)
    model.build()
    before = [numpy(w) for w in model.encoder.feature_encoder.weights]
    history = model.fit(x, y, batch_size=8, epochs=12, verbose=0).history["loss"]
    assert history[0] > 0.3
    assert (numpy(model(x)).argmax(axis=1) == y).all()
    for old, weight in zip(before, model.encoder.feature_encoder.weights, strict=True):
        assert not np.array_equal(old, numpy(weight)), weight.path


def test_frozen_convolutions_stay_as_they_are_and_the_model_loads_bit_equal(tmp_path):
    model, (x, y) = classifier(freeze_feature_encoder=True), tones(8)
    model.build()
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


@pytest.mark.parametrize("stable", [False, True])
def test_gradient_reaches_every_weight(stable):
    config = {**TINY, "do_stable_layer_norm": stable, "conv_bias": True}
    model = Wav2Vec2Classifier(config, 2, freeze_feature_encoder=False, name="teacher")
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
    model = Wav2Vec2Classifier({**TINY, "feat_extract_norm": "layer"}, 2, projection=8)
    x, _ = tones(3)
    logits, embedding = model.logits_and_embedding(x)
    assert embedding.shape == (3, 8)
    np.testing.assert_allclose(numpy(logits), numpy(model(x)), atol=1e-6)
    longer = {**x, "waveform": np.pad(x["waveform"], [(0, 0), (0, 333)])}
    np.testing.assert_allclose(numpy(model(longer)), numpy(logits), atol=1e-5)


def test_a_clip_shorter_than_a_frame_is_finite():
    model = classifier()
    x = {"waveform": noise(2, 500), "samples": np.array([3, 0], "int32")}
    assert np.isfinite(numpy(model(x))).all()


def test_encoder_saves_and_loads_bit_equal(tmp_path):
    model = encoder(do_stable_layer_norm=True, feat_extract_norm="layer")
    model.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    clips = noise(1, 500)
    np.testing.assert_array_equal(numpy(loaded(clips)), numpy(model(clips)))


def test_mask_may_come_with_the_very_first_call():
    clips, mask = noise(2, 500), np.ones((2, 500), "int32")
    for arguments in ({"mask": mask}, {}):
        model = Wav2Vec2Encoder(TINY)
        output = model(clips, **arguments) if arguments else model(clips, mask)
        assert output.shape == (2, model.frame_lengths(500), 16)
