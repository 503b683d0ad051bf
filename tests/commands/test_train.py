"""``python train.py`` from end to end on tones, interrupted wherever it hurts, and misused."""

import contextlib
import csv
import errno
import functools
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
from corpus_maker import (
    HZ_OF,
    settings,
    snapshot,
    wav2vec2_teacher,
    write_corpus,
    write_recipe,
    write_unlabelled,
)
from sklearn.metrics import confusion_matrix
from tensorflow.python.framework.config import is_op_determinism_enabled

import train
from ser_kd import files
from ser_kd.audio.windows import Windowing
from ser_kd.config import AudioConfig, LogMelConfig, load_config
from ser_kd.data.targets import ALL_FOLDS, softmax
from ser_kd.distillation import fit_loop
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers import prediction
from ser_kd.tflite.interpreters import TFLiteModel

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROOT = Path(__file__).parents[2]
EPOCHS = 3
STUDENTS = [
    "student, labels alone",
    "student, distilled",
    "student, distilled, int8",
    "student, distilled, waveform",
]
TEACHERS = ["teacher ensemble", "teacher wave"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a corpus, a recipe, and runs."""
    place = tmp_path_factory.mktemp("train")
    table = settings(write_corpus(place / "corpus"))
    ensemble = {**table["teachers"]["ensemble"], "folds": 2}
    table["teachers"] = {"ensemble": ensemble, "wave": wav2vec2_teacher()}
    table["fit"]["epochs"] = EPOCHS
    table["audio"]["window_hop_seconds"] = 0.2
    write_recipe(place / "tiny.toml", table)
    return place


def arguments(place: Path, run_dir: Path | str, *more: str) -> list[str]:
    return ["--recipe", str(place / "tiny.toml"), "--run-dir", str(run_dir), *more]


@pytest.fixture(scope="module")
def finished(place):
    """The folder of a run that nothing interrupted, and what was said."""
    directory, said = place / "runs" / "straight", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert train.main(arguments(place, directory)) == 0
    return directory, said.getvalue()


def history(folder: Path) -> list[dict]:
    rows = [json.loads(row) for row in (folder / "history.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_training_is_deterministic_unless_told_otherwise(finished):
    assert is_op_determinism_enabled()
    recorded = json.loads((finished[0] / "config.json").read_text())["config"]
    assert recorded["deterministic"] is True


def test_everything_is_there(finished):
    directory, _ = finished
    wanted = ["config.json", "student.keras", "history.jsonl", "tensorboard", "eval.json"]
    wanted += ["resources.json", "baseline/student.keras", "baseline/history.jsonl"]
    wanted += ["report.html", "predictions.csv"]
    wanted += [f"export/student_{kind}.tflite" for kind in ("float32", "int8")]
    wanted += [f"export/{name}" for name in ("labels.txt", "frontend.json", "export.json")]
    for name in ("ensemble", "wave"):
        wanted.append(f"teachers/{name}/targets.npz")
        for fold in range(2):
            wanted += [f"teachers/{name}/fold_{fold}/{f}" for f in ("fold.json", "predictions.npz")]
    assert [name for name in wanted if not (directory / name).exists()] == []
    assert not list(directory.rglob(".partial-*"))
    assert not list(directory.rglob("training_state.npz"))
    assert len(history(directory)) == len(history(directory / "baseline")) == EPOCHS


def test_what_is_said(finished):
    directory, said = finished
    lines = said.splitlines()
    assert lines[0].startswith(f"run folder  {directory}")
    for number, step in enumerate(["Data", "Teachers", "Student", "Student", "Export", "Scores"]):
        assert any(line.startswith(f"{number + 1}. {step}") for line in lines), step
    assert f"epoch {EPOCHS}/{EPOCHS}" in said
    start = next(i for i, line in enumerate(lines) if " WA " in line)
    rows = lines[start + 2 : start + 8]
    assert [row.split("  ")[0] for row in rows] == TEACHERS + STUDENTS
    for row in rows:
        assert row.count(" ms ") == 1, row
        assert row.count(" MB ") == 1, row
    assert "12 test clips of 2 speakers of folder never trained on" in said
    assert "SYNTHETIC" not in said
    # Three epochs on 24 clips teach it nothing, and so it is not called ready for a phone.
    assert any(re.match("Result: .*; guessing has 33 %", line) for line in lines)
    assert any(re.match("Not for use: .*cannot tell from guessing", line) for line in lines)
    assert "For the phone" not in said


def run_and_data(directory: Path) -> tuple[Run, RunData]:
    run = Run.open(directory)
    return run, run.data()


def probabilities(directory: Path, run_data: RunData, ids: list[str]) -> dict[str, np.ndarray]:
    """Of every model, from its file."""
    windowing = Windowing.of(
        AudioConfig(window_seconds=1.0, window_hop_seconds=0.2), LogMelConfig(mels=16)
    )
    arrays, found = run_data.logmel.select(ids), {}
    for name in ("ensemble", "wave"):
        with np.load(directory / "teachers" / name / "targets.npz") as stored:
            row = {clip_id: i for i, clip_id in enumerate(stored["ids"].tolist())}
            found[f"teacher {name}"] = softmax(stored["logits"][[row[i] for i in ids]])
    for name, path in zip(STUDENTS, ["baseline/student.keras", "student.keras"], strict=False):
        model = keras.models.load_model(directory / path)
        found[name] = LogMelPredictor(model, windowing).predict(arrays)[0]
    int8, rows = TFLiteModel(directory / "export" / "student_int8.tflite"), []
    frames = LogMelConfig(mels=16).frames(16_000)
    for index, samples in enumerate(arrays.samples):
        windows = np.full((len(windowing.starts(samples)), frames, 16), arrays.padding, np.float32)
        for window, start in zip(windows, windowing.starts(samples), strict=True):
            piece = arrays.clip(index)[start // 320 : start // 320 + frames]
            window[: len(piece)] = piece
        rows.append(softmax(int8.predict(windows)).mean(0))
    found[STUDENTS[2]] = np.array(rows)
    return found


def test_eval_json_is_what_the_files_say(finished):
    directory, _ = finished
    _, run_data = run_and_data(directory)
    evaluated = json.loads((directory / "eval.json").read_text())
    assert evaluated["labels"] == list(HZ_OF)
    for part in ("validation", "test"):
        ids = run_data.ids(part)
        truth = np.array([list(HZ_OF).index(clip_id.split("/")[0]) for clip_id in ids])
        facts = evaluated["parts"][part]
        assert (facts["clips"], facts["speakers"]) == (12, 2)
        assert list(facts["models"]) == TEACHERS + STUDENTS
        for name, probs in probabilities(directory, run_data, ids).items():
            score, predicted = facts["models"][name], probs.argmax(1)
            assert score["wa"] == pytest.approx(np.mean(predicted == truth)), (part, name)
            recalls = [np.mean(predicted[truth == c] == c) for c in range(3)]
            assert score["ua"] == pytest.approx(np.mean(recalls)), (part, name)
            table = confusion_matrix(truth, predicted, labels=range(3)).tolist()
            assert score["confusion"] == table, (part, name)
            low, high = score["intervals"]["ua"]
            assert 0 <= low <= score["ua"] + 1e-9
            assert score["ua"] - 1e-9 <= high <= 1
    best = max(row["validation_ua"] for row in history(directory))
    distilled = evaluated["parts"]["validation"]["models"]["student, distilled"]
    assert distilled["ua"] == pytest.approx(best)


def test_the_teachers_own_scores_are_out_of_fold(finished):
    directory, _ = finished
    evaluated = json.loads((directory / "eval.json").read_text())
    for name in ("ensemble", "wave"):
        with np.load(directory / "teachers" / name / "targets.npz") as stored:
            own = stored["fold"] != ALL_FOLDS
            truth = [list(HZ_OF).index(i.split("/")[0]) for i in stored["ids"][own].tolist()]
            wa = np.mean(stored["logits"][own].argmax(1) == truth)
        assert own.sum() == 36
        assert evaluated["teachers_out_of_fold"][name]["wa"] == pytest.approx(wa)


def test_resources_are_of_these_files(finished):
    directory, _ = finished
    resources = json.loads((directory / "resources.json").read_text())
    assert list(resources) == TEACHERS + STUDENTS
    for name, path in zip(
        STUDENTS,
        [
            "baseline/student.keras",
            "student.keras",
            "export/student_int8.tflite",
            "export/student_waveform.tflite",
        ],
        strict=True,
    ):
        assert resources[name]["bytes"] == (directory / path).stat().st_size
    networks = list((directory / "teachers" / "wave").glob("fold_*/classifier.keras"))
    assert len(networks) == 2
    assert resources["teacher wave"]["bytes"] == sum(path.stat().st_size for path in networks)


def test_a_finished_run_changes_nothing(place, finished, capsys):
    directory, said = finished
    before = snapshot(directory)
    assert train.main(arguments(place, directory)) == 0
    assert snapshot(directory) == before
    again = capsys.readouterr().out
    assert "epoch 1/" not in again
    table = said[said.index("test clips of") :]
    assert again[again.index("test clips of") :] == table


def as_measured_in(directory: Path, run: Run) -> dict:
    """In the place of ``measure_run``: the figures of another run."""
    if not run.resources_path.exists():
        shutil.copy(directory / "resources.json", run.directory)
    return files.read_json(run.resources_path)


KILLER = """
import json, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in background
from ser_kd.commands.cli import guarded
import train

def load():
    global convert, fit_loop
    from ser_kd.export import convert
    from ser_kd.distillation import fit_loop

guarded(load)
how, network, epoch, batch = json.loads(sys.argv[1])
strike = lambda: os.kill(os.getpid(), getattr(signal, how))
on_batch, to_tflite = fit_loop._EpochEnd.on_train_batch_end, convert._convert

def on_train_batch_end(self, number, logs=None):
    on_batch(self, number, logs)
    here = str(self.state.directory).endswith(network)
    if here and (self.state.epochs_done + 1, number) == (epoch, batch):
        strike()

def convert_or_die(saved, kind, windows):
    if network == kind:
        strike()
    return to_tflite(saved, kind, windows)

fit_loop._EpochEnd.on_train_batch_end, convert._convert = on_train_batch_end, convert_or_die
sys.exit(train.main(sys.argv[2:]))
"""


def struck(place, directory, how, network, epoch=0, batch=0) -> subprocess.CompletedProcess:
    """Runs train.py until a signal hits it: in a batch of a network, or while it converts."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    plan = json.dumps([how, network, epoch, batch])
    return subprocess.run(
        [sys.executable, "-c", KILLER, plan, *arguments(place, directory)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=place,
    )


def assert_kept(before: dict, directory: Path, *unfinished: str) -> None:
    """What was there is untouched, except in stages that were not finished."""
    after = snapshot(directory)
    for name, state in before.items():
        if not name.startswith(unfinished) and ".partial-" not in name:
            assert after[name] == state, name


def assert_same_end(directory: Path, straight: Path, teachers: Sequence[str]) -> None:
    """Two runs ended with the same networks, targets, scores and files for the phone."""
    assert history(directory) == history(straight)
    assert history(directory / "baseline") == history(straight / "baseline")
    for name in ("eval.json", "export/labels.txt", "export/frontend.json"):
        assert (directory / name).read_bytes() == (straight / name).read_bytes(), name
    for name in ("student.keras", "baseline/student.keras"):
        ours, theirs = (keras.models.load_model(f / name) for f in (directory, straight))
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    for name in teachers:
        with (
            np.load(directory / "teachers" / name / "targets.npz") as ours,
            np.load(straight / "teachers" / name / "targets.npz") as theirs,
        ):
            assert ours.files == theirs.files
            for key in ours.files:
                np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.slow
def test_killed_four_times_it_ends_as_if_nothing_had_been(place, finished, monkeypatch):
    straight, directory = finished[0], place / "runs" / "killed"
    teachers = directory / "teachers"

    # Mid-targets: in the second fold of the first teacher.
    done = struck(place, directory, "SIGKILL", "ensemble/fold_1/member_0", 1, 1)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]
    assert (teachers / "ensemble" / "fold_0" / "predictions.npz").exists()
    assert not (teachers / "ensemble" / "fold_1" / "member_0.keras").exists()
    before = snapshot(directory)

    # Mid-epoch, in a student.
    done = struck(place, directory, "SIGKILL", "baseline", 3, 2)
    assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]
    assert "ensemble fold 1: predictions are there" in done.stdout
    assert_kept(before, directory, "teachers/ensemble/fold_1/")
    assert len(history(directory / "baseline")) == 2
    before = snapshot(directory)

    # Ctrl-C.
    done = struck(place, directory, "SIGINT", "killed", 2, 4)
    assert done.returncode == 130, done.stderr[-2_000:]
    assert done.stderr.strip().splitlines() == [
        "interrupted; what is finished is kept: run the same command again to go on"
    ]
    assert "student, labels alone: going on after epoch 2" in done.stdout
    assert_kept(before, directory, "baseline/")
    assert not (directory / "student.keras").exists()
    before = snapshot(directory)

    # Mid-export, between the files.
    done = struck(place, directory, "SIGKILL", "int8")
    assert done.returncode == -signal.SIGKILL, done.stderr[-2_000:]
    assert "student, distilled: going on after epoch 1" in done.stdout
    assert_kept(before, directory, "history.jsonl", "tensorboard/", "training_state.npz")
    assert (directory / "export" / "student_float32.tflite").exists()
    assert not (directory / "export" / "student_int8.tflite").exists()
    before = snapshot(directory)

    # Times are measured anew, which is slow and not what this is about.
    monkeypatch.setattr(
        "ser_kd.pipeline.resources.measure_run",
        functools.partial(as_measured_in, straight),
    )
    assert train.main(arguments(place, directory)) == 0
    assert_kept(before, directory)

    assert_same_end(directory, straight, ["ensemble", "wave"])
    assert not list(directory.rglob("training_state.npz"))


