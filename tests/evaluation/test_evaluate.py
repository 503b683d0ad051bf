"""``python -m ser_kd evaluate``: every figure again by hand or with scikit-learn, wrong input."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from corpus_maker import snapshot
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)
from test_export import tiny_student

from ser_kd import files
from ser_kd.__main__ import main
from ser_kd.audio import codecs
from ser_kd.commands import evaluate
from ser_kd.config import Config, config_from_dict, config_to_dict
from ser_kd.corpora import Clip, load_corpus
from ser_kd.corpora.splits import split_corpus
from ser_kd.data.targets import Targets, softmax, write_targets
from ser_kd.errors import UserError
from ser_kd.evaluation import others, robustness, run_report
from ser_kd.evaluation.clips import cross_clips
from ser_kd.evaluation.predictions import predict_waveforms
from ser_kd.evaluation.slices import slices
from ser_kd.inference import predictor
from ser_kd.inference.predictor import Predictor
from ser_kd.runs.folder import Run
from ser_kd.students.frontend import Frontend

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

LABELS = ("loud", "rough", "soft")
WINDOW = 8_000
PEOPLE = {
    "ann": ("Female", "24", "A"),
    "bea": ("F", "29", "B"),
    "cat": ("female", "31", "A"),
    "dan": ("Male", "38", ""),
    "eve": ("female", "61", "B"),
    "fred": ("m", "old", "A"),
}
"""Sex, age and race as a table may have them."""
# What the model makes of a window: softmax(gain * figures + bias).
GAIN = np.array([[40.0, -40.0, -40.0], [-30.0, 90.0, 0.0]], np.float32)
BIAS = np.array([-2.0, -0.5, 2.5], np.float32)


def write_clips(folder: Path, seed: int = 0, emotions: tuple[str, ...] = LABELS) -> Path:
    """A folder with a table: three takes of each emotion by each speaker, 0.2 to 1.3 s."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, (speaker, (sex, age, race)) in enumerate(PEOPLE.items()):
        for emotion in emotions:
            for take in range(3):
                samples = rng.integers(3_200, 20_800)
                tone = np.sin(2 * np.pi * 300 * np.arange(samples) / 16_000)
                hiss = rng.normal(size=samples)
                level = {"loud": 0.25, "rough": 0.08, "soft": 0.03}.get(emotion, 0.1)
                share = 0.4 if emotion == "rough" else 0.05
                wave = level * rng.uniform(0.4, 1.8) * (tone + share * hiss)
                name = f"{speaker}_{emotion}_{take}.wav"
                (folder / "audio").mkdir(parents=True, exist_ok=True)
                soundfile.write(folder / "audio" / name, wave.clip(-1, 1), 16_000)
                person = [speaker, sex, age, race] if number != 3 else [speaker, sex, age, ""]
                rows.append([f"{speaker}/{emotion}/{take}", f"audio/{name}", emotion, *person])
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "path", "emotion", "speaker", "sex", "age", "race"])
        writer.writerows(rows)
    return folder


def level_model(path: Path) -> None:
    """A waveform model of two figures: how loud a window is, and how much its samples differ."""

    @tf.function(input_signature=[tf.TensorSpec([1, WINDOW], tf.float32)])
    def probs(waveform):
        loud = tf.reduce_mean(tf.abs(waveform), axis=1)
        rough = tf.reduce_mean(tf.abs(waveform[:, 1:] - waveform[:, :-1]), axis=1)
        figures = tf.stack([loud, rough], axis=1)
        return tf.nn.softmax(tf.matmul(figures, GAIN) + BIAS)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([probs.get_concrete_function()])
    path.write_bytes(converter.convert())


