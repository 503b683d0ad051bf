"""Whisper's encoder: the reference's numbers, clips of their own length, masks, training, files."""

import json
import shutil
from pathlib import Path

import keras
import librosa
import numpy as np
import pytest
import tensorflow as tf
from encoder_maker import TINY_WHISPER, numpy
from safetensors.numpy import load_file, save_file

from ser_kd import load_encoder
from ser_kd.encoder.architecture import architecture
from ser_kd.encoder.checkpoint import open_checkpoint
from ser_kd.encoder.whisper import LogMelSpectrogram, WhisperEncoder, sinusoids
from ser_kd.errors import UserError

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FIXTURES = sorted((Path(__file__).parents[1] / "fixtures" / "encoders").glob("whisper_*"))
LENGTHS = np.array([2900, 2561, 1400, 1121, 600])  # 18, 16, 8, 7 and 3 frames of the spectrogram


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


@pytest.fixture
def folder(tmp_path):
    """A copy of a checkpoint, to be damaged."""
    return Path(shutil.copytree(FIXTURES[1], tmp_path / "mine"))


def encoder(gradient_checkpointing: bool = False, **overrides) -> WhisperEncoder:
    config = architecture(**{**TINY_WHISPER, **overrides})
    model = WhisperEncoder(config, gradient_checkpointing=gradient_checkpointing)
    model.build()
    return model