@pytest.mark.slow
def test_views_and_unlabelled_speech_from_end_to_end(place, finished, monkeypatch, capsys):
    """Killed while it predicts and while it trains on views, it ends as if nothing had been."""
    table = settings(place / "corpus", views={"count": 2, "speed": 0.1})
    table["corpus"]["unlabelled_dirs"] = [str(write_unlabelled(place / "speech"))]
    table["teachers"]["ensemble"]["folds"] = 2
    recipe = str(write_recipe(place / "views.toml", table))
    monkeypatch.setattr(
        "ser_kd.pipeline.resources.measure_run",
        functools.partial(as_measured_in, finished[0]),
    )
    monkeypatch.setattr(prediction, "SHARD_VIEWS", 24)

    def run_in(directory: Path) -> int:
        return train.main(["--recipe", recipe, "--run-dir", str(directory)])

    straight, killed = place / "runs" / "views", place / "runs" / "views_killed"
    assert run_in(straight) == 0
    said = capsys.readouterr().out
    assert "unlabelled      3 segments" in said
    assert "ensemble fold 2: predicted 81 clips in " in said  # 18 x 3 views, 24 others, 3 segments

    # In the second shard of the second fold, then in the student's second epoch.
    write, on_batch = files.write_npz, fit_loop._EpochEnd.on_train_batch_end

    def write_or_die(path, **arrays):
        if path.match("ensemble/fold_1/predictions/shard_0001.npz"):
            raise KeyboardInterrupt
        write(path, **arrays)

    def batch_or_die(self, number, logs=None):
        on_batch(self, number, logs)
        here = self.state.directory == killed
        if here and (self.state.epochs_done, number) == (1, 3):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_npz", write_or_die)
        assert run_in(killed) == 130
    assert [p.name for p in killed.rglob("shard_*.npz")] == ["shard_0000.npz"]
    with monkeypatch.context() as patch:
        patch.setattr(fit_loop._EpochEnd, "on_train_batch_end", batch_or_die)
        assert run_in(killed) == 130
    said = capsys.readouterr().out
    assert "ensemble fold 2: 1 of 4 parts are predicted already" in said
    assert len(history(killed)) == 1
    assert run_in(killed) == 0
    assert "student, distilled: going on after epoch 1" in capsys.readouterr().out

    assert_same_end(killed, straight, ["ensemble"])
    assert not list(killed.rglob("shard_*.npz"))
    with np.load(straight / "teachers" / "ensemble" / "targets.npz") as stored:
        ids, views = stored["ids"], stored["view"]
    assert np.bincount(views).tolist() == [63, 36, 36]
    assert sum(i.startswith("unlabelled/") for i in ids.tolist()) == 3
    # Scores are of the same clips as ever.
    scores, plain = (json.loads((d / "eval.json").read_text()) for d in (straight, finished[0]))
    for part in ("validation", "test"):
        assert scores["parts"][part]["clips"] == plain["parts"][part]["clips"] == 12
    before = snapshot(straight)
    assert run_in(straight) == 0
    assert snapshot(straight) == before


