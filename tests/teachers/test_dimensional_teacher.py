"""The teacher of dimensions: which encoder serves which of them; what a student learns of it."""

import csv
import json
from collections.abc import Sequence

import keras
import numpy as np
import pytest
import soundfile
from corpus_maker import (
    HZ_OF,
    SPEAKERS,
    TAKES,
    settings,
    snapshot,
    unmeasured,
    write_corpus,
    write_recipe,
    write_unlabelled,
)

import train
from ser_kd.audio.augment import mixup
from ser_kd.config import config_from_dict, config_to_dict
from ser_kd.data.targets import ALL_FOLDS, Targets, read_targets, softmax
from ser_kd.distillation import fit_loop, losses
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import ConcordanceTerm, LabelTerm
from ser_kd.errors import UserError
from ser_kd.inference.measure import measure_all
from ser_kd.pipeline.students import distilled_student
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import build_student
from ser_kd.students.heads import multi_task_student
from ser_kd.teachers.crossfit import Teachers
from ser_kd.teachers.dimensional_network import WeightedSources, dimensional_network, outputs_of
from ser_kd.teachers.saved import load_network
from ser_kd.tflite.interpreters import TFLiteModel

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FOLDS = 2
EPOCHS = 30
SIZES = {"a": 6, "b": 12, "c": 9}
RANGES = {"valence": [1, 7], "arousal": [0, 1]}
LABELS = sorted(HZ_OF)
IDS = [f"{e}/{s}/{t}.wav" for e in LABELS for s in SPEAKERS for t in range(TAKES)]


def ratings() -> np.ndarray:
    """``[60, 2]`` in -1..1; valence goes a little with the emotion, arousal with nothing."""
    values = np.random.default_rng(0).uniform(-1.0, 1.0, (len(IDS), 2))
    emotion = np.array([LABELS.index(clip_id.split("/")[0]) - 1.0 for clip_id in IDS])
    values[:, 0] = 0.5 * values[:, 0] + 0.5 * emotion
    return values


def ccc(truth: np.ndarray, predicted: np.ndarray) -> float:
    """By its definition, of one dimension."""
    covariance = np.mean((truth - truth.mean()) * (predicted - predicted.mean()))
    gap = (truth.mean() - predicted.mean()) ** 2
    return 2 * covariance / (truth.var() + predicted.var() + gap)


def write_table(folder, values: np.ndarray, ids: Sequence[str] = IDS) -> None:
    with (folder / "clips.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "emotion", "speaker", *RANGES])
        for clip_id, row in zip(ids, values, strict=True):
            emotion, speaker, _ = clip_id.split("/")
            scaled = [
                low + (value + 1) / 2 * (high - low)
                for value, (low, high) in zip(row, RANGES.values(), strict=True)
            ]
            writer.writerow([clip_id, emotion, speaker, *scaled])


def write_sources(folder) -> dict[str, str]:
    """Encoder a knows valence alone, b arousal alone; vectors of sizes 3 and 5, far from 0."""
    rng, truth = np.random.default_rng(1), ratings()
    a, b = rng.normal(size=(len(IDS), 3)), rng.normal(size=(len(IDS), 5))
    a[:, :2] += 8.0 * truth[:, :1]
    b[:, :2] += 8.0 * truth[:, 1:]
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "a.npz", ids=IDS, values=100.0 + 20.0 * a)
    np.savez(folder / "b.npz", ids=IDS, values=0.01 * b)
    return {name: f"file:{folder / name}.npz" for name in "ab"}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    corpus = write_corpus(tmp_path_factory.mktemp("dimensional") / "corpus")
    write_table(corpus, ratings())
    return corpus


@pytest.fixture(scope="module")
def sources(corpus):
    return write_sources(corpus.parent / "sources")


def teacher(sources: dict[str, str], **changes) -> dict:
    fit = {"epochs": EPOCHS, "batch_size": 9, "learning_rate": 0.01, "warmup_epochs": 0.5}
    plain = {"kind": "dimensional", "folds": FOLDS, "width": 8, "dropout": 0.2, "fit": fit}
    return {**plain, "sources": sources, **changes}


def table(corpus, teachers: dict, /, **sections) -> dict:
    dimensions = {"weight": 1.0, "ranges": RANGES, **sections.pop("dimensions", {})}
    return {**settings(corpus), "dimensions": dimensions, "teachers": teachers, **sections}


