"""Export: conversion, verification, resuming, damaged files, the command line."""

import contextlib
import dataclasses
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from export_maker import exported_run, tensorflow_interpreter, tiny_student

from ser_kd import files
from ser_kd.commands.main import run_alone
from ser_kd.config import Config, config_from_dict
from ser_kd.errors import UserError
from ser_kd.export import convert, package, verify, waveform
from ser_kd.export.limits import drop_is_above, exceeded, problems, require, share_is_below
from ser_kd.export.run import export_run
from ser_kd.export.windows import all_windows, representative_windows
from ser_kd.inference.predictor import Predictor
from ser_kd.runs.folder import Run
from ser_kd.students.saved import keras_logits
from ser_kd.tflite.interpreters import TFLiteModel
from ser_kd.tflite.structure import check_flatbuffer, read_tensors, tensor_dtypes

ALL_KINDS = (*convert.KINDS, waveform.WAVEFORM)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return exported_run(tmp_path_factory)[0]


@pytest.fixture(scope="module")
def run_data(tmp_path_factory):
    return exported_run(tmp_path_factory)[1]


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    return exported_run(tmp_path_factory)[2]


@pytest.fixture(scope="module")
def validation_windows(run, run_data):
    validation = run_data.logmel.select(run_data.ids("validation"))
    return all_windows(validation, run.config)[1]


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.iterdir()}


def copy_run(run: Run, parent: Path) -> Run:
    """The same run without an export."""
    copy = Run(parent / "runs" / "copy", run.config)
    copy.directory.mkdir(parents=True)
    for name in ("student.keras", "config.json"):
        shutil.copy2(run.directory / name, copy.directory)
    return copy


def test_all_files_are_there_and_nothing_else(run, figures):
    assert {path.name for path in run.export_dir.iterdir()} == {
        *(f"student_{kind}.tflite" for kind in ALL_KINDS),
        "labels.txt",
        "frontend.json",
        "export.json",
        "README.md",
        "MODEL_CARD.md",
        "SHA256SUMS",
        "family.svg",
    }
    assert (run.export_dir / "labels.txt").read_text() == "angry\ncalm\nsad\n"
    frontend = json.loads((run.export_dir / "frontend.json").read_text())
    assert frontend["frames"] == run.config.logmel.frames(16_000)
    assert (frontend["window_samples"], frontend["window_hop_samples"]) == (16_000, 8_000)
    assert json.loads((run.export_dir / "export.json").read_text()) == figures


def test_what_is_published_describes_itself(run, figures, tmp_path):
    assert run_alone("export", [str(run.directory), "--publish", str(tmp_path / "published")]) == 0
    published = {path.name: path.read_bytes() for path in (tmp_path / "published").iterdir()}
    models = {"student_int8.tflite", "student_waveform.tflite"}
    copies = models | {"labels.txt", "frontend.json", "student.keras"}
    assert set(published) == copies | {"README.md", "MODEL_CARD.md", "SHA256SUMS"}
    for name in copies - {"student.keras"}:
        assert published[name] == (run.export_dir / name).read_bytes()
    sums = published["SHA256SUMS"].decode()
    assert sorted(line.split("  ")[1] for line in sums.splitlines()) == sorted(models)
    guide = published["README.md"].decode()
    assert set(re.findall(r"student_\w+\.tflite", guide)) == models
    assert figures["models"]["float32"]["file"] in (run.export_dir / "README.md").read_text()


def test_float32_is_the_keras_model(figures):
    model = figures["models"]["float32"]
    assert model["max_logit_difference"] < 1e-4
    assert model["agreement"] == 1.0
    assert model["ua"] == figures["keras_ua"]


def test_every_form_is_close_to_the_keras_model(figures):
    size = {kind: model["bytes"] for kind, model in figures["models"].items()}
    assert max(size["int8"], size["dynamic"]) < size["float16"] < size["float32"]
    for kind, model in figures["models"].items():
        assert model["mean_logit_difference"] < (0.2 if "8" in kind or kind == "waveform" else 0.05)
        other = model["other_runtimes"]["TensorFlow Lite"]
        assert other["same_label"] == other["by_default"]["same_label"] == 1.0
        assert 0 < model["latency_ms"] <= model["latency_p95_ms"]


