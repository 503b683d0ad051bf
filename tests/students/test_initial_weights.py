"""A student that begins with a finished student's weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_maker import settings, write_corpus

from ser_kd.config import config_from_dict
from ser_kd.errors import UserError
from ser_kd.export import package
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run
from ser_kd.students import initial_weights
from ser_kd.students.architectures import build_student
from ser_kd.students.saved import load_keras

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STANDS_STILL = {"learning_rate": 1e-9, "final_learning_rate": 0.0, "weight_decay": 0.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("begin") / "corpus")


@pytest.fixture(scope="module")
def finished(corpus) -> Path:
    run = Run.create(config_from_dict(settings(corpus, teachers={})), corpus.parent / "first")
    students.distilled_student(run, run.data(), {})
    return run.student_path


def begin_with(path: Path, corpus: Path, directory: Path, /, **sections) -> Run:
    """A run that has got as far as checking what it begins with."""
    table = settings(corpus, teachers={})
    for name, section in sections.items():
        table[name] = {**table.get(name, {}), **section}
    table["student"]["initial_weights"] = str(path)
    run = Run.create(config_from_dict(table), directory)
    all_teacher_targets(run, run.data())
    return run


def test_training_goes_on_from_there(corpus, finished, tmp_path):
    run = begin_with(finished, corpus, tmp_path / "second", fit={"epochs": 1, **STANDS_STILL})
    run_data = run.data()
    students.distilled_student(run, run_data, {})
    first, second = load_keras(finished), load_keras(run.student_path)
    for theirs, ours in zip(first.trainable_weights, second.trainable_weights, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert package._initial_weights(run.config.student) == (
        "those of another student, first/student.keras"
    )


def test_it_is_the_same_network(corpus, finished):
    first = load_keras(finished)
    network = config_from_dict(settings(corpus, teachers={})).student
    _, frames, mels = first.input_shape
    second = build_student(network, frames, mels, first.output_shape[-1])
    window = np.random.default_rng(0).uniform(-80, 0, (4, frames, mels)).astype(np.float32)
    statistics = [np.asarray(weight) for weight in first.get_layer("standardize").weights]
    second.get_layer("standardize").set_weights(statistics)
    before = np.abs(second(window) - first(window)).max()
    initial_weights.begin(second, replace(network, initial_weights=str(finished)), window)
    np.testing.assert_array_equal(second(window), first(window))
    assert before > 0.1


def test_other_clips_have_their_own_feature_statistics(corpus, finished, tmp_path):
    louder = write_corpus(tmp_path / "louder")
    for path in louder.rglob("*.wav"):
        audio, rate = soundfile.read(path)
        soundfile.write(path, 0.25 * audio, rate)
    run = begin_with(finished, louder, tmp_path / "run", fit={"epochs": 1, **STANDS_STILL})
    students.distilled_student(run, run.data(), {})
    first, second = (
        load_keras(path).get_layer("standardize") for path in (finished, run.student_path)
    )
    np.testing.assert_allclose(
        np.asarray(first.mean) - np.asarray(second.mean), 20 * np.log10(4.0), atol=0.1
    )


def test_what_it_cannot_begin_with_is_named_before_anything_is_trained(corpus, finished, tmp_path):
    absent, damaged = tmp_path / "absent.keras", tmp_path / "damaged" / "student.keras"
    shutil.copytree(finished.parent, damaged.parent)
    damaged.write_bytes(damaged.read_bytes()[:1_000])
    finer = {"logmel": {"hop_seconds": 0.01}}
    fewer = {"corpus": {"label_map": {"mid": "low"}}}
    for number, (path, sections, message) in enumerate(
        [
            (absent, {}, f"{absent}: no such model"),
            (damaged, {}, f"{damaged} is damaged"),
            (finished, finer, r"another front end \(hop_samples = 320, here 160\)"),
            (finished, fewer, "names high, low, mid; this run has high, low"),
        ]
    ):
        directory = tmp_path / f"run_{number}"
        with pytest.raises(UserError, match=message):
            begin_with(path, corpus, directory, **sections)
        assert not list(directory.rglob("history.jsonl"))


def test_another_architecture_is_named(corpus, finished, tmp_path):
    run = begin_with(finished, corpus, tmp_path / "run", student={"width": 0.5})
    with pytest.raises(UserError, match=r"student.keras is another network than student.kind"):
        students.distilled_student(run, run.data(), {})


def test_a_teacher_does_not_begin_with_what_heard_its_held_out_clips(corpus):
    table = settings(corpus)
    table["teachers"]["ensemble"]["student"]["initial_weights"] = "student.keras"
    with pytest.raises(UserError, match=r"teachers.ensemble.student.initial_weights = .* empty or"):
        config_from_dict(table)