def make_run(corpus, name: str, teachers: dict, /, **sections) -> tuple[Run, RunData]:
    config = config_from_dict(table(corpus, teachers, **sections))
    run = Run.create(config, corpus.parent / "runs" / name)
    return run, run.data()


@pytest.fixture(scope="module")
def fitted(corpus, sources):
    run, run_data = make_run(corpus, "straight", {"vad": teacher(sources)})
    return run, run_data, all_teacher_targets(run, run_data)["vad"]


# --- the network ---


def test_the_weights_of_the_sources_by_hand(rng):
    layer = WeightedSources([1, 3], 2)
    layer.build((None, 4))
    x = rng.normal(size=(5, 4)).astype(np.float32)
    energy = np.array([2.0, 2.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0]) ** 0.5  # mean size / own size
    # In the beginning all count alike, and both sources have the same energy: 2.
    np.testing.assert_allclose(layer(x)[:, 0], x * energy, rtol=1e-5)
    assert np.sum(energy[:1] ** 2) == pytest.approx(np.sum(energy[1:] ** 2))
    layer.scores.assign(np.log([[3.0, 1.0], [1.0, 4.0]]))
    np.testing.assert_allclose(layer.weights_of_outputs, [[0.75, 0.25], [0.2, 0.8]], rtol=1e-5)
    found = np.asarray(layer(x))
    np.testing.assert_allclose(found[:, 0], 2 * x * energy * [0.75, 0.25, 0.25, 0.25], rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], 2 * x * energy * [0.2, 0.8, 0.8, 0.8], rtol=1e-5)


def test_a_dimension_is_its_own_weighting_through_the_shared_layer(rng):
    keras.utils.set_random_seed(0)
    model = dimensional_network({"a": 2, "b": 3}, 4, 2, 6, 0.3)
    for weight in model.trainable_weights:
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    mean, deviation = rng.normal(size=5), rng.uniform(0.5, 2.0, size=5)
    model.get_layer("standardize").set_statistics(mean, deviation)
    x = rng.normal(size=(7, 5)).astype(np.float32)
    outputs = keras.Model(model.input, outputs_of(model))(x)
    weighted = model.get_layer("source_weights")((x - mean) / deviation)
    hidden = np.asarray(model.get_layer("projection")(weighted))  # [7, 3, 6]
    np.testing.assert_allclose(outputs["embedding"], hidden.reshape(7, 18), atol=1e-5)
    values = model.get_layer("dimension_values")
    expected = np.sum(hidden[:, :2] * np.asarray(values.kernel), axis=2) + np.asarray(values.bias)
    np.testing.assert_allclose(outputs["dimensions"], np.clip(expected, -1, 1), atol=1e-5)
    logits = model.get_layer("logits")(hidden[:, 2])
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-5)


def test_a_saved_network_says_the_same(rng, tmp_path):
    model = dimensional_network({"a": 2, "b": 3}, 4, 2, 6, 0.3)
    model.get_layer("source_weights").scores.assign(rng.normal(size=(3, 2)))
    model.save(tmp_path / "network.keras")
    again, x = load_network(tmp_path / "network.keras"), rng.normal(size=(7, 5)).astype(np.float32)
    assert again(x).shape == (7, 4 + 2 + 18)
    np.testing.assert_array_equal(again(x), model(x))


# --- the teacher, on a corpus of tones ---


def speaker_of(clip_id: str) -> str:
    return clip_id.split("/")[1]