def test_operators_and_activations_are_those_of_the_file(run, figures):
    """Against the interpreter, which plans its own memory."""
    for kind in ALL_KINDS:
        path, model = convert.model_path(run.export_dir, kind), figures["models"][kind]
        interpreter = tensorflow_interpreter(
            path,
            experimental_op_resolver_type=(
                tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
            ),
        )
        theirs = [item["op_name"] for item in interpreter._get_ops_details()]
        ours = {key.split()[0]: 0 for key in model["operators"]}
        for key, count in model["operators"].items():
            ours[key.split()[0]] += count
        assert ours == {name: theirs.count(name) for name in set(theirs)}
        assert model["activation_bytes"] >= 4 * 16_000 * (kind == "waveform")
    assert figures["models"]["int8"]["not_int8_operators"] == []
    # By hand: log-mel and the first convolution's output are alive at the same time.
    frames, channels = run.config.logmel.frames(16_000), 8
    first = -(-frames // 2) * 16 * channels
    assert figures["models"]["int8"]["activation_bytes"] >= frames * 32 + first


def test_int8_is_int8_throughout(run, figures):
    model = figures["models"]["int8"]
    assert model["not_int8"] == []
    assert set(model["dtypes"]["activation"]) == {"int8"}
    assert set(model["dtypes"]["weight"]) == {"int8"}
    assert set(model["dtypes"]["bias"]) == {"int32"}
    assert model["bytes"] < figures["models"]["float32"]["bytes"]
    assert model["mean_logit_difference"] < 0.2
    # The float file, by the same measure, is not.
    assert verify.not_int8(run.export_dir / "student_float32.tflite")


def test_dtypes_are_those_that_tensorflow_reports(run):
    path = run.export_dir / "student_int8.tflite"
    interpreter = tensorflow_interpreter(path)
    theirs = {
        item["name"]: np.dtype(item["dtype"]).name for item in interpreter.get_tensor_details()
    }
    ours = {tensor.name: tensor.dtype for tensor in read_tensors(path)}
    # Interpreters add temporaries of their own.
    assert ours.items() <= theirs.items()
    assert sum(sum(counts.values()) for counts in tensor_dtypes(path).values()) == len(ours)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_predict_agrees_with_tensorflows_interpreter(run, validation_windows, kind):
    path = run.export_dir / f"student_{kind}.tflite"
    interpreter = tensorflow_interpreter(
        path, experimental_op_resolver_type=tf.lite.experimental.OpResolverType.BUILTIN
    )
    interpreter.allocate_tensors()
    (given,), (taken,) = interpreter.get_input_details(), interpreter.get_output_details()
    expected = []
    for window in validation_windows[:6]:
        if kind == "int8":
            scale, zero = given["quantization"]
            window = np.clip(np.rint(window / scale) + zero, -128, 127).astype(np.int8)
        interpreter.set_tensor(given["index"], window[None])
        interpreter.invoke()
        expected.append(interpreter.get_tensor(taken["index"])[0].astype(float))
    step = 1.0
    if kind == "int8":
        step, zero = taken["quantization"]
        expected = [step * (values - zero) for values in expected]
    ours = TFLiteModel(path).predict(validation_windows[:6])
    assert ours.dtype == np.float32
    # Rounding of int8 kernels may differ by two steps.
    np.testing.assert_allclose(ours, expected, atol=2.001 * step if kind == "int8" else 1e-4)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_runtimes_stand_in_for_each_other(run, validation_windows, kind, monkeypatch):
    """Those that are missing are passed over, and the next one says the same."""
    path = run.export_dir / f"student_{kind}.tflite"
    first = TFLiteModel(path)
    assert first.runtime == "LiteRT"
    expected = first.predict(validation_windows[:6])
    step = first._output["quantization"][0]
    runtimes = []
    for missing in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, missing, None)
        model = TFLiteModel(path)
        runtimes.append(model.runtime)
        # Two steps of rounding are what tflite-runtime 2.14 and LiteRT 2.3 may differ by.
        np.testing.assert_allclose(
            model.predict(validation_windows[:6]), expected, atol=2.001 * step or 1e-4
        )
    # tflite-runtime is in the classic environment only, and cannot work with NumPy 2.
    classic = importlib.util.find_spec("tflite_runtime") and np.__version__ < "2"
    assert runtimes == ["tflite-runtime" if classic else "TensorFlow Lite", "TensorFlow Lite"]


