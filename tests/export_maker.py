"""A tiny run, exported once for all test modules."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import soundfile
import tensorflow as tf
from filelock import FileLock

from ser_kd.config import Config, config_from_dict
from ser_kd.export.run import export_run
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import build_student

EMOTIONS = ("angry", "calm", "sad")


def write_corpus(folder: Path) -> None:
    """Three emotions that differ in pitch and loudness, six speakers."""
    rng = np.random.default_rng(0)
    for number, emotion in enumerate(EMOTIONS):
        for speaker in range(6):
            for take in range(2):
                seconds = 0.4 + 0.3 * speaker
                times = np.arange(int(seconds * 16_000)) / 16_000
                tone = 0.3 / (1 + number) * np.sin(2 * np.pi * (150 + 90 * number) * times)
                path = folder / emotion / f"s{speaker}" / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone + 0.02 * rng.normal(size=len(times)), 16_000)


def tiny_student(config: Config, seed: int = 0) -> keras.Model:
    """Untrained, but with statistics that make its answers differ from window to window."""
    keras.utils.set_random_seed(seed)
    frames = config.logmel.frames(config.audio.window_samples)
    model = build_student(config.student, frames, config.logmel.mels, len(EMOTIONS))
    model.get_layer("standardize").set_statistics(
        np.full(config.logmel.mels, -45.0), np.full(config.logmel.mels, 15.0)
    )
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.8, 1.6, shape))
            layer.beta.assign(rng.normal(0.3, 0.3, shape))
            layer.moving_mean.assign(rng.normal(0.0, 0.2, shape))
            layer.moving_variance.assign(rng.uniform(0.3, 1.0, shape))
    return model


def make_run(parent: Path, **student: object) -> Run:
    """A run's folder as training leaves it, with a tiny student."""
    if not (parent / "corpus").exists():
        write_corpus(parent / "corpus")
    settings = {
        "name": "tiny",
        "corpus": {"name": "folder", "data_dir": str(parent / "corpus"), "folds": 3},
        "audio": {"window_seconds": 1.0, "window_hop_seconds": 0.5},
        "logmel": {"mels": 32},
        "student": {"width": 0.25, **student},
        "export": {
            "representative_clips": 8,
            "min_agreement": 0.5,
            "max_ua_drop": 0.5,
            "min_kernel_agreement": 0.5,
        },
    }
    run = Run.create(config_from_dict(settings), parent / "runs" / "tiny")
    run.directory.mkdir(parents=True)
    tiny_student(run.config).save(run.student_path)
    return run


_EXPORTED: list[tuple[Run, RunData, dict[str, Any]]] = []


def exported_run(factory: pytest.TempPathFactory) -> tuple[Run, RunData, dict[str, Any]]:
    """A run and its export, made once for all test modules: converting takes seconds.

    Processes that run tests side by side share what one of them made; each has a copy of its own.
    """
    if not _EXPORTED:
        shared = factory.getbasetemp()
        if "PYTEST_XDIST_WORKER" in os.environ:
            shared = shared.parent
        with FileLock(shared / "export.lock"):
            directory = shared / "exported" / "runs" / "tiny"
            made = Run.open(directory) if directory.exists() else make_run(shared / "exported")
            export_run(made, made.data())
        run = Run(factory.mktemp("export") / "runs" / "tiny", made.config)
        shutil.copytree(made.directory, run.directory)  # with the times of writing
        run_data = run.data()
        _EXPORTED.append((run, run_data, export_run(run, run_data)))
    return _EXPORTED[0]


def tensorflow_interpreter(path: Path, **options: Any) -> tf.lite.Interpreter:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated in newer versions, and says so
        return tf.lite.Interpreter(str(path), **options)