@pytest.mark.slow
def test_the_weights_say_which_source_serves_which_dimension(tmp_path, capsys):
    """On more clips: source a knows valence, b arousal, and c nothing at all."""
    rng = np.random.default_rng(0)
    ids = [f"{LABELS[n % 3]}/s{n % 15}/{n}.wav" for n in range(360)]
    truth = rng.uniform(-1.0, 1.0, (len(ids), 2))
    for clip_id in ids:
        path = tmp_path / "corpus" / clip_id
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=1600), 16_000)
    write_table(tmp_path / "corpus", truth, ids)
    values = {name: rng.normal(size=(len(ids), size)) for name, size in SIZES.items()}
    values["a"][:, :3] += 2.0 * truth[:, :1]
    values["b"][:, :6] += 2.0 * truth[:, 1:]
    sources = {}
    for name, vectors in values.items():
        np.savez(tmp_path / f"{name}.npz", ids=ids, values=vectors)
        sources[name] = f"file:{tmp_path / name}.npz"
    fit = {"epochs": 40, "batch_size": 16, "learning_rate": 0.01}
    vad = teacher(sources, fit=fit, dropout=0.5)
    run, run_data = make_run(tmp_path / "corpus", "run", {"vad": vad})
    Teachers(run, run_data).targets("vad")
    said = capsys.readouterr().out
    for fold in range(FOLDS):
        path = run.teacher_dir("vad") / f"fold_{fold}" / "source_weights.json"
        weights = json.loads(path.read_text())
        assert list(weights) == ["valence", "arousal", "categories"]
        for row in weights.values():
            assert list(row) == ["a", "b", "c"]
            assert sum(row.values()) == pytest.approx(1.0, abs=1e-6)
        assert weights["valence"]["a"] > 0.55
        assert weights["arousal"]["b"] > 0.55
        a = weights["valence"]["a"]
        assert f"vad fold {fold + 1}: valence = {a:.2f} a + " in said


def test_what_it_says_of_clips_it_never_heard(fitted):
    run, run_data, targets = fitted
    training, truth = run_data.ids("training"), dict(zip(IDS, ratings(), strict=True))
    assert targets.dimensions.dtype == np.float32
    assert targets.dimensions.shape == (len(IDS), 2)
    assert np.abs(targets.dimensions).max() <= 1.0
    for clip_id, fold in zip(targets.ids, targets.fold.tolist(), strict=True):
        assert (fold == ALL_FOLDS) == (clip_id not in training)
        if fold != ALL_FOLDS:
            path = run.teacher_dir("vad") / f"fold_{fold}" / "fold.json"
            assert speaker_of(clip_id) not in json.loads(path.read_text())["training_speakers"]
    rows = targets.rows_of(training, "vad")
    for dimension in range(2):
        rated = np.array([truth[clip_id][dimension] for clip_id in training])
        assert ccc(rated, targets.dimensions[rows, dimension]) > 0.7
    assert targets.embedding.shape == (len(IDS), 3 * 8)
    np.testing.assert_allclose(softmax(targets.logits).sum(1), 1.0, atol=1e-5)


def test_targets_are_those_of_the_saved_networks(fitted):
    """Own fold for a training clip; for others the mean of all folds, and no embedding."""
    run, run_data, targets = fitted
    values = [np.load(run.directory.parents[1] / "sources" / f"{n}.npz")["values"] for n in "ab"]
    rows = dict(zip(IDS, np.concatenate(values, axis=1).astype(np.float32), strict=True))
    paths = [run.teacher_dir("vad") / f"fold_{n}" / "dimensional.keras" for n in range(FOLDS)]
    models = [keras.Model(m.input, outputs_of(m)) for m in map(load_network, paths)]
    for part in ("training", "validation"):
        ids = run_data.ids(part)
        told = [model(np.array([rows[clip_id] for clip_id in ids])) for model in models]
        place = targets.rows_of(ids, "vad")
        folds, every = targets.fold[place], np.arange(len(ids))
        dimensions = np.array([outputs["dimensions"] for outputs in told])
        embedding = np.array([outputs["embedding"] for outputs in told])
        if part == "training":
            expected = dimensions[folds, every]
            np.testing.assert_allclose(targets.embedding[place], embedding[folds, every], atol=1e-5)
        else:
            expected = dimensions.mean(0)
            assert np.isnan(targets.embedding[place]).all()
        np.testing.assert_allclose(targets.dimensions[place], expected, atol=1e-5)


@pytest.mark.slow
def test_a_clips_target_does_not_know_its_own_speakers_ratings(corpus, sources, fitted, tmp_path):
    _, run_data, targets = fitted
    speaker = speaker_of(run_data.ids("training")[0])
    other = write_corpus(tmp_path / "corpus")
    values, own = ratings(), np.array([speaker_of(clip_id) == speaker for clip_id in IDS])
    values[own] = -values[own]
    write_table(other, values)
    changed = all_teacher_targets(*make_run(other, "changed", {"vad": teacher(sources)}))["vad"]
    assert changed.ids == targets.ids
    training = set(run_data.ids("training"))
    here = np.array([i in training and speaker_of(i) == speaker for i in targets.ids])
    others = np.array([i in training and speaker_of(i) != speaker for i in targets.ids])
    assert here.sum() == 6
    for name in ("dimensions", "logits", "embedding"):
        before, now = getattr(targets, name), getattr(changed, name)
        np.testing.assert_array_equal(before[here], now[here])
        # The other fold did hear that speaker.
        assert (before[others] != now[others]).any()


