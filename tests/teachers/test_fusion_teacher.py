"""The fusion teacher: what is masked is not there, and targets come from who never heard them."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from corpus_maker import HZ_OF, SPEAKERS, TAKES, settings, snapshot, write_corpus

from ser_kd.config import config_from_dict
from ser_kd.data.targets import ALL_FOLDS, softmax
from ser_kd.distillation import fit_loop
from ser_kd.errors import UserError
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import make_teacher
from ser_kd.teachers.crossfit import Teachers
from ser_kd.teachers.fusion_network import FusionNetwork, RowLayout
from ser_kd.teachers.saved import load_network
from ser_kd.teachers.settings import FusionTeacherConfig

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FOLDS = 2
EPOCHS = 8
LABELS = sorted(HZ_OF)
SIZES = {"ear": 4, "face": 3, "text": 2}


def network(context_clips: int = 0, graph: bool = False, seed: int = 0) -> FusionNetwork:
    keras.utils.set_random_seed(seed)
    model = FusionNetwork(
        SIZES, 3, width=8, heads=2, layer_count=2, context_clips=context_clips, graph=graph
    )
    model.build()
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:  # biases and norms included: nothing is 0 by chance
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    return model


def rows(rng: np.random.Generator, model: FusionNetwork, clips: int = 5) -> np.ndarray:
    """Random vectors of clips that have everything."""
    result = rng.normal(size=(clips, *model.input_shape[1:])).astype(np.float32)
    result[:, :, model.layout.flags] = 1.0
    result[:, :, model.layout.same_speaker] = rng.integers(0, 2, result.shape[:2])
    return result


def absent(values: np.ndarray, layout: RowLayout, name: str, row: int = 0) -> np.ndarray:
    values = values.copy()
    values[:, row, layout.flags.start + [*SIZES].index(name)] = 0.0
    return values


def both(model: FusionNetwork, values: np.ndarray) -> np.ndarray:
    return np.concatenate([np.asarray(part) for part in model.logits_and_embedding(values)], 1)


@pytest.mark.parametrize(("context_clips", "graph"), [(0, False), (1, False), (1, True)])
@pytest.mark.parametrize("name", ["face", "text"])
def test_what_is_absent_has_no_influence_whatever_it_is(rng, context_clips, graph, name):
    model = network(context_clips, graph)
    given = rows(rng, model)
    for row in range(model.rows):
        here = absent(given, model.layout, name, row)
        expected = both(model, here)
        assert np.abs(expected - both(model, given)).max() > 1e-3  # it would have had some
        for value in (-3.0, 1e30, np.nan, np.inf):
            here[:, row, model.layout.columns[name]] = value
            np.testing.assert_array_equal(both(model, here), expected)


def test_nothing_attends_to_an_absent_token(rng):
    """Its token is not zero: its projection's bias and the modality's embedding are in it."""
    model = network(context_clips=1, graph=True)
    given = rows(rng, model)
    for row in range(3):
        given = absent(given, model.layout, "text", row)
    before = both(model, given)
    tokens, shift = model.tokens, rng.normal(size=(3, 8))
    tokens.projections["text"].bias.assign_add(shift[0])
    tokens.modality.assign_add(shift * [[0], [0], [1]])  # the text's
    np.testing.assert_array_equal(both(model, given), before)
    tokens.modality.assign_add(shift * [[0], [1], [0]])  # the face's, which is there
    assert np.abs(both(model, given) - before).max() > 1e-3


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("name", ["face", "text"])
def test_gradients_reach_what_is_present_alone(rng, name, graph):
    model = network(context_clips=1, graph=graph)
    given = rows(rng, model)
    for row in range(3):
        given = absent(given, model.layout, name, row)
    tokens = model.tokens
    watched = [w for p in tokens.projections.values() for w in p.trainable_weights]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.square(model(given)))
    *gradients, modality = tape.gradient(loss, [*watched, tokens.modality])
    for number, other in enumerate(SIZES):
        parts = [*gradients[2 * number : 2 * number + 2], modality[number]]
        for part in parts:
            largest = np.abs(np.asarray(part)).max()
            assert (largest == 0.0) == (other == name), (other, largest)


def test_a_saved_network_says_the_same(rng, tmp_path):
    model = network(context_clips=1, graph=True)
    model.tokens.set_statistics(rng.normal(size=9), rng.uniform(0.5, 2, size=9))
    model.save(tmp_path / "fusion.keras")
    again = load_network(tmp_path / "fusion.keras")
    given = rows(rng, model)
    np.testing.assert_array_equal(both(again, given), both(model, given))
    assert [*again.layout.sizes.items()] == [*SIZES.items()]
    assert again.input_shape == (None, 3, 4 + 3 + 2 + 3 + 1)


def test_vectors_are_standardised(rng):
    model, plain = network(), network()
    mean, deviation = rng.normal(size=9), rng.uniform(0.5, 2, size=9)
    deviation[4] = 0.0  # hardly varies: it is not blown up
    model.tokens.set_statistics(mean, deviation)
    given = rows(rng, model)
    by_hand = given.copy()
    by_hand[:, 0, :9] = (given[:, 0, :9] - mean) / np.where(deviation == 0, 1, deviation)
    np.testing.assert_allclose(both(model, given), both(plain, by_hand), atol=1e-5)


def test_the_graph_knows_sides_and_speakers(rng):
    model = network(context_clips=1, graph=True)
    given = rows(rng, model)
    nodes = rng.normal(size=(5, 3, 8)).astype(np.float32)
    there, same = np.array([[True] * 3] * 5), np.array([[True, True, False]] * 5)
    graph = model.graph

    def dense(layer, x):
        return x @ np.asarray(layer.kernel) + (np.asarray(layer.bias) if layer.use_bias else 0)

    # Before it the same speaker (relation 1), after it another (2).
    total = dense(graph.own, nodes[:, 1]) + dense(graph.relations[1], nodes[:, 0])
    total += dense(graph.relations[2], nodes[:, 2])
    expected = np.asarray(keras.ops.gelu(total))
    np.testing.assert_allclose(np.asarray(graph(nodes, there, same)), expected, atol=1e-5)
    there[:, 2] = False
    total -= dense(graph.relations[2], nodes[:, 2])
    expected = np.asarray(keras.ops.gelu(total))
    np.testing.assert_allclose(np.asarray(graph(nodes, there, same)), expected, atol=1e-5)
    # In the network, too: who spoke before changes what it says.
    other = given.copy()
    other[:, 0, model.layout.same_speaker] = 1 - given[:, 0, model.layout.same_speaker]
    assert np.abs(both(model, other) - both(model, given)).max() > 1e-3


# --- the teacher, on a corpus of tones ---


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("fusion") / "corpus")


def clip_ids() -> list[str]:
    return [f"{e}/{s}/{t}.wav" for e in LABELS for s in SPEAKERS for t in range(TAKES)]


def guesses(share: float, seed: int) -> np.ndarray:
    """Logits ``[60, 3]`` that are right for about ``share`` of the clips."""
    rng, ids = np.random.default_rng(seed), clip_ids()
    truth = np.array([LABELS.index(clip_id.split("/")[0]) for clip_id in ids])
    said = np.where(rng.uniform(size=len(ids)) < share, truth, rng.integers(0, 3, len(ids)))
    return 2.0 * np.eye(3)[said] + 0.3 * rng.normal(size=(len(ids), 3))


def write_modalities(folder) -> dict[str, str]:
    """An ear that predicts every clip, a face that one clip in five lacks."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = np.array(clip_ids())
    ear, face = folder / "ear.npz", folder / "face.npz"
    np.savez(ear, ids=ids, logits=guesses(0.6, 1), labels=LABELS)
    seen = np.arange(len(ids)) % 5 > 0
    np.savez(face, ids=ids[seen], values=guesses(0.9, 2)[seen])
    return {"ear": str(ear), "face": str(face)}


