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
from export_maker import tiny_student
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    recall_score,
)

from ser_kd import files
from ser_kd.audio import codecs
from ser_kd.commands import evaluate
from ser_kd.commands.main import main
from ser_kd.config import Config, config_from_dict, config_to_dict
from ser_kd.corpora import Clip, load_corpus
from ser_kd.corpora.splits import split_corpus
from ser_kd.data.targets import Targets, softmax, write_targets
from ser_kd.errors import UserError
from ser_kd.evaluation import other_models, robustness
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
    monkeypatch.setattr(other_models, "measure_all", measured)


def ask(capsys, *arguments: object) -> tuple[int, str, str]:
    status = main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "eval.json").read_text())
    return found


def resources(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "resources.json").read_text())
    return found


def only_part(found: dict[str, Any]) -> dict[str, Any]:
    (part,) = found["parts"].values()
    return part


def own(found: dict[str, Any]) -> dict[str, Any]:
    """The scores of the evaluated file."""
    part = only_part(found)
    scores: dict[str, Any] = part["models"][part["file"]["model"]]
    return scores


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """One evaluation with everything in it, and what was printed."""
    out = tmp_path_factory.mktemp("out") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr(evaluate, "say", lines.append)
        patch.setattr(other_models, "measure_all", measured)
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
    scores = own(found)
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
    assert (found["corpus"], found["synthetic"]) == ("folder", False)
    assert list(found["parts"]) == ["test"]
    part = only_part(found)
    assert (part["clips"], part["speakers"]) == (len(clips), 2)
    assert (part["clips_of_training_speakers"], part["unreadable"]) == (0, {})


def test_calibration(world, whole):
    clips = world.splits.test
    probs = world.probs(clips)
    right = probs.argmax(1) == [LABELS.index(clip.emotion) for clip in clips]
    found = only_part(whole[1])["file"]["calibration"]
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
    assert {row["part"] for row in rows} == {"test"}
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
    part = only_part(whole[1])
    assert list(part["models"]) == ["teacher stored", "student.keras", "student_waveform.tflite"]
    assert [row["role"] for row in part["models"].values()] == ["teacher", "student", "student"]
    for name, other in (("teacher stored", teacher), ("student.keras", student)):
        same = part["agreement"][name]["student_waveform.tflite"]
        assert same == pytest.approx(np.mean(other == said))
        ua = part["models"][name]["ua"]
        assert ua == pytest.approx(balanced_accuracy_score(truth, other))
    assert part["models"]["teacher stored"]["ua"] == pytest.approx(2 / 3)


def test_size_time_and_memory(world, whole):
    """A teacher's are those of its run; students are measured in turns."""
    found = resources(whole[0])
    assert list(found) == ["teacher stored", "student.keras", "student_waveform.tflite"]
    teacher, student, own_file = found.values()
    assert (teacher["latency_ms"], teacher["bytes"]) == (2.5, 9_000)
    assert (student["latency_ms"], own_file["latency_ms"]) == (1.0, 2.0)
    assert student["bytes"] == world.run.student_path.stat().st_size
    assert own_file["bytes"] == world.waveform_model.stat().st_size