def copy_of(finished, place: Path, name: str) -> Path:
    """With the times of writing: they decide what is out of date."""
    return shutil.copytree(finished[0], place / "runs" / name, copy_function=shutil.copy2)


def errors(capsys) -> list[str]:
    return capsys.readouterr().err.strip().splitlines()


def full_disk(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_loses_nothing(place, finished, monkeypatch, capsys):
    directory = copy_of(finished, place, "full")
    (directory / "teachers" / "ensemble" / "targets.npz").unlink()
    (directory / "eval.json").unlink()
    before = snapshot(directory)
    for module, name, file in ((np, "savez", "targets.npz"), (files, "write_json", "")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, full_disk)
            assert train.main(arguments(place, directory)) == 2
        (message,) = errors(capsys)
        where = rf" \(.*{file}\)" if file else ""
        mend = "free some space, then run the same command again"
        assert re.fullmatch(f"error: No space left on device{where}: {mend}", message)
        assert_kept(before, directory, "predictions.csv")
    assert train.main(arguments(place, directory)) == 0
    for name in ("teachers/ensemble/targets.npz", "eval.json"):
        assert (directory / name).read_bytes() == (finished[0] / name).read_bytes()


@pytest.mark.slow
def test_a_full_disk_while_a_student_is_saved(place, finished, monkeypatch, capsys):
    directory = copy_of(finished, place, "full_student")
    (directory / "student.keras").unlink()
    before = snapshot(directory)
    with monkeypatch.context() as patch:
        patch.setattr(fit_loop.TrainingState, "save", full_disk)
        assert train.main(arguments(place, directory)) == 2
    assert len(errors(capsys)) == 1
    assert_kept(before, directory, "history.jsonl", "tensorboard/")
    assert not (directory / "student.keras").exists()


def test_changed_settings_are_refused(place, finished, capsys):
    before = snapshot(finished[0])
    for setting, message in (
        ("fit.epochs=9", "(fit.epochs = 3, now 9)"),
        ("teachers.ensemble.folds=3", "(teachers.ensemble.folds = 2, now 3)"),
    ):
        assert train.main(arguments(place, finished[0], "--set", setting)) == 2
        (line,) = errors(capsys)
        assert message in line
    assert train.main(arguments(place, finished[0], "--seed", "1")) == 2
    assert "(seed = 0, now 1)" in errors(capsys)[0]
    assert snapshot(finished[0]) == before


def test_a_limit_that_an_exported_file_fails_is_said_when_all_is_there(place, finished, capsys):
    directory = copy_of(finished, place, "failed_limit")
    for name in ("eval.json", "report.html"):
        (directory / name).unlink()
    assert train.main(arguments(place, directory, "--set", "export.min_agreement=1.1")) == 2
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert "export.min_agreement = 110.0%" in line
    assert "--set" in line
    assert "macro-F1" in said.out
    assert "For the phone" not in said.out
    assert (directory / "report.html").exists()
    assert (directory / "eval.json").read_bytes() == (finished[0] / "eval.json").read_bytes()
    assert train.main(arguments(place, directory)) == 0  # relaxed again, nothing trained anew


def test_another_corpus_is_refused(place, finished, capsys):
    extra = place / "corpus" / "low" / "s0" / "extra.wav"
    shutil.copy(place / "corpus" / "low" / "s0" / "0.wav", extra)
    try:
        before = snapshot(finished[0])
        assert train.main(arguments(place, finished[0])) == 2
        (line,) = errors(capsys)
        assert "the clips are not those that" in line
        assert snapshot(finished[0]) == before
    finally:
        extra.unlink()


def test_what_is_wrong_with_a_file_of_predictions_comes_to_light_first(place, tmp_path, capsys):
    path = tmp_path / "mine.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", *HZ_OF], ["high/s0/0.wav", 1, 2, 3]])
    more = ["--set", "teachers.mine.kind=file", "--set", f'teachers.mine.path="{path}"']
    assert train.main(arguments(place, tmp_path / "run", *more)) == 2
    (line,) = errors(capsys)
    assert "teacher 'mine' has no prediction for 3" in line
    assert not (tmp_path / "run" / "teachers").exists()


