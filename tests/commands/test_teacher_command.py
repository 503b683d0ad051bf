"""``ser-kd teacher inspect``: what a checkpoint is, and whether it loads."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ser_kd.commands.main import main

FIXTURES = Path(__file__).parents[1] / "fixtures" / "encoders"


def lines(text: str) -> dict[str, str]:
    pairs = [(line[:12].strip(), line[12:]) for line in text.splitlines()]
    return {name: value for name, value in pairs if name}


def test_what_a_checkpoint_is(tmp_path, capsys):
    folder = Path(shutil.copytree(FIXTURES / "hubert_layer_stable", tmp_path / "mine"))
    (folder / "README.md").write_text("---\nlicense: apache-2.0\ntags:\n- speech\n---\n# Model\n")
    assert main(["teacher", "inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    found = lines(out)
    assert found["license"] == "apache-2.0"
    assert found["family"] == "hubert"
    assert found["front end"] == "3 convolutions to 8 channels, layer norm, with bias"
    assert found["transformer"] == "2 layers, 16 wide, 2 heads, norm before each block"
    assert found["input"] == "normalised"
    assert found["notice"] == "left out, not part of the encoder: lm_head"
    assert found["loads"] == "yes"
    assert f"model.safetensors  {(folder / 'model.safetensors').stat().st_size / 1e3:.1f} kB" in out
    # All tensors but the head's, and both parts of the weight norm are one kernel.
    tensors = load_file(folder / "model.safetensors")
    own = sum(t.size for name, t in tensors.items() if not name.startswith("lm_head"))
    parameters = own - tensors["hubert.encoder.pos_conv_embed.conv.weight_g"].size
    assert found["parameters"].startswith(f"{parameters:,}, ")
    # 5 * 4 * 2 samples; (3 - 1) * 20 + (4 - 1) * 5 + 10 samples, at 16 a millisecond.
    assert found["frame"].startswith("every 2.5 ms, spans 4.062 ms")


def test_what_a_whisper_is(capsys):
    folder = FIXTURES / "whisper_128"
    assert main(["teacher", "inspect", str(folder)]) == 0
    found = lines(capsys.readouterr().out)
    assert found["family"] == "whisper"
    assert found["front end"] == "128 mels, 2 convolutions to 16 channels"
    assert found["transformer"] == "2 layers, 16 wide, 2 heads, norm before each block"
    # 2 * 10 ms; 25 ms of the window and 4 * 10 ms of the convolutions.
    assert found["frame"].startswith("every 20 ms, spans 65 ms")
    assert found["input"] == "as it is, at most 0.4 s"  # 20 positions
    assert found["notice"] == "left out, not part of the encoder: decoder"
    assert found["loads"] == "yes"
    convolutions = 3 * 16 * (128 + 16) + 2 * 16
    a_layer = 4 * 16 * 16 + 3 * 16 + 2 * 16 * 24 + 24 + 16 + 4 * 16
    parameters = convolutions + 20 * 16 + 2 * a_layer + 2 * 16
    assert found["parameters"] == f"{parameters:,}, {convolutions:,} of them in the front end"


def test_a_checkpoint_that_does_not_load_says_why_and_still_what_it_is(tmp_path, capsys):
    folder = Path(shutil.copytree(FIXTURES / "wav2vec2_group", tmp_path / "mine"))
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, "extra": np.zeros(1, np.float32)}, folder / "model.safetensors")
    assert main(["teacher", "inspect", str(folder)]) == 2
    found = lines(capsys.readouterr().out)
    assert found["family"] == "wav2vec2"
    assert found["license"].startswith("not stated")
    assert found["loads"].startswith("NO: ")
    assert "unexpected: extra" in found["loads"]


@pytest.mark.parametrize("card", ["no front matter\nlicense: mit\n", "---\ntags: []\n---\n", ""])
def test_a_license_is_taken_from_the_front_matter_only(tmp_path, capsys, card):
    folder = Path(shutil.copytree(FIXTURES / "wav2vec2_group", tmp_path / "mine"))
    (folder / "README.md").write_text(card)
    main(["teacher", "inspect", str(folder)])
    assert lines(capsys.readouterr().out)["license"].startswith("not stated")


def test_an_unknown_architecture_is_one_line(tmp_path, capsys):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5"}))
    assert main(["teacher", "inspect", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"error: {tmp_path}: model_type 't5' is not supported; "
        "supported: wav2vec2, hubert, wavlm, whisper\n"
    )


def test_a_missing_folder_is_one_line(capsys):
    assert main(["teacher", "inspect", "./not/there"]) == 2
    assert capsys.readouterr().err.startswith("error: no such folder: './not/there'")
