"""A student of dimensions alone: a whole run, its loss, its epoch, and what does not fit it."""

import csv
import json
import re

import keras
import numpy as np
import pytest
from corpus_maker import HZ_OF, settings, snapshot, write_corpus, write_recipe, write_unlabelled

import train
from ser_kd.commands.main import main as ser_kd_main
from ser_kd.commands.main import run_alone
from ser_kd.config import config_from_dict
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import ConcordanceTerm
from ser_kd.errors import UserError
from ser_kd.pipeline import dimensions_only
from ser_kd.pipeline.dimensions_only import (
    baseline_student,
    distilled_student,
    require_ratings,
    with_teachers_in_use,
)
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import build_student
from ser_kd.students.frontend import Frontend
from ser_kd.students.heads import dimensional_student
from ser_kd.students.saved import load_keras
from ser_kd.tflite.interpreters import TFLiteModel, load_interpreter

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANGES = {"height": [0, 10], "loudness": [1, 7]}
HEIGHT_OF = {"high": 9.0, "mid": 6.0, "low": 1.0}


def write_table(folder, rated=lambda speaker: True) -> dict[str, float]:
    """The corpus of tones as a CSV: how high it sounds, how loud (the speaker's number).

    Returns:
        Clip id -> height in -1..1.
    """
    heights = {}
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "emotion", "speaker", *RANGES])
        for path in sorted(folder.rglob("*.wav")):
            clip_id = path.relative_to(folder).as_posix()
            emotion, speaker = clip_id.split("/")[:2]
            row = [HEIGHT_OF[emotion], 1 + 6 * int(speaker[1:]) / 9]
            writer.writerow([clip_id, emotion, speaker, *(row if rated(speaker) else ["", ""])])
            heights[clip_id] = HEIGHT_OF[emotion] / 5 - 1
    return heights


def write_teacher(path, heights: dict[str, float], **arrays) -> dict:
    """A teacher that knows the height, from a file; of the categories it knows nothing."""
    told = np.array([[height, 0.1] for height in heights.values()])
    logits = np.zeros((len(heights), len(HZ_OF)))
    np.savez(path, **{"ids": list(heights), "logits": logits, "dimensions": told, **arrays})
    return {"kind": "file", "path": str(path)}


def table(corpus, /, dimensions=None, **sections) -> dict:
    """Of a run of dimensions alone, without teachers."""
    dimensions = {"weight": 1.0, "alone": True, "ranges": RANGES, "dropout": 0.0} | (
        dimensions or {}
    )
    table = settings(corpus, dimensions=dimensions, **{"teachers": {}, **sections})
    # Every clip in one window.
    table["audio"] = {"window_seconds": 1.3, "window_hop_seconds": 0.5}
    table["augment"] = {"shift_seconds": 0.2, "time_masks": 0, "mel_masks": 0, "mixup_alpha": 0.1}
    return table


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("dimensional_student")
    heights = write_table(write_corpus(place / "corpus"))
    mine = write_teacher(place / "mine.npz", heights)
    of_categories = settings(place / "corpus")["teachers"]["ensemble"]
    recipe = table(
        place / "corpus",
        {"teacher_weight": 0.5},
        teachers={"mine": mine, "ensemble": of_categories},
    )
    recipe["fit"] |= {"epochs": 24}
    write_recipe(place / "tiny.toml", recipe)
    return place


def train_main(place, *more: str, run: str = "run") -> int:
    return train.main(["--recipe", f"{place / 'tiny.toml'}", "--run-dir", f"{place / run}", *more])


@pytest.fixture(scope="module")
def finished(place):
    assert train_main(place) == 0
    run = Run.open(place / "run")
    return run, run.data()


def history(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]


def ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """By its definition, of one dimension."""
    truth, predicted = truth.astype(float), predicted.astype(float)
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    gap = (truth.mean() - predicted.mean()) ** 2
    return 2 * covariance / (truth.var() + predicted.var() + gap)


def validation_windows(run, run_data) -> tuple[np.ndarray, np.ndarray]:
    """``[clips, frames, mels]`` and ratings; every clip is in one window."""
    logmel, config = run_data.logmel.select(run_data.ids("validation")), run.config
    frames = config.logmel.frames(config.audio.window_samples)
    windows = np.full((len(logmel), frames, config.logmel.mels), config.logmel.floor_db, np.float32)
    for number, window in enumerate(windows):
        clip = logmel.clip(number)
        window[: len(clip)] = clip[:frames]
    return windows, run_data.ratings(logmel.ids)


