"""A student that begins with YAMNet's first blocks, here with a made file of the same structure."""

import warnings
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from corpus_maker import settings, write_corpus
from keras import layers

from ser_kd.config import StudentConfig, config_from_dict
from ser_kd.errors import UserError
from ser_kd.export.run import export_run
from ser_kd.inference.predictor import Predictor
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run
from ser_kd.students import yamnet
from ser_kd.students.architectures import build_student, embedding_model
from ser_kd.students.saved import load_keras

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FRAMES, MELS, CLASSES, BLOCKS = 41, 32, 3, 2


def made_network(padding: str = "same") -> keras.Model:
    """YAMNet's stem and first blocks: plain convolutions, as after folding. Random weights."""
    keras.utils.set_random_seed(3)
    height, width = (FRAMES, MELS) if padding == "same" else (FRAMES + 2, MELS + 1)
    inputs = keras.Input((height, width, 1))
    bias = {"bias_initializer": keras.initializers.RandomNormal(0.0, 0.3, seed=1)}
    x = layers.Conv2D(32, 3, 2, padding=padding, kernel_initializer="he_normal", **bias)(inputs)
    x = layers.ReLU(6.0)(x)
    for channels, stride in ((64, 1), (128, 2)):
        x = layers.DepthwiseConv2D(
            3, stride, padding="same", depthwise_initializer="he_normal", **bias
        )(x)
        x = layers.ReLU(6.0)(x)
        x = layers.Conv2D(channels, 1, kernel_initializer="he_normal", **bias)(x)
        x = layers.ReLU(6.0)(x)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x))