def noise(*shape: int) -> np.ndarray:
    return (0.2 * np.random.default_rng(0).normal(size=shape)).astype("float32")


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Clips of ``LENGTHS``, something loud behind each of them, and their mask."""
    mask = np.arange(3000) < LENGTHS[:, None]
    return np.where(mask, noise(len(LENGTHS), 3000), 5.0).astype("float32"), mask.astype("int32")


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.mark.parametrize("folder", FIXTURES, ids=lambda folder: folder.name)
def test_the_reference_implementation_says_the_same(folder):
    """For each clip alone, and padded to all positions; see fixtures/make_encoders.py."""
    expected, notices = np.load(folder / "expected.npz"), []
    model = load_encoder(folder, notify=notices.append)
    samples = expected["samples"]
    clips = np.split(expected["raw"], samples[:-1].cumsum())
    close = {"atol": 2e-5, "rtol": 0}
    for number, clip in enumerate(clips):
        waveform = model.preprocess(clip[None])
        spectrogram = numpy(model.spectrogram(waveform))[0]
        np.testing.assert_allclose(spectrogram, expected[f"spectrogram_{number}"], **close)
        states = np.stack([numpy(state)[0] for state in model.hidden_states(waveform)])
        np.testing.assert_allclose(states, expected[f"alone_{number}"], **close)
        np.testing.assert_array_equal(numpy(model(waveform))[0], states[-1])
    padded = np.pad(clips[0], (0, 20 * 320 - len(clips[0])))[None]
    states = np.stack([numpy(state)[0] for state in model.hidden_states(padded)])
    np.testing.assert_allclose(states, expected["padded_0"], **close)
    (notice,) = notices
    others = "classifier, projector" if folder.name == "whisper_classifier" else "decoder"
    assert notice.endswith(f"left out, not part of the encoder: {others}")


def test_the_spectrogram_has_librosas_filters():
    clip = noise(1, 4000)
    mirrored = np.pad(clip[0].astype(float), 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(mirrored, 400)[:-1:160]
    power = np.abs(np.fft.rfft(frames * np.hanning(401)[:-1])) ** 2
    mels = power @ librosa.filters.mel(sr=16_000, n_fft=400, n_mels=128).T
    logarithm = np.log10(np.maximum(mels, 1e-10))
    expected = (np.maximum(logarithm, logarithm.max() - 8) + 4) / 4
    found = numpy(LogMelSpectrogram(128)(clip))[0]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_spectrogram_of_silence():
    found = numpy(LogMelSpectrogram(80)(np.zeros((1, 1600), "float32")))
    np.testing.assert_allclose(found, -1.5, atol=1e-6)  # the floor is -10; plus 4, over 4


def test_quiet_cells_are_clipped_relative_to_the_clips_own_largest():
    loud, quiet = noise(2, 1600)
    quiet[400:] *= 1e-6
    together = numpy(LogMelSpectrogram(80)(np.stack([100 * loud, quiet])))
    largest, smallest = together[1].max(), together[1].min()
    assert largest - smallest == pytest.approx(2, abs=1e-6)  # 8 in log10, over 4
    np.testing.assert_array_equal(together[1], numpy(LogMelSpectrogram(80)(quiet[None]))[0])


def test_a_clip_in_a_batch_is_the_same_as_alone():
    model, (clips, mask) = encoder(), batch()
    together = [numpy(state) for state in model.hidden_states(clips, mask=mask)]
    for row, samples in enumerate(LENGTHS):
        if samples < model.receptive_field_samples:
            continue
        alone = model.hidden_states(clips[row : row + 1, :samples])
        assert alone[0].shape[1] == model.frame_lengths(int(samples))
        for one, other in zip(together, alone, strict=True):
            frames = other.shape[1]
            np.testing.assert_allclose(one[row, :frames], numpy(other)[0], atol=1e-5, rtol=0)


def test_what_lies_behind_the_mask_has_no_influence():
    model, (clips, mask) = encoder(), batch()
    real = numpy(model.frame_mask(mask, 9))
    before, after = (
        numpy(model(np.where(mask, clips, behind).astype("float32"), mask=mask))[real]
        for behind in (-7.0, np.nan)
    )
    np.testing.assert_array_equal(before, after)


def test_frames_are_20_ms_apart():
    model = encoder()
    counts = [model.frame_lengths(n) for n in (10, 160, 320, 479, 480, 16_000, 480_000)]
    assert counts == [1, 1, 1, 1, 2, 50, 1500]
    np.testing.assert_array_equal(model.frame_lengths(tf.constant([10, 480, 16_000])), [1, 2, 50])
    for samples in (1040, 1279, 1280, 6400):
        assert model(noise(1, samples)).shape == (1, model.frame_lengths(samples), 16)


def test_one_trace_serves_every_batch_and_length():
    model, traces = encoder(), []
    types = (tf.float32, tf.int32)

    @tf.function(input_signature=[tf.TensorSpec((None, None), kind) for kind in types])
    def run(x, mask):
        traces.append(1)
        return model(x, mask=mask)

    for clips, samples in ((1, 1100), (2, 2700)):
        x, mask = noise(clips, samples), np.ones((clips, samples), "int32")
        np.testing.assert_allclose(numpy(run(x, mask)), numpy(model(x)), atol=1e-5)
    assert len(traces) == 1


def test_positions_start_as_sines_and_are_never_trained():
    positions = sinusoids(1500, 64)
    t, dim = 1234, 5
    assert positions[t, dim] == pytest.approx(np.sin(t / 10_000 ** (dim / 31)), abs=1e-6)
    assert positions[t, 32 + dim] == pytest.approx(np.cos(t / 10_000 ** (dim / 31)), abs=1e-6)
    model = encoder()
    np.testing.assert_array_equal(numpy(model.positional.embedding), sinusoids(20, 16))
    model.trainable = False
    model.trainable = True
    trained = {weight.path.split("/")[-2] for weight in model.trainable_weights}
    assert "positional" not in trained
    assert {"conv_0", "conv_1", "query", "norm"} <= trained


def test_spec_augment_zeroes_the_spectrogram_in_training_only():
    masks = {"apply_spec_augment": True, "mask_time_prob": 0.5, "mask_time_length": 2}
    model, seen = encoder(**masks, mask_feature_prob=0.2, mask_feature_length=4), []
    model.feature_encoder.call, convolve = (
        lambda x, samples=None: seen.append(numpy(x)) or convolve(x, samples=samples),
        model.feature_encoder.call,
    )
    clips = noise(2, 3000)
    for training in (False, True, True):
        model(clips, training=training)
    plain, *augmented = seen
    np.testing.assert_array_equal(plain, numpy(model.spectrogram(clips)))
    for x in augmented:
        frames, mels = (x == 0).all(axis=2), (x == 0).all(axis=1)
        assert frames.any()
        assert mels.any()
        hit = frames[:, :, None] | mels[:, None, :]
        np.testing.assert_array_equal(x, np.where(hit, 0, plain))
    assert not np.array_equal(*augmented)


@pytest.mark.slow
@pytest.mark.parametrize("layerdrop", [0.0, 0.5])
def test_gradient_checkpointing_changes_nothing_but_memory(layerdrop):
    drawn = {"encoder_layerdrop": layerdrop, "dropout": 0.2, "attention_dropout": 0.2}
    (clips, mask), results = batch(), []
    for recompute in (False, True):
        keras.utils.set_random_seed(3)
        model = encoder(recompute, **drawn)

        @tf.function
        def step(model=model):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(model(clips, mask=mask, training=True) ** 3)
            return tape.gradient(loss, [weight.value for weight in model.trainable_weights])

        results.append([numpy(gradient) for gradient in step()])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * max(1, np.abs(one).max()))
    assert max(np.abs(gradient).max() for gradient in results[0]) > 1


def test_layerdrop_is_drawn_at_every_step():
    model, clips = encoder(encoder_layerdrop=0.5), noise(1, 1600)
    outputs = {round(float(model(clips, training=True)[0, 0, 0]), 4) for _ in range(24)}
    assert len(outputs) == 4  # each of two layers runs or does not


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_is_close_to_float32(policy):
    exact, (clips, mask) = encoder(), batch()
    keras.config.set_dtype_policy(policy)
    try:
        half = encoder()
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(exact.get_weights())
    result = half(clips, mask=mask)
    assert result.dtype == policy.removeprefix("mixed_")
    real = numpy(exact.frame_mask(mask, 9))
    difference = np.abs(numpy(tf.cast(result, tf.float32)) - numpy(exact(clips, mask=mask)))[real]
    assert 0 < difference.max() < (0.02 if policy == "mixed_float16" else 0.2)


def test_encoder_saves_and_loads_bit_equal(tmp_path):
    model, (clips, mask) = encoder(), batch()
    model.save(tmp_path / "encoder.keras")
    loaded = keras.saving.load_model(tmp_path / "encoder.keras")
    assert isinstance(loaded, WhisperEncoder)
    np.testing.assert_array_equal(numpy(loaded(clips, mask=mask)), numpy(model(clips, mask=mask)))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (6401, r"6401 samples are too long: Whisper takes at most 0.4 s \(6400\); cut them"),
        (1039, "1039 samples are too short.*takes 1040"),
    ],
)
def test_waveforms_of_a_wrong_length(samples, message):
    with pytest.raises(UserError, match=message):
        encoder()(noise(1, samples))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"hidden_dropout": 0.1}, "unknown whisper architecture key 'hidden_dropout'"),
        ({"encoder_layers": 0}, "encoder_layers = 0 needs an integer from 1 to 256"),
        ({"d_model": 15}, "d_model 15 is not a multiple of encoder_attention_heads 2"),
        ({"activation_function": "gelo"}, "activation_function 'gelo' is unknown"),
        ({"encoder_layerdrop": 1.5}, "encoder_layerdrop = 1.5 is out of range: from 0 to 1"),
        ({"num_mel_bins": 0}, "num_mel_bins = 0 needs an integer"),
    ],
)
def test_architecture_names_what_is_wrong(overrides, message):
    with pytest.raises(UserError, match=message):
        architecture(**{**TINY_WHISPER, **overrides})


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "encoder.",
        "model.encoder.",
        "module._orig_mod.model.encoder.",
        "net.whisper.encoder.",
        "ssl.",
    ],
)
def test_tensors_are_found_under_every_prefix(folder, prefix):
    path = folder / "model.safetensors"
    tensors = {
        name.removeprefix("model.encoder."): tensor
        for name, tensor in load_file(path).items()
        if name.startswith("model.encoder.")
    }
    before = numpy(load_encoder(folder)(noise(1, 1600)))
    save_file({prefix + name: tensor for name, tensor in tensors.items()}, path)
    notices = []
    np.testing.assert_array_equal(
        numpy(load_encoder(folder, notify=notices.append)(noise(1, 1600))), before
    )
    assert not notices


def test_every_missing_unexpected_and_misshapen_tensor_is_listed_at_once(folder):
    path = folder / "model.safetensors"
    tensors, prefix = dict(load_file(path)), "model.encoder."
    tensors[prefix + "conv3.weight"] = tensors.pop(prefix + "conv2.weight")
    tensors[prefix + "layers.0.self_attn.k_proj.bias"] = np.zeros(16, np.float32)
    tensors[prefix + "layer_norm.bias"] = np.zeros(3, np.float32)
    save_file(tensors, path)
    with pytest.raises(UserError) as caught:
        load_encoder(folder)
    assert "missing: conv2.weight; " in str(caught.value)
    assert "unexpected: conv3.weight, layers.0.self_attn.k_proj.bias; " in str(caught.value)
    assert "misshapen: layer_norm.bias [3] instead of [16]" in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sampling_rate": 8000}, "asks for 8000 Hz"),
        ({"feature_size": 128}, "feature_size = 128; config.json's Whisper needs 80"),
        ({"hop_length": 320}, "hop_length = 320; config.json's Whisper needs 160"),
    ],
)
def test_a_preprocessor_that_cannot_be_followed(folder, fields, message):
    change_json(folder / "preprocessor_config.json", **fields)
    with pytest.raises(UserError, match=message):
        load_encoder(folder)


def test_without_a_preprocessor_the_input_stays_as_it_is(folder):
    (folder / "preprocessor_config.json").unlink()
    checkpoint = open_checkpoint(folder)
    assert not checkpoint.normalize_input
    assert "input is not normalised" in checkpoint.notices[0]


def test_regularization_may_be_set_anew_and_nothing_else(folder):
    config = open_checkpoint(folder, {"encoder_layerdrop": 0.3, "dropout": 0.2}).config
    assert (config.encoder_layerdrop, config.dropout) == (0.3, 0.2)
    with pytest.raises(UserError, match=r"'layerdrop' cannot be set.*encoder_layerdrop"):
        open_checkpoint(folder, {"layerdrop": 0.0})
