"""The distiller: hand-computed steps, identities, weights, files, errors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import LabelTerm, LogitTerm, Outcome, Term

CLIPS, FEATURES, CLASSES = 20, 6, 4
LOG3 = float(np.log(3.0))


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(1)


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.normal(size=(CLIPS, FEATURES)).astype(np.float32)


@pytest.fixture
def y(rng) -> dict[str, np.ndarray]:
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, CLIPS)]
    teacher_logits = (2.0 * rng.normal(size=(CLIPS, CLASSES))).astype(np.float32)
    return {"labels": labels, "teacher_logits": teacher_logits}


def dense_student(seed: int = 1) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.Dense(8, "tanh")(inputs)
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(hidden))


def noisy_teacher() -> keras.Model:
    """Dropout and batch normalisation: in training mode it would answer otherwise, and change."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((FEATURES,))
    hidden = keras.layers.BatchNormalization()(keras.layers.Dense(8)(inputs))
    return keras.Model(inputs, keras.layers.Dense(CLASSES)(keras.layers.Dropout(0.5)(hidden)))


def terms(label_weight: float, logit_weight: float, temperature: float = 1.0, **settings) -> list:
    logit_term = [LogitTerm(logit_weight, temperature, **settings)] if logit_weight else []
    return [LabelTerm(label_weight), *logit_term]


def compiled(student: keras.Model, *weights: float, **settings) -> Distiller:
    model = Distiller(student, terms(*weights, **settings))
    model.compile(optimizer=keras.optimizers.SGD(0.5), jit_compile=False)
    return model


def train(model: Distiller, *data, epochs: int = 1, batch_size: int = 5):
    return model.fit(*data, epochs=epochs, batch_size=batch_size, shuffle=False, verbose=0).history


def weighted(x, y, weight, batch_size: int = CLIPS) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices((x, y, weight)).batch(batch_size)


def assert_same_weights(one: keras.Model, other: keras.Model, rtol: float = 1e-5) -> None:
    for ours, theirs in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    ("temperature", "teacher_share"), [(1.0, 0.75), (2.0, 3**0.5 / (3**0.5 + 1))]
)
def test_one_step_computed_by_hand(temperature, teacher_share):
    inputs = keras.Input((2,))
    zeros = keras.layers.Dense(2, use_bias=False, kernel_initializer="zeros")
    student = keras.Model(inputs, zeros(inputs))
    model = compiled(student, 0.25, 0.75, temperature)
    x = np.array([[1.0, 2.0]], np.float32)
    y = {
        "labels": np.array([[1.0, 0.0]], np.float32),
        "teacher_logits": np.array([[LOG3, 0.0]], np.float32),
    }
    history = train(model, x, y)
    # The student says (1/2, 1/2); d CE = q - labels, d T^2 KL = T (q - p).
    p = np.array([teacher_share, 1.0 - teacher_share])
    gradient = 0.25 * np.array([-0.5, 0.5]) + 0.75 * temperature * (0.5 - p)
    np.testing.assert_allclose(zeros.kernel, -0.5 * np.outer(x[0], gradient), rtol=1e-5)
    kl = temperature**2 * (p * np.log(p / 0.5)).sum()
    expected = {
        "label_loss": np.log(2.0),
        "logit_loss": kl,
        "loss": 0.25 * np.log(2.0) + 0.75 * kl,
        "teacher_entropy": -(p * np.log(p)).sum(),
        "accuracy": 1.0,
        "agreement": 1.0,
    }
    assert set(history) == set(expected)
    for name, value in expected.items():
        assert history[name][0] == pytest.approx(value, rel=1e-5), name


