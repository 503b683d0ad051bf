"""Checkpoints as models: what is loaded, what is said about it, and what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import ser_kd
from ser_kd.encoder.checkpoint import open_checkpoint
from ser_kd.errors import UserError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "encoders"


@pytest.fixture
def folder(tmp_path):
    """A copy of a checkpoint, to be damaged."""
    return Path(shutil.copytree(FIXTURES / "wav2vec2_group", tmp_path / "mine"))


def change_weights(folder: Path, change) -> None:
    path = folder / "model.safetensors"
    tensors = dict(load_file(path))
    change(tensors)
    save_file(tensors, path)


def change_json(path: Path, **fields) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        ser_kd.load_encoder(folder)
    return str(caught.value)


def numpy(x) -> np.ndarray:
    return np.asarray(x)


def test_every_missing_unexpected_and_misshapen_tensor_is_listed_at_once(folder):
    def change(tensors):
        tensors["encoder.layer_norm.weigth"] = tensors.pop("encoder.layer_norm.weight")
        tensors["encoder.layers.1.attention.q_proj.bias"] = np.zeros(3, np.float32)
        tensors["encoder.layers.0.layer_norm.bias"] = np.full(16, np.nan, np.float32)
        tensors["feature_projection.layer_norm.bias"] = np.zeros(8, np.int64)

    change_weights(folder, change)
    message = refusal(folder)
    assert str(folder) in message
    assert "missing: encoder.layer_norm.weight; unexpected: encoder.layer_norm.weigth;" in message
    assert "misshapen: encoder.layers.1.attention.q_proj.bias [3] instead of [16];" in message
    assert message.endswith(
        "encoder.layers.0.layer_norm.bias, feature_projection.layer_norm.bias (int64)"
    )


def test_weights_of_another_model(folder):
    save_file({"conv1.weight": np.zeros((3, 3), np.float32)}, folder / "model.safetensors")
    message = refusal(folder)
    assert "no tensor has a name of wav2vec2's in transformers; the first is conv1" in message


def test_of_many_tensors_the_first_are_named(folder):
    def change(tensors):
        for name in sorted(tensors)[:9]:
            del tensors[name]

    change_weights(folder, change)
    missing = refusal(folder).split("missing: ")[1]
    assert missing.count("encoder.") == 6
    assert missing.endswith(" and 3 more")


@pytest.mark.parametrize(
    ("outside", "inside"),
    [
        ("module.", ""),
        ("_orig_mod.", ""),
        ("module._orig_mod.", "wav2vec2."),
        ("model.", "wav2vec2."),
        ("net.backbone.", ""),
        ("_fsdp_wrapped_module.", "wav2vec2."),
    ],
)
def test_prefixes_of_wrappers(folder, outside, inside):
    expected = ser_kd.load_encoder(folder)

    def change(tensors):
        for name in list(tensors):
            middle = name.replace("encoder.layers.", "encoder._checkpoint_wrapped_module.layers.")
            tensors[outside + inside + middle] = tensors.pop(name)
        tensors[f"{outside}lm_head.weight"] = np.zeros((3, 16), np.float32)

    change_weights(folder, change)
    found = ser_kd.load_encoder(folder)
    for one, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


def test_the_old_name_of_the_masked_embedding(folder):
    def change(tensors):
        tensors["mask_time_emb_vector"] = np.full(16, 0.25, np.float32)
        tensors.pop("masked_spec_embed", None)

    change_weights(folder, change)
    np.testing.assert_array_equal(numpy(ser_kd.load_encoder(folder).masked_embedding), 0.25)


def test_two_encoders_in_one_file(folder):
    def change(tensors):
        for name in list(tensors):
            tensors[f"teacher.{name}"] = tensors[name].copy()
            tensors[f"student.{name}"] = tensors.pop(name)

    change_weights(folder, change)
    assert "there are 2 encoders in it (student., teacher.): keep the tensors of" in refusal(folder)


def test_weights_of_another_size(folder):
    change_json(folder / "config.json", hidden_size=32)
    assert "[16] instead of [32]" in refusal(folder)


def test_a_missing_layer_is_not_silently_random(folder):
    change_json(folder / "config.json", num_hidden_layers=3)
    assert "missing: encoder.layers.2.attention.k_proj.bias" in refusal(folder)


def test_a_tensor_in_both_spellings(folder):
    name = "encoder.pos_conv_embed.conv."

    def change(tensors):
        again = tensors[name + "parametrizations.weight.original0"].copy()
        tensors[name + "weight_g"] = again

    change_weights(folder, change)
    assert "a second spelling" in refusal(folder)


def test_a_head_of_ones_own_beside_the_encoder_is_left_out(tmp_path, capsys):
    folder = Path(shutil.copytree(FIXTURES / "hubert_layer_stable", tmp_path / "hubert"))
    change_weights(folder, lambda tensors: tensors.update({"my_head.weight": np.zeros(2, "f4")}))
    ser_kd.load_encoder(folder)
    assert "left out, not part of the encoder: lm_head, my_head" in capsys.readouterr().out


def test_what_lies_beside_an_encoder_of_any_name(folder):
    """In a model of one's own: ``self.ssl = Wav2Vec2Model(...)``, ``self.fc = Linear(...)``."""
    expected = ser_kd.load_encoder(folder)

    def change(tensors):
        for name in list(tensors):
            tensors[f"model.ssl.{name}"] = tensors.pop(name)
        tensors["model.fc.weight"] = tensors["loss.weight"] = np.zeros(2, np.float32)

    change_weights(folder, change)
    notices: list[str] = []
    found = ser_kd.load_encoder(folder, notify=notices.append)
    assert any("left out, not part of the encoder: loss, model" in line for line in notices)
    for one, other in zip(found.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(numpy(one), numpy(other))


def test_an_unknown_tensor_inside_the_encoder(tmp_path):
    folder = Path(shutil.copytree(FIXTURES / "hubert_layer_stable", tmp_path / "hubert"))
    change_weights(folder, lambda tensors: tensors.update({"hubert.surprise": np.zeros(2, "f4")}))
    assert "unexpected: surprise" in refusal(folder)


@pytest.mark.parametrize("prefix", ["", "wav2vec2."])
def test_the_heads_of_all_task_models_are_dropped(folder, prefix):
    heads = ("lm_head.weight", "classifier.dense.weight", "classifier.out_proj.bias")
    heads += ("quantizer.codevectors", "project_q.weight", "project_hid.bias", "projector.weight")
    heads += ("tdnn.0.kernel.weight", "objective.weight", "layer_weights")
    heads += ("feature_extractor.weight",)

    def change(tensors):
        own = {prefix + name: tensor for name, tensor in tensors.items()}
        tensors.clear()
        tensors.update(own | {name: np.zeros(2, np.float32) for name in heads})

    change_weights(folder, change)
    notices: list[str] = []
    encoder = ser_kd.load_encoder(folder, notify=notices.append)
    (notice,) = notices
    for head in {name.split(".")[0] for name in heads}:
        assert head in notice
    expected = np.load(folder / "expected.npz")
    output = encoder(expected["waveforms"], mask=expected["mask"])
    np.testing.assert_allclose(numpy(output), expected["last"], atol=1e-5)


@pytest.mark.parametrize("fault", ["direction", "large"])
def test_what_is_only_finite_in_the_file(folder, fault):
    name = "encoder.pos_conv_embed.conv.parametrizations.weight.original1"

    def change(tensors):
        if fault == "direction":
            tensors[name] = tensors[name] * (np.arange(8) != 3)  # one tap has no direction
        else:
            bias = "encoder.layer_norm.bias"
            tensors[bias] = np.full_like(tensors[bias], 1e300, np.float64)

    change_weights(folder, change)
    found = "a direction of length 0" if fault == "direction" else "encoder.layer_norm.bias"
    assert f"not finite floats: encoder.{'pos' if fault == 'direction' else 'layer'}" in refusal(
        folder
    )
    assert found in refusal(folder)


def test_weights_in_half_precision(folder):
    exact = ser_kd.load_encoder(folder)

    def change(tensors):
        tensors.update({name: tensor.astype(np.float16) for name, tensor in tensors.items()})

    change_weights(folder, change)
    encoder = ser_kd.load_encoder(folder)
    assert encoder.positional.bias.dtype == "float32"
    expected = numpy(exact.positional.bias).astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(numpy(encoder.positional.bias), expected)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "t5"}, "model_type 't5' is not supported.*wav2vec2, hubert"),
        ({"model_type": None}, "model_type None is not supported"),
        ({"add_adapter": True}, "add_adapter = True is not supported"),
        ({"conv_dim": "many"}, "conv_dim"),
    ],
)
def test_a_config_that_cannot_be_built(folder, fields, message):
    change_json(folder / "config.json", **fields)
    with pytest.raises(UserError, match=message):
        ser_kd.load_encoder(folder)


