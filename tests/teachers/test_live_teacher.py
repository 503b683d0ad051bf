"""Teachers that are asked at every step: finished students of other runs."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from corpus_maker import HZ_OF, settings, unmeasured, write_corpus, write_recipe

import train
from ser_kd.audio.windows import Windowing
from ser_kd.config import config_from_dict
from ser_kd.data.targets import IN_FOLD, read_targets
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run
from ser_kd.students.saved import load_keras
from ser_kd.teachers.crossfit import targets_path
from ser_kd.teachers.live import live_teaching

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("live") / "corpus")


@pytest.fixture(scope="module")
def finished(corpus) -> list[Path]:
    """Two students that learnt from labels."""
    paths = []
    for seed in (0, 1):
        table = {**settings(corpus, teachers={}), "seed": seed}
        run = Run.create(config_from_dict(table), corpus.parent / f"seed_{seed}")
        students.distilled_student(run, run.data(), {})
        paths.append(run.student_path)
    return paths


def table_with(corpus: Path, models: list[Path], **sections) -> dict:
    live = {"kind": "live", "models": [str(path) for path in models]}
    return settings(corpus, **{"teachers": {"hearing": live}, **sections})


def write_teacher(corpus: Path, path: Path) -> dict:
    """A teacher whose predictions are stored: it knows the emotion."""
    ids = [clip.relative_to(corpus).as_posix() for clip in sorted(corpus.rglob("*.wav"))]
    logits = [[3.0 * clip_id.startswith(f"{name}/") for name in sorted(HZ_OF)] for clip_id in ids]
    np.savez(path, ids=ids, logits=logits)
    return {"kind": "file", "path": str(path)}


@pytest.mark.slow
def test_a_run_with_a_live_teacher(corpus, finished, tmp_path, monkeypatch):
    stored = write_teacher(corpus, tmp_path / "stored.npz")
    live = table_with(corpus, finished)["teachers"]["hearing"]
    shares = {"hearing": 0.75, "stored": 0.25}
    recipe = table_with(
        corpus,
        finished,
        teachers={"hearing": live, "stored": stored},
        distill={"label_weight": 0.0, "logit_weight": 1.0, "temperature": 1.0, "teachers": shares},
    )
    path = tmp_path / "tiny.toml"
    write_recipe(path, recipe)
    monkeypatch.setattr("ser_kd.pipeline.resources.measure_all", unmeasured)
    assert train.main(["--recipe", str(path), "--run-dir", str(tmp_path / "run")]) == 0
    run = Run.open(tmp_path / "run")
    run_data = run.data()

    # What it says of whole clips is its networks' geometric mean, and known to be in fold.
    logmel = run_data.logmel
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    each = [LogMelPredictor(load_keras(path), windowing).predict(logmel)[0] for path in finished]
    product = np.sqrt(each[0] * each[1])
    probs = product / product.sum(axis=1, keepdims=True)
    targets = read_targets(targets_path("hearing", run), run_data.labels)
    said = np.exp(targets.logits_of(logmel.ids, "hearing"))
    np.testing.assert_allclose(said, probs, atol=1e-5)
    ids = run_data.ids("training")
    assert set(targets.fold[targets.rows_of(ids, "hearing")].tolist()) == {IN_FOLD}

    # Of a window it says the same, by itself and with its share.
    teaching = live_teaching(run, shares)
    assert teaching is not None
    assert teaching.share == 0.75
    window = np.full((1, *teaching.network.input_shape[1:]), -40.0, np.float32)
    window[:, :, 8:] = -70.0
    first, second = (np.exp(load_keras(path)(window)) for path in finished)
    product = np.sqrt(first / first.sum() * second / second.sum())
    found = keras.ops.softmax(teaching.network(window))
    np.testing.assert_allclose(found, product / product.sum(), atol=1e-5)
    assert not teaching.network.trainable_weights

    # The report has it, and the student learnt from it.
    scores = json.loads((run.directory / "eval.json").read_text())
    assert "teacher hearing" in scores["parts"]["test"]["models"]
    resources = json.loads((run.directory / "resources.json").read_text())
    sizes = [load_keras(path).count_params() for path in finished]
    assert resources["teacher hearing"]["parameters"] == sum(sizes)
    history = [
        json.loads(row) for row in (run.directory / "history.jsonl").read_text().splitlines()
    ]
    assert all(row["logit_loss"] > 0 for row in history)


@pytest.mark.slow
def test_its_networks_are_copied_so_that_a_run_needs_no_other(corpus, finished, tmp_path):
    moved = [tmp_path / path.parent.name / path.name for path in finished]
    for source, path in zip(finished, moved, strict=True):
        shutil.copytree(source.parent, path.parent)
    run = Run.create(config_from_dict(table_with(corpus, moved)), tmp_path / "run")
    run_data = run.data()
    targets = all_teacher_targets(run, run_data)
    for path in moved:
        shutil.rmtree(path.parent)
    all_teacher_targets(run, run_data)
    students.distilled_student(run, run_data, targets)
    assert run.student_path.is_file()


@pytest.mark.slow
def test_what_cannot_teach_is_named_before_anything_is_trained(corpus, finished, tmp_path):
    damaged = tmp_path / "damaged" / "student.keras"
    shutil.copytree(finished[0].parent, damaged.parent)
    damaged.write_bytes(damaged.read_bytes()[:1_000])
    coarser = settings(corpus, teachers={})
    coarser["logmel"]["hop_seconds"] = 0.04
    other = Run.create(config_from_dict(coarser), tmp_path / "coarser")
    students.distilled_student(other, other.data(), {})
    two = {**settings(corpus, teachers={})}
    two["corpus"] = {**two["corpus"], "label_map": {"mid": "low"}}
    fewer = Run.create(config_from_dict(two), tmp_path / "fewer")
    students.distilled_student(fewer, fewer.data(), {})
    absent = tmp_path / "absent.keras"
    for number, (path, message) in enumerate(
        [
            (absent, f"{absent}: no such model"),
            (damaged, f"{damaged} is damaged"),
            (other.student_path, r"another front end \(hop_samples = 640, here 320\)"),
            (fewer.student_path, "names high, low; this run has high, low, mid"),
        ]
    ):
        table = table_with(corpus, [finished[0], path])
        run = Run.create(config_from_dict(table), tmp_path / f"run_{number}")
        with pytest.raises(UserError, match=message):
            all_teacher_targets(run, run.data())


def test_settings_that_do_not_fit(corpus):
    with pytest.raises(UserError, match=r"teachers.hearing.models = \(\) is out of range"):
        config_from_dict(table_with(corpus, []))
    fusion = {"kind": "fusion", "modalities": {"ear": "teacher:hearing", "face": "votes:face"}}
    fusion["audio"] = ["ear"]
    live = {"kind": "live", "models": ["student.keras"]}
    with pytest.raises(UserError, match="whose networks may have been trained on the clips"):
        config_from_dict(settings(corpus, teachers={"hearing": live, "both": fusion}))
