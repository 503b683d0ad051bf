"""What the demo recipes describe, on a corpus of seconds: from targets to a file that runs.

``demo`` is what test_train.py trains, ``demo_two_teachers`` has test_two_teachers.py.
"""

import csv
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpus_maker import HZ_OF, SPEAKERS, settings, write_corpus

from ser_kd import config
from ser_kd.config import config_from_dict
from ser_kd.export.dimensional import FILE as DIMENSIONS_FILE
from ser_kd.export.run import export_run
from ser_kd.export.windows import representative_windows
from ser_kd.inference.predictor import Predictor
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run
from ser_kd.students.saved import load_keras
from ser_kd.tflite.interpreters import TFLiteModel

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RECIPES = Path(config.__file__).parents[1] / "recipes"
RATE_OF = {speaker: number / 10 for number, speaker in enumerate(SPEAKERS)}
RANGES = {"pitch": [0.0, 1_000.0], "rate": [0.0, 1.0]}
FIT = {"epochs": 1, "batch_size": 6, "warmup_epochs": 0.5, "learning_rate": 0.005}
NETWORK = {"kind": "cnn", "width": 0.25, "dropout": 0.1}
TINY = {"student": NETWORK, "fit": FIT, "folds": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Tones that are rated for what they are."""
    folder = write_corpus(tmp_path_factory.mktemp("recipes") / "corpus")
    with (folder / "clips.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "speaker", "emotion", *RANGES])
        for path in sorted(folder.glob("*/*/*.wav")):
            emotion, speaker, _ = path.relative_to(folder).parts
            rating = [HZ_OF[emotion], RATE_OF[speaker]]
            rows.writerow([path.relative_to(folder).as_posix(), speaker, emotion, *rating])
    return folder


def shrunk(table: dict[str, Any]) -> dict[str, Any]:
    """The same table with small networks, short trainings and few folds, at any depth."""
    found = {}
    for key, value in table.items():
        if key in TINY and (key != "folds" or isinstance(value, int)):
            found[key] = TINY[key]
        else:
            found[key] = shrunk(value) if isinstance(value, dict) else value
    return found


@pytest.fixture(scope="module", params=["demo_multimodal", "demo_dimensions"])
def exported(request, corpus) -> Run:
    """The recipe's run, up to its files."""
    recipe = shrunk(tomllib.loads((RECIPES / f"{request.param}.toml").read_text()))
    made = settings(corpus)
    table = {**recipe, **{name: made[name] for name in ("corpus", "audio", "logmel", "export")}}
    table["student"], table["fit"] = NETWORK, FIT
    if "dimensions" in recipe:
        table["dimensions"] = {**recipe["dimensions"], "ranges": RANGES}
    run = Run.create(config_from_dict(table), corpus.parent / request.param)
    run_data = run.data()
    targets = all_teacher_targets(run, run_data)
    assert set(targets) == set(run.config.teachers)
    students.distilled_student(run, run_data, targets)
    export_run(run, run_data)
    return run


@pytest.mark.slow
def test_a_recipes_student_runs_in_the_interpreter(exported):
    """The int8 file and the waveform file say what the Keras student says."""
    student = load_keras(exported.student_path)
    run_data = exported.data()
    # Within the ranges that int8 took from them: after one epoch other clips lie outside of these.
    windows = representative_windows(run_data.logmel, run_data.ids("training"), exported.config)
    int8 = TFLiteModel(exported.export_dir / "student_int8.tflite").predict(windows)
    logits = np.asarray(student(windows))
    assert np.ptp(logits) > 0.0
    np.testing.assert_allclose(int8, logits, atol=0.1 * np.abs(logits).max())

    on_phone = Predictor.load(exported.export_dir / "student_waveform.tflite")
    in_keras = Predictor.load(exported.student_path)
    for hz in HZ_OF.values():
        tone = 0.2 * np.sin(2 * np.pi * hz * np.arange(16_000) / 16_000).astype(np.float32)
        probs = on_phone.predict_waveform(tone)
        assert probs.sum() == pytest.approx(1.0, abs=0.02)
        np.testing.assert_allclose(probs, in_keras.predict_waveform(tone), atol=0.06)


@pytest.mark.slow
def test_a_recipes_dimensions_run_in_the_interpreter(exported):
    if exported.config.dimensions.weight == 0:
        assert not (exported.export_dir / DIMENSIONS_FILE).exists()
        return
    model = TFLiteModel(exported.export_dir / DIMENSIONS_FILE, output="dimensions")
    windows = np.full((2, *model.input_shape[1:]), -40.0, np.float32)
    windows[1, :, 8:] = -75.0
    values = model.predict(windows)
    assert values.shape == (2, len(RANGES))
    assert np.abs(values).max() <= 1.0
    assert not np.array_equal(values[0], values[1])
