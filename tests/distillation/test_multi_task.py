"""Categories and continuous targets from one student: training, scores, the exported file."""

import csv
import json
import math

import keras
import numpy as np
import pytest
from corpus_maker import HZ_OF, settings, unmeasured, write_corpus, write_recipe

import train
from ser_kd.audio import decoding
from ser_kd.audio.augment import mixup
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.windows import Windowing
from ser_kd.config import config_from_dict
from ser_kd.data import clip_arrays
from ser_kd.distillation import losses
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import ConcordanceTerm, LabelTerm
from ser_kd.errors import UserError
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import build_student
from ser_kd.students.heads import multi_task_student
from ser_kd.tflite.interpreters import TFLiteModel, load_interpreter

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

RANGES = {"height": [0, 10], "loudness": [1, 7]}
HEIGHT_OF = {"high": 9.0, "mid": 6.0, "low": 1.0}


def write_table(folder, height=lambda emotion, number: HEIGHT_OF[emotion]) -> None:
    """The corpus of tones as a CSV: how high it sounds, and how loud (the speaker's number)."""
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "emotion", "speaker", "height", "loudness"])
        for number, path in enumerate(sorted(folder.rglob("*.wav"))):
            emotion, speaker = path.relative_to(folder).parts[:2]
            # Every seventh loudness is missing.
            loud = "" if number % 7 == 3 else 1 + 6 * int(speaker[1:]) / 9
            row = [path.relative_to(folder), emotion, speaker, height(emotion, number), loud]
            writer.writerow(row)