def test_a_runtime_that_imports_and_then_fails_is_passed_over(run, monkeypatch):
    """As tflite-runtime does with NumPy 2."""

    class Broken:
        def __init__(self, **_: Any) -> None:
            raise AttributeError("_ARRAY_API not found")

    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        broken = types.ModuleType(name)
        broken.Interpreter = Broken  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, broken)
    # The parent is looked up first, and may not be installed.
    monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
    assert TFLiteModel(run.export_dir / "student_int8.tflite").runtime == "TensorFlow Lite"


def test_representative_windows_are_drawn_from_training_clips(run, run_data):
    training = run_data.ids("training")
    first = representative_windows(run_data.logmel, training, run.config)
    again = representative_windows(run_data.logmel, training, run.config)
    np.testing.assert_array_equal(first, again)
    allowed = all_windows(run_data.logmel.select(training), run.config)[1]
    known = {window.tobytes() for window in allowed}
    assert {window.tobytes() for window in first} < known
    config = config_from_dict({"export": {"representative_clips": 0}})
    with pytest.raises(UserError, match="representative_clips = 0"):
        representative_windows(run_data.logmel, training, config)


def test_a_finished_export_is_left_alone(run, run_data, figures):
    before = state(run.export_dir)
    assert export_run(run, run_data) == figures
    assert state(run.export_dir) == before


def timeless(figures: dict[str, Any]) -> dict[str, Any]:
    """Without what is measured anew each time."""
    measured = ("latency_ms", "latency_p95_ms", "peak_memory_mb")
    models = {
        kind: {key: value for key, value in model.items() if key not in measured}
        for kind, model in figures["models"].items()
    }
    return {**figures, "models": models}


@pytest.mark.slow
def test_resume_after_a_kill_between_the_files(run, run_data, figures, tmp_path, monkeypatch):
    copy, real, converted = copy_run(run, tmp_path), convert._convert, []
    done = {kind: convert.model_path(run.export_dir, kind).read_bytes() for kind in convert.KINDS}

    def convert_or_die(saved, kind, windows):
        converted.append(kind)
        if converted == list(convert.KINDS):
            raise KeyboardInterrupt
        # The pieces of the waveform model are float32 too, and take no windows.
        return done[kind] if len(windows) and kind != "int8" else real(saved, kind, windows)

    monkeypatch.setattr(convert, "_convert", convert_or_die)
    with pytest.raises(KeyboardInterrupt):
        export_run(copy, run_data)
    killed = state(copy.export_dir)
    kept = {f"student_{kind}.tflite" for kind in ("float32", "float16", "dynamic")}
    assert set(killed) == kept
    (copy.export_dir / ".partial-1-student_int8.tflite").touch()  # as SIGKILL leaves it
    assert timeless(export_run(copy, run_data)) == timeless(figures)
    assert converted == [*convert.KINDS, "int8", *["float32"] * 4]
    after = state(copy.export_dir)
    assert {name: after[name] for name in killed} == killed
    assert set(after) == set(state(run.export_dir))


def test_a_new_student_is_converted_anew(run, run_data, tmp_path, monkeypatch):
    copy, converted = copy_run(run, tmp_path), []
    shutil.copytree(run.export_dir, copy.export_dir)
    monkeypatch.setattr(convert, "convert", lambda _, kinds, *__: converted.extend(kinds))
    tiny_student(run.config, seed=5).save(copy.student_path)
    found = exceeded(export_run(copy, run_data), Config().export)
    assert any("Keras model's label" in message for message in found)
    assert tuple(converted) == convert.KINDS