def write_int8(model: keras.Model, path: Path) -> Path:
    rng = np.random.default_rng(0)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    shape = (1, *model.input_shape[1:])
    converter.representative_dataset = lambda: (
        [rng.normal(-2.6, 1.4, shape).astype(np.float32)] for _ in range(8)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the converter, about what it does with its input
        path.write_bytes(converter.convert())
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    return write_int8(made_network(), tmp_path_factory.mktemp("yamnet") / "yamnet.tflite")


def test_the_weights_are_those_of_the_file(file):
    network = made_network()
    original = [layer.get_weights() for layer in network.layers if layer.get_weights()]
    found = yamnet.read_convolutions(file, BLOCKS)
    assert len(found) == len(original) == 1 + 2 * BLOCKS
    for (kernel, bias), (wanted, wanted_bias) in zip(found, original, strict=True):
        # Of a depthwise kernel [3, 3, channels, 1] the channel is the third, else the last.
        axes = (0, 1, 3) if kernel.shape[-1] == 1 else (0, 1, 2)
        step = np.abs(wanted).max(axis=axes, keepdims=True) / 127
        assert (np.abs(kernel - wanted) <= 0.51 * step).all()
        np.testing.assert_allclose(bias, wanted_bias, atol=1e-3)


def test_a_student_hears_what_the_network_of_the_file_hears(file):
    """In YAMNet's input 1.4 and -2.6 are the deviation and the mean of speech."""
    config = StudentConfig("yamnet", blocks=BLOCKS, initial_weights=str(file))
    student = build_student(config, FRAMES, MELS, CLASSES)
    logmel = np.random.default_rng(1).normal(-45.0, 15.0, (48, FRAMES, MELS)).astype(np.float32)
    mean, deviation = logmel.mean((0, 1)), logmel.std((0, 1))
    student.get_layer("standardize").set_statistics(mean, deviation)
    yamnet.begin_with(student, yamnet.read_convolutions(file, BLOCKS), logmel)

    # The student pads standardised features with 0: one row on either side, one column behind.
    standardized = np.pad((logmel - mean) / deviation, ((0, 0), (1, 1), (0, 1)))
    reference = made_network("valid")
    wanted = reference.predict(1.4 * standardized[..., np.newaxis] - 2.6, verbose=0)
    embedding = embedding_model(student).predict(logmel, verbose=0)[1]
    np.testing.assert_allclose(embedding, wanted, atol=0.05 * wanted.max())

    # Normalised by these windows' own statistics, as in training, it is the same network.
    layer = student.get_layer("embedding")
    in_training = keras.Model(student.input, layer.output)(logmel, training=True)
    np.testing.assert_allclose(in_training, embedding, atol=0.01 * wanted.max())


@pytest.mark.slow
def test_training_begins_there_and_ends_on_the_phone(file, tmp_path):
    table = settings(write_corpus(tmp_path / "corpus"), teachers={})
    table["student"] = {"kind": "yamnet", "blocks": BLOCKS, "initial_weights": str(file)}
    table["fit"] |= {"epochs": 1, "learning_rate": 1e-7, "final_learning_rate": 0.0}
    table["logmel"]["mels"] = MELS
    run = Run.create(config_from_dict(table), tmp_path / "run")
    run_data = run.data()
    targets = all_teacher_targets(run, run_data)
    students.distilled_student(run, run_data, targets)
    student = load_keras(run.student_path)
    kinds = (layers.Conv2D, layers.DepthwiseConv2D)
    body = [layer for layer in student.layers if isinstance(layer, kinds)]
    for number, (layer, (kernel, _)) in enumerate(
        zip(body, yamnet.read_convolutions(file, BLOCKS), strict=True)
    ):
        wanted = 1.4 * kernel if number == 0 else kernel
        np.testing.assert_allclose(layer.get_weights()[0], wanted, atol=1e-5)

    export_run(run, run_data)
    card = (run.export_dir / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Initial weights: the first 2 blocks of YAMNet" in card
    on_phone = Predictor.load(run.export_dir / "student_waveform.tflite")
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(16_000) / 16_000).astype(np.float32)
    np.testing.assert_allclose(
        on_phone.predict_waveform(tone),
        Predictor.load(run.student_path).predict_waveform(tone),
        atol=0.05,
    )


def test_what_is_no_yamnet_is_named_before_anything_is_trained(file, tmp_path):
    table = settings(write_corpus(tmp_path / "corpus"))
    small = keras.Sequential([keras.Input((FRAMES, MELS, 1)), layers.Conv2D(8, 3)])
    other = write_int8(small, tmp_path / "other.tflite")
    absent = tmp_path / "absent.tflite"
    for path, blocks, message in (
        (
            absent,
            BLOCKS,
            rf"initial_weights: no file {absent}; it is YAMNet .* curl -Lo yamnet.tflite 'https:",
        ),
        (other, BLOCKS, rf"{other} does not begin as YAMNet for TensorFlow Lite does"),
        (file, BLOCKS + 1, r"does not begin as YAMNet .* student.blocks = 3"),
    ):
        network = {"kind": "yamnet", "blocks": blocks, "initial_weights": str(path)}
        for where in ("student", "teacher"):
            changed = config_from_dict(
                {**table, "student": network}
                if where == "student"
                else {
                    **table,
                    "teachers": {"mine": {"kind": "logmel_ensemble", "student": network}},
                }
            )
            run = Run.create(changed, tmp_path / f"{path.stem}_{blocks}_{where}")
            with pytest.raises(UserError, match=message):
                all_teacher_targets(run, run.data())
            assert not list(run.directory.rglob("history.jsonl"))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"kind": "cnn"},
            r"= .* a finished student \(.keras\) or, with student.kind",
        ),
        ({"kind": "yamnet", "width": 0.5}, "initial_weights"),
        ({"kind": "yamnet", "blocks": 14}, "from 1 to 13"),
        ({"kind": "yamnet", "blocks": 0}, "from 1 to 13"),
    ],
)
def test_settings_that_do_not_go_together(network, message):
    with pytest.raises(UserError, match=message):
        config_from_dict({"student": {"initial_weights": "yamnet.tflite", **network}})


def test_a_narrower_student_keeps_the_channels_that_vary(file):
    """Of 64 and 128 channels 40 are left: each is one of the whole network's."""
    logmel = np.random.default_rng(1).normal(-45.0, 15.0, (32, FRAMES, MELS)).astype(np.float32)
    whole, narrow = (
        build_student(StudentConfig("yamnet", blocks=BLOCKS, most_channels=most), FRAMES, MELS, 3)
        for most in (1024, 40)
    )
    found = yamnet.read_convolutions(file, BLOCKS)
    for student in (whole, narrow):
        statistics = logmel.mean((0, 1)), logmel.std((0, 1))
        student.get_layer("standardize").set_statistics(*statistics)
    yamnet.begin_with(whole, yamnet.narrowed(found, whole, logmel), logmel)
    yamnet.begin_with(narrow, yamnet.narrowed(found, narrow, logmel), logmel)
    assert narrow.get_layer("embedding").output.shape[-1] == 40

    # Of the first block 40 of 64 are left, and are what they were.
    first = [
        [layer.output for layer in student.layers if isinstance(layer, layers.ReLU)][2]
        for student in (whole, narrow)
    ]
    before = np.asarray(keras.Model(whole.input, first[0])(logmel))
    after = np.asarray(keras.Model(narrow.input, first[1])(logmel))
    varying = np.sort(np.argsort(-before.var((0, 1, 2)))[:40])
    np.testing.assert_allclose(after, before[..., varying], atol=1e-4)