@pytest.mark.slow
def test_a_run_has_nothing_of_categories(finished):
    run, _ = finished
    found = {path.name for path in run.directory.iterdir()} - {"tensorboard", ".lock"}
    files = {"config.json", "clips.json", "dimensions.keras", "dimensions.json", "history.jsonl"}
    assert found == files | {"baseline", "export"}
    assert {path.name for path in run.export_dir.iterdir()} == {
        "student_dimensions_int8.tflite",
        "dimensions.json",
        "frontend.json",
    }
    model = load_keras(run.dimensions_path)
    assert set(model.output) == {"dimensions"}
    assert "logits" not in {layer.name for layer in model.layers}


@pytest.mark.slow
def test_the_scores_of_all_models(finished):
    run, run_data = finished
    facts = json.loads((run.directory / "dimensions.json").read_text())["parts"]["validation"]
    names = [
        "teacher mine", "student, ratings alone", "student, distilled", "student, distilled, int8",
    ]  # fmt: skip
    assert list(facts["models"]) == names
    windows, truth = validation_windows(run, run_data)
    for name, path in (
        ("student, ratings alone", run.baseline_dir / "dimensions.keras"),
        ("student, distilled", run.directory / "dimensions.keras"),
    ):
        said = load_keras(path)(windows)["dimensions"].numpy()
        for column, dimension in enumerate(RANGES):
            value, low, high = facts["models"][name][dimension]
            assert value == pytest.approx(ccc(truth[:, column], said[:, column]), abs=2e-3)
            assert low <= value <= high
    # Three pitches are told apart within 24 epochs, by the file for the phone too.
    assert facts["models"]["student, distilled, int8"]["height"][0] > 0.6


@pytest.mark.slow
def test_the_epoch_is_the_best_by_mean_ccc(finished):
    run, run_data = finished
    windows, truth = validation_windows(run, run_data)
    for directory in (run.directory, run.baseline_dir):
        rows = history(directory)
        assert len({row["validation_ccc"] for row in rows}) > 1
        assert not any("validation_ua" in row or "accuracy" in row for row in rows)
        said = load_keras(directory / "dimensions.keras")(windows)["dimensions"].numpy()
        mean = np.mean([ccc(truth[:, column], said[:, column]) for column in range(2)])
        assert mean == pytest.approx(max(row["validation_ccc"] for row in rows), abs=1e-4)


@pytest.mark.slow
def test_the_baseline_does_not_hear_the_teachers(finished):
    run, _ = finished
    for row in history(run.directory):
        assert row["loss"] == pytest.approx(
            row["dimension_loss"] + 0.5 * row["teacher_dimension_loss"], abs=1e-4
        )
    for row in history(run.baseline_dir):
        assert row["loss"] == pytest.approx(row["dimension_loss"])
        assert "teacher_dimension_loss" not in row


@pytest.mark.slow
def test_the_file_for_the_phone(finished):
    run, run_data = finished
    path = run.export_dir / "student_dimensions_int8.tflite"
    (signature,) = load_interpreter(path).get_signature_list().values()
    assert signature["outputs"] == ["dimensions"]
    windows, truth = validation_windows(run, run_data)
    expected = load_keras(run.dimensions_path)(windows)["dimensions"].numpy()
    model = TFLiteModel(path, output="dimensions")
    said = model.predict(windows)
    np.testing.assert_allclose(said, expected, atol=max(12 * model.output_step, 0.1))
    facts = json.loads((run.export_dir / "dimensions.json").read_text())
    assert facts["outputs"] == {"dimensions": list(RANGES)}
    assert facts["ranges"] == RANGES
    assert facts["ccc_int8"]["height"] == pytest.approx(ccc(truth[:, 0], said[:, 0]), abs=1e-3)
    front_end = Frontend.read(run.export_dir / "frontend.json")
    assert (front_end.frames, front_end.mels) == windows.shape[1:]


@pytest.mark.slow
def test_a_second_start_finds_everything_and_says_what_it_makes(place, finished, capsys):
    run, _ = finished
    before = snapshot(run.directory)
    assert train_main(place) == 0
    after = snapshot(run.directory)
    del before["dimensions.json"], after["dimensions.json"]  # scored anew
    assert after == before
    said = capsys.readouterr().out
    assert "a student of dimensions alone: no categories" in said
    assert "without ensemble" in said
    assert "Student from ratings and teachers" in said
    assert "Concordance (CCC" in said