def misuse(place: Path, tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    empty, one, text = tmp_path / "empty", tmp_path / "one", tmp_path / "text"
    for folder in (empty, one / "low" / "s0", text / "low" / "s0"):
        folder.mkdir(parents=True)
    shutil.copy(place / "corpus" / "low" / "s0" / "0.wav", one / "low" / "s0")
    (text / "low" / "s0" / "a.txt").write_text("a")
    (tmp_path / "bad.toml").write_text("[corpus\n")
    (tmp_path / "file").touch()
    return {
        "recipe": (["--recipe", "dmo"], "no recipe 'dmo' (did you mean 'demo'?)"),
        "absent recipe": (["--recipe", "absent.toml"], "no recipe file 'absent.toml'"),
        "bad recipe": (["--recipe", str(tmp_path / "bad.toml")], "is not valid TOML"),
        "key": (["--set", "fit.epoch=3"], "'fit.epoch' (did you mean 'epochs'?)"),
        "no value": (["--set", "fit.epochs"], "write it as section.key=value"),
        "range": (["--set", "fit.epochs=-1"], "fit.epochs = -1 is out of range"),
        "corpus": (["--set", "corpus.name=cremad"], "'cremad': did you mean 'crema_d'?"),
        "absent": (["--data-dir", str(tmp_path / "ä 🎤")], "ä 🎤 does not exist"),
        "empty": (["--data-dir", str(empty)], "is empty: check the path"),
        "text": (["--data-dir", str(text)], "no audio file in"),
        "one class": (["--data-dir", str(one)], "only one class (low)"),
        "no folder": (["--set", "corpus.data_dir="], "needs a folder"),
        "metadata": (["--metadata-dir", str(tmp_path / "none")], "none does not exist"),
        "other names": (
            ["--set", "corpus.name=crema_d", "--data-dir", str(place / "corpus")],
            "no labelled file in",
        ),
        "run folder": (["--run-dir", str(tmp_path / "file" / "run")], "Not a directory"),
    }


@pytest.mark.parametrize(
    "case",
    ["recipe", "absent recipe", "bad recipe", "key", "no value", "range", "corpus", "absent",
     "empty", "text", "one class", "no folder", "metadata", "other names", "run folder"],
)  # fmt: skip
def test_misuse_is_one_line(place, tmp_path, capsys, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    more, message = misuse(place, tmp_path)[case]
    assert train.main(arguments(place, tmp_path / "run", *more)) == 2
    (line,) = errors(capsys)
    assert line.startswith("error: ")
    assert message in line
    assert not (tmp_path / "run").exists()


def test_unknown_arguments(capsys):
    with pytest.raises(SystemExit) as stopped:
        train.main(["--recipie", "demo"])
    assert stopped.value.code == 2
    assert "unrecognized arguments: --recipie" in capsys.readouterr().err


def test_the_shipped_recipes_are_valid():
    for name in ("demo", "crema_d_cpu"):
        assert load_config(name).name == name
