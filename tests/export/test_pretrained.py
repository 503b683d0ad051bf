"""The students that come with the package: whole, consistent, in the wheel, as their cards say."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import yaml

from ser_kd.audio.logmel import LogMel
from ser_kd.config import load_config
from ser_kd.inference.predictor import Predictor
from ser_kd.students.frontend import PRIOR_CLIPS, Frontend
from ser_kd.tflite.interpreters import TFLiteModel

FOLDER = Path(str(resources.files("ser_kd"))) / "pretrained"
FILES = {
    "student_waveform.tflite",
    "student_int8.tflite",
    "student.keras",
    "labels.txt",
    "frontend.json",
    "MODEL_CARD.md",
    "README.md",
    "SHA256SUMS",
}
SMALL = FOLDER / "small"
ROOT = Path(__file__).parents[2]
each = pytest.mark.parametrize("folder", [FOLDER, SMALL], ids=["pretrained", "small"])


def card(folder: Path) -> tuple[dict, str]:
    front, text = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").split("---\n", 2)[1:]
    return yaml.safe_load(front), text


def test_the_files_are_there_and_small():
    assert {path.name for path in FOLDER.iterdir()} == FILES | {SMALL.name}
    assert {path.name for path in SMALL.iterdir()} == FILES
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 4_000_000
    assert (FOLDER / "student_waveform.tflite").stat().st_size <= 650_000
    assert (SMALL / "student_int8.tflite").stat().st_size <= 100_000


@each
def test_checksums_and_guide_are_of_the_files_that_are_there(folder):
    lines = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert set(sums) == {path.name for path in folder.glob("*.tflite")}
    for name, digest in sums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    guide = (folder / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+\.tflite", guide)) == set(sums)
    assert "```kotlin" in guide
    assert "ANG anger, DIS disgust, FEA fear, HAP happiness, NEU neutral, SAD sadness" in guide
    model = TFLiteModel(folder / "student_waveform.tflite")
    assert f"float32 `[1, {model.input_shape[1]}]`" in guide
    body = TFLiteModel(folder / "student_int8.tflite")
    assert f"log-mel `[1, {body.input_shape[1]}, {body.input_shape[2]}]`" in guide


@each
def test_labels_are_crema_ds_codes(folder):
    text = (folder / "labels.txt").read_text(encoding="utf-8")
    assert text == "ANG\nDIS\nFEA\nHAP\nNEU\nSAD\n"


@each
def test_the_three_forms_agree(folder):
    rng = np.random.default_rng(0)
    times = np.arange(48_000) / 16_000
    waves = [
        (
            0.1 * np.sin(2 * np.pi * f * times + 3 * np.sin(9 * times))
            + 0.01 * rng.normal(size=48_000)
        )
        for f in (120, 180, 250, 400)
    ]
    names = ("student_waveform.tflite", "student_int8.tflite", "student.keras")
    probs = np.array(
        [
            [Predictor.load(folder / name).predict_waveform(w.astype(np.float32)) for w in waves]
            for name in names
        ]
    )
    np.testing.assert_allclose(probs[0], probs[1], atol=0.03)  # steps of int8
    np.testing.assert_allclose(probs[0], probs[2], atol=0.15)  # its rounding


@each
def test_the_waveform_model_holds_the_front_end_that_frontend_json_tells(folder):
    frontend = Frontend.read(folder / "frontend.json")
    waveform = TFLiteModel(folder / "student_waveform.tflite")
    assert waveform.input_shape == (1, frontend.window_samples)
    assert frontend.corpus is not None
    assert frontend.corpus.prior_clips == PRIOR_CLIPS
    with zipfile.ZipFile(folder / "student_waveform.tflite") as archive:
        for name in ("labels.txt", "frontend.json"):
            assert archive.read(name) == (folder / name).read_bytes()
    silence = np.zeros((1, frontend.window_samples), np.float32)
    assert LogMel(frontend.logmel)(silence).shape == (1, frontend.frames, frontend.mels)


@each
def test_the_card_names_a_recipe_that_makes_it(folder):
    facts, text = card(folder)
    (recipe,) = re.findall(r"python train.py --recipe (\w+) --seed \d+", text)
    config = load_config(recipe)
    assert facts["model-index"][0]["name"] == config.name
    frontend = Frontend.read(folder / "frontend.json")
    assert frontend == Frontend.of(config, frontend.temperature)


@each
def test_the_cards_figures_are_probabilities(folder):
    facts, text = card(folder)
    (result,) = facts["model-index"][0]["results"]
    values = {metric["name"]: metric["value"] for metric in result["metrics"]}
    assert set(values) == {"UA (mean recall)", "WA", "macro-F1", "ECE"}
    assert all(0.0 < value < 1.0 for value in values.values())
    assert "$" not in text.replace("$CREMA_D_DIR", "")
    for heading in ("Not for", "Consent", "Limits", "Data licence"):
        assert f"## {heading}\n" in text


def test_a_wheel_holds_them(tmp_path):
    """Built from the checkout's files alone, as ``python -m build`` does."""
    program = (
        "import setuptools.build_meta as b, sys; "
        "print(b.build_wheel(sys.argv[1], {'--global-option': []}))"
    )
    copy = tmp_path / "checkout"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy.mkdir(exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "ser_kd").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=copy, check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        for name in [*FILES, *(f"{SMALL.name}/{name}" for name in FILES)]:
            packed = archive.read(f"ser_kd/pretrained/{name}")
            expected = (FOLDER / name).read_bytes()
            assert hashlib.sha256(packed).digest() == hashlib.sha256(expected).digest()
        assert (
            json.loads(archive.read("ser_kd/pretrained/frontend.json"))["sample_rate_hz"] == 16_000
        )