@pytest.mark.slow
def test_exporting_evaluating_and_predicting(place, finished, capsys):
    run, _ = finished
    path = run.export_dir / "student_dimensions_int8.tflite"
    path.unlink()
    assert run_alone("export", [str(run.directory)]) == 0
    said = capsys.readouterr().out
    assert path.is_file()
    assert "student_dimensions_int8.tflite: " in said
    assert [line.split()[0] for line in said.splitlines()[-5:-2]] == ["CCC", "Keras", "int8"]
    assert run_alone("export", [str(run.directory), "--publish", str(run.directory / "p")]) == 2
    assert "--publish copies models of categories" in capsys.readouterr().err
    for model in (path, run.dimensions_path):
        assert ser_kd_main(["evaluate", str(model)]) == 2
        error = capsys.readouterr().err
        assert "predicts dimensions" in error
        assert error.count("\n") == 1
        assert ser_kd_main(["predict", str(model), str(place / "corpus")]) == 2
        error = capsys.readouterr().err
        assert f"{model} predicts dimensions, which have no labels" in error
        assert error.count("\n") == 1


def test_a_student_that_is_not_there_yet(place, capsys):
    run = Run.create(config_from_dict(table(place / "corpus")), place / "untrained")
    run.data()
    assert run_alone("export", [str(run.directory)]) == 2
    assert "train first" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_run_ends_as_an_uninterrupted_one(place, monkeypatch):
    recipe = table(place / "corpus", {"dropout": 0.3})
    recipe["fit"] |= {"epochs": 4}
    config = config_from_dict(recipe)
    straight = Run.create(config, place / "straight")
    distilled_student(straight, straight.data(), {})

    saved, save = [], fit_loop.TrainingState.save

    def save_or_die(state):
        save(state)
        saved.append(state.epochs_done)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_or_die)
    run = Run.create(config, place / "resumed")
    run_data = run.data()
    with pytest.raises(KeyboardInterrupt):
        distilled_student(run, run_data, {})
    assert not run.dimensions_path.exists()
    distilled_student(run, run_data, {})
    assert saved == [1, 2, 3, 4]
    one, other = load_keras(run.dimensions_path), load_keras(straight.dimensions_path)
    for weight, expected in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)
    for row, expected in zip(history(run.directory), history(straight.directory), strict=True):
        del row["seconds"], expected["seconds"]
        assert row == expected


def test_speech_without_labels_teaches_by_what_the_teachers_say_of_it(place, tmp_path, monkeypatch):
    mine = {"kind": "file", "path": str(tmp_path / "mine.npz")}
    recipe = table(place / "corpus", {"teacher_weight": 1.0}, teachers={"mine": mine})
    recipe["corpus"]["unlabelled_dirs"] = [str(write_unlabelled(tmp_path / "speech"))]
    run, run_data = new_run(recipe, tmp_path / "run")
    segments = run_data.ids("unlabelled")
    clips = {clip.id: 0.0 for clip in run_data.corpus.clips}
    write_teacher(tmp_path / "mine.npz", clips | dict.fromkeys(segments, 0.5))
    shown = []

    def see(distiller, training_set, *more, **further):
        shown.append(training_set)

    monkeypatch.setattr(dimensions_only, "fit_logmel_network", see)
    targets = all_teacher_targets(run, run_data)
    baseline_student(run, run_data)
    distilled_student(run, run_data, targets)
    count = len(run_data.ids("training"))
    assert len(segments) > 0
    assert [len(training_set) for training_set in shown] == [count, count + len(segments)]
    assert shown[0].teacher_dimensions is None
    rows = shown[1].rows[count:, 0]
    told = shown[1].teacher_dimensions[rows]
    np.testing.assert_allclose(told, [[0.5, 0.1]] * len(segments), atol=1e-6)
    assert np.isnan(shown[1].dimensions[rows]).all()


def new_run(recipe: dict, directory) -> tuple[Run, RunData]:
    run = Run.create(config_from_dict(recipe), directory)
    return run, run.data()