def test_a_full_disk_leaves_no_partial_file(run, run_data, tmp_path, monkeypatch):
    copy, replace = copy_run(run, tmp_path), os.replace

    def failing(source, target):
        if str(target).endswith(".tflite"):
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(keras.Model, "export", lambda *_, **__: None)
    monkeypatch.setattr(convert, "_convert", lambda *_: b"x")
    monkeypatch.setattr(files.os, "replace", failing)
    with pytest.raises(OSError, match="No space left"):
        export_run(copy, run_data)
    assert not state(copy.export_dir)


@pytest.mark.slow
def test_figures_outside_of_the_limits_are_told_and_are_kept(run, run_data, figures, tmp_path):
    copy = copy_run(run, tmp_path)
    limits = dataclasses.replace(run.config.export, min_agreement=1.1)
    copy.config = dataclasses.replace(run.config, export=limits)
    shutil.copytree(run.export_dir, copy.export_dir)
    message = r"student_float32.tflite .* for 100.0% .*min_agreement = 110.0%.*export.json.*--set"
    for _ in range(2):
        exported = export_run(copy, run_data)
        with pytest.raises(UserError, match=message):
            require(exported, limits, copy.export_dir)
        (copy.export_dir / "labels.txt").unlink(missing_ok=True)  # not whole: computed again
    kept = json.loads((copy.export_dir / "export.json").read_text())
    assert timeless(kept) == timeless(figures)


@pytest.mark.parametrize(
    ("hits", "clips", "told"),
    [
        (29, 30, False),  # one clip: 97 % is not refuted
        (25, 30, True),
        (0, 1, True),
        (276, 288, False),
        (270, 288, True),
        (969, 1_000, True),  # many clips: the limit as it is
        (970, 1_000, False),
    ],
)
def test_agreement_is_too_low_where_the_clips_can_tell(hits, clips, told):
    assert share_is_below(hits / clips, clips, 0.97) is told


def test_a_drop_of_ua_is_too_large_where_the_clips_can_tell():
    assert not drop_is_above(1 / 30, 1 / 30, 30, 0.015)
    assert drop_is_above(10 / 30, 10**0.5 / 30, 30, 0.015)
    assert drop_is_above(0.016, 0.01, 1_000, 0.015)
    assert not drop_is_above(0.015, 0.01, 1_000, 0.015)


def test_problems_name_ua_and_types():
    figures = {"file": "x.tflite", "agreement": 1.0, "ua_difference": -0.05, "not_int8": ["a: b"]}
    found = problems({"int8": figures}, Config().export)
    assert [message.split()[1] for message in found] == ["loses", "has"]
    other = {"Other": {"same_label": 0.99, "max_steps": 3.0}}
    figures = {**figures, "ua_difference": 0.0, "not_int8": [], "other_runtimes": other}
    labels, steps = problems({"int8": {**figures, "runtime": "LiteRT"}}, Config().export)
    assert "same label on Other and LiteRT, both without XNNPACK, for 99.0%" in labels
    assert "differs by 3 quantisation steps between Other and LiteRT, both" in steps


def test_the_card_of_a_model_with_one_label_says_so_first(run, run_data, figures, tmp_path):
    copy = copy_run(run, tmp_path)
    shutil.copytree(run.export_dir, copy.export_dir)
    card = copy.export_dir / "MODEL_CARD.md"
    changed = json.loads(json.dumps(figures))
    changed["models"]["waveform"]["one_label"] = None
    package.write(copy, run_data.labels, changed)
    assert "Not for use" not in card.read_text()
    assert "fitted on the other speakers" in card.read_text()
    changed["models"]["waveform"]["one_label"] = [0, 0.98]
    package.write(copy, run_data.labels, changed)
    body = card.read_text().split("---\n", 2)[2]
    assert body.split("\n", 2)[2].startswith("**Not for use**: it predicts ang")
    assert "98%" in body
    assert "fitted on the other speakers" not in body