def test_fields_that_mean_nothing_here_are_no_hindrance(folder):
    """As in audeering's emotion model: a task of its own, no vocabulary."""
    task = {"architectures": ["Wav2Vec2ForSpeechClassification"], "problem_type": "regression"}
    labels = {"id2label": {"0": "arousal", "1": "dominance"}, "finetuning_task": "wav2vec2_reg"}
    change_json(folder / "config.json", **task, **labels, vocab_size=None, pooling_mode="mean")
    assert ser_kd.load_encoder(folder).built


@pytest.mark.parametrize("text", ["{", "[1, 2]", ""])
def test_a_damaged_config(folder, text):
    (folder / "config.json").write_text(text)
    assert "config.json" in refusal(folder)
    assert "download it again" in refusal(folder)


def test_the_preprocessor_decides_on_normalisation(folder, tmp_path):
    waveforms = np.random.default_rng(0).normal(3, 2, (1, 500)).astype(np.float32)
    assert abs(numpy(ser_kd.load_encoder(folder).preprocess(waveforms)).mean()) < 1e-5
    change_json(folder / "preprocessor_config.json", do_normalize=False)
    encoder = ser_kd.load_encoder(folder)
    np.testing.assert_array_equal(numpy(encoder.preprocess(waveforms)), waveforms)
    (folder / "preprocessor_config.json").unlink()
    notices: list[str] = []
    assert ser_kd.load_encoder(folder, notify=notices.append).normalize_input
    assert "no preprocessor_config.json: input is normalised" in notices[0]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"sampling_rate": 8000}, "asks for 8000 Hz"), ({"do_normalize": "yes"}, "do_normalize")],
)
def test_a_preprocessor_that_cannot_be_followed(folder, fields, message):
    change_json(folder / "preprocessor_config.json", **fields)
    assert message in refusal(folder)


def test_regularization_may_be_set_anew_and_nothing_else(folder):
    config = open_checkpoint(folder, {"layerdrop": 0.0, "mask_time_prob": 0.2}).config
    assert (config.layerdrop, config.mask_time_prob) == (0.0, 0.2)
    with pytest.raises(UserError, match=r"'hidden_size' cannot be set.*layerdrop"):
        open_checkpoint(folder, {"hidden_size": 32})


def test_a_checkpoint_with_a_pickle_that_calls_something(folder):
    import pickle
    import zipfile

    class Malicious:
        def __reduce__(self):
            return print, ("executed",)

    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": Malicious()}, protocol=2))
        archive.writestr("archive/version", "3")
    message = refusal(folder)
    assert "print" in message
    assert "nothing of it was executed" in message


def test_importing_the_interface_loads_neither_tensorflow_nor_the_network():
    import subprocess
    import sys

    code = (
        "import sys; from ser_kd import load_encoder; "
        "assert not {'tensorflow', 'transformers', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