def test_the_loss_by_hand(rng):
    keras.utils.set_random_seed(3)
    config = config_from_dict({"student": {"kind": "cnn", "width": 0.25, "dropout": 0.0}}).student
    student = dimensional_student(build_student(config, 20, 16, 3), 2, 0.0)
    model = Distiller(student, [ConcordanceTerm(0.7, 0.2)])
    model.compile(optimizer="sgd")
    x = rng.normal(-40.0, 10.0, (8, 20, 16)).astype(np.float32)
    ratings, told = rng.uniform(-1, 1, (2, 8, 2)).astype(np.float32)
    ratings[3, 1] = np.nan
    y = {"labels": np.zeros((8, 3), np.float32), "dimensions": ratings, "teacher_dimensions": told}
    logs = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    said = np.asarray(student(x, training=False)["dimensions"])
    known = np.isfinite(ratings)
    own = np.mean([1 - ccc(ratings[known[:, d], d], said[known[:, d], d]) for d in range(2)])
    taught = np.mean([1 - ccc(told[:, d], said[:, d]) for d in range(2)])
    expected = {
        "loss": 0.7 * own + 0.2 * taught,
        "dimension_loss": own,
        "teacher_dimension_loss": taught,
    }
    assert logs == {name: pytest.approx(value, abs=1e-5) for name, value in expected.items()}


def dimensional_teacher(**sources: str) -> dict:
    return {"kind": "dimensional", "sources": sources}


def test_teachers_that_have_a_part(place):
    ensemble = settings(place / "corpus")["teachers"]["ensemble"] | {"folds": 5}
    fusion = {
        "kind": "fusion",
        "audio": ["ear"],
        "modalities": {"ear": "teacher:ensemble", "face": "votes:face"},
    }
    teachers = {
        "vad": dimensional_teacher(a="teacher:fusion"),
        "unneeded": ensemble,
        "fusion": fusion,
        "ensemble": ensemble,
    }
    config = config_from_dict(table(place / "corpus", {"teacher_weight": 1.0}, teachers=teachers))
    assert list(with_teachers_in_use(config).teachers) == ["vad", "fusion", "ensemble"]
    config = config_from_dict(table(place / "corpus", teachers=teachers))
    assert with_teachers_in_use(config).teachers == {}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dimensions.weight=0", "dimensions.alone = true needs dimensions.weight above 0"),
        ("distill.embedding_weights.mine=0.1", "alone = true needs distill.embedding_weights = {}"),
        ("dimensions.ranges={}", "corpus 'folder' has no dimensions of its own"),
        ("dimensions.ranges.width=[0, 1]", "none of 60 clips has a rating of 'width'"),
    ],
)
def test_what_does_not_fit_is_one_line(place, capsys, setting, message):
    run = "refused_" + "".join(filter(str.isalnum, setting))
    more = ["--set", "dimensions.teacher_weight=0", "--set", setting]
    assert train_main(place, *more, run=run) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.search(message, error), error
    assert not list((place / run).rglob("*.keras"))


def test_unlabelled_speech_that_nobody_tells_anything_of(place):
    recipe = table(place / "corpus", teachers={"mine": {"kind": "file", "path": "mine.npz"}})
    recipe["corpus"]["unlabelled_dirs"] = ["speech"]
    with pytest.raises(UserError, match=r"unlabelled_dirs.*dimensions.teacher_weight is 0"):
        dimensions_only.check(config_from_dict(recipe))


def test_teachers_without_dimensions(place):
    ensemble = settings(place / "corpus")["teachers"]["ensemble"]
    recipe = table(place / "corpus", {"teacher_weight": 1.0}, teachers={"ensemble": ensemble})
    with pytest.raises(UserError, match=r"teacher_weight = 1.0 .*without a teacher of kind"):
        config_from_dict(recipe)


@pytest.mark.parametrize("part", ["training", "validation"])
def test_clips_that_nobody_rated_can_teach_and_choose_nothing(place, tmp_path, part):
    whole = Run.create(config_from_dict(table(place / "corpus")), tmp_path / "whole").data()
    silent = {whole.speakers[clip_id] for clip_id in whole.ids(part)}
    corpus = write_corpus(tmp_path / "corpus")
    write_table(corpus, rated=lambda speaker: speaker not in silent)
    with pytest.raises(UserError, match=rf"among \d+ {part} clips no two .* \(height, loudness\)"):
        require_ratings(new_run(table(corpus), tmp_path / "run")[1])