def test_check_model_finds_what_is_wrong():
    windows = np.ones((2, 4, 3), np.float32)
    verify.check_model(lambda x: x.sum(1), windows, 3, "good")
    with pytest.raises(UserError, match=r"wide gives logits \[3, 3\]"):
        verify.check_model(lambda x: x.sum(1), windows, 4, "wide")
    with pytest.raises(UserError, match="not finite"):
        verify.check_model(lambda x: x.sum(1) * np.nan, windows, 3, "nan")
    calls = iter(range(9))
    with pytest.raises(UserError, match="other logits"):
        verify.check_model(lambda x: x.sum(1) + next(calls), windows, 3, "stateful")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cnn", "crnn"])
def test_other_students_are_int8_throughout(run, kind, tmp_path):
    settings = json.loads((run.directory / "config.json").read_text())["config"]
    # A short window: the unrolled LSTM of a long one takes long to convert.
    settings["audio"] |= {"window_seconds": 0.5, "window_hop_seconds": 0.5}
    config = config_from_dict({**settings, "student": {"kind": kind, "width": 0.25}})
    model = tiny_student(config)
    shape = (8, *model.input_shape[1:])
    windows = np.random.default_rng(0).uniform(-80, 0, shape).astype(np.float32)
    convert.convert(model, convert.KINDS, tmp_path, windows)
    expected = keras_logits(model)(windows)
    for name, tolerance in (("float32", 1e-4), ("float16", 0.02), ("dynamic", 0.2), ("int8", 0.3)):
        logits = TFLiteModel(tmp_path / f"student_{name}.tflite").predict(windows)
        np.testing.assert_allclose(logits, expected, atol=tolerance)
    assert verify.not_int8(tmp_path / "student_int8.tflite") == []


def test_truncated_and_damaged_files_are_refused(run, tmp_path):
    content = (run.export_dir / "student_int8.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    lengths = [
        *range(0, 64),
        *range(64, len(content) - 64, 997),
        *range(len(content) - 64, len(content)),
    ]
    refused = []
    for length in lengths:
        path.write_bytes(content[:length])
        with contextlib.suppress(UserError):
            check_flatbuffer(path)
            continue
        refused.append(length)
    # Only bytes that nothing refers to (padding at the very end) may go unnoticed.
    assert set(lengths) - set(refused) <= set(range(len(content) - 16, len(content)))
    for bad, message in (
        (b"", "is empty"),
        (b"PK" + content, "is no TensorFlow Lite model"),
        (b"\xff" * 4 + content[4:], "truncated or damaged"),
    ):
        path.write_bytes(bad)
        with pytest.raises(UserError, match=message):
            check_flatbuffer(path)
    with pytest.raises(UserError, match="no such file"):
        check_flatbuffer(tmp_path / "absent.tflite")
    with pytest.raises(UserError, match="cannot be read"):
        check_flatbuffer(tmp_path)