def teachers(paths: dict[str, str], **changes) -> dict[str, dict]:
    fusion = {
        "kind": "fusion",
        "folds": FOLDS,
        "modalities": {"ear": "teacher:ear", "face": f"file:{paths['face']}"},
        "audio": ["ear"],
        "width": 8,
        "heads": 2,
        "fit": {"epochs": EPOCHS, "batch_size": 6, "learning_rate": 0.01, "warmup_epochs": 0.5},
        **changes,
    }
    masked = {
        "kind": "fusion",
        "folds": FOLDS,
        "network_of": "fusion",
        "modalities_at_prediction": ["ear"],
    }
    ear = {"kind": "file", "path": paths["ear"]}
    # The one that is needed by another comes after it: the order is not left to the user.
    return {"masked": masked, "fusion": fusion, "ear": ear}


def make_run(corpus, name: str, table: dict[str, dict], /, **sections) -> tuple[Run, RunData]:
    config = config_from_dict({**settings(corpus), **sections, "teachers": table})
    run = Run.create(config, corpus.parent / "runs" / name)
    return run, run.data()


@pytest.fixture(scope="module")
def paths(corpus):
    return write_modalities(corpus.parent / "modalities")


@pytest.fixture(scope="module")
def fitted(corpus, paths):
    """An uninterrupted run of all three teachers."""
    run, run_data = make_run(corpus, "straight", teachers(paths))
    return run, run_data, all_teacher_targets(run, run_data)