def level_probs(waveform: np.ndarray) -> np.ndarray:
    """The same in NumPy, over the windows of a clip: every 0.25 s, and one that ends with it."""
    last = max(0, -(-(len(waveform) - WINDOW) // 320) * 320)
    starts = sorted({*(start // 320 * 320 for start in range(0, last, 4_160)), last})
    found = []
    for start in starts:
        window = np.zeros(WINDOW)
        piece = waveform[start : start + WINDOW]
        window[: len(piece)] = piece
        figures = np.array([np.abs(window).mean(), np.abs(np.diff(window)).mean()])
        found.append(softmax(figures @ GAIN + BIAS))
    return np.mean(found, axis=0)


class World:
    """A run's folder with a level model exported, two teachers, and all the tables of a run."""

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.data_dir = write_clips(parent / "corpus")
        # The other corpus has a class that the model does not know, and no speakers.
        self.other_dir = write_clips(parent / "other", seed=5, emotions=("loud", "soft", "bored"))
        table = (self.other_dir / "clips.csv").read_text().splitlines()
        rows = [",".join(line.split(",")[:3]) for line in table]
        (self.other_dir / "clips.csv").write_text("\n".join(rows) + "\n")
        teacher = {"kind": "file", "path": str(parent / "stored.npz")}
        self.config: Config = config_from_dict(
            {
                "name": "level",
                "corpus": {"name": "folder", "data_dir": str(self.data_dir), "folds": 3},
                "audio": {"window_seconds": 0.5, "window_hop_seconds": 0.26},
                "logmel": {"mels": 16},
                "student": {"width": 0.25},
                "teachers": {"stored": teacher},
            }
        )
        self.run = Run(parent / "runs" / "level", self.config)
        self.export_dir = self.run.export_dir
        self.export_dir.mkdir(parents=True)
        files.write_json(
            self.run.directory / "config.json",
            {"config": config_to_dict(self.config), "labels": LABELS},
        )
        tiny_student(self.config).save(self.run.student_path)
        self.waveform_model = self.export_dir / "student_waveform.tflite"
        level_model(self.waveform_model)
        (self.export_dir / "labels.txt").write_text("\n".join(LABELS) + "\n")
        frontend = Frontend.of(self.config)
        files.write_json(self.export_dir / "frontend.json", vars(frontend))
        self.write_tables()
        self.corpus = load_corpus(self.config.corpus)
        self.splits = split_corpus(self.corpus, self.config.corpus)
        self.write_teacher()

    def write_tables(self) -> None:
        history = [
            {"epoch": 1, "loss": 1.5, "accuracy": 0.25, "validation_ua": 0.5, "seconds": 3.0},
            {"epoch": 2, "loss": 1.25, "accuracy": 0.5, "validation_ua": 0.75, "seconds": 3.0},
        ]
        lines = "".join(json.dumps(row) + "\n" for row in history)
        (self.run.directory / "history.jsonl").write_text(lines)
        family = {"models": {"int8": {"ua": 0.5, "latency_ms": 0.2, "bytes": 100, "nll": 1.0}}}
        files.write_json(self.export_dir / "export.json", family)
        figures = {"latency_ms": 2.5, "peak_memory_mb": 600.0, "bytes": 1, "runtime": "Keras"}
        stored = {"student, distilled": figures, "teacher stored": {**figures, "bytes": 9_000}}
        files.write_json(self.run.directory / "resources.json", stored)

    def write_teacher(self) -> None:
        """Right but for the second take; of another view it says the opposite."""
        clips = self.corpus.clips
        truth = np.array([LABELS.index(clip.emotion) for clip in clips])
        said = np.where([clip.id.endswith("/1") for clip in clips], (truth + 1) % 3, truth)
        ids = tuple(clip.id for clip in clips)
        logits = np.concatenate([4.0 * np.eye(3)[said], -4.0 * np.eye(3)[said]])
        rows = np.arange(2 * len(ids))
        targets = Targets(ids * 2, logits, np.zeros((len(rows), 0)), rows * 0 - 1, rows // len(ids))
        write_targets(self.parent / "stored.npz", targets)

    def probs(self, clips: tuple[Clip, ...]) -> np.ndarray:
        return np.array([level_probs(soundfile.read(clip.path)[0]) for clip in clips])


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("evaluate"))


def measured(models, *_):
    """In the place of ``measure_all``, which starts processes and takes seconds."""
    return [
        {"latency_ms": 1.0 + n, "latency_p95_ms": 2.0, "peak_memory_mb": 50.0, "runtime": "x"}
        for n, _ in enumerate(models)
    ]


@pytest.fixture(autouse=True)
def no_measuring(monkeypatch):
    monkeypatch.setattr(others, "measure_all", measured)


def ask(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "eval.json").read_text())
    return found


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """One evaluation with everything in it, and what was printed."""
    out = tmp_path_factory.mktemp("out") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(evaluate, "say", lines.append)
        patch.setattr(others, "measure_all", measured)
        arguments = [
            "evaluate", world.waveform_model, "--out", out, "--cross", f"folder={world.other_dir}",
        ]  # fmt: skip
        assert main(list(map(str, arguments))) == 0
    return out, read(out), "\n".join(lines)


def test_scores_against_scikit_learn(world, whole):
    """The test split is the default; the model's answers come from NumPy."""
    _, found, _ = whole
    clips = world.splits.test
    truth = np.array([LABELS.index(clip.emotion) for clip in clips])
    probs = world.probs(clips)
    predicted = probs.argmax(1)
    assert 0.4 < accuracy_score(truth, predicted) < 1.0
    scores = found["scores"]
    assert scores["wa"] == pytest.approx(accuracy_score(truth, predicted))
    assert scores["ua"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert scores["macro_f1"] == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert scores["confusion"] == confusion_matrix(truth, predicted).tolist()
    assert scores["nll"] == pytest.approx(log_loss(truth, probs), rel=1e-4)
    recalls = recall_score(truth, predicted, average=None)
    assert [scores["recall"][label]["value"] for label in LABELS] == pytest.approx(recalls)
    for key in ("wa", "ua", "macro_f1"):
        low, high = scores["intervals"][key]
        assert low <= scores[key] <= high
    assert found["corpus"] == {
        "name": "folder",
        "split": "test",
        "clips": len(clips),
        "speakers": 2,
        "synthetic": False,
        "heard_in_training": 0,
        "unreadable": {},
    }


def test_calibration(world, whole):
    clips = world.splits.test
    probs = world.probs(clips)
    right = probs.argmax(1) == [LABELS.index(clip.emotion) for clip in clips]
    found = whole[1]["calibration"]
    assert sum(item["clips"] for item in found["bins"]) == len(clips)
    gaps = []
    for item in found["bins"]:
        inside = (probs.max(1) > item["low"]) & (probs.max(1) <= item["high"])
        assert item["clips"] == inside.sum()
        if inside.any():
            assert item["accuracy"] == pytest.approx(right[inside].mean())
            gaps.append(inside.sum() * abs(right[inside].mean() - probs.max(1)[inside].mean()))
    assert found["ece"] == pytest.approx(sum(gaps) / len(clips), abs=1e-4)
    mean, highest = found["ece_by_chance"]
    assert 0 < mean < highest < 1


def test_predictions_are_stored(world, whole):
    with (whole[0] / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    clips = world.splits.test
    assert [row["id"] for row in rows] == [clip.id for clip in clips]
    assert [row["speaker"] for row in rows] == [clip.speaker for clip in clips]
    assert [row["truth"] for row in rows] == [clip.emotion for clip in clips]
    assert {row["condition"] for row in rows} == {"clean"}
    probs = np.array([[float(row[f"p_{label}"]) for label in LABELS] for row in rows])
    np.testing.assert_allclose(probs, world.probs(clips), atol=1e-4)
    assert [row["predicted"] for row in rows] == [LABELS[i] for i in probs.argmax(1)]


def test_agreement(world, whole):
    """Teachers by the clip itself, not by its other view; the run's float student by its file."""
    clips = world.splits.test
    truth = np.array([LABELS.index(clip.emotion) for clip in clips])
    said = world.probs(clips).argmax(1)
    teacher = np.where([clip.id.endswith("/1") for clip in clips], (truth + 1) % 3, truth)
    float_student = Predictor.load(world.run.student_path)
    student = np.array([float_student.predict_file(clip.path).argmax() for clip in clips])
    found = {item["with"]: item for item in whole[1]["agreement"]}
    assert set(found) == {"teacher stored", "student.keras"}
    for name, other in (("teacher stored", teacher), ("student.keras", student)):
        assert found[name]["same_label"] == pytest.approx(np.mean(other == said))
        assert found[name]["ua"] == pytest.approx(balanced_accuracy_score(truth, other))
        assert found[name]["clips"] == len(clips)
    assert found["teacher stored"]["ua"] == pytest.approx(2 / 3)


def test_models_compared(world, whole):
    found = {row["name"]: row for row in whole[1]["compared"]}
    assert list(found) == ["teacher stored", "student_waveform.tflite", "student.keras"]
    teacher, own, student = found.values()
    assert (teacher["role"], own["role"], student["role"]) == ("teacher", "student", "student")
    assert own["wa"] == whole[1]["scores"]["wa"]
    assert teacher["macro_f1"] == pytest.approx(2 / 3)
    assert own["latency_ms"] == 1.0  # measured now, the others when the run was made
    assert (teacher["latency_ms"], teacher["bytes"]) == (2.5, 9_000)
    assert (student["latency_ms"], student["peak_memory_mb"]) == (2.5, 600.0)
    assert student["bytes"] == world.run.student_path.stat().st_size
    assert own["bytes"] == whole[1]["resources"]["bytes"] == world.waveform_model.stat().st_size
    assert any("resources.json" in note for note in whole[1]["notes"])


def test_what_the_run_tells(world, whole):
    _, found, _ = whole
    assert found["family"] == [{"name": "int8", "ua": 0.5, "latency_ms": 0.2, "bytes": 100}]
    assert [row["epoch"] for row in found["history"]] == [1, 2]
    assert found["history"][1] == {
        "epoch": 2, "loss": 1.25, "accuracy": 0.5, "validation_ua": 0.75,
    }  # fmt: skip
    content = world.waveform_model.read_bytes()
    assert found["model"] == {
        "name": "student_waveform.tflite",
        "hears": "waveform",
        "runtime": "LiteRT",
        "window_seconds": 0.5,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_where_times_were_measured(whole):
    machine = whole[1]["settings"]["machine"]
    assert machine.startswith(f"{os.cpu_count()} cores (")
    assert len(machine) > len(f"{os.cpu_count()} cores ()")


def test_robustness_by_hand(world, whole):
    """The model hears loudness: what 12 dB less make of it, NumPy says."""
    clips = world.splits.test
    truth = np.array([LABELS.index(clip.emotion) for clip in clips])
    clean = world.probs(clips).argmax(1)
    softer = 10 ** (-12 / 20)
    changed = [level_probs(softer * soundfile.read(clip.path)[0]).argmax() for clip in clips]
    found = {item["name"]: item for item in whole[1]["robustness"]["conditions"]}
    assert len(found) == 29
    item = found["gain -12 dB"]
    assert item["ua"] == pytest.approx(balanced_accuracy_score(truth, changed))
    assert item["ua_drop"] == pytest.approx(whole[1]["scores"]["ua"] - item["ua"])
    assert item["unchanged"] == pytest.approx(np.mean(np.array(changed) == clean))
    assert item["unchanged"] < 1.0
    gates = {gate["name"]: gate for gate in whole[1]["robustness"]["gates"]}
    small = [item["unchanged"] for item in found.values() if item["kind"] == "small"]
    assert gates["small changes: labels unchanged"]["worst"] == min(small)


def test_the_same_again(world, whole, capsys, tmp_path):
    """Also after the noise of other clips: the seed depends on the clip."""
    arguments = [world.waveform_model, "--out", tmp_path, "--cross", f"folder={world.other_dir}"]
    assert ask(capsys, *arguments)[0] == 0
    found = read(tmp_path)
    for section in ("scores", "calibration", "robustness", "cross_corpus", "slices", "worst"):
        assert found[section] == whole[1][section], section


def test_the_other_corpus(world, whole):
    """All clips whose class the model knows, each a speaker of its own; the rest is counted."""
    (found,) = whole[1]["cross_corpus"]
    corpus = load_corpus(
        config_from_dict(
            {"corpus": {"name": "folder", "data_dir": str(world.other_dir),
                        "allow_unknown_speakers": True}}
        ).corpus
    )  # fmt: skip
    clips = tuple(clip for clip in corpus.clips if clip.emotion != "bored")
    truth = np.array([LABELS.index(clip.emotion) for clip in clips])
    predicted = world.probs(clips).argmax(1)
    assert (found["corpus"], found["clips"], found["speakers"]) == ("folder", 36, 36)
    assert found["labels"] == ["loud", "soft"]
    assert found["dropped"] == {"bored": 18}
    recalls = recall_score(truth, predicted, labels=[0, 2], average=None)
    assert found["scores"]["ua"] == pytest.approx(recalls.mean())
    assert found["scores"]["wa"] == pytest.approx(accuracy_score(truth, predicted))
    notes = " ".join(whole[1]["notes"])
    assert "18 clips are left out, for the model does not know 'bored'" in notes
    assert "a clip without a speaker counts as a speaker of its own" in notes


def test_worst_clips_are_the_surest_mistakes(world, whole):
    clips = world.splits.test
    probs = world.probs(clips)
    wrong = {
        clip.id: row.max()
        for clip, row in zip(clips, probs, strict=True)
        if LABELS[row.argmax()] != clip.emotion
    }
    found = whole[1]["worst"]
    assert len(found) == len(wrong) > 0
    assert [item["id"] for item in found] == sorted(wrong, key=lambda clip: -wrong[clip])
    for item in found:
        row = probs[[clip.id for clip in clips].index(item["id"])]
        assert item["probability"] == pytest.approx(row.max(), abs=1e-4)
        assert item["probability_of_truth"] == pytest.approx(
            row[LABELS.index(item["truth"])], abs=1e-4
        )
        assert item["predicted"] != item["truth"]


def test_what_is_printed(whole):
    out, found, printed = whole
    assert f"UA {100 * found['scores']['ua']:.1f} (" in printed
    assert "student_waveform.tflite on 18 test clips of 2 speakers of folder" in printed
    assert "same label as teacher stored: " in printed
    assert f"written to {out}: eval.json, predictions.csv, report.html" in printed
    assert "SYNTHETIC" not in printed
    page = (out / "report.html").read_text()
    assert "student_waveform.tflite" in page
    assert str(out.parent) not in json.dumps(found)


def test_batches_are_what_single_clips_are(world):
    """70 clips of one to six windows: batches end inside of clips."""
    predictor, rng = Predictor.load(world.waveform_model), np.random.default_rng(0)
    clips = [
        (rng.uniform(0, 0.3) * rng.normal(size=rng.integers(1, 24_000))).astype(np.float32)
        for _ in range(70)
    ]
    found = predict_waveforms(predictor, iter(clips))
    for clip, row in zip(clips, found, strict=True):
        np.testing.assert_allclose(row, predictor.predict_waveform(clip), atol=1e-6)


def test_a_keras_model_in_its_run(world, capsys, tmp_path):
    """It is compared with what is given; the int8 file is not there, and that is said."""
    status, out, _ = ask(
        capsys, world.run.student_path, "--out", tmp_path, "--no-robustness", "--split",
        "validation", "--against", world.waveform_model,
    )  # fmt: skip
    found = read(tmp_path)
    assert status == 0
    assert (found["model"]["hears"], found["model"]["runtime"]) == ("logmel", "Keras")
    assert found["corpus"]["split"] == "validation"
    clips = world.splits.validation
    predictor = Predictor.load(world.run.student_path)
    said = [predictor.predict_file(clip.path).argmax() for clip in clips]
    truth = [LABELS.index(clip.emotion) for clip in clips]
    assert found["scores"]["wa"] == pytest.approx(accuracy_score(truth, said))
    assert [row["name"] for row in found["compared"]] == [
        "teacher stored", "student.keras", "student_waveform.tflite",
    ]  # fmt: skip
    assert [row["latency_ms"] for row in found["compared"]] == [2.5, 1.0, 2.0]
    assert found["robustness"]["conditions"] == []
    for note in ("student_int8.tflite is not there", "chosen on these same clips", "--no-robust"):
        assert any(note in line for line in found["notes"]), note
        assert note in out


def test_training_speakers_give_a_warning(world, capsys, tmp_path):
    arguments = [world.waveform_model, "--out", tmp_path, "--no-robustness"]
    for split, clips, heard in (("train", 18, 18), ("all", 54, 18)):
        status, _, err = ask(capsys, *arguments, "--split", split)
        found = read(tmp_path)
        assert status == 0
        assert f"warning: {heard} of {clips} clips are of speakers that the model was" in err
        assert (found["corpus"]["clips"], found["corpus"]["heard_in_training"]) == (clips, heard)
    assert "warning" not in ask(capsys, *arguments)[2]


def test_a_table_from_elsewhere_is_not_the_runs_split(world, capsys, tmp_path):
    shutil.copytree(world.data_dir, tmp_path / "moved")
    arguments = ["--data-dir", tmp_path / "moved", "--no-robustness", "--out", tmp_path / "out"]
    status, _, err = ask(capsys, world.waveform_model, *arguments)
    assert (status, "warning" in err) == (0, False)
    found = read(tmp_path / "out")
    assert found["corpus"]["heard_in_training"] is None
    assert any("is not known" in note for note in found["notes"])


def test_a_model_alone(world, capsys, tmp_path):
    """No run, a teacher who knows some of the clips, a file that is no audio."""
    for name in ("labels.txt", "frontend.json", "student_waveform.tflite"):
        shutil.copy(world.export_dir / name, tmp_path)
    data_dir = shutil.copytree(world.data_dir, tmp_path / "data")
    (data_dir / "audio" / "ann_soft_0.wav").write_bytes(b"no audio")
    ids = ("ann/soft/1", "bea/loud/0", "bea/rough/2", "nobody", "eve/soft/0")
    views = np.array([0, 0, 0, 0, 1])  # of the last the clip itself is not known
    known = Targets(ids, np.eye(5, 3), np.zeros((5, 0)), np.full(5, -1), views)
    write_targets(tmp_path / "wise.npz", known)
    status, out, err = ask(
        capsys, tmp_path / "student_waveform.tflite", "--corpus", "folder", "--data-dir", data_dir,
        "--split", "all", "--teacher", tmp_path / "wise.npz", "--no-robustness", "--json",
    )  # fmt: skip
    assert status == 0
    found = json.loads(out)
    assert found == read(tmp_path / "evaluation")
    assert "written to" in err
    assert found["corpus"]["clips"] == 53
    assert list(found["corpus"]["unreadable"]) == ["ann/soft/0"]
    assert "not readable as audio" in found["corpus"]["unreadable"]["ann/soft/0"]
    (agreement,) = found["agreement"]
    assert (agreement["with"], agreement["clips"]) == ("teacher wise", 3)
    assert [row["name"] for row in found["compared"]] == ["student_waveform.tflite"]
    assert found["history"] == found["family"] == []
    notes = " ".join(found["notes"])
    assert "teacher wise: predicted 3 of 53 clips" in notes
    assert "1 clips could not be read" in notes


def test_what_cannot_be_measured_is_said(world, capsys, tmp_path, monkeypatch):
    """A machine whose libsndfile has no Opus, and a model that the other process cannot load."""

    def broken(*_):
        raise UserError("x cannot be measured: no memory")

    def no_opus(*_):
        raise codecs.UnavailableError("no Opus here")

    monkeypatch.setattr(others, "measure_all", broken)
    monkeypatch.setattr(robustness, "opus", no_opus)
    assert ask(capsys, world.waveform_model, "--out", tmp_path)[0] == 0
    found = read(tmp_path)
    assert len(found["robustness"]["conditions"]) == 27
    for note in ("Opus, 12 kbit/s: not measured (no Opus here)", "measured: no memory"):
        assert any(note in line for line in found["notes"])
    assert found["resources"]["latency_ms"] is None
    assert found["resources"]["bytes"] == world.waveform_model.stat().st_size
    assert (tmp_path / "report.html").is_file()


def test_one_speaker(world, capsys, tmp_path):
    data_dir = shutil.copytree(world.data_dir, tmp_path / "data")
    lines = (data_dir / "clips.csv").read_text().splitlines()
    kept = [lines[0], *(line for line in lines if line.startswith("ann/"))]
    (data_dir / "clips.csv").write_text("\n".join(kept) + "\n")
    arguments = ["--data-dir", data_dir, "--split", "all", "--out", tmp_path / "out"]
    status, out, _ = ask(capsys, world.waveform_model, *arguments)
    assert status == 0
    found = read(tmp_path / "out")
    assert found["scores"]["intervals"] == {"wa": None, "ua": None, "macro_f1": None}
    assert not any("babble" in item["name"] for item in found["robustness"]["conditions"])
    for note in ("one speaker only", "babble noise: not measured"):
        assert note in out
    assert "sexes" not in out


def test_slices_against_scikit_learn(world):
    """Spellings of sex are one; ages are bands of ten years; what is no age has no band."""
    clips = world.corpus.clips
    rng = np.random.default_rng(0)
    truth = np.array([LABELS.index(clip.emotion) for clip in clips])
    predicted = np.where(rng.random(len(clips)) < 0.6, truth, rng.integers(0, 3, len(clips)))
    found, notes = slices(clips, truth, predicted, LABELS)
    groups = {
        "sex": {"female": {"ann", "bea", "cat", "eve"}, "male": {"dan", "fred"}},
        "age": {"20-29": {"ann", "bea"}, "30-39": {"cat", "dan"}, "60-69": {"eve"}},
        "race": {"A": {"ann", "cat", "fred"}, "B": {"bea", "eve"}},
    }
    assert {item["by"]: [g["name"] for g in item["groups"]] for item in found} == {
        by: list(names) for by, names in groups.items()
    }
    for item in found:
        for group in item["groups"]:
            people = groups[item["by"]][group["name"]]
            rows = np.array([clip.speaker in people for clip in clips])
            recalls = recall_score(truth[rows], predicted[rows], average=None)
            assert group["ua"] == pytest.approx(recalls.mean())
            assert [of["value"] for of in group["recall"].values()] == pytest.approx(recalls)
            assert (group["clips"], group["speakers"]) == (rows.sum(), len(people))
            if len(people) == 1:
                assert group["interval"] is None
            else:
                low, high = group["interval"]
                assert low <= group["ua"] <= high
    assert notes == ["age: known of 45 clips only, of 54", "race: known of 45 clips only, of 54"]


def test_a_corpus_that_says_nothing_of_its_speakers(world):
    clips = [Clip(str(n), Path(), f"s{n}", LABELS[n % 3]) for n in range(6)]
    truth = np.arange(6) % 3
    found, notes = slices(clips, truth, truth, LABELS)
    assert found == []
    assert notes == [f"{by}: known of no clip, of 6" for by in ("sex", "age", "race")]


def write_named(folder: Path, *names: str) -> Path:
    """Short clips under these names."""
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for name in names:
        soundfile.write(folder / f"{name}.wav", 0.1 * rng.normal(size=6_400), 16_000)
    return folder


@pytest.fixture(scope="module")
def ravdess(tmp_path_factory):
    """Eight emotions by five actors, named as RAVDESS names them."""
    names = [
        f"03-01-0{emotion}-01-01-01-0{actor}" for emotion in range(1, 9) for actor in range(1, 6)
    ]
    return write_named(tmp_path_factory.mktemp("ravdess") / "clips", *names)


@pytest.fixture(scope="module")
def emodb(tmp_path_factory):
    """Seven emotions by two actors, named as EmoDB names them."""
    names = [f"{actor}a01{letter}a" for letter in "WLEAFTN" for actor in ("03", "08")]
    return write_named(tmp_path_factory.mktemp("emodb") / "clips", *names)


def test_other_corpora_have_the_labels_of_crema_d(ravdess, emodb, capsys, tmp_path):
    """For the model that comes with the package: calm is neutral, what it lacks is counted."""
    arguments = ["--corpus", "ravdess", "--data-dir", ravdess, "--split", "all"]
    arguments += ["--cross", f"ravdess={ravdess}", f"emodb={emodb}"]
    assert ask(capsys, *arguments, "--no-robustness", "--out", tmp_path)[0] == 0
    found = read(tmp_path)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        truth = {row["id"]: row["truth"] for row in csv.DictReader(file)}
    numbers = {"1": "NEU", "2": "NEU", "3": "HAP", "4": "SAD", "5": "ANG", "6": "FEA", "7": "DIS"}
    assert truth == {
        f"01-0{number}-01-01-01-0{actor}": label
        for number, label in numbers.items()
        for actor in range(1, 6)
    }
    assert {label: item["clips"] for label, item in found["scores"]["recall"].items()} == {
        "ANG": 5, "DIS": 5, "FEA": 5, "HAP": 5, "NEU": 10, "SAD": 5,
    }  # fmt: skip
    same, german = found["cross_corpus"]
    assert (same["corpus"], same["clips"], same["dropped"]) == ("ravdess", 35, {"surprised": 5})
    assert same["scores"] == found["scores"]
    assert (german["corpus"], german["clips"], german["dropped"]) == ("emodb", 12, {"boredom": 2})
    assert sorted(german["labels"]) == sorted(found["labels"])
    notes = found["notes"]
    assert "ravdess: 'calm' counts as NEU" in notes
    assert "ravdess: 5 clips are left out, for the model does not know 'surprised'" in notes
    assert "emodb: 2 clips are left out, for the model does not know 'boredom'" in notes


def test_what_the_runs_table_tells_of_its_teachers(world, capsys, tmp_path):
    """It stands on the page of the run's own clips, not on that of others."""
    clips = len(world.splits.test)
    student = {"same_label": 0.5, "interval": None, "kl": 0.25}
    part = {
        "clips": clips,
        "speakers": 2,
        "agreement": [{"with": "teacher stored", "students": {"student, distilled": student}}],
        "between": [],
        "help": None,
    }
    shares = {"teacher stored": 1.0}
    told = {"shares": shares, "embedding_weights": {}, "parts": {"test": part}}
    table = world.run.directory / "eval.json"
    files.write_json(table, {"teaching": told})
    other = ["--corpus", "folder", "--data-dir", world.other_dir, "--split", "all"]
    try:
        for number, (arguments, known) in enumerate([([], True), (other, False)]):
            out = tmp_path / str(number)
            arguments = [world.waveform_model, "--out", out, "--no-robustness", *arguments]
            assert ask(capsys, *arguments)[0] == 0
            expected = {"shares": shares, "embedding_weights": {}, **part} if known else {}
            assert read(out)["teaching"] == expected
            assert ('id="teaching"' in (out / "report.html").read_text()) is known
    finally:
        table.unlink()


def test_a_model_that_knows_calm_is_asked_for_it(ravdess, world):
    labels = ("ANG", "CAL", "DIS", "FEA", "HAP", "NEU", "SAD")
    predictor = Predictor(
        lambda windows: windows, labels, Predictor.load(world.waveform_model).frontend
    )
    notes: list[str] = []
    clips = cross_clips(f"ravdess={ravdess}", predictor, notes)
    assert np.bincount(clips.truth).tolist() == [5] * 7
    assert dict(clips.dropped) == {"surprised": 5}
    assert not any("counts as" in note for note in notes)


def test_the_end_of_a_training_run(capsys, tmp_path):
    """On a corpus of synthetic speech: its banner, both parts, and what is current stays."""
    names = [
        f"{1001 + speaker}_IEO_{emotion}_XX"
        for speaker in range(10)
        for emotion in ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    ]
    data_dir = write_named(tmp_path / "speech" / "AudioWAV", *names).parent
    config = config_from_dict({"corpus": {"name": "demo", "data_dir": str(data_dir)}})
    run = Run.create(config, tmp_path / "runs" / "my run")
    run_data = run.data()
    installed = predictor.default_model().parent
    shutil.copytree(installed, run.export_dir)
    shutil.copy(installed / "student.keras", run.student_path)

    page, folder = run_report.report_run(run, run_data), run.directory / "evaluation"
    assert page == run.directory / "report.html"
    for part, of_part, html, speakers in (
        ("test", folder, page, 2),
        ("validation", folder / "validation", folder / "validation" / "report.html", 1),
    ):
        found = read(of_part)
        assert found["corpus"] == {
            "name": "demo", "split": part, "clips": 6 * speakers, "speakers": speakers,
            "synthetic": True, "heard_in_training": 0, "unreadable": {},
        }  # fmt: skip
        assert '<p class="banner">SYNTHETIC SPEECH.' in html.read_text()
        assert [row["name"] for row in found["compared"]] == [
            "student_waveform.tflite", "student.keras",
        ]  # fmt: skip
        place = "my run/evaluation" + "/validation" * (part == "validation")
        command = (
            "python -m ser_kd evaluate 'my run/export/student_waveform.tflite' "
            f"--split {part} --out '{place}'"
        )
        note = f"robustness: not measured (it takes minutes; this adds it: {command})"
        assert note in found["notes"]
        assert "takes minutes; this adds it" in html.read_text()
        assert str(tmp_path) not in json.dumps(found)
        with (of_part / "predictions.csv").open(newline="") as file:
            assert len(list(csv.DictReader(file))) == 6 * speakers

    before = snapshot(run.directory)
    assert run_report.report_run(run, run_data) == page
    assert snapshot(run.directory) == before
    assert f"{folder / 'eval.json'} is there" in capsys.readouterr().out

    # That command, but for its minutes: the page follows.
    model = run.export_dir / "student_waveform.tflite"
    arguments = [model, "--split", "test", "--out", folder, "--no-robustness"]
    assert ask(capsys, *arguments)[0] == 0
    evaluated = snapshot(folder)
    run_report.report_run(run, run_data)
    assert snapshot(folder) == evaluated
    assert "(--no-robustness)" in page.read_text()

    os.utime(run.student_path)
    run_report.report_run(run, run_data)
    assert "(--no-robustness)" not in page.read_text()
    assert "SYNTHETIC SPEECH." in page.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{model}", "--split", "dev"], "unknown split 'dev': use train, validation, test, all"),
        (["absent.tflite"], "absent.tflite: no such model"),
        (["cut.tflite"], "truncated or damaged"),
        (["{corpus}/clips.csv"], "a model ends in .tflite or .keras"),
        (["{model}", "--data-dir", "nowhere"], "nowhere does not exist: check the path"),
        (["{model}", "--corpus", "cremad"], "unknown corpus 'cremad': did you mean 'crema_d'?"),
        (["{model}", "--corpus", "emodb"], "corpus 'emodb' needs a folder"),
        (["{model}", "--cross", "emodb"], "--cross 'emodb': give NAME=DIR"),
        (["{model}", "--cross", "emodb=nowhere"], "nowhere does not exist"),
        (["{model}", "--cross", "folder=strange"], "has the classes calm, glad, the model loud"),
        (["{model}", "--cross", "folder=broken"], "none of 2 clips can be read; the first: "),
        (["{model}", "--teacher", "none.npz"], "no predictions file 'none.npz'"),
        (["{model}", "--against", "none.tflite"], "none.tflite: no such model"),
        (["{model}", "--against", "other/m.tflite"], "cannot be compared: classes"),
        (["{model}", "--out", "cut.tflite"], "--out cut.tflite is a file: name a folder"),
        (["{model}", "--out", "run"], "--out run is a run's folder"),
        (["alone/m.tflite"], "which clips? The model lies in no run's folder: give --corpus"),
        (
            ["alone/m.tflite", "--corpus", "folder", "--data-dir", "{other}"],
            "54 of 54 clips of corpus 'folder' have no speaker, so that it has no splits: use "
            "--split all",
        ),
    ],
)
def test_wrong_input_is_one_line(world, capsys, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    content = world.waveform_model.read_bytes()
    for folder, labels in ((".", LABELS), ("alone", LABELS), ("other", ("glad", "loud", "soft"))):
        Path(folder).mkdir(exist_ok=True)
        Path(folder, "m.tflite").write_bytes(content)
        Path(folder, "labels.txt").write_text("\n".join(labels) + "\n")
        shutil.copy(world.export_dir / "frontend.json", folder)
    Path("cut.tflite").write_bytes(content[: len(content) // 2])
    Path("run").mkdir()
    Path("run", "config.json").touch()
    for emotion in ("strange/calm", "strange/glad", "broken/loud", "broken/soft"):
        Path(emotion).mkdir(parents=True)
        Path(emotion, "a.wav").write_bytes(b"no audio")
    names = {"model": world.waveform_model, "corpus": world.data_dir, "other": world.other_dir}
    status, _, err = ask(capsys, *(str(item).format(**names) for item in arguments))
    assert status == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not (world.export_dir / "evaluation").exists()


def test_the_default_model(world, capsys, tmp_path, monkeypatch):
    """Its results are written here, not where the packages are installed."""
    monkeypatch.chdir(tmp_path)
    for name in ("labels.txt", "frontend.json", "student_waveform.tflite"):
        Path("installed").mkdir(exist_ok=True)
        shutil.copy(world.export_dir / name, "installed")
    model = tmp_path / "installed" / "student_waveform.tflite"
    monkeypatch.setattr(evaluate, "default_model", lambda: model)
    arguments = ["--corpus", "folder", "--data-dir", world.data_dir, "--no-robustness"]
    assert ask(capsys, *arguments)[0] == 0
    assert read(Path("evaluation"))["model"]["name"] == model.name
    assert not (model.parent / "evaluation").exists()


def test_a_waveform_model_needs_no_tensorflow(world, tmp_path):
    """In a fresh process, with its time and memory really measured."""
    for name in ("labels.txt", "frontend.json", "student_waveform.tflite"):
        shutil.copy(world.export_dir / name, tmp_path)
    program = (
        "import sys; from ser_kd.__main__ import main; status = main(sys.argv[1:]); "
        "print(status, {'tensorflow', 'keras', 'librosa'} & set(sys.modules))"
    )
    arguments = [
        "evaluate", tmp_path / "student_waveform.tflite", "--corpus", "folder", "--data-dir",
        world.data_dir, "--split", "all", "--no-robustness",
    ]  # fmt: skip
    result = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.splitlines()[-1] == "0 set()"
    resources = read(tmp_path / "evaluation")["resources"]
    assert 0.0 < resources["latency_ms"] <= resources["latency_p95_ms"]
    assert resources["peak_memory_mb"] > 1.0
    assert resources["runtime"] in ("LiteRT", "tflite-runtime")