@pytest.mark.slow
def test_resuming_ends_the_same(corpus, sources, fitted, monkeypatch):
    _, _, targets = fitted
    run, run_data = make_run(corpus, "resumed", {"vad": teacher(sources)})
    saved, save = [], fit_loop.TrainingState.save

    def save_or_die(state):
        save(state)
        saved.append(state.path)
        if len(saved) == EPOCHS + 2:  # in the second fold, two of its epochs done
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_or_die)
    with pytest.raises(KeyboardInterrupt):
        Teachers(run, run_data).targets("vad")
    before = snapshot(run.teacher_dir("vad") / "fold_0")
    resumed = Teachers(run, run_data).targets("vad")
    assert len(saved) == FOLDS * EPOCHS  # no epoch twice
    assert snapshot(run.teacher_dir("vad") / "fold_0") == before
    for name in ("logits", "embedding", "fold", "view", "dimensions"):
        np.testing.assert_array_equal(getattr(resumed, name), getattr(targets, name))


def test_another_teacher_may_be_a_source(corpus, sources, tmp_path):
    rng = np.random.default_rng(3)
    ear = {"kind": "file", "path": str(tmp_path / "ear.npz")}
    np.savez(tmp_path / "ear.npz", ids=IDS, logits=rng.normal(size=(60, 3)))
    both = {"a": sources["a"], "ear": "teacher:ear"}
    once = {"epochs": 1, "batch_size": 9}
    # The one that is needed comes after the one that needs it.
    run, run_data = make_run(corpus, "ear", {"vad": teacher(both, fit=once), "ear": ear})
    all_teacher_targets(run, run_data)
    network = load_network(run.teacher_dir("vad") / "fold_0" / "dimensional.keras")
    assert network.get_layer("source_weights").sizes == [3, 3]


@pytest.mark.slow
def test_speech_without_labels_needs_every_source_too(corpus, sources, tmp_path):
    folder = str(write_unlabelled(tmp_path / "more"))
    where = {"name": "folder", "data_dir": str(corpus), "unlabelled_dirs": [folder]}
    run, run_data = make_run(corpus, "more_0", {"vad": teacher(sources)}, corpus=where)
    with pytest.raises(UserError, match=r"for 3 of 63 clips, the first is 'unlabelled/long"):
        all_teacher_targets(run, run_data)
    segments = run_data.ids("unlabelled")
    path = tmp_path / "a.npz"
    np.savez(path, ids=[*IDS, *segments], values=np.random.default_rng(0).normal(size=(63, 2)))
    vad = teacher({"a": f"file:{path}"}, fit={"epochs": 1, "batch_size": 9})
    views, weights = {"count": 1}, {"teacher_weight": 1.0}
    run, run_data = make_run(
        corpus, "more_1", {"vad": vad}, corpus=where, views=views, dimensions=weights
    )
    targets = all_teacher_targets(run, run_data)["vad"]
    rows = targets.rows_of(segments, "vad")
    assert (targets.fold[rows] == ALL_FOLDS).all()
    assert np.isfinite(targets.dimensions[rows]).all()
    distilled_student(run, run_data, {"vad": targets})
    assert history(run.directory)[-1]["teacher_dimension_loss"] > 0.0
    # All views of a clip have one vector, and so one prediction.
    first = run_data.ids("training")[0]
    both = targets.rows_of([first, first], "vad", [0, 1])
    np.testing.assert_allclose(*targets.dimensions[both], atol=1e-6)


