"""The waveform model's signatures for a known voice: NumPy, Keras, other runtimes, bytes."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from export_maker import exported_run, tensorflow_interpreter
from tensorflow.lite.python import schema_py_generated as schema
from voice_maker import speech

from ser_kd.audio.logmel import LogMel
from ser_kd.config import Config
from ser_kd.data.targets import softmax
from ser_kd.export import convert
from ser_kd.export.chain import chain
from ser_kd.export.limits import known_voice_problems
from ser_kd.export.model_file import store_as_float16
from ser_kd.export.waveform import ROUTES
from ser_kd.speaker.statistics import VoiceStatistics, sounding, to_corpus
from ser_kd.students.frontend import PRIOR_CLIPS, Corpus
from ser_kd.tflite.interpreters import TFLiteModel
from ser_kd.tflite.structure import read_tensors


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return exported_run(tmp_path_factory)


@pytest.fixture(scope="module")
def model(exported) -> Path:
    return exported[0].export_dir / "student_waveform.tflite"


@pytest.fixture(scope="module")
def corpus(model) -> Corpus:
    return Corpus.from_json(json.loads(model.with_name("frontend.json").read_text())["corpus"])


def voices(mels: int = 32) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    means, deviations = rng.uniform(-70, -20, (4, mels)), rng.uniform(5, 25, (4, mels))
    return [np.stack(pair).astype(np.float32) for pair in zip(means, deviations, strict=True)]


def test_the_corpus_is_the_students(exported, corpus):
    """As in ``tiny_student``."""
    np.testing.assert_array_equal(corpus.mean_db, np.full(32, -45.0))
    np.testing.assert_array_equal(corpus.deviation_db, np.full(32, 15.0))
    assert corpus.prior_clips == PRIOR_CLIPS


def test_with_the_corpus_as_its_voice_nothing_changes(model, corpus):
    file = TFLiteModel(model)
    statistics = np.stack([corpus.mean_db, corpus.deviation_db])
    for seed in range(4):
        pcm = speech(seed=seed)[None]
        moved = file.run("classify_owner", pcm=pcm, statistics=statistics)["probabilities"]
        np.testing.assert_array_equal(moved, file.predict(pcm))


def test_a_voice_is_moved_as_numpy_moves_it(exported, model, corpus):
    """The int8 student, fed with frames that NumPy has moved."""
    file, body = TFLiteModel(model), TFLiteModel(model.with_name("student_int8.tflite"))
    temperature, step = exported[2]["temperature"], body.output_step
    target = corpus.mean_db, corpus.deviation_db
    answers = []
    for seed, voice in enumerate(voices()):
        pcm = speech(seed=seed)[None]
        frames = np.asarray(LogMel(exported[0].config.logmel)(pcm))
        logits = body.predict(to_corpus(frames, (voice[0], voice[1]), target, -80.0))
        found = file.run("classify_owner", pcm=pcm, statistics=voice)["probabilities"]
        expected = softmax(logits / temperature)
        # Steps of the input may fall on their other side.
        assert np.abs(np.log(found) - np.log(expected)).max() < 3 * step / temperature
        answers.append(found)
        assert not np.allclose(found, file.predict(pcm), atol=1e-3)
    assert not np.allclose(answers[0], answers[1], atol=1e-3)


def test_sums_are_those_of_the_frames_that_sound(exported, model):
    file, logmel = TFLiteModel(model), LogMel(exported[0].config.logmel)
    for seed, seconds in enumerate((1.0, 0.4, 0.0)):
        pcm = np.zeros((1, 16_000), np.float32)
        pcm[0, : round(seconds * 16_000)] = speech(seed=seed)[: round(seconds * 16_000)]
        found = file.run("listen_to_owner", pcm=pcm)
        frames = sounding(np.asarray(logmel(pcm)), -80.0)
        assert found["frames"] == len(frames) == np.sum((logmel(pcm)[0] > -80.0).numpy().any(1))
        if not len(frames):
            assert not found["total"].any()
            assert not found["squares"].any()
            continue
        assert 0 < len(frames) < 49 if seconds < 1 else len(frames) > 40
        known = VoiceStatistics().after(frames)
        theirs = VoiceStatistics().added(
            float(found["frames"][0]), found["total"], found["squares"]
        )
        flat = np.zeros(32), np.ones(32)
        # The mel filters in the file have 16 bits.
        for ours, other in zip(known.voice(*flat), theirs.voice(*flat), strict=True):
            np.testing.assert_allclose(ours, other, atol=0.05)


def test_other_runtimes_run_all_signatures(model):
    pcm, voice = speech()[None], voices()[0]
    inputs = {
        "classify": {"pcm": pcm},
        "classify_owner": {"pcm": pcm, "statistics": voice},
        "listen_to_owner": {"pcm": pcm},
    }
    ours, theirs = Interpreter(str(model)), tensorflow_interpreter(model)
    for key, given in inputs.items():
        expected = theirs.get_signature_runner(key)(**given)
        for name, values in ours.get_signature_runner(key)(**given).items():
            # Each has an XNNPACK of its own, whose int8 may round in another way.
            atol = 0.02 if name == "probabilities" else 0.0
            np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=atol)


def test_the_first_graph_is_what_it_was_alone_and_the_others_cost_little(exported, model):
    """Its tensors, operators and constants are those of a chain with one route."""
    run, _, figures = exported
    content = model.read_bytes()
    whole = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    first, second, third = whole.subgraphs
    assert [graph.name.decode() for graph in whole.subgraphs] == [
        "classify",
        "classify_owner",
        "listen_to_owner",
    ]
    # No constant of the student's or of the front end's is there twice.
    for graph in (second, third):
        shared = {tensor.buffer for tensor in first.tensors}
        new = [tensor for tensor in graph.tensors if tensor.buffer not in shared]
        data = (whole.buffers[tensor.buffer].data for tensor in new)
        assert sum(len(values) for values in data if values is not None) < 3_000
    assert len(second.operators) - len(first.operators) < 16
    assert len(third.operators) < len(first.operators)
    for graph in whole.subgraphs:
        assert len({tensor.name for tensor in graph.tensors}) == len(graph.tensors)
    # The tables themselves are shared, too.
    assert len(read_tensors(model)) < len(first.tensors) + 50
    alone = chain(
        {"front": _front(run), "body": model.with_name("student_int8.tflite").read_bytes()},
        [dataclasses.replace(ROUTES[0], pieces=("front", "body"))],
    )
    assert len(content) < len(alone) + 12_000
    assert figures["models"]["waveform"]["bytes"] == len(content)


def _front(run) -> bytes:
    import tensorflow as tf

    from ser_kd.export.frontend import FrontEnd

    front = FrontEnd(run.config.logmel, 16_000)
    content = convert.convert_module(front, tf.TensorSpec((1, 16_000), tf.float32, name="pcm"))
    return store_as_float16(content, front.filters.shape[::-1])


def test_figures(exported):
    figures = exported[2]["owner"]
    assert figures["agreement"] >= 0.8
    assert 0 <= figures["ua"] <= 1
    assert (figures["corpus_same_label"], figures["corpus_max_difference"]) == (1.0, 0.0)
    assert figures["max_voice_difference_db"] < 0.1


def test_figures_outside_of_the_limits_are_named(exported):
    config = Config().export
    good = {**exported[2]["owner"], "agreement": 1.0}
    assert known_voice_problems(good, config) == []
    bad = {**good, "agreement": 0.9, "corpus_same_label": 0.9, "max_voice_difference_db": 1.0}
    agreement, same, voice = known_voice_problems(bad, config)
    assert "classify_owner gives the Keras model's label for 90.0%" in agreement
    assert "same label as the first signature for 90.0% of the windows" in same
    assert "voices are learned 1.00 dB from" in voice