def test_without_a_teacher_it_is_plain_keras_training(x, y):
    plain = dense_student()
    plain.compile(
        keras.optimizers.Adam(0.01),
        keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    expected = plain.fit(x, y["labels"], batch_size=5, epochs=3, shuffle=False, verbose=0).history
    model = Distiller(dense_student(), [LabelTerm()])
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    history = train(model, x, {"labels": y["labels"]}, epochs=3)
    assert set(history) == {"loss", "label_loss", "accuracy"}
    np.testing.assert_allclose(history["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(history["accuracy"], expected["accuracy"], rtol=1e-5)
    assert_same_weights(model.student, plain)


def test_without_labels_weight_labels_do_not_matter(x, y):
    other = {**y, "labels": np.roll(y["labels"], 1, axis=1)}
    models = [compiled(dense_student(), 0.0, 1.0, 2.0) for _ in range(2)]
    histories = [train(m, x, t, epochs=2) for m, t in zip(models, (y, other), strict=True)]
    assert_same_weights(models[0].student, models[1].student)
    assert histories[0]["loss"] == histories[0]["logit_loss"]
    assert histories[0]["label_loss"] != histories[1]["label_loss"]


def test_without_logit_weight_the_teacher_does_not_matter(x, y):
    models = [compiled(dense_student(), 1.0, 0.0, 2.0) for _ in range(2)]
    train(models[0], x, y)
    train(models[1], x, {**y, "teacher_logits": -y["teacher_logits"]})
    assert_same_weights(models[0].student, models[1].student)


def test_a_live_teacher_is_a_stored_teacher_and_stays_untouched(x, y):
    teacher = noisy_teacher()
    before = [np.array(weight) for weight in teacher.get_weights()]
    stored = {**y, "teacher_logits": np.asarray(teacher(x, training=False))}
    live_model = compiled(dense_student(), 0.3, 0.7, 2.0, teacher=teacher)
    live = train(live_model, x, {"labels": y["labels"]}, epochs=3)
    stored_model = compiled(dense_student(), 0.3, 0.7, 2.0)
    expected = train(stored_model, x, stored, epochs=3)
    assert live.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(live[name], values, rtol=1e-4, err_msg=name)
    assert_same_weights(live_model.student, stored_model.student, rtol=1e-4)
    for one, other in zip(before, teacher.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    trained = {id(weight) for weight in live_model.trainable_weights}
    assert trained == {id(weight) for weight in live_model.student.trainable_weights}


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_a_live_and_a_stored_teacher_are_mixed_as_softened_probabilities(x, y, temperature):
    def softened(logits: np.ndarray) -> np.ndarray:
        powers = np.exp(logits / temperature)
        return powers / powers.sum(axis=1, keepdims=True)

    teacher, student = noisy_teacher(), dense_student()
    target = 0.75 * softened(teacher(x).numpy()) + 0.25 * softened(y["teacher_logits"])
    said = softened(student(x).numpy())
    divergence = np.mean(np.sum(target * np.log(target / said), axis=1))
    model = compiled(student, 0.0, 1.0, temperature, teacher=teacher, teacher_share=0.75)
    found = model.evaluate(x, y, batch_size=CLIPS, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(temperature**2 * divergence, rel=1e-4)
    again = Distiller.from_config(model.get_config())
    assert again.terms[1].teacher_share == 0.75
    with pytest.raises(ValueError, match="teacher_share must be above 0 and at most 1, got 0"):
        LogitTerm(1.0, teacher=teacher, teacher_share=0)


def test_evaluation_moves_no_statistics_and_drops_nothing(x, y):
    student = noisy_teacher()
    model = compiled(student, 0.5, 0.5, 2.0)
    before = [np.array(weight) for weight in student.get_weights()]
    first = model.evaluate(x, y, batch_size=5, verbose=0, return_dict=True)
    assert model.evaluate(x, y, batch_size=5, verbose=0, return_dict=True) == first
    for one, other in zip(before, student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    train(model, x, y)
    changed = [
        not np.array_equal(one, other)
        for one, other in zip(before, student.get_weights(), strict=True)
    ]
    assert all(changed)  # training moves all of them, the normalisation's statistics too


def test_an_uneven_last_batch_counts_by_its_clips(x, y):
    model = compiled(dense_student(), 0.5, 0.5, 2.0)
    whole = model.evaluate(x, y, batch_size=CLIPS, verbose=0, return_dict=True)
    uneven = model.evaluate(x, y, batch_size=CLIPS - 3, verbose=0, return_dict=True)
    assert uneven == pytest.approx(whole, rel=1e-5)
    weight = np.linspace(0.1, 3.0, CLIPS, dtype=np.float32)
    whole = model.evaluate(weighted(x, y, weight), verbose=0, return_dict=True)
    uneven = model.evaluate(weighted(x, y, weight, CLIPS - 3), verbose=0, return_dict=True)
    assert uneven == pytest.approx(whole, rel=1e-5)


def test_sample_weights_are_numbers_of_clips(x, y):
    """Weight 0: an absent clip. Weight 2: the clip twice."""
    counts = np.array([0, 1, 2, 1, 0, 3] + [1] * (CLIPS - 6))
    rows = np.repeat(np.arange(CLIPS), counts)
    model = compiled(dense_student(), 0.5, 0.5, 2.0)
    repeated = compiled(dense_student(), 0.5, 0.5, 2.0)
    weighted_log = model.fit(
        weighted(x, y, counts.astype(np.float32)), shuffle=False, verbose=0
    ).history
    repeated_y = {name: values[rows] for name, values in y.items()}
    repeated_log = train(repeated, x[rows], repeated_y, batch_size=len(rows))
    for name, values in repeated_log.items():
        np.testing.assert_allclose(weighted_log[name], values, rtol=1e-5, err_msg=name)
    assert_same_weights(model.student, repeated.student)


def test_a_batch_of_weight_zero_changes_nothing(x, y):
    model = compiled(dense_student(), 0.5, 0.5, 2.0)
    before = [np.array(weight) for weight in model.student.get_weights()]
    model.fit(weighted(x, y, np.zeros(CLIPS, np.float32)), shuffle=False, verbose=0)
    for one, other in zip(before, model.student.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


# Keras copies one array of sample weights to every entry of y: a dict arrives.
def test_sample_weights_of_arrays_are_those_of_a_dataset(x, y):
    model = compiled(dense_student(), 0.5, 0.5, 2.0)
    weight = np.linspace(0.1, 3.0, CLIPS, dtype=np.float32)
    expected = model.evaluate(weighted(x, y, weight), verbose=0, return_dict=True)
    result = model.evaluate(x, y, CLIPS, sample_weight=weight, verbose=0, return_dict=True)
    assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("live", [False, True])
def test_a_saved_distiller_predicts_and_trains_on_as_if_nothing_happened(x, y, tmp_path, live):
    teacher = noisy_teacher() if live else None
    model = Distiller(dense_student(), terms(0.3, 0.7, 2.0, teacher=teacher))
    model.compile(keras.optimizers.Adam(0.01), jit_compile=False)
    train(model, x, y)
    model.save(tmp_path / "distiller.keras")
    loaded = keras.saving.load_model(tmp_path / "distiller.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.student.predict(x, verbose=0))
    assert [term.weight for term in loaded.terms] == [0.3, 0.7]
    assert loaded.terms[1].temperature == 2.0
    expected, history = train(model, x, y), train(loaded, x, y)
    for name, values in expected.items():
        np.testing.assert_allclose(history[name], values, rtol=1e-5, err_msg=name)
    assert_same_weights(loaded.student, model.student)


def test_distilling_teaches(x, y):
    model = compiled(dense_student(), 0.0, 1.0, 2.0)
    losses = train(model, x, y, epochs=20)["logit_loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: [LogitTerm(1.0, temperature=0.0)], "temperature must be above 0, got 0"),
        (lambda: [LabelTerm(-0.5)], "weight of the term 'label' must not be negative, got -0.5"),
        (lambda: [LabelTerm(float("nan"))], "must not be negative, got nan"),
        (lambda: [LabelTerm(0.0), LogitTerm(0.0)], "weight above 0, got label 0.0, logit 0.0"),
        (lambda: [], "weight above 0, got no terms"),
        (lambda: [LabelTerm(), LabelTerm()], "different names, got label, label"),
    ],
)
def test_impossible_terms_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        Distiller(dense_student(), make())


def test_as_a_user_writes_it(x, y):
    """The three lines of the docstring, with defaults; y is read by name, whatever else it has."""
    model = Distiller(dense_student(), terms=[LabelTerm(0.1), LogitTerm(0.9, temperature=2.0)])
    model.compile(optimizer="adam")
    y = {"something": np.zeros((CLIPS, 3), np.float32), **y}
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    total = 0.1 * history["label_loss"][0] + 0.9 * history["logit_loss"][0]
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)
    assert set(model.evaluate(x, y, verbose=0, return_dict=True)) == set(history)
    assert model.predict(x, verbose=0).shape == (CLIPS, CLASSES)


def test_a_term_of_ones_own(x, y):
    class Confidence(Term):
        """Entropy of the student's predictions, as a penalty of the batch."""

        logged = ("confidence",)

        def __call__(self, batch):
            probs = keras.ops.softmax(batch.logits)
            value = -keras.ops.mean(keras.ops.sum(probs * keras.ops.log(probs), axis=-1))
            return Outcome(self.weight * value, {"confidence": value})

    model = Distiller(dense_student(), [LabelTerm(), Confidence(0.5, "confidence")])
    model.compile(optimizer="sgd")
    logs = model.evaluate(x, y, batch_size=CLIPS, verbose=0, return_dict=True)
    probs = keras.ops.softmax(model.student(x))
    entropy = -np.mean(np.sum(probs * np.log(probs), axis=1))
    assert logs["confidence"] == pytest.approx(entropy, rel=1e-5)
    assert logs["loss"] == pytest.approx(logs["label_loss"] + 0.5 * entropy, rel=1e-5)


def test_a_missing_teacher_is_named(x, y):
    model = compiled(dense_student(), 0.5, 0.5)
    with pytest.raises(ValueError, match="pass teacher=, or put 'teacher_logits' into y"):
        train(model, x, {"labels": y["labels"]})


def test_clips_without_label(x, y):
    """By hand: half of the clips are labelled, one by a half only, as mixup may leave it."""
    labels = y["labels"].copy()
    labels[::2] = 0.0
    labels[1] *= 0.5
    student = dense_student()
    model = compiled(student, 0.3, 0.7, 2.0)
    log = model.evaluate(x, {**y, "labels": labels}, batch_size=7, verbose=0, return_dict=True)
    z = student.predict(x, verbose=0).astype(np.float64)

    def log_softmax(values: np.ndarray) -> np.ndarray:
        return values - np.log(np.exp(values).sum(1, keepdims=True))

    q, p = log_softmax(z / 2), log_softmax(y["teacher_logits"].astype(np.float64) / 2)
    kl = 4 * (np.exp(p) * (p - q)).sum(1)
    full = -(y["labels"] * log_softmax(z)).sum(1)
    right = (z.argmax(1) == y["labels"].argmax(1)).astype(float)
    share = labels.sum(1)
    assert share.sum() == CLIPS / 2 - 0.5
    expected = {
        "loss": np.mean(0.3 * share * full + 0.7 * kl),
        "logit_loss": kl.mean(),
        "label_loss": (share * full).sum() / share.sum(),
        "accuracy": (share * right).sum() / share.sum(),
        "agreement": np.mean(z.argmax(1) == p.argmax(1)),
    }
    for name, value in expected.items():
        assert log[name] == pytest.approx(value, rel=1e-4), name


def test_labels_alone_teach_nothing_about_a_clip_without_label(x, y):
    labels = y["labels"].copy()
    labels[5:] = 0.0
    model = compiled(dense_student(), 1.0, 0.0, 1.0)
    shorter = compiled(dense_student(), 5 / CLIPS, 0.0, 1.0)  # the mean is over all clips
    history = train(model, x, {"labels": labels}, batch_size=CLIPS)
    expected = train(shorter, x[:5], {"labels": labels[:5]}, batch_size=5)
    assert_same_weights(model.student, shorter.student)
    for name in ("loss", "label_loss", "accuracy"):
        assert history[name][0] == pytest.approx(expected[name][0], rel=1e-5), name


def test_a_batch_without_any_label(x, y):
    labels = y["labels"].copy()
    labels[:5] = 0.0
    model = compiled(dense_student(), 0.3, 0.7, 2.0)
    log = model.evaluate(x, {**y, "labels": labels}, batch_size=5, verbose=0, return_dict=True)
    rest = model.evaluate(
        x[5:], {name: values[5:] for name, values in y.items()}, verbose=0, return_dict=True
    )
    assert log["accuracy"] == pytest.approx(rest["accuracy"], rel=1e-5)
    assert log["label_loss"] == pytest.approx(rest["label_loss"], rel=1e-5)
    none = model.evaluate(
        x, {**y, "labels": np.zeros_like(labels)}, batch_size=5, verbose=0, return_dict=True
    )
    assert none["accuracy"] == none["label_loss"] == 0.0
    assert none["loss"] == pytest.approx(0.7 * none["logit_loss"], rel=1e-5)


@pytest.mark.parametrize("weight", [1.0, 2.0])
def test_sample_weights_and_missing_labels_multiply(x, y, weight):
    labels = y["labels"].copy()
    labels[::3] = 0.0
    y = {**y, "labels": labels}
    model = compiled(dense_student(), 0.5, 0.5, 2.0)
    weights = np.where(np.arange(CLIPS) < 9, weight, 1.0).astype(np.float32)
    rows = np.repeat(np.arange(CLIPS), weights.astype(int))
    log = model.evaluate(weighted(x, y, weights), verbose=0, return_dict=True)
    repeated = {name: values[rows] for name, values in y.items()}
    expected = model.evaluate(x[rows], repeated, len(rows), verbose=0, return_dict=True)
    assert log == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("policy", ["mixed_float16", "float16", "mixed_bfloat16"])
def test_a_student_of_16_bits_learns_and_logs_the_loss_of_its_logits(x, y, policy):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    logits = keras.layers.Dense(CLASSES, dtype=policy)(inputs)
    student = keras.Model(inputs, logits)
    distiller = Distiller(student, terms=[LabelTerm(0.5), LogitTerm(0.5, 2.0)])
    distiller.compile(optimizer=keras.optimizers.SGD(0.1), jit_compile=False)
    figures = distiller.evaluate(x, y, verbose=0, return_dict=True, batch_size=CLIPS)
    values = np.asarray(keras.ops.cast(student(x), "float32"))
    log_probs = values - np.log(np.exp(values).sum(axis=1, keepdims=True))
    expected = -(y["labels"] * log_probs).sum(axis=1).mean()
    assert figures["label_loss"] == pytest.approx(expected, rel=1e-5)
    history = distiller.fit(x, y, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]