def speaker_of(clip_id: str) -> str:
    return clip_id.split("/")[1]


def record(run: Run, name: str, fold: int) -> dict:
    return json.loads((run.teacher_dir(name) / f"fold_{fold}" / "fold.json").read_text())


@pytest.mark.parametrize("name", ["fusion", "masked"])
def test_targets_are_out_of_fold(fitted, name):
    run, run_data, targets = fitted
    found = targets[name]
    training = set(run_data.ids("training"))
    assert set(found.ids) == set(clip_ids())
    for clip_id, fold in zip(found.ids, found.fold.tolist(), strict=True):
        assert (fold == ALL_FOLDS) == (clip_id not in training)
        if fold != ALL_FOLDS:
            facts = record(run, name, fold)
            assert speaker_of(clip_id) in facts["target_speakers"]
            assert speaker_of(clip_id) not in facts["training_speakers"]
    assert set(found.fold.tolist()) == {ALL_FOLDS, *range(FOLDS)}
    np.testing.assert_allclose(softmax(found.logits).sum(1), 1.0, atol=1e-5)


def test_two_predictions_of_the_same_networks(fitted, paths):
    """What both teachers stored, by hand from the saved networks and the two files."""
    run, run_data, targets = fitted
    assert not list(run.teacher_dir("masked").rglob("*.keras"))
    with np.load(paths["face"]) as stored:
        face = dict(zip(stored["ids"].tolist(), stored["values"], strict=True))
    ear = dict(zip(clip_ids(), guesses(0.6, 1), strict=True))
    ids = run_data.ids("training")
    folds = targets["fusion"].fold[targets["fusion"].rows_of(ids, "fusion")]
    differ = 0
    for fold in range(FOLDS):
        model = load_network(run.teacher_dir("fusion") / f"fold_{fold}" / "fusion.keras")
        own = [clip_id for clip_id, number in zip(ids, folds, strict=True) if number == fold]
        given = np.zeros((len(own), 1, 9), np.float32)
        given[:, 0, :3] = np.log(softmax(np.array([ear[i] for i in own])))
        given[:, 0, 3:6] = [face.get(i, np.zeros(3)) for i in own]
        given[:, 0, 6], given[:, 0, 8] = 1.0, 1.0
        given[:, 0, 7] = [i in face for i in own]
        full = softmax(targets["fusion"].logits_of(own, "fusion"))
        alone = softmax(targets["masked"].logits_of(own, "masked"))
        np.testing.assert_allclose(full, softmax(np.asarray(model(given))), atol=1e-5)
        without = np.array([i not in face for i in own])
        np.testing.assert_allclose(full[without], alone[without], atol=1e-6)
        differ += (np.abs(full - alone)[~without].max(1) > 1e-3).sum()
        given[:, 0, 7] = 0.0
        np.testing.assert_allclose(alone, softmax(np.asarray(model(given))), atol=1e-5)
    assert differ > 20


