"""The wheel: what it holds, what it needs, and that it works without checkout and extras."""

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.commands.main import COMMANDS

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from the checkout's files alone, as ``python -m build`` does."""
    program = (
        "import setuptools.build_meta as b, sys; "
        "print(b.build_wheel(sys.argv[1], {'--global-option': []}))"
    )
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "checkout"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        (copy / name).write_bytes((ROOT / name).read_bytes())
    for path in (ROOT / "ser_kd").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            target = copy / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    subprocess.run(
        [sys.executable, "-c", program, str(folder)], cwd=copy, check=True, capture_output=True
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def test_it_holds_every_file_of_the_package(installed):
    files = [path for path in (ROOT / "ser_kd").rglob("*") if path.is_file()]
    files = [path for path in files if "__pycache__" not in path.parts]
    assert {path.suffix for path in files} > {".py", ".toml", ".tflite", ".keras", ".npz", ".md"}
    for path in files:
        assert (installed / path.relative_to(ROOT)).read_bytes() == path.read_bytes()


def test_prediction_needs_four_packages_and_extras_bring_the_rest(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/METADATA")]
        facts = email.message_from_bytes(archive.read(name))
    needed = facts.get_all("Requires-Dist")
    plain = {
        re.split(r"\W", item.replace("-", "_"))[0] for item in needed if "extra ==" not in item
    }
    assert plain == {"ai_edge_litert", "numpy", "soundfile", "soxr"}
    extras = set(facts.get_all("Provides-Extra"))
    assert extras == {"train", "demo", "gpu", "prosody", "text", "android", "listen", "aac", "test"}
    for extra in ("demo", "gpu", "prosody", "text", "test"):
        assert any(re.match(rf"ser-kd\[train\].*extra == .{extra}", item) for item in needed), extra


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_commands_are_there(installed, tmp_path, command):
    done = ser_kd(installed, tmp_path, *command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert f"ser-kd {command}".strip() in done.stdout


def test_it_predicts_without_the_extras(installed, tmp_path):
    soundfile.write(tmp_path / "clip.wav", 0.1 * np.random.default_rng(0).normal(size=9_000), 8_000)
    small = installed / "ser_kd" / "pretrained" / "small" / "student_int8.tflite"
    for arguments in (["clip.wav"], [str(small), "clip.wav"]):
        done = ser_kd(installed, tmp_path, "predict", "--json", *arguments, missing=True)
        assert done.returncode == 0, done.stderr
        assert re.search(r"\"ANG\": [01]\.\d+", done.stdout)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train"],
        ["evaluate", "--corpus", "folder", "--data-dir", "."],
        ["export", "run"],
        ["teacher", "inspect", "./checkpoint"],
    ],
)
def test_what_needs_an_extra_says_which(installed, tmp_path, arguments):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    done = ser_kd(installed, tmp_path, *arguments, missing=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'ser-kd[train]'" in done.stderr


def ser_kd(
    installed: Path, folder: Path, *arguments: str, missing: bool = False
) -> subprocess.CompletedProcess:
    """Runs a command of the wheel; ``missing`` = as if no extra was installed."""
    program = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {("tensorflow", "keras", "sklearn", "scipy", "librosa", "transformers")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
if {missing}:
    sys.meta_path.insert(0, Absent())
from ser_kd.commands.main import main
sys.exit(main())
"""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