def ragged() -> np.ndarray:
    values = np.empty(len(IDS), object)
    values[:] = [np.zeros(2 + number % 2) for number in range(len(IDS))]
    return values


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        (IDS, ragged(), "two.npz: its rows are of two sizes"),
        (
            IDS[:-4],
            np.zeros((56, 2)),
            r"teachers.vad.sources.two = 'file:.*two.npz' is absent for 4 of 60 clips, the first",
        ),
        (
            [f"x{i}" for i in IDS],
            np.zeros((60, 2)),
            r"is absent for all 60 clips: its ids have to be clip ids, such as '\w+/s\d/",
        ),
        (IDS, np.full((60, 2), np.nan), "is not finite"),
    ],
)
def test_a_source_that_cannot_be_learnt_from_is_one_line(
    corpus, sources, tmp_path, ids, values, message
):
    np.savez(tmp_path / "two.npz", ids=ids, values=values)
    table = {"vad": teacher({**sources, "two": f"file:{tmp_path / 'two.npz'}"})}
    run, run_data = make_run(corpus, tmp_path.name, table)
    with pytest.raises(UserError, match=message) as error:
        all_teacher_targets(run, run_data)
    assert "\n" not in str(error.value)
    assert not list(run.directory.rglob("*.keras"))


@pytest.mark.slow
def test_folds_without_ratings_and_vectors_of_another_size(corpus, sources, fitted, tmp_path):
    other = write_corpus(tmp_path / "corpus")
    values, heard = ratings(), set(fitted[1].ids("training"))
    values[[clip_id in heard for clip_id in IDS], 1] = np.nan
    write_table(other, values)
    (other / "clips.csv").write_text((other / "clips.csv").read_text().replace("nan", ""))
    with pytest.raises(UserError, match=r"vad fold 1: none of its \d+ training .* 'arousal'"):
        all_teacher_targets(*make_run(other, "unrated", {"vad": teacher(sources)}))
    run, run_data = make_run(corpus, "sizes", {"vad": teacher(sources, fit={"epochs": 1})})
    Teachers(run, run_data).targets("vad")
    (run.teacher_dir("vad") / "targets.npz").unlink()
    (run.teacher_dir("vad") / "fold_0" / "predictions.npz").unlink()
    swapped = {"vad": teacher({"a": sources["b"], "b": sources["a"]}, fit={"epochs": 1})}
    run = Run(run.directory, config_from_dict(table(corpus, swapped)))
    with pytest.raises(UserError, match=r"vectors of sizes \[5, 3\].* trained on sizes \[3, 5\]"):
        Teachers(run, run_data).targets("vad")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": {}}, "teachers.vad.sources = {}.*hubert"),
        ({"sources": {"a": "hubert.npz"}}, "teachers.vad.sources.a = 'hubert.npz' is no source"),
        ({"sources": {"a": "teacher:x"}}, "teachers.vad needs the teacher 'x'"),
        ({"sources": {"a": "teacher:vad"}}, "in a circle|folds|embedding"),
        ({"label_weight": 0}, "teachers.vad.label_weight = 0.* above 0"),
        ({"dimension_weight": 0}, "teachers.vad.dimension_weight = 0"),
        ({"dropout": 1}, "teachers.vad.dropout = 1"),
        ({"in_fold": True}, "unknown key 'teachers.vad.in_fold'"),
    ],
)
def test_settings_that_do_not_fit(corpus, changes, message):
    with pytest.raises(UserError, match=message):
        config_from_dict(table(corpus, {"vad": {**teacher({"a": "file:a.npz"}), **changes}}))


def test_settings_of_the_run_that_do_not_fit(corpus):
    vad = {"vad": teacher({"a": "file:a.npz"})}
    for weight in (-1.0, float("inf")):
        with pytest.raises(UserError, match=r"dimensions.teacher_weight = .* at least 0"):
            config_from_dict(table(corpus, vad, dimensions={"teacher_weight": weight}))
    with pytest.raises(UserError, match=r"teacher_weight = 1.0 .*without a teacher of kind"):
        config_from_dict(
            table(corpus, settings(corpus)["teachers"], dimensions={"teacher_weight": 1.0})
        )
    with pytest.raises(UserError, match=r"0 where dimensions.weight is 0"):
        config_from_dict({**settings(corpus), "dimensions": {"teacher_weight": 1.0}})
    with pytest.raises(UserError, match=r"teachers.vad.kind.* dimensions.weight is 0"):
        config_from_dict({**settings(corpus), "teachers": vad})
    config = config_from_dict(table(corpus, vad, dimensions={"teacher_weight": 1.0}))
    assert config_from_dict(config_to_dict(config)) == config


# --- targets from a file ---


def write_file(path, **arrays) -> dict:
    np.savez(path, **{"ids": IDS, "logits": np.zeros((60, 3)), **arrays})
    return {"kind": "file", "path": str(path)}