@pytest.mark.slow
def test_training_with_the_audio_alone_never_sees_the_face(corpus, paths):
    nothing = {"all_present": 0, "audio_and_one": 0, "random_subset": 0}
    table = teachers(
        paths, masking={**nothing, "audio_only": 1}, fit={"epochs": 1, "batch_size": 6}
    )
    run, run_data = make_run(corpus, "audio_only", table)
    teacher = make_teacher(
        "fusion", run.config, run_data, lambda name: Teachers(run, run_data).targets(name)
    )
    directory = run.teacher_dir("fusion") / "fold_0"
    teacher.train(run_data.ids("training")[:12], directory, "fusion fold 1")
    projections = load_network(directory / "fusion.keras").tokens.projections
    # Biases begin at 0 and are not decayed.
    assert np.asarray(projections["ear"].bias).any()
    assert not np.asarray(projections["face"].bias).any()


def test_the_face_helps_where_it_is_seen(fitted):
    """9 in 10 of the faces are right and 6 in 10 of the sounds: the network has learned that."""
    _, run_data, targets = fitted
    ids = run_data.ids("training")
    truth = run_data.one_hot(ids).argmax(1)
    right = {n: (targets[n].logits_of(ids, n).argmax(1) == truth).mean() for n in targets}
    assert right["fusion"] > right["masked"] + 0.08


@pytest.mark.slow
def test_what_the_held_out_look_like_does_not_change_a_folds_network(corpus, fitted, paths):
    run, _, _ = fitted
    heard = set(record(run, "fusion", 0)["training_speakers"])
    other = {name: str(corpus.parent / f"other_{name}.npz") for name in paths}
    for name, key in (("ear", "logits"), ("face", "values")):
        with np.load(paths[name]) as stored:
            arrays = {**stored}
        strange = [speaker_of(clip_id) not in heard for clip_id in arrays["ids"]]
        arrays[key][strange] = 7.0
        np.savez(other[name], **arrays)
    other_run, run_data = make_run(corpus, "strange", teachers(other))
    teacher = make_teacher(
        "fusion",
        other_run.config,
        run_data,
        lambda name: Teachers(other_run, run_data).targets(name),
    )
    ids = [i for i in run_data.ids("training") if speaker_of(i) in heard]
    directory = other_run.teacher_dir("fusion") / "fold_0"
    teacher.train(ids, directory, "fusion fold 1")
    ours, theirs = (
        load_network(r.teacher_dir("fusion") / "fold_0" / "fusion.keras") for r in (run, other_run)
    )
    assert len(ours.weights) > 10
    for one, another in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, another)


@pytest.mark.slow
def test_resuming_ends_the_same(corpus, fitted, paths, monkeypatch):
    _, _, targets = fitted
    run, run_data = make_run(corpus, "resumed", teachers(paths))
    saved, save = [], fit_loop.TrainingState.save

    def save_or_die(state):
        save(state)
        saved.append(state.path)
        if len(saved) == EPOCHS + 2:  # in the second fold, two of its epochs done
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_or_die)
    with pytest.raises(KeyboardInterrupt):
        all_teacher_targets(run, run_data)
    assert not (run.teacher_dir("fusion") / "targets.npz").exists()
    before = snapshot(run.teacher_dir("fusion") / "fold_0")
    resumed = all_teacher_targets(run, run_data)
    assert len(saved) == FOLDS * EPOCHS  # no epoch twice
    assert snapshot(run.teacher_dir("fusion") / "fold_0") == before
    for name in targets:
        assert resumed[name].ids == targets[name].ids
        for key in ("logits", "embedding", "fold", "view"):
            np.testing.assert_array_equal(
                getattr(resumed[name], key), getattr(targets[name], key), err_msg=f"{name} {key}"
            )


