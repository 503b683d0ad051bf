"""Distillation of embeddings: hand-computed losses, whose space it is, what is left for export."""

import dataclasses

import keras
import numpy as np
import pytest
import scipy.spatial.distance
import tensorflow as tf
from corpus_maker import settings, write_corpus

from ser_kd.audio.augment import mixup
from ser_kd.config import config_from_dict
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, Targets
from ser_kd.data.training_set import EmbeddingTargets
from ser_kd.distillation import losses
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import EmbeddingTerm, LabelTerm, LogitTerm
from ser_kd.errors import UserError
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLIPS, FEATURES, CLASSES, FOLDS, SIZE = 6, 5, 3, 2, 4


def student() -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    embedding = keras.layers.Identity(name="embedding")(keras.layers.Dense(7, "tanh")(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(embedding))


def batch(rng) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    x = rng.normal(size=(CLIPS, FEATURES)).astype(np.float32)
    y = {
        "labels": np.eye(CLASSES, dtype=np.float32)[[0, 1, 2, 0, 1, 2]],
        "teacher_logits": rng.normal(size=(CLIPS, CLASSES)).astype(np.float32),
        "embedding_of_a": rng.normal(size=(CLIPS, SIZE)).astype(np.float32),
        "fold_of_a": np.array([0, 1, 0, 1, -1, 0], np.int32),
        "share": rng.uniform(0.5, 1.0, (CLIPS, 1)).astype(np.float32),
    }
    return x, y


def distiller(plain: keras.Model, weight: float = 2.0, loss: str = "mse") -> Distiller:
    embedding = EmbeddingTerm(weight, "a", FOLDS, SIZE, loss)
    model = Distiller(plain, [LabelTerm(0.5), LogitTerm(0.5, 2.0), embedding])
    model.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    return model


def test_losses_are_those_of_scipy(rng):
    one, other = rng.normal(size=(2, CLIPS, SIZE)).astype(np.float32)
    mse = losses.embedding_mse(one, other).numpy()
    cosine = losses.embedding_cosine(one, other).numpy()
    for row in range(CLIPS):
        squared = scipy.spatial.distance.sqeuclidean(one[row], other[row]) / SIZE
        assert mse[row] == pytest.approx(squared, rel=1e-5)
        assert cosine[row] == pytest.approx(
            scipy.spatial.distance.cosine(one[row], other[row]), abs=1e-5
        )
    assert np.isfinite(losses.embedding_cosine(np.zeros_like(one), other)).all()


@pytest.mark.parametrize("loss", ["mse", "cosine"])
def test_the_loss_by_hand(rng, loss):
    x, y = batch(rng)
    plain = student()
    model = distiller(plain, loss=loss)
    logs = model.test_on_batch(x, y, return_dict=True)
    (projected,) = model.network.predict_on_batch(x)[1]
    per_clip = np.zeros(CLIPS)
    for row, fold in enumerate(y["fold_of_a"]):
        if fold >= 0:
            mine, theirs = projected[row, fold], y["embedding_of_a"][row]
            per_clip[row] = y["share"][row, 0] * (
                np.mean((mine - theirs) ** 2)
                if loss == "mse"
                else scipy.spatial.distance.cosine(mine, theirs)
            )
    known = (y["fold_of_a"] >= 0) * y["share"][:, 0]
    assert logs["embedding_loss_a"] == pytest.approx(per_clip.sum() / known.sum(), rel=1e-4)
    others = 0.5 * logs["label_loss"] + 0.5 * logs["logit_loss"]
    assert logs["loss"] == pytest.approx(others + 2.0 * per_clip.mean(), rel=1e-4)


def test_without_weight_it_is_the_plain_distiller(rng):
    x, y = batch(rng)
    plain = student()
    with_zero = distiller(plain, weight=0.0).test_on_batch(x, y, return_dict=True)
    expected = 0.5 * with_zero["label_loss"] + 0.5 * with_zero["logit_loss"]
    assert with_zero["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_clip_teaches_only_its_own_folds_projection(rng):
    x, y = batch(rng)
    y["fold_of_a"] = np.full(CLIPS, 1, np.int32)
    model = distiller(student())
    before = model.network.get_layer("projection_a").kernel.numpy().reshape(7, FOLDS, SIZE)
    model.train_on_batch(x, y)
    after = model.network.get_layer("projection_a").kernel.numpy().reshape(7, FOLDS, SIZE)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert (after[:, 1] != before[:, 1]).all()


def test_training_reaches_the_plain_student_which_has_no_projection(rng):
    x, y = batch(rng)
    plain = student()
    before, variables = plain.predict_on_batch(x), len(plain.weights)
    model = distiller(plain, weight=5.0)
    losses_seen = [
        model.train_on_batch(x, y, return_dict=True)["embedding_loss_a"] for _ in range(20)
    ]
    assert losses_seen[-1] < losses_seen[0]
    assert np.abs(plain.predict_on_batch(x) - before).max() > 1e-3
    assert len(plain.weights) == variables
    assert plain.output_shape == (None, CLASSES)


def test_a_saved_distiller_has_its_projections(rng, tmp_path):
    x, y = batch(rng)
    model = distiller(student())
    model.train_on_batch(x, y)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    expected = model.test_on_batch(x, y, return_dict=True)
    assert loaded.test_on_batch(x, y, return_dict=True) == pytest.approx(expected, rel=1e-5)


def teacher(folds: list[int], embedding: np.ndarray) -> Targets:
    ids = tuple(f"clip{i}" for i in range(len(folds)))
    logits = np.zeros((len(ids), CLASSES), np.float32)
    return Targets(ids, logits, embedding, np.array(folds), np.zeros(len(ids), np.int32))


def test_every_folds_space_is_standardised_by_itself(rng):
    values = rng.normal(size=(7, SIZE)).astype(np.float32)
    values[3:6] = 50.0 + 9.0 * values[3:6]
    values[6] = np.nan
    targets = teacher([0, 0, 0, 1, 1, 1, ALL_FOLDS], values)
    found = EmbeddingTargets.of(targets, np.arange(7), "a")
    assert found.space.tolist() == [0, 0, 0, 1, 1, 1, -1]
    for rows in (slice(0, 3), slice(3, 6)):
        np.testing.assert_allclose(found.values[rows].mean(0), 0, atol=1e-4)
        np.testing.assert_allclose(found.values[rows].std(0), 1, atol=1e-3)
    assert not found.values[6].any()
    assert (found.spaces, found.size) == (2, SIZE)


@pytest.mark.parametrize("fold", [IN_FOLD, ALL_FOLDS])
def test_one_network_for_all_clips_is_one_space(rng, fold):
    targets = teacher([fold] * 4, rng.normal(size=(4, SIZE)).astype(np.float32))
    assert EmbeddingTargets.of(targets, np.arange(4), "a").space.tolist() == [0] * 4


def test_no_embedding_is_an_error():
    with pytest.raises(UserError, match=r"embedding_weights names 'a'.* hold no embedding"):
        EmbeddingTargets.of(teacher([0, 1], np.zeros((2, 0), np.float32)), np.arange(2), "a")
    nothing = np.full((2, SIZE), np.nan, np.float32)
    with pytest.raises(UserError, match="'a' has an embedding of none"):
        EmbeddingTargets.of(teacher([ALL_FOLDS] * 2, nothing), np.arange(2), "a")


def test_mixup_leaves_embeddings_to_the_clip_itself(rng):
    _, y = batch(rng)
    given = {key: tf.constant(value) for key, value in y.items() if key != "share"}
    windows = tf.constant(rng.normal(size=(CLIPS, 4, 3)).astype(np.float32))
    mixed_windows, mixed = mixup(windows, given, 0.5, 2.0, tf.constant([1, 2], tf.int64))
    np.testing.assert_array_equal(mixed["embedding_of_a"], y["embedding_of_a"])
    np.testing.assert_array_equal(mixed["fold_of_a"], y["fold_of_a"])
    share = mixed["share"].numpy()[:, :, np.newaxis]
    expected = share * windows.numpy() + (1 - share) * windows.numpy()[::-1]
    np.testing.assert_allclose(mixed_windows, expected, atol=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run whose student learns an ensemble's embedding, out of fold."""
    place = tmp_path_factory.mktemp("projections")
    table = settings(write_corpus(place / "corpus"))
    table["distill"] = {"embedding_weights": {"ensemble": 0.5}, "embedding_loss": "cosine"}
    run = Run.create(config_from_dict(table), place / "run")
    run_data = run.data()
    targets = all_teacher_targets(run, run_data)
    return run, run_data, targets, students.distilled_student(run, run_data, targets)


@pytest.mark.slow
def test_a_run_learns_embeddings_and_saves_the_plain_student(trained):
    run, run_data, _, model = trained
    history = (run.directory / "history.jsonl").read_text().splitlines()
    assert all('"embedding_loss_ensemble"' in row for row in history)
    assert model.output_shape == (None, len(run_data.labels))
    assert not any("projection" in layer.name for layer in model.layers)


@pytest.mark.slow
def test_a_weight_for_an_unknown_teacher_is_an_error(trained):
    table = dataclasses.asdict(trained[0].config)
    table["distill"]["embedding_weights"] = {"ensembel": 1.0}
    with pytest.raises(UserError, match=r"distill.embedding_weights names 'ensembel'.*'ensemble'"):
        config_from_dict(table)
    table["distill"]["embedding_weights"] = {"ensemble": -1.0}
    with pytest.raises(UserError, match=r"distill.embedding_weights.ensemble = -1.0"):
        config_from_dict(table)