@pytest.mark.parametrize(
    ("dimensions", "message"),
    [
        (np.zeros((60, 3)), r"shape \(60, 3\), but there are 60 ids and the run has 2 dimensions"),
        (np.zeros(60), r"dimensions have shape \(60,\)"),
        (np.full((60, 2), 1.1), f"dimensions of '{IDS[0]}' are not within -1 to 1"),
        (np.full((60, 2), np.nan), "are not within -1 to 1"),
    ],
)
def test_dimensions_of_a_file_that_do_not_fit(corpus, tmp_path, dimensions, message):
    mine = write_file(tmp_path / "mine.npz", dimensions=dimensions)
    with pytest.raises(UserError, match=message) as error:
        all_teacher_targets(*make_run(corpus, tmp_path.name, {"mine": mine}))
    assert "\n" not in str(error.value)
    # A run without dimensions does not look at them.
    assert read_targets(tmp_path / "mine.npz", LABELS).dimensions is None


def test_a_file_without_dimensions_is_as_before_and_teaches_none(corpus, tmp_path):
    mine = write_file(tmp_path / "mine.npz")
    run, run_data = make_run(corpus, "none", {"mine": mine})
    assert all_teacher_targets(run, run_data)["mine"].dimensions is None
    # Before anything is trained.
    both = {"ensemble": settings(corpus)["teachers"]["ensemble"], "mine": mine}
    run, run_data = make_run(corpus, "none_2", both, dimensions={"teacher_weight": 1.0})
    with pytest.raises(UserError, match="but no teacher has dimensions"):
        all_teacher_targets(run, run_data)
    assert not list(run.directory.rglob("*.keras"))


# --- the student ---


def distiller(teacher_weight: float) -> Distiller:
    keras.utils.set_random_seed(3)
    config = config_from_dict({"student": {"kind": "cnn", "width": 0.25, "dropout": 0.0}}).student
    student = build_student(config, 20, 16, 3)
    whole = multi_task_student(student, 2, 0.0)
    model = Distiller(whole, [LabelTerm(), ConcordanceTerm(0.7, teacher_weight)])
    model.compile(optimizer="sgd")
    return model


def test_the_loss_is_the_sum_of_its_parts():
    rng = np.random.default_rng(0)
    x = rng.normal(-40.0, 10.0, (8, 20, 16)).astype(np.float32)
    rated, told = rng.uniform(-1, 1, (2, 8, 2)).astype(np.float32)
    y = {
        "labels": np.eye(3, dtype=np.float32)[rng.integers(3, size=8)],
        "dimensions": rated,
        "teacher_dimensions": told,
    }
    model = distiller(0.3)
    found = model.student(x, training=False)
    logits, values = found["logits"], found["dimensions"]
    of_ratings, of_teachers = (
        np.mean([1 - ccc(truth[:, d], np.asarray(values)[:, d]) for d in range(2)])
        for truth in (rated, told)
    )
    cross_entropy = np.mean(losses.cross_entropy(y["labels"], logits))
    logs = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    assert logs["dimension_loss"] == pytest.approx(of_ratings, abs=1e-5)
    assert logs["teacher_dimension_loss"] == pytest.approx(of_teachers, abs=1e-5)
    total = cross_entropy + 0.7 * of_ratings + 0.3 * of_teachers
    assert logs["loss"] == pytest.approx(total, abs=1e-5)
    # An unrated clip is in the teachers' part alone.
    rated[3] = np.nan
    logs = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    assert logs["teacher_dimension_loss"] == pytest.approx(of_teachers, abs=1e-5)
    assert logs["dimension_loss"] != pytest.approx(of_ratings, abs=1e-5)
    without = distiller(0.0).evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    assert "teacher_dimension_loss" not in without


def test_what_the_teachers_say_is_mixed_as_the_clips_are():
    windows = np.arange(4, dtype=np.float32).reshape(4, 1, 1) * np.ones((4, 2, 2), np.float32)
    told = np.array([[0.0], [0.25], [0.5], [1.0]], np.float32)
    targets = {"labels": np.eye(4, dtype=np.float32), "teacher_dimensions": told}
    _, mixed = mixup(windows, targets, 0.4, 1.0, [1, 2])
    share = np.asarray(mixed["share"])
    assert (share < 1).any()
    expected = share * told + (1 - share) * told[::-1]
    np.testing.assert_allclose(mixed["teacher_dimensions"], expected, rtol=1e-6)