@pytest.mark.slow
def test_a_teacher_that_is_needed_is_trained_first(corpus, paths):
    table = teachers(paths, fit={"epochs": 1, "batch_size": 8})
    ensemble = {**settings(corpus)["teachers"]["ensemble"], "folds": FOLDS}
    run, run_data = make_run(corpus, "order", {**table, "ear": ensemble})
    fusion = Teachers(run, run_data).targets("masked")  # needs fusion, which needs ear
    ear = Teachers(run, run_data).targets("ear")
    ids = run_data.ids("training")
    np.testing.assert_array_equal(
        fusion.fold[fusion.rows_of(ids, "")], ear.fold[ear.rows_of(ids, "")]
    )
    for fold in range(FOLDS):
        facts = [record(run, name, fold)["training_speakers"] for name in run.config.teachers]
        assert facts[0] == facts[1] == facts[2]
    # Once more, now that the ear is there: training it in between has changed nothing.
    teacher = make_teacher(
        "fusion", run.config, run_data, lambda name: Teachers(run, run_data).targets(name)
    )
    first, again = (run.directory / part / "fusion" / "fold_0" for part in ("teachers", "again"))
    heard = record(run, "fusion", 0)["training_speakers"]
    teacher.train([i for i in ids if speaker_of(i) in heard], again, "fusion fold 1")
    weights = (load_network(folder / "fusion.keras").get_weights() for folder in (first, again))
    for one, another in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, another)


def test_every_view_has_what_the_other_teacher_says_of_it(corpus, paths, tmp_path):
    logits = {view: guesses(0.6, 10 + view) for view in (0, 1)}
    ids = np.array(clip_ids())
    np.savez(
        tmp_path / "ear.npz",
        ids=np.concatenate([ids, ids]),
        logits=np.concatenate([logits[0], logits[1]]),
        view=np.repeat([0, 1], len(ids)),
    )
    table = teachers({**paths, "ear": str(tmp_path / "ear.npz")})
    run, run_data = make_run(corpus, "views", table, views={"count": 1})
    teacher = make_teacher(
        "fusion", run.config, run_data, lambda name: Teachers(run, run_data).targets(name)
    )
    views = [(run_data.ids("training")[3], view) for view in (1, 0)]
    arrays = teacher.arrays(views)
    row = clip_ids().index(views[0][0])
    expected = [np.log(softmax(logits[view][row])) for view in (1, 0)]
    np.testing.assert_allclose(arrays.values[:, 0, :3], expected, atol=1e-5)
    np.testing.assert_array_equal(arrays.values[0, 0, 3:], arrays.values[1, 0, 3:])


def write_dialogues(corpus):
    """Every speaker's clips make one dialogue, in the order of emotions and takes."""
    table = corpus.parent / "dialogues.csv"
    lines = ["path,emotion,speaker,dialogue,turn,id"]
    for number, clip_id in enumerate(clip_ids()):
        emotion, speaker, _ = clip_id.split("/")
        lines.append(f"corpus/{clip_id},{emotion},{speaker},with {speaker},{number},{clip_id}")
    table.write_text("\n".join(lines) + "\n")
    return table


@pytest.mark.slow
def test_clips_around_a_clip(corpus, paths):
    run, run_data = make_run(
        corpus,
        "dialogues",
        teachers(paths, context_clips=1, graph=True),
        corpus={"name": "folder", "data_dir": str(write_dialogues(corpus))},
    )
    teacher = make_teacher(
        "fusion", run.config, run_data, lambda name: Teachers(run, run_data).targets(name)
    )
    directory = run.teacher_dir("fusion") / "fold_0"
    teacher.train(run_data.ids("training")[:12], directory, "fusion fold 1")
    first, second, *_ = (i for i in clip_ids() if speaker_of(i) == "s4")
    values = teacher.arrays([(first, 0), (second, 0)]).values
    assert values.shape == (2, 3, 9)
    assert not values[0, 0].any()  # nothing before the first
    np.testing.assert_array_equal(values[0, 1, :8], values[1, 0, :8])
    np.testing.assert_array_equal(values[0, 2, :8], values[1, 1, :8])
    np.testing.assert_array_equal(values[:, :, 8], [[0, 1, 1], [1, 1, 1]])
    model = load_network(run.teacher_dir("fusion") / "fold_0" / "fusion.keras")
    probs, embedding = teacher.predictor(directory)(teacher.arrays([(first, 0), (second, 0)]))
    assert (probs.shape, embedding.shape) == ((2, 3), (2, 8))
    without = values[:, [1, 1, 1]]
    without[:, [0, 2]] = 0.0
    assert np.abs(both(model, values) - both(model, without)).max() > 1e-3


