"""The evaluation of a run: every figure again by hand; what is current stays."""

import csv
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from corpus_maker import snapshot
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix

from ser_kd.audio.windows import Windowing
from ser_kd.config import config_from_dict
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, Targets, softmax, write_targets
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.evaluation.run import evaluate_run, is_current
from ser_kd.evaluation.run_models import out_of_fold_scores, student_files, teacher_predictions
from ser_kd.inference.predictor import Predictor, default_model
from ser_kd.runs.folder import Run
from ser_kd.students.saved import load_keras

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
ALONE, DISTILLED = "student, labels alone", "student, distilled"
INT8, WAVEFORM = f"{DISTILLED}, int8", f"{DISTILLED}, waveform"


def write_clips(folder: Path) -> Path:
    """A clip of every emotion by ten speakers, named as CREMA-D names them."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for speaker in range(1001, 1011):
        for emotion in EMOTIONS:
            samples = rng.uniform(0.02, 0.3) * rng.normal(size=rng.integers(4_000, 9_000))
            soundfile.write(folder / f"{speaker}_IEO_{emotion}_XX.wav", samples.clip(-1, 1), 16_000)
    return folder.parent


def targets(ids: list[str], seed: int, view: int = 0) -> Targets:
    """Of three folds, of the mean of folds, and of a fold that trained on the clip."""
    rows = np.arange(len(ids))
    logits = np.random.default_rng(seed).normal(size=(len(ids), 6)).astype(np.float32)
    fold = np.array([0, 1, 2, ALL_FOLDS, IN_FOLD])[rows % 5]
    return Targets(tuple(ids), logits, logits[:, :0], fold, rows * 0 + view)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on synthetic speech whose students are the bundled ones, with two teachers' targets."""
    place = tmp_path_factory.mktemp("run")
    data_dir = write_clips(place / "speech" / "AudioWAV")
    teachers = {n: {"kind": "file", "path": str(place / f"{n}.npz")} for n in ("one", "two")}
    config = config_from_dict(
        {"corpus": {"name": "demo", "data_dir": str(data_dir)}, "teachers": teachers}
    )
    run = Run.create(config, place / "runs" / "my run")
    run_data = run.data()
    ids = [i for part in ("training", "validation", "test") for i in run_data.ids(part)]
    found = {name: targets(ids, seed) for seed, name in enumerate(teachers)}
    for name, item in found.items():
        write_targets(place / f"{name}.npz", item)
    installed = default_model().parent
    shutil.copytree(installed, run.export_dir)
    run.baseline_dir.mkdir()
    shutil.copy(installed / "student.keras", run.student_path)
    shutil.copy(installed / "small" / "student.keras", run.baseline_dir / "student.keras")
    return run, run_data, found


@pytest.fixture(scope="module")
def evaluated(finished):
    evaluate_run(*finished)
    return read(finished[0])


def read(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.directory / "eval.json").read_text())
    return found


def test_scores_of_teachers_and_students(finished, evaluated):
    run, run_data, teachers = finished
    assert evaluated["labels"] == list(EMOTIONS)
    assert (evaluated["corpus"], evaluated["synthetic"]) == ("demo", True)
    assert list(evaluated["parts"]) == ["validation", "test"]
    windowing = Windowing.of(run.config.audio, run.config.logmel)
    waveform = Predictor.load(student_files(run)[WAVEFORM])
    for part, speakers in (("validation", 1), ("test", 2)):
        facts, ids = evaluated["parts"][part], run_data.ids(part)
        truth = run_data.one_hot(ids).argmax(1)
        probs = {f"teacher {n}": softmax(t.logits_of(ids, n)) for n, t in teachers.items()}
        for name, path in (
            (ALONE, run.baseline_dir / "student.keras"),
            (DISTILLED, run.student_path),
        ):
            student = LogMelPredictor(load_keras(path), windowing, waveform.frontend.temperature)
            probs[name] = student.predict(run_data.logmel.select(ids))[0]
        paths = [run.config.corpus.data_dir + f"/AudioWAV/{clip_id}.wav" for clip_id in ids]
        probs[WAVEFORM] = np.array([waveform.predict_file(path) for path in paths])
        assert (facts["clips"], facts["speakers"]) == (6 * speakers, speakers)
        assert facts["clips_of_training_speakers"] == 0
        assert list(facts["models"]) == [
            "teacher one", "teacher two", ALONE, DISTILLED, INT8, WAVEFORM,
        ]  # fmt: skip
        for name, rows in probs.items():
            scores, predicted = facts["models"][name], rows.argmax(1)
            assert scores["wa"] == pytest.approx(accuracy_score(truth, predicted)), name
            assert scores["ua"] == pytest.approx(balanced_accuracy_score(truth, predicted)), name
            table = confusion_matrix(truth, predicted, labels=range(6)).tolist()
            assert scores["confusion"] == table, name
        for teacher in ("teacher one", "teacher two"):
            for student in (ALONE, DISTILLED, WAVEFORM):
                same = np.mean(probs[teacher].argmax(1) == probs[student].argmax(1))
                assert facts["agreement"][teacher][student] == pytest.approx(same)
        assert "teacher two" not in facts["agreement"]["teacher one"]