def write_teacher(place):
    """A teacher that knows the emotion, with an embedding."""
    with (place / "corpus" / "clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    order = sorted(HZ_OF)
    logits = np.array([[3.0 * (row["emotion"] == name) for name in order] for row in rows])
    embedding = np.random.default_rng(0).normal(size=(len(rows), 4)) + logits.argmax(1)[:, None]
    path = place / "mine.npz"
    np.savez(path, ids=[row["path"] for row in rows], logits=logits, embedding=embedding)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("multi_task")
    write_corpus(place / "corpus")
    write_table(place / "corpus")
    table = settings(
        place / "corpus",
        dimensions={"weight": 1.0, "ranges": RANGES, "dropout": 0.0},
        distill={"label_weight": 0.5, "logit_weight": 0.5, "temperature": 1.0},
    )
    table["distill"]["embedding_weights"] = {"mine": 0.1}
    table["teachers"] = {"mine": {"kind": "file", "path": str(write_teacher(place))}}
    table["fit"] |= {"epochs": 24}
    table["augment"] = {"shift_seconds": 0.2, "time_masks": 0, "mel_masks": 0, "mixup_alpha": 0.1}
    write_recipe(place / "tiny.toml", table)
    return place


@pytest.fixture(scope="module")
def finished(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_kd.pipeline.resources.measure_all", unmeasured)
        arguments = ["--recipe", f"{place / 'tiny.toml'}", "--run-dir", f"{place / 'run'}"]
        assert train.main(arguments) == 0
    run = Run.open(place / "run")
    return run, run.data()


def ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """By its definition, of one dimension."""
    known = np.isfinite(truth)
    truth, predicted = truth[known].astype(float), predicted[known].astype(float)
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    gap = (truth.mean() - predicted.mean()) ** 2
    return 2 * covariance / (truth.var() + predicted.var() + gap)


def windows_of(run, run_data, clip_id: str) -> np.ndarray:
    """The windows of one clip, cut here once more: ``[windows, frames, mels]``."""
    config = run.config
    index = run_data.waveforms.ids.index(clip_id)
    waveform = decoding.to_float(run_data.waveforms.clip(index))
    starts = Windowing.of(config.audio, config.logmel).starts(len(waveform))
    size = config.audio.window_samples
    logmel = LogMel(config.logmel)
    frames = config.logmel.frames(size)
    rows = np.full((len(starts), frames, config.logmel.mels), config.logmel.floor_db, np.float32)
    whole = clip_arrays.clip_logmel(logmel, waveform)
    for row, start in zip(rows, starts, strict=True):
        part = whole[start // config.logmel.hop_samples :][:frames]
        row[: len(part)] = part
    return rows


@pytest.mark.slow
def test_scores_of_all_students_are_those_of_their_predictions(finished):
    run, run_data = finished
    told = json.loads((run.directory / "dimensions.json").read_text())["parts"]["validation"]
    ids = run_data.ids("validation")
    names = ["student, labels alone", "student, distilled", "student, distilled, int8"]
    assert list(told["models"]) == names
    paths = [run.baseline_dir / "dimensions.keras", run.directory / "dimensions.keras"]
    models = [keras.saving.load_model(path) for path in paths]
    predict = [lambda x, model=model: model(x)["dimensions"].numpy() for model in models]
    predict.append(
        TFLiteModel(run.export_dir / "student_dimensions_int8.tflite", output="dimensions").predict
    )
    emotions = {clip.id: clip.emotion for clip in run_data.corpus.clips}
    truth = np.array([HEIGHT_OF[emotions[clip_id]] / 5.0 - 1.0 for clip_id in ids])
    for name, model in zip(names, predict, strict=True):
        means = [model(windows_of(run, run_data, clip_id)).mean(0) for clip_id in ids]
        value, low, high = told["models"][name]["height"]
        assert value == pytest.approx(ccc(truth, np.array(means)[:, 0]), abs=2e-3)
        assert low <= value <= high
    # Three pitches are told apart within 24 epochs, by the file for the phone too.
    assert told["models"]["student, distilled, int8"]["height"][0] > 0.6


@pytest.mark.slow
def test_missing_ratings_do_not_count(finished):
    run, run_data = finished
    told = json.loads((run.directory / "dimensions.json").read_text())["parts"]["validation"]
    ratings = run_data.ratings(run_data.ids("validation"))
    assert told["rated"]["height"] == told["clips"] == len(ratings)
    assert told["rated"]["loudness"] == np.isfinite(ratings[:, 1]).sum() < told["clips"]


@pytest.mark.slow
def test_both_outputs_of_the_file_have_their_names(finished):
    run, run_data = finished
    path = run.export_dir / "student_dimensions_int8.tflite"
    interpreter = load_interpreter(path)
    (signature,) = interpreter.get_signature_list().values()
    assert sorted(signature["outputs"]) == ["dimensions", "logits"]
    windows = windows_of(run, run_data, run_data.ids("validation")[0])
    model = keras.saving.load_model(run.directory / "dimensions.keras")(windows)
    for name, width in (("logits", 3), ("dimensions", 2)):
        found = TFLiteModel(path, output=name).predict(windows)
        assert found.shape == (len(windows), width)
        step = TFLiteModel(path, output=name).output_step
        assert 0 < step < 0.2
        np.testing.assert_allclose(found, model[name], atol=max(12 * step, 0.1))
    facts = json.loads((run.export_dir / "dimensions.json").read_text())
    assert facts["outputs"] == {"logits": list(run_data.labels), "dimensions": list(RANGES)}
    assert facts["ranges"] == RANGES
    assert facts["bytes"] == path.stat().st_size
    with pytest.raises(UserError, match=r"0 outputs of the name 'valence'"):
        TFLiteModel(path, output="valence")
    with pytest.raises(UserError, match=r"and 2 outputs"):
        TFLiteModel(path)


@pytest.mark.slow
def test_the_plain_student_has_the_same_body_and_logits(finished):
    run, run_data = finished
    windows = windows_of(run, run_data, run_data.ids("validation")[0])
    plain = keras.saving.load_model(run.student_path)
    whole = keras.saving.load_model(run.directory / "dimensions.keras")
    assert tuple(plain.output_shape) == (None, len(HZ_OF))
    np.testing.assert_allclose(plain(windows), whole(windows)["logits"], atol=1e-6)


@pytest.mark.slow
def test_a_second_start_finds_everything(finished, capsys):
    run, _ = finished
    path = run.export_dir / "student_dimensions_int8.tflite"
    before = path.stat().st_mtime_ns
    recipe = str(run.directory.parent / "tiny.toml")
    assert train.main(["--recipe", recipe, "--run-dir", str(run.directory)]) == 0
    assert path.stat().st_mtime_ns == before
    said = capsys.readouterr().out
    assert "Concordance (CCC" in said
    assert "loudness" in said


@pytest.mark.slow
def test_a_lost_head_is_named(finished, capsys):
    run, _ = finished
    kept = run.dimensions_path.read_bytes()
    run.dimensions_path.unlink()
    try:
        recipe = str(run.directory.parent / "tiny.toml")
        assert train.main(["--recipe", recipe, "--run-dir", str(run.directory)]) == 2
        assert "delete student.keras there" in capsys.readouterr().err
    finally:
        run.dimensions_path.write_bytes(kept)


def distiller(count: int = 2) -> Distiller:
    keras.utils.set_random_seed(3)
    config = config_from_dict({"student": {"kind": "cnn", "width": 0.25, "dropout": 0.0}}).student
    student = build_student(config, 20, 16, 3)
    whole = multi_task_student(student, count, 0.0)
    return Distiller(whole, [LabelTerm(), ConcordanceTerm(0.7)])


def test_the_loss_is_the_sum_of_its_parts():
    model = distiller()
    model.compile(optimizer="sgd")
    rng = np.random.default_rng(0)
    x = rng.normal(-40.0, 10.0, (8, 20, 16)).astype(np.float32)
    labels = np.eye(3, dtype=np.float32)[rng.integers(3, size=8)]
    ratings = rng.uniform(-1, 1, (8, 2)).astype(np.float32)
    ratings[3, 1] = np.nan
    y = {"labels": labels, "dimensions": ratings}
    logs = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    found = model.student(x, training=False)
    logits, values = found["logits"], found["dimensions"]
    known = np.isfinite(ratings)
    expected = np.mean(
        [1 - ccc(ratings[known[:, d], d], np.asarray(values)[known[:, d], d]) for d in range(2)]
    )
    cross_entropy = np.mean(losses.cross_entropy(labels, logits))
    assert logs["dimension_loss"] == pytest.approx(expected, abs=1e-5)
    assert logs["loss"] == pytest.approx(cross_entropy + 0.7 * expected, abs=1e-5)


def test_ratings_are_mixed_as_the_clips_are():
    windows = np.arange(4, dtype=np.float32).reshape(4, 1, 1) * np.ones((4, 2, 2), np.float32)
    ratings = np.array([[0.0], [0.25], [0.5], [np.nan]], np.float32)
    targets = {"labels": np.eye(4, dtype=np.float32), "dimensions": ratings}
    mixed, told = mixup(windows, targets, 0.4, 1.0, [1, 2])
    share = np.asarray(told["share"])[:, 0]
    assert (share < 1).any()
    assert np.asarray(told["dimensions"])[1, 0] == pytest.approx(
        share[1] * 0.25 + (1 - share[1]) * 0.5
    )
    assert np.asarray(mixed)[1, 0, 0] == pytest.approx(share[1] * 1 + (1 - share[1]) * 2)
    # The first and the last are mixed with each other, and the last is not rated.
    assert all(math.isnan(value) for value in np.asarray(told["dimensions"])[[0, 3], 0])


def test_what_is_wrong_is_said_before_anything_is_trained(place, tmp_path, capsys):
    def refused(setting: str) -> str:
        folder = str(tmp_path / setting.partition("=")[0])
        recipe = ["--recipe", str(place / "tiny.toml"), "--run-dir", folder]
        assert train.main([*recipe, "--set", setting]) == 2
        return capsys.readouterr().err

    assert "runs from 0 to 5" in refused("dimensions.ranges.height=[0, 5]")
    assert "'weight'" in refused("dimensions.ranges.weight=[0, 5]")
    assert "the lower one first" in refused("dimensions.ranges.loudness=[7, 1]")
    assert "dimensions.weight = -1.0" in refused("dimensions.weight=-1")
    assert not list(tmp_path.rglob("history.jsonl"))