def test_no_dialogues_no_context(corpus, paths):
    run, run_data = make_run(corpus, "no_dialogues", teachers(paths, context_clips=1))
    with pytest.raises(UserError, match="no clip of the corpus has attributes 'dialogue'"):
        all_teacher_targets(run, run_data)
    assert not run.teacher_dir("fusion").exists()


def changed(path: str, folder, **arrays) -> str:
    """A copy of an .npz with other arrays in it."""
    with np.load(path) as stored:
        arrays = {**stored, **arrays}
    folder.mkdir(exist_ok=True)
    np.savez(folder / "changed.npz", **arrays)
    return str(folder / "changed.npz")


def test_a_modality_that_no_clip_has(corpus, paths, tmp_path):
    face = changed(paths["face"], tmp_path, ids=[f"other{i}" for i in range(48)])
    run, run_data = make_run(corpus, "nobody", teachers({**paths, "face": face}))
    with pytest.raises(
        UserError, match=r"modalities.face = 'file:.*' is absent for all 36.*such as 'high/s"
    ):
        all_teacher_targets(run, run_data)
    assert not run.teacher_dir("fusion").exists()  # before any training
    votes = teachers(paths, modalities={"ear": "teacher:ear", "face": "votes:face"})
    run, run_data = make_run(corpus, "no_votes", votes)
    with pytest.raises(UserError, match=r"'votes:face' is absent for all 36.*tabulatedVotes.csv"):
        all_teacher_targets(run, run_data)


def test_a_modality_that_no_clip_of_a_fold_has(corpus, fitted, paths, tmp_path):
    with np.load(paths["face"]) as stored:
        ids, values = stored["ids"], stored["values"]
    held_out = record(fitted[0], "fusion", 0)["target_speakers"]
    only = np.array([speaker_of(clip_id) in held_out for clip_id in ids])
    face = changed(paths["face"], tmp_path, ids=ids[only], values=values[only])
    run, run_data = make_run(corpus, "one_speaker", teachers({**paths, "face": face}))
    with pytest.raises(UserError, match=r"absent for all 18 training clips of fusion fold 1"):
        all_teacher_targets(run, run_data)


def test_a_teacher_that_misses_clips(corpus, paths, tmp_path):
    ids = clip_ids()
    ids[ids.index("mid/s5/1.wav")] = "somebody else"
    table = teachers({**paths, "ear": changed(paths["ear"], tmp_path, ids=ids)})
    run, run_data = make_run(corpus, "misses", table, distill={"teachers": {"fusion": 1.0}})
    with pytest.raises(UserError, match=r"'ear' has no prediction for 1 of 60 clips.*'mid/s5/1"):
        all_teacher_targets(run, run_data)


def test_clips_without_audio(corpus, paths):
    table = teachers(paths, audio=["face"])
    run, run_data = make_run(corpus, "silent", {key: table[key] for key in ("fusion", "ear")})
    with pytest.raises(UserError, match=r"audio = \['face'\] is absent for 12 clips.*every clip"):
        all_teacher_targets(run, run_data)


def test_vectors_of_another_size_than_at_training(fitted, paths, tmp_path):
    run, run_data, targets = fitted
    with np.load(paths["face"]) as stored:
        longer = np.pad(stored["values"], ((0, 0), (0, 1)))
    face = changed(paths["face"], tmp_path, values=longer)
    config = config_from_dict({"teachers": teachers({**paths, "face": face})})
    teacher = make_teacher("masked", config, run_data, targets.__getitem__)
    with pytest.raises(UserError, match=r"modalities.face: vectors of size 4, but .* on size 3"):
        teacher.predictor(run.teacher_dir("masked") / "fold_0")