def measured_teacher(models, examples):
    """Measures the teacher alone: each model's process takes seconds to start TensorFlow."""
    return measure_all(models[:1], examples[:1]) + unmeasured(models[1:])


@pytest.fixture(scope="module")
def finished(corpus, sources):
    """A whole run: two teachers of dimensions, of which one also teaches its embedding."""
    place = corpus.parent
    known = 0.9 * ratings() + 0.1 * ratings().mean(0)
    mine = write_file(
        place / "mine.npz",
        logits=[[3.0 * (clip_id.startswith(f"{name}/")) for name in LABELS] for clip_id in IDS],
        dimensions=known,
    )
    recipe = table(
        corpus,
        {"vad": teacher(sources), "mine": mine},
        dimensions={"weight": 0.5, "teacher_weight": 0.5, "dropout": 0.0},
        distill={"label_weight": 0.5, "logit_weight": 0.5, "temperature": 1.0},
        augment={"shift_seconds": 0.2, "time_masks": 0, "mel_masks": 0, "mixup_alpha": 0.1},
    )
    recipe["distill"]["embedding_weights"] = {"vad": 0.1}
    recipe["fit"] |= {"epochs": 3}
    path = write_recipe(place / "tiny.toml", recipe)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_kd.pipeline.resources.measure_all", measured_teacher)
        assert train.main(["--recipe", str(path), "--run-dir", str(place / "run")]) == 0
    run = Run.open(place / "run")
    return run, run.data()


def history(directory) -> list[dict]:
    return [json.loads(line) for line in (directory / "history.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_student_learns_what_the_teachers_say_and_the_baseline_does_not(finished):
    run, _ = finished
    for row in history(run.directory):
        assert 0.0 < row["teacher_dimension_loss"] < 2.0
        assert row["embedding_loss_vad"] > 0.0
    assert all("teacher_dimension_loss" not in row for row in history(run.baseline_dir))


@pytest.mark.slow
def test_the_int8_file_has_both_outputs(finished):
    run, run_data = finished
    path = run.export_dir / "student_dimensions_int8.tflite"
    for name, width in (("logits", 3), ("dimensions", 2)):
        model = TFLiteModel(path, output=name)
        windows = np.random.default_rng(0).normal(-40, 10, (3, *model.input_shape[1:]))
        assert model.predict(windows.astype(np.float32)).shape == (3, width)
    assert run_data.dimensions[0].name == "valence"


@pytest.mark.slow
def test_scores_of_the_teachers(finished, capsys):
    run, run_data = finished
    told = json.loads((run.directory / "dimensions.json").read_text())
    truth = dict(zip(IDS, ratings(), strict=True))
    assert list(told["parts"]["validation"]["models"]) == [
        "teacher vad",
        "teacher mine",
        "student, labels alone",
        "student, distilled",
        "student, distilled, int8",
    ]
    # A file that says nothing of folds has no score out of fold.
    assert told["teachers_out_of_fold"]["mine"] is None
    for part, row in (
        ("validation", told["parts"]["validation"]["models"]["teacher vad"]),
        ("training", told["teachers_out_of_fold"]["vad"]),
    ):
        ids = run_data.ids(part)
        targets: Targets = Teachers(run, run_data).targets("vad")
        values = targets.dimensions[targets.rows_of(ids, "vad")]
        for number, name in enumerate(RANGES):
            rated = np.array([truth[clip_id][number] for clip_id in ids])
            value, low, high = row[name]
            assert value == pytest.approx(ccc(rated, values[:, number]), abs=1e-5)
            assert low <= value <= high
        assert row["mean"] == [pytest.approx((row["valence"][0] + row["arousal"][0]) / 2)]
    capsys.readouterr()
    recipe = str(run.directory.parent / "tiny.toml")
    assert train.main(["--recipe", recipe, "--run-dir", str(run.directory)]) == 0
    said = capsys.readouterr().out
    assert "teacher vad, out of fold on the training clips: valence 0." in said
    # It also has its time, memory and size measured, as every teacher that was trained here.
    measured = json.loads((run.directory / "resources.json").read_text())
    assert measured["teacher vad"]["parameters"] > 0
    assert measured["teacher vad"]["runtime"] == "Keras"
    assert measured["teacher vad"]["latency_ms"] > 0