def test_the_file_for_the_phone_in_detail(finished, evaluated):
    run, _, _ = finished
    assert evaluated["model"]["name"] == "student_waveform.tflite"
    for part in evaluated["parts"].values():
        file = part["file"]
        assert file["model"] == WAVEFORM
        assert sum(item["clips"] for item in file["calibration"]["bins"]) == part["clips"]
        wrong = part["clips"] - round(part["clips"] * part["models"][WAVEFORM]["wa"])
        assert len(file["worst"]) == wrong
    with (run.directory / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == ["validation"] * 6 + ["test"] * 12


def test_each_training_clip_by_the_fold_without_its_speaker(finished, evaluated):
    _, run_data, teachers = finished
    ids = run_data.ids("training")
    truth = run_data.one_hot(ids).argmax(1)
    for name, item in teachers.items():
        own = item.fold[: len(ids)] >= 0
        wa = np.mean(item.logits[: len(ids)].argmax(1)[own] == truth[own])
        assert evaluated["teachers_out_of_fold"][name]["wa"] == pytest.approx(wa)
    ids = list(teachers["one"].ids)
    mean = Targets(tuple(ids), np.eye(6)[[0] * len(ids)], np.zeros((len(ids), 0)),
                   np.full(len(ids), ALL_FOLDS), np.zeros(len(ids), int))  # fmt: skip
    assert out_of_fold_scores(mean, run_data) is None


def test_a_teacher_that_lacks_a_clip_itself_has_no_scores(finished):
    _, run_data, _ = finished
    ids = run_data.ids("test")
    assert len(teacher_predictions({"mine": targets(ids, 0)}, ids)) == 1
    assert teacher_predictions({"mine": targets(ids[1:], 0)}, ids) == []
    assert teacher_predictions({"mine": targets(ids, 0, view=1)}, ids) == []


def test_the_page(finished, evaluated):
    run, _, _ = finished
    page = (run.directory / "report.html").read_text()
    assert "SYNTHETIC SPEECH" in page
    assert WAVEFORM in page
    command = "ser-kd evaluate RUN/export/student_waveform.tflite --split test"
    assert any(command in note for note in evaluated["notes"])
    # The same run elsewhere gives the same file.
    assert "my run" not in json.dumps(evaluated)


def test_what_is_current_stays(finished, evaluated):
    run, _, _ = finished
    before = snapshot(run.directory)
    evaluate_run(*finished)
    assert snapshot(run.directory) == before


def test_newer_models_and_files_of_an_older_schema_are_scored_again(finished, evaluated):
    run, path = finished[0], finished[0].directory / "eval.json"
    path.write_text(json.dumps({"labels": [], "parts": {}}))
    assert not is_current(run)
    evaluate_run(*finished)
    assert read(run) == evaluated
    assert is_current(run)
    later = path.stat().st_mtime + 10
    for name in (WAVEFORM, DISTILLED):
        os.utime(path, (later, later))
        assert is_current(run)
        os.utime(student_files(run)[name], (later + 10, later + 10))
        assert not is_current(run)
        later += 20
    os.utime(path, (later, later))
    os.utime(finished[0].config.teachers["one"].path, (later + 10, later + 10))
    assert not is_current(run)


def test_without_teachers_there_is_one_student(finished, tmp_path):
    run = finished[0]
    config = config_from_dict({"corpus": {"name": "demo", "data_dir": run.config.corpus.data_dir}})
    alone = Run.create(config, tmp_path / "alone")
    shutil.copytree(run.export_dir, alone.export_dir)
    shutil.copy(run.student_path, alone.student_path)
    found = evaluate_run(alone, alone.data(), {})
    names = [ALONE, f"{ALONE}, int8", f"{ALONE}, waveform"]
    assert list(found["parts"]["test"]["models"]) == names
    assert found["teachers_out_of_fold"] == {}