def test_networks_that_are_gone(fitted, tmp_path):
    run, run_data, targets = fitted
    teacher = make_teacher("masked", run.config, run_data, targets.__getitem__)
    with pytest.raises(UserError, match=r"fusion.keras is gone, which teacher 'masked'"):
        teacher.predictor(tmp_path / "teachers" / "masked" / "fold_0")


FUSION = {
    "kind": "fusion",
    "folds": 3,
    "modalities": {"ear": "teacher:ear", "face": "votes:face"},
    "audio": ["ear"],
}
EAR = {"kind": "logmel_ensemble", "folds": 3}
MASKED = {"kind": "fusion", "folds": 3, "network_of": "fusion"}


def test_settings_are_read():
    masked = {**MASKED, "modalities_at_prediction": ["ear"]}
    config = config_from_dict({"teachers": {"masked": masked, "fusion": FUSION, "ear": EAR}})
    fusion = config.teachers["fusion"]
    assert isinstance(fusion, FusionTeacherConfig)
    assert {name: source.kind for name, source in fusion.vectors.items()} == {
        "ear": "teacher",
        "face": "votes",
    }
    assert fusion.teachers_needed == ("ear",)
    assert config.teachers["masked"].teachers_needed == ("fusion",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masking": {"all_present": 0.5}}, r"fusion.masking.* sum to 1, not to 1.1"),
        ({"masking": {"all_present": -0.1}}, r"masking.all_present = -0.1 .* from 0 to 1"),
        ({"folds": 4}, r"fusion.folds = 4, but teachers.ear.folds = 3.*give both the same"),
        ({"width": 10}, "width = 10 .* a multiple of heads = 4"),
        ({"graph": True}, "graph = True .* false where context_clips is 0"),
        ({"audio": ["voice"]}, r"audio = \('voice',\).* modalities \(ear, face\)"),
        ({"audio": []}, "audio .* at least one"),
        ({"modalities": {"ear": "teacher:ear"}}, "modalities .* two or more"),
        (
            {"modalities": {"ear": "teacher:ear", "face": "votes:hand"}},
            "face = 'votes:hand' is no source; there are votes:voice",
        ),
        (
            {"modalities": {"ear": "teacher:eer", "face": "votes:face"}},
            r"needs the teacher 'eer' \(did you mean 'ear'\?\)",
        ),
        (
            {"modalities": {"ear": "teacher:ear:embedding", "face": "votes:face"}},
            "embedding of teachers.ear, but each of its folds",
        ),
        (
            {"modalities": {"ear": "teacher:fusion", "face": "votes:face"}},
            r"in a circle \(fusion -> fusion\)",
        ),
        ({"modalities_at_prediction": ["face"]}, r"among them the audio \(ear\)"),
        ({"modalities_at_prediction": ["ear", "nose"]}, "name some of ear, face"),
        ({"modalitys": {}}, "did you mean 'modalities'"),
    ],
)
def test_settings_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message) as error:
        config_from_dict({"teachers": {"fusion": {**FUSION, **changes}, "ear": EAR}})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("masked", "ear", "message"),
    [
        ({**MASKED, "network_of": "ear"}, EAR, "network_of = 'ear' is no fusion teacher"),
        ({**MASKED, "network_of": "masked"}, EAR, "'masked' is no fusion teacher|in a circle"),
        ({**MASKED, "folds": 5}, EAR, "masked.folds = 5, but teachers.fusion.folds = 3"),
        ({**MASKED, "width": 8}, EAR, "masked.width has no effect.*set it there"),
        ({**MASKED, "modalities_at_prediction": ["face"]}, EAR, "among them the audio"),
        (MASKED, {**EAR, "in_fold": True}, "set teachers.ear.in_fold = false"),
    ],
)
def test_settings_of_a_second_use_that_cannot_be(masked, ear, message):
    with pytest.raises(UserError, match=message):
        config_from_dict({"teachers": {"fusion": FUSION, "ear": ear, "masked": masked}})