def test_damaged_files_do_not_crash_the_interpreter(run, tmp_path):
    """Files that pass the check although bytes were changed or cut are run, in another process."""
    content = (run.export_dir / "student_int8.tflite").read_bytes()
    rng = np.random.default_rng(0)
    for number in range(60):
        damaged = bytearray(content)
        for place in rng.integers(8, len(content), 1 + number % 4):
            damaged[place] = rng.integers(256)
        (tmp_path / f"{number}.tflite").write_bytes(damaged)
    for cut in range(1, 40):
        (tmp_path / f"cut{cut}.tflite").write_bytes(content[:-cut])
    script = """
import sys
from pathlib import Path
sys.modules["tensorflow"] = None  # its interpreter is asked last; importing it takes seconds
from ser_kd.errors import UserError
from ser_kd.tflite.interpreters import load_interpreter
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        load_interpreter(path)
    except UserError:
        pass
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_command_line(run, capsys, tmp_path):
    assert run_alone("export", [str(run.directory)]) == 0
    out = capsys.readouterr().out
    assert "int8 tensors: activation int8" in out
    assert run_alone("export", [str(tmp_path)]) == 2
    assert "is no run folder" in capsys.readouterr().err
    (tmp_path / "config.json").write_bytes((run.directory / "config.json").read_bytes())
    assert run_alone("export", [str(tmp_path)]) == 2
    assert "has no student.keras" in capsys.readouterr().err


def test_command_line_with_a_corrupt_student(run, tmp_path, capsys):
    copy = copy_run(run, tmp_path)
    copy.student_path.write_bytes(copy.student_path.read_bytes()[:5000])
    assert run_alone("export", [str(copy.directory)]) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert "is damaged or no Keras model" in error[0]


def test_what_xnnpack_changes_is_told_and_limited(figures):
    """Against the interpreter, asked by hand; a model that depends on it too much is refused."""
    told = figures["models"]["int8"]["without_xnnpack"]
    assert set(told) == {"same_label", "max_steps"}
    assert figures["models"]["float32"]["without_xnnpack"]["max_difference"] < 1e-3
    limits = dataclasses.replace(Config().export, min_kernel_agreement=told["same_label"] + 0.01)
    (found,) = problems({"int8": figures["models"]["int8"]}, limits)
    assert f"with and without XNNPACK for {told['same_label']:.1%}" in found


def test_the_temperature_suits_the_int8_file(run, run_data, figures):
    """Against a search over a grid, on what the file itself says of the validation clips."""
    validation = run_data.logmel.select(run_data.ids("validation"))
    clips, windows = all_windows(validation, run.config)
    truth = run_data.one_hot(validation.ids).argmax(1)
    logits = TFLiteModel(convert.model_path(run.export_dir, "int8")).predict(windows)

    def nll(temperature: float) -> float:
        probs = scipy.special.softmax(logits / temperature, axis=1)
        of_clip = [probs[clips == clip].mean(0) for clip in range(len(truth))]
        return -np.mean(np.log(np.array(of_clip)[np.arange(len(truth)), truth]))

    grid = np.geomspace(0.05, 20, 400)
    best = grid[np.argmin([nll(temperature) for temperature in grid])]
    assert figures["temperature"] == pytest.approx(best, rel=0.02)
    assert figures["models"]["int8"]["nll"] == pytest.approx(nll(figures["temperature"]), abs=1e-3)
    frontend = json.loads((run.export_dir / "frontend.json").read_text())
    assert frontend["temperature"] == figures["temperature"]


def test_a_log_mel_models_probabilities_have_the_temperature(run, tmp_path):
    """The same waveform, by a front end without it and by one with it."""
    shutil.copytree(run.export_dir, tmp_path / "export")
    model, told = tmp_path / "export/student_float32.tflite", tmp_path / "export/frontend.json"
    wave = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    probs = []
    for temperature in (1.0, 2.0):
        told.write_text(json.dumps({**json.loads(told.read_text()), "temperature": temperature}))
        probs.append(Predictor.load(model).predict_waveform(wave))
    softer = scipy.special.softmax(np.log(probs[0]) / 2.0)
    np.testing.assert_allclose(probs[1], softer, atol=1e-5)
    told.write_text(json.dumps({**json.loads(told.read_text()), "temperature": 0.0}))
    with pytest.raises(UserError, match=r"temperature = 0.0; it is above 0"):
        Predictor.load(model)


def test_a_conversion_that_leaves_floats_is_made_again(run, tmp_path, monkeypatch):
    student = dataclasses.replace(run.config.student, kind="cnn")  # quickly converted
    model = tiny_student(dataclasses.replace(run.config, student=student))
    real, made = convert._convert, []

    def sometimes(saved, kind, windows):
        made.append(kind)
        return real(saved, "float32" if len(made) < 3 else kind, windows)

    monkeypatch.setattr(convert, "_convert", sometimes)
    windows = np.random.default_rng(0).uniform(-80, 0, (4, *model.input_shape[1:]))
    convert.convert(model, ("int8",), tmp_path, windows.astype(np.float32))
    assert made == ["int8"] * 3
    assert verify.not_int8(tmp_path / "student_int8.tflite") == []