def test_what_the_run_tells(world, whole):
    _, found, _ = whole
    assert [row["epoch"] for row in found["history"]] == [1, 2]
    assert found["history"][1] == {
        "epoch": 2, "loss": 1.25, "accuracy": 0.5, "validation_ua": 0.75,
    }  # fmt: skip
    content = world.waveform_model.read_bytes()
    assert found["model"] == {
        "name": "student_waveform.tflite",
        "takes": "waveform",
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
    robust = only_part(whole[1])["file"]["robustness"]
    found = {item["name"]: item for item in robust["conditions"]}
    assert len(found) == 29
    item = found["gain -12 dB"]
    assert item["ua"] == pytest.approx(balanced_accuracy_score(truth, changed))
    assert item["ua_drop"] == pytest.approx(own(whole[1])["ua"] - item["ua"])
    assert item["unchanged"] == pytest.approx(np.mean(np.array(changed) == clean))
    assert item["unchanged"] < 1.0
    limits = {limit["name"]: limit for limit in robust["limits"]}
    small = [item["unchanged"] for item in found.values() if item["kind"] == "small"]
    assert limits["small changes: labels unchanged"]["worst"] == min(small)


def test_the_same_again(world, whole, capsys, tmp_path):
    """Also after the noise of other clips: the seed depends on the clip."""
    arguments = [world.waveform_model, "--out", tmp_path, "--cross", f"folder={world.other_dir}"]
    assert ask(capsys, *arguments)[0] == 0
    found = read(tmp_path)
    assert found == whole[1]


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
    assert "18 clips are left out: 'bored' is no class of the model" in notes
    assert "a clip without a speaker counts as a speaker of its own" in notes


def test_worst_clips_are_the_surest_mistakes(world, whole):
    clips = world.splits.test
    probs = world.probs(clips)
    wrong = {
        clip.id: row.max()
        for clip, row in zip(clips, probs, strict=True)
        if LABELS[row.argmax()] != clip.emotion
    }
    found = only_part(whole[1])["file"]["worst"]
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
    assert f"{100 * own(found)['ua']:.1f}" in printed
    assert "18 test clips of 2 speakers of folder never trained on" in printed
    same = only_part(found)["agreement"]["teacher stored"]["student_waveform.tflite"]
    assert f"teacher stored: {100 * same:.1f}" in printed
    assert str(out) in printed
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
    assert (found["model"]["takes"], found["model"]["runtime"]) == ("logmel", "Keras")
    assert list(found["parts"]) == ["validation"]
    clips = world.splits.validation
    predictor = Predictor.load(world.run.student_path)
    said = [predictor.predict_file(clip.path).argmax() for clip in clips]
    truth = [LABELS.index(clip.emotion) for clip in clips]
    assert own(found)["wa"] == pytest.approx(accuracy_score(truth, said))
    assert list(only_part(found)["models"]) == [
        "teacher stored", "student_waveform.tflite", "student.keras",
    ]  # fmt: skip
    assert [row["latency_ms"] for row in resources(tmp_path).values()] == [2.5, 1.0, 2.0]
    assert only_part(found)["file"]["robustness"]["conditions"] == []
    for note in ("student_int8.tflite is not there", "chosen on these same clips", "--no-robust"):
        assert any(note in line for line in found["notes"]), note
        assert note in out


@pytest.mark.slow
def test_training_speakers_give_a_warning(world, capsys, tmp_path):
    arguments = [world.waveform_model, "--out", tmp_path, "--no-robustness"]
    for split, clips, seen in (("train", 18, 18), ("all", 54, 18)):
        status, _, err = ask(capsys, *arguments, "--split", split)
        found = read(tmp_path)
        assert status == 0
        assert f"warning: {seen} of {clips} clips are of speakers that the model was" in err
        part = found["parts"][split]
        assert (part["clips"], part["clips_of_training_speakers"]) == (clips, seen)
    assert "warning" not in ask(capsys, *arguments)[2]


def test_a_table_from_elsewhere_is_not_the_runs_split(world, capsys, tmp_path):
    shutil.copytree(world.data_dir, tmp_path / "moved")
    arguments = ["--data-dir", tmp_path / "moved", "--no-robustness", "--out", tmp_path / "out"]
    status, _, err = ask(capsys, world.waveform_model, *arguments)
    assert (status, "warning" in err) == (0, False)
    found = read(tmp_path / "out")
    assert only_part(found)["clips_of_training_speakers"] is None
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
    part = only_part(found)
    assert part["clips"] == 53
    assert list(part["unreadable"]) == ["ann/soft/0"]
    assert "not readable as audio" in part["unreadable"]["ann/soft/0"]
    # Scores of a few clips are not comparable; agreement on them is.
    assert list(part["models"]) == ["student_waveform.tflite"]
    assert list(part["agreement"]) == ["teacher wise"]
    assert found["history"] == []
    notes = " ".join(found["notes"])
    assert "teacher wise: predicted 3 of 53 clips" in notes
    assert "1 clips could not be read" in notes


def test_what_cannot_be_measured_is_said(world, capsys, tmp_path, monkeypatch):
    """A machine whose libsndfile has no Opus, and a model that the other process cannot load."""

    def broken(*_):
        raise UserError("x cannot be measured: no memory")

    def no_opus(*_):
        raise codecs.UnavailableError("no Opus here")

    monkeypatch.setattr(other_models, "measure_all", broken)
    monkeypatch.setattr(robustness, "opus", no_opus)
    assert ask(capsys, world.waveform_model, "--out", tmp_path)[0] == 0
    found = read(tmp_path)
    assert len(only_part(found)["file"]["robustness"]["conditions"]) == 27
    for note in ("Opus, 12 kbit/s: not measured (no Opus here)", "measured: no memory"):
        assert any(note in line for line in found["notes"])
    own_file = resources(tmp_path)["student_waveform.tflite"]
    assert own_file == {"bytes": world.waveform_model.stat().st_size}
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
    assert own(found)["intervals"] == {"wa": None, "ua": None, "macro_f1": None}
    conditions = only_part(found)["file"]["robustness"]["conditions"]
    assert not any("babble" in item["name"] for item in conditions)
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
    assert notes == ["age: known of 45 of 54 clips", "race: known of 45 of 54 clips"]


def test_a_corpus_that_says_nothing_of_its_speakers(world):
    clips = [Clip(str(n), Path(), f"s{n}", LABELS[n % 3]) for n in range(6)]
    truth = np.arange(6) % 3
    found, notes = slices(clips, truth, truth, LABELS)
    assert found == []
    assert notes == ["sex, age, race of the speakers: not known"]


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
    assert {label: item["clips"] for label, item in own(found)["recall"].items()} == {
        "ANG": 5, "DIS": 5, "FEA": 5, "HAP": 5, "NEU": 10, "SAD": 5,
    }  # fmt: skip
    same, german = found["cross_corpus"]
    assert (same["corpus"], same["clips"], same["dropped"]) == ("ravdess", 35, {"surprised": 5})
    assert same["scores"] == {k: v for k, v in own(found).items() if k != "role"}
    assert (german["corpus"], german["clips"], german["dropped"]) == ("emodb", 12, {"boredom": 2})
    assert sorted(german["labels"]) == sorted(found["labels"])
    notes = found["notes"]
    assert "ravdess: 'calm' counts as NEU" in notes
    assert "ravdess: 5 clips are left out: 'surprised' is no class of the model" in notes
    assert "emodb: 2 clips are left out: 'boredom' is no class of the model" in notes


def test_ones_own_clips_under_ones_own_names(tmp_path, capsys):
    clips = tmp_path / "clips"
    rng = np.random.default_rng(0)
    for emotion in ("angry", "Traurig", "cheerful", "boredom"):
        (clips / emotion).mkdir(parents=True)
        for take in range(2):
            soundfile.write(clips / emotion / f"{take}.wav", 0.1 * rng.normal(size=16_000), 16_000)
    asked = ["--corpus", "folder", "--data-dir", clips, "--out", tmp_path / "out"]
    mapped = ["--label-map", "cheerful=HAP"]
    assert ask(capsys, *asked, *mapped, "--no-robustness")[0] == 0
    found = read(tmp_path / "out")
    part = found["parts"]["all"]
    assert (part["clips"], part["speakers"]) == (6, 6)
    confusion = np.array(own(found)["confusion"])
    assert confusion.sum(axis=1).tolist() == [2, 0, 0, 2, 0, 2]
    notes = " ".join(found["notes"])
    assert "'angry' counts as ANG" in notes
    assert "'Traurig' counts as SAD" in notes
    assert "2 clips are left out: 'boredom' is no class" in notes
    assert "whether the model was trained on these speakers is not known" in notes
    assert "CREMA-D" not in notes

    (clips / "angry" / "0.wav").rename(clips / "angry" / "1001_IEO_ANG_HI.wav")
    assert ask(capsys, *asked, *mapped, "--no-robustness")[0] == 0
    assert "1 of 6 clips have names of CREMA-D" in " ".join(read(tmp_path / "out")["notes"])

    status, _, err = ask(capsys, *asked, "--label-map", "cheerful=GLAD")
    assert status == 2
    assert "--label-map cheerful=GLAD: the model has no class 'GLAD'; it has ANG, DIS" in err
    status, _, err = ask(capsys, *asked, "--label-map", "cheerfull=HAP")
    assert status == 2
    assert "did you mean 'cheerful'?" in err


def test_files_of_the_same_name_are_told_apart(world, capsys, tmp_path):
    for name in ("labels.txt", "frontend.json", "student_waveform.tflite"):
        shutil.copy(world.export_dir / name, tmp_path)
    arguments = ["--against", tmp_path / "student_waveform.tflite", "--no-robustness"]
    out = tmp_path / "out"
    assert ask(capsys, world.waveform_model, *arguments, "--out", out)[0] == 0
    names = list(only_part(read(out))["models"])
    other = f"{tmp_path.name}/student_waveform.tflite"
    assert names == ["teacher stored", "student.keras", other, "export/student_waveform.tflite"]
    assert set(names) == set(resources(out))


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
            ["alone/m.tflite", "--corpus", "folder", "--data-dir", "{other}", "--split", "test"],
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
    monkeypatch.setattr(predictor, "default_model", lambda: model)
    arguments = ["--corpus", "folder", "--data-dir", world.data_dir, "--no-robustness"]
    assert ask(capsys, *arguments)[0] == 0
    assert read(Path("evaluation"))["model"]["name"] == model.name
    assert not (model.parent / "evaluation").exists()


def test_a_waveform_model_needs_no_tensorflow(world, tmp_path):
    """In a fresh process, with its time and memory really measured."""
    for name in ("labels.txt", "frontend.json", "student_waveform.tflite"):
        shutil.copy(world.export_dir / name, tmp_path)
    program = (
        "import sys; from ser_kd.commands.main import main; status = main(sys.argv[1:]); "
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
    measured = resources(tmp_path / "evaluation")["student_waveform.tflite"]
    assert 0.0 < measured["latency_ms"] <= measured["latency_p95_ms"]
    assert measured["peak_memory_mb"] > 1.0
    assert measured["runtime"] in ("LiteRT", "tflite-runtime")
