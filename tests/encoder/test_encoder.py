"""The speech encoder: the reference's numbers, shapes, masks, what is drawn in training, saving."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from encoder_maker import QUIET, TINY, numpy

from ser_kd import load_encoder
from ser_kd.encoder.architecture import architecture
from ser_kd.encoder.layers import (
    PositionalConvEmbedding,
    RelativePositions,
    distance_buckets,
    random_spans,
)
from ser_kd.encoder.model import SpeechEncoder, normalize
from ser_kd.errors import UserError

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FIXTURES = sorted(
    folder
    for folder in (Path(__file__).parents[1] / "fixtures" / "encoders").iterdir()
    if not folder.name.startswith("whisper")  # see test_whisper.py
)


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


def encoder(gradient_checkpointing: bool = False, **overrides) -> SpeechEncoder:
    config = architecture(**{**TINY, **overrides})
    model = SpeechEncoder(config, gradient_checkpointing=gradient_checkpointing)
    model.build()
    return model


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype("float32")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hiden_size": 8}, "unknown wav2vec2 architecture key 'hiden_size'.*'hidden_size'"),
        ({"model_type": "wav2vec"}, "model_type 'wav2vec' is not supported.*mean 'wav2vec2'"),
        ({"hidden_size": "big"}, "hidden_size.*int"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0 needs an integer from 1 to 256"),
        ({"layerdrop": 1.5}, "layerdrop = 1.5 is out of range: from 0 to 1"),
        (
            {"model_type": "hubert", "conv_pos_batch_norm": True},
            "conv_pos_batch_norm = True is not",
        ),
        ({"hidden_size": 1_000_000}, "hidden_size = 1000000 needs an integer from 1 to 16,384"),
        ({"model_type": "wavlm", "num_buckets": 3}, "num_buckets = 3 and max_bucket_distance"),
        ({"model_type": "wavlm", "max_bucket_distance": 80}, "num_buckets = 320 and max_bucket"),
        ({"conv_dim": [8, 8]}, "conv_dim"),
        ({"hidden_size": 15}, "hidden_size 15"),
        ({"feat_extract_norm": "batch"}, "'group' or 'layer'"),
        ({"hidden_act": "gelo"}, "hidden_act 'gelo'"),
        ({"add_adapter": True}, "add_adapter = True is not supported"),
    ],
)
def test_architecture_names_what_is_wrong(overrides, message):
    with pytest.raises(UserError, match=message):
        architecture(**{**TINY, **overrides})


def test_base_architecture_has_20_ms_frames():
    lengths = SpeechEncoder(architecture(num_hidden_layers=1))
    assert lengths.receptive_field_samples == 400
    assert [lengths.frame_lengths(n) for n in (10, 400, 719, 720, 16_000)] == [1, 1, 1, 2, 49]


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_reference_implementation_says_the_same(folder):
    """Weights in every file format and spelling; see fixtures/make_encoders.py."""
    expected = np.load(folder / "expected.npz")
    notices: list[str] = []
    model = load_encoder(folder, notify=notices.append)
    waveforms, mask = model.preprocess(expected["raw"], expected["mask"]), expected["mask"]
    close = {"atol": 1e-5, "rtol": 0}
    np.testing.assert_allclose(numpy(waveforms), expected["waveforms"], **close)
    np.testing.assert_allclose(numpy(model(waveforms, mask=mask)), expected["last"], **close)
    np.testing.assert_allclose(numpy(model(waveforms)), expected["last_without_mask"], **close)
    states = np.stack([numpy(state) for state in model.hidden_states(waveforms, mask=mask)])
    # Values up to 40 lie in the states of random WavLMs.
    np.testing.assert_allclose(states, expected["states"], atol=2e-5, rtol=0)
    assert np.abs(expected["last"] - expected["last_without_mask"]).max() > 0.01
    left_out = {line.rsplit(": ", 1)[1] for line in notices if "left out" in line}
    assert left_out == LEFT_OUT.get(folder.name, set())
    assert any("masked_spec_embed" in line for line in notices) == (
        folder.name == "wavlm_layer_stable"
    )


LEFT_OUT = {
    "wav2vec2_layer_stable": {"project_hid, project_q, quantizer"},
    "wav2vec2_layer": {"lm_head"},
    "wav2vec2_group_stable": {"classifier, projector"},
    "hubert_layer_stable": {"lm_head"},
    "wavlm_group": {"classifier, projector"},
}


def test_all_variants_are_among_the_fixtures():
    assert {folder.name for folder in FIXTURES} == {
        *("wav2vec2_group", "wav2vec2_group_stable", "wav2vec2_layer", "wav2vec2_layer_stable"),
        *("hubert_group", "hubert_layer_stable", "wavlm_group", "wavlm_layer_stable"),
    }


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


def test_wavlm_buckets_distances_as_t5_does():
    # By hand: 12 buckets are 6 a side, 3 of them exact; 3 logarithmic ones reach to 14 frames:
    # 3 + floor(3 * log(d / 3) / log(14 / 3)).
    by_hand = [0, 1, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 5, 5, 5]
    assert distance_buckets(12, 14).tolist() == by_hand
    config = architecture("wavlm", **TINY, num_buckets=12, max_bucket_distance=14)
    layer = RelativePositions(config)
    layer.build()
    layer.embedding.assign(noise(12, 2))
    bias, embedding = numpy(layer(noise(1, 20, 16))), numpy(layer.embedding)
    for query, key in ((0, 0), (3, 5), (5, 3), (0, 19), (19, 0), (7, 13)):
        bucket = by_hand[min(abs(key - query), 14)] + (6 if key > query else 0)
        np.testing.assert_array_equal(bias[:, query, key], embedding[bucket])


def spans(seed: int, lengths, size: int, share: float, span: int, at_least: int) -> np.ndarray:
    return numpy(random_spans(tf.constant([seed, 0]), lengths, size, share, span, at_least))


def test_masked_spans_lie_in_the_clip_and_are_as_many_as_asked_for():
    lengths = np.array([40, 17, 5, 3])
    counts = []
    for seed in range(200):
        masked = spans(100 * seed, lengths, 40, 0.3, 4, 2)
        assert not masked[np.arange(40) >= lengths[:, None]].any()
        assert not masked[3].any()  # shorter than a span
        assert 5 <= masked[0].sum() <= 16  # 3 or 4 spans of 4 that may overlap
        assert masked[1].sum() >= 5  # at least 2 spans
        counts.append(masked.sum(axis=1))
        starts = masked[0] & ~np.concatenate([[False], masked[0][:-1]])
        assert all(masked[0][i : i + 4].all() for i in np.flatnonzero(starts))
    # By hand: 3 spans of 4 at random places of 37 overlap a little.
    assert 9 < np.mean(counts, axis=0)[0] < 12
    assert len({tuple(row) for row in counts}) > 15


@pytest.mark.slow
def test_spans_are_rounded_up_as_often_as_the_share_says():
    # 0.25 * 30 / 3 = 2.5 spans, of which 2 or 3 are drawn equally often. They do not overlap.
    counts = [spans(7 * seed, np.array([10]), 10, 0.25, 1, 0).sum() for seed in range(400)]
    assert set(counts) == {2, 3}
    assert 0.4 < np.mean(np.array(counts) == 3) < 0.6


def test_spec_augment_is_drawn_in_training_only_and_puts_in_the_masked_embedding():
    masks = {"apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2}
    model = encoder(**{**QUIET, **masks, "mask_feature_prob": 0.0})
    model.masked_embedding.assign(np.full(16, 50.0, "float32"))
    model.norm.gamma.assign(np.zeros(16, "float32"))  # so that only the seen features matter below
    assert model.masked_embedding.trainable
    x, seen = noise(3, 1000), []
    model._mask_features, draw = (
        lambda *arguments: seen.append(draw(*arguments)) or seen[-1],
        model._mask_features,
    )
    model(x)
    assert not seen
    model(x, training=True)
    model(x, training=True)
    hit = [(numpy(features) == 50.0).all(axis=-1) for features in seen]
    assert 0.1 < hit[0].mean() < 0.5
    assert not np.array_equal(hit[0], hit[1])


def test_channels_are_masked_with_zeros():
    masks = {"apply_spec_augment": True, "mask_feature_prob": 0.25, "mask_feature_length": 2}
    model = encoder(**{**QUIET, **masks, "mask_time_prob": 0.0})
    assert not model.masked_embedding.trainable
    features = model._mask_features(1 + 0 * noise(2, 9, 16), None, model.seeds.next())
    features = numpy(features)
    assert set(np.unique(features)) == {0.0, 1.0}
    np.testing.assert_array_equal(features, np.broadcast_to(features[:, :1], features.shape))
    assert (features[:, 0] == 0).sum(axis=1).max() <= 4


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["wav2vec2", "wavlm"])
@pytest.mark.parametrize("layerdrop", [0.0, 0.5])
def test_gradient_checkpointing_changes_nothing_but_memory(model_type, layerdrop):
    """Whatever is drawn is drawn alike the second time; else the gradients were wrong."""
    masks = {"mask_time_prob": 0.3, "mask_time_length": 2}
    target, results = noise(2, 21, 16), []
    for recompute in (False, True):
        keras.utils.set_random_seed(3)
        model = encoder(recompute, model_type=model_type, layerdrop=layerdrop, **masks)

        @tf.function
        def step(model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(target * model(noise(2, 900), training=True))
            return loss, tape.gradient(loss, [weight.value for weight in model.trainable_weights])

        step()
        loss, gradients = step()
        results.append((float(loss), [numpy(gradient) for gradient in gradients]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-5)
    largest = 0.0
    for one, other in zip(results[0][1], results[1][1], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        largest = max(largest, np.abs(one).max())
    assert largest > 1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("model_type", ["wav2vec2", "wavlm"])
def test_half_precision_is_close_to_float32(policy, model_type):
    exact = encoder(model_type=model_type, do_stable_layer_norm=True)
    keras.config.set_dtype_policy(policy)
    try:
        half = encoder(model_type=model_type, do_stable_layer_norm=True)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(exact.get_weights())
    x, mask = noise(2, 1000), (np.arange(1000) < np.array([[1000], [600]])).astype("int32")
    result = half(x, mask=mask)
    assert result.dtype == policy.removeprefix("mixed_")
    difference = np.abs(numpy(tf.cast(result, tf.float32)) - numpy(exact(x, mask=mask)))
    assert 0 < difference.max() < (0.02 if policy == "mixed_float16" else 0.2)


@pytest.mark.parametrize(
    ("waveforms", "mask", "message"),
    [
        (noise(1000), None, r"shape \(1000,\); give"),
        (noise(2, 9), None, "9 samples are too short.*takes 65;"),
        (np.zeros((2, 900), np.int16), None, "waveforms are int16; give floats"),
        (noise(2, 900), np.ones((2, 800), int), r"mask has shape \(2, 800\).*\(2, 900\)"),
        (noise(2, 900), np.ones((1, 900), int), r"mask has shape \(1, 900\)"),
        (noise(2, 900), np.ones(900, int), r"mask has shape \(900,\)"),
    ],
)
def test_wrong_waveforms_and_masks(waveforms, mask, message):
    with pytest.raises(UserError, match=message):
        encoder()(waveforms, mask=mask)


def test_mask_and_training_may_come_by_position_or_be_none():
    model, x = encoder(**QUIET), noise(2, 900)
    mask = (np.arange(900) < np.array([[900], [500]])).astype("int32")
    plain, masked = numpy(model(x)), numpy(model(x, mask=mask))
    for output in (model(x, None), model(x, None, False), model(x, mask=None, training=True)):
        np.testing.assert_array_equal(numpy(output), plain)
    for given in (
        mask,
        mask.astype(bool),
        mask.astype("float32"),
        tf.constant(mask),
        mask.tolist(),
    ):
        np.testing.assert_array_equal(numpy(model(x, given)), masked)
        np.testing.assert_array_equal(numpy(model(x, given, False)), masked)


def test_half_precision_normalises_in_float32():
    """The sums over five seconds are beyond float16."""
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = encoder()
    finally:
        keras.config.set_dtype_policy("float32")
    waveforms = model.preprocess(3 * noise(1, 80_000))
    assert waveforms.dtype == "float32"
    assert numpy(waveforms).std() == pytest.approx(1, abs=1e-3)
    assert model(waveforms).dtype == "float16"


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


def test_encoder_saves_and_loads_bit_equal(tmp_path):
    model = encoder(do_stable_layer_norm=True, feat_extract_norm="layer")
    model.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    clips = noise(1, 500)
    np.testing.assert_array_equal(numpy(loaded(clips)), numpy(model(clips)))


def test_mask_may_come_with_the_very_first_call():
    clips, mask = noise(2, 500), np.ones((2, 500), "int32")
    for arguments in ({"mask": mask}, {}):
        model = SpeechEncoder({"model_type": "hubert", **TINY})
        output = model(clips, **arguments) if arguments else model(clips, mask)
        assert output.shape == (2, model.frame_lengths(500), 16)
