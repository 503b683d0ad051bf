"""Keras -> SavedModel -> .tflite, and what an app needs beside it.

``model.export`` and ``from_saved_model`` is the only way that works on every TensorFlow from 2.16
to 2.21: ``from_keras_model`` aborts the process on 2.16, and ``from_concrete_functions`` silently
gives NaN for Keras 3 models.
"""

import contextlib
import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ser_kd import files
from ser_kd.audio import decoding
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config
from ser_kd.data import batching, clip_arrays
from ser_kd.errors import UserError
from ser_kd.export import verify
from ser_kd.export.chain import Route, chain, compact, store_as_float16
from ser_kd.export.frontend import FrontEnd
from ser_kd.export.owner import STATISTICS, SUMS, MoveToCorpus, SumFrames
from ser_kd.progress import say
from ser_kd.quiet import stderr_held
from ser_kd.speaker.owner import CLASSIFY_OWNER, LISTEN_TO_OWNER
from ser_kd.students.frontend import Corpus, Frontend

KINDS = ("float32", "float16", "dynamic", "int8")
"""Log-mel in, logits out. ``float16``: weights in half the bytes; ``dynamic``: int8 weights, float
arithmetic; ``int8``: throughout."""
WAVEFORM = "waveform"
PCM, PROBABILITIES = "pcm", "probabilities"
"""Of the waveform model: float32 ``[1, samples]`` in -1..1 -> float32 ``[1, classes]``."""
ROUTES = (
    Route("classify", ("front", "body", "head"), (PCM,), (PROBABILITIES,)),
    Route(CLASSIFY_OWNER, ("front", "move", "body", "head"), (PCM, STATISTICS), (PROBABILITIES,)),
    Route(LISTEN_TO_OWNER, ("front", "sums"), (PCM,), SUMS),
)
"""Its signatures."""

SIDECARS = ("labels.txt", "frontend.json")

# TensorFlow 2.21's converter leaves the gates of an LSTM in float in about one of six conversions
# of the very same model. What stays so is found, and refused, by the export's verification.
_INT8_TRIES = 4


def model_path(export_dir: Path, kind: str) -> Path:
    """Where the student of that kind is written."""
    return export_dir / f"student_{kind}.tflite"


def write_sidecars(
    export_dir: Path, config: Config, labels: tuple[str, ...], temperature: float, corpus: Corpus
) -> None:
    """Writes ``labels.txt`` (one per line, in output order) and ``frontend.json``."""
    facts = Frontend.of(config, temperature, corpus).as_json()
    # A line for each list: the corpus's statistics would fill pages.
    frontend = re.sub(
        r"\[[^][{}]*\]", lambda numbers: " ".join(numbers[0].split()), json.dumps(facts, indent=2)
    )
    for name, text in zip(SIDECARS, ("\n".join(labels), frontend), strict=True):
        path = export_dir / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text + "\n":
            with files.atomic(path) as partial:
                partial.write_text(text + "\n", encoding="utf-8")


def convert(
    model: keras.Model, kinds: tuple[str, ...], export_dir: Path, calibration: np.ndarray
) -> None:
    """Writes ``student_<kind>.tflite`` for each of ``kinds``, each one atomically.

    Args:
        model: float32 ``[batch, frames, mels]`` -> logits.
        kinds: Of ``KINDS``.
        export_dir: Receives the files.
        calibration: float32 ``[windows, frames, mels]``, from which int8 takes its ranges.

    Raises:
        UserError: TensorFlow cannot convert the model.
    """
    if not kinds:
        return
    with _saved_model(model) as saved:
        for kind in kinds:
            say(f"  converting to {kind}")
            with files.atomic(model_path(export_dir, kind)) as partial:
                for _ in range(_INT8_TRIES if kind == "int8" else 1):
                    partial.write_bytes(_convert(saved, kind, calibration))
                    if kind != "int8" or not verify.not_int8(partial):
                        break


def convert_multi_task(model: keras.Model, path: Path, calibration: np.ndarray) -> None:
    """Writes a student with several outputs as int8; they have their names in the signature.

    Args:
        model: As ``heads.multi_task_student`` makes it.
        path: The file.
        calibration: float32 ``[windows, frames, mels]``, from which int8 takes its ranges.

    Raises:
        UserError: TensorFlow cannot convert the model, or leaves a part of it in float.
    """
    with files.atomic(path) as partial, _saved_model(model) as saved:
        for _ in range(_INT8_TRIES):
            partial.write_bytes(_convert(saved, "int8", calibration))
            if not verify.not_int8(partial):
                break
        else:
            raise UserError(
                f"{path.name}: {', '.join(verify.not_int8(partial))} stayed float in "
                f"{_INT8_TRIES} conversions; export again"
            )


@contextlib.contextmanager
def _saved_model(model: keras.Model) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as saved:
        # A static batch: nothing but one window at a time is asked for, and operators such as
        # the unrolled LSTM then need no shape arithmetic.
        signature = [tf.TensorSpec((1, *model.input_shape[1:]), tf.float32, name="logmel")]
        with contextlib.redirect_stdout(io.StringIO()):  # older Keras ignores ``verbose``
            model.export(saved, verbose=False, input_signature=signature)
        yield saved


def _convert(saved: str, kind: str, calibration: np.ndarray) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind == "int8":

        def representative_dataset() -> Iterator[list[np.ndarray]]:
            for window in calibration:
                yield [window[np.newaxis]]

        converter.representative_dataset = representative_dataset
        # Without a fallback: an operator that int8 lacks is an error, not a float island.
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.int8
    try:
        with stderr_held():  # the converter tells its own story
            content: bytes = converter.convert()
    except Exception as error:  # the converter raises whatever its passes raise
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"the student cannot be converted to {kind}: {reason}") from error
    return compact(content)


def write_waveform_model(
    export_dir: Path,
    config: Config,
    labels: tuple[str, ...],
    temperature: float,
    corpus: Corpus,
) -> None:
    """Writes ``student_waveform.tflite``: front end, the very int8 student, softmax, in one graph.

    Two more graphs share their constants with it: one moves a known voice's frames to the corpus
    on their way into the student, one sums up what is known of a voice (``ser_kd.speaker.owner``).

    ``labels.txt`` and ``frontend.json`` travel inside of it, as the zip archive at its end that
    TensorFlow Lite calls associated files (``unzip student_waveform.tflite labels.txt``).

    Args:
        export_dir: Has ``student_int8.tflite`` and the sidecars.
        config: Of the run.
        labels: Class names in output order.
        temperature: What the logits are divided by before softmax.
        corpus: What the student standardises its features with.

    Raises:
        UserError: TensorFlow cannot convert the front end.
    """
    samples, floor_db = config.audio.window_samples, config.logmel.floor_db
    front = FrontEnd(config.logmel, samples)
    pcm = tf.TensorSpec((1, samples), tf.float32, name=PCM)
    logmel = tf.TensorSpec((1, front.frames, config.logmel.mels), tf.float32, name="logmel")
    statistics = tf.TensorSpec((2, config.logmel.mels), tf.float32, name=STATISTICS)
    logits = tf.TensorSpec((1, len(labels)), tf.float32, name="logits")
    pieces = {
        "front": store_as_float16(
            convert_module(front, pcm),
            front.filters.shape[::-1],  # as a fully connected layer has it
        ),
        "body": model_path(export_dir, "int8").read_bytes(),
        "head": convert_module(_Softmax(temperature), logits),
        "move": convert_module(MoveToCorpus(corpus, floor_db), logmel, statistics),
        "sums": convert_module(SumFrames(floor_db), logmel),
    }
    say(f"  joining the front end and int8 to {WAVEFORM}")
    with files.atomic(model_path(export_dir, WAVEFORM)) as partial:
        partial.write_bytes(chain(pieces, ROUTES))
        with zipfile.ZipFile(partial, "a") as archive:
            for name in SIDECARS:
                # A fixed time: the same model is the same bytes.
                archive.writestr(zipfile.ZipInfo(name), (export_dir / name).read_bytes())


class _Softmax(tf.Module):
    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.scale = 1.0 / temperature

    @tf.function
    def __call__(self, logits: tf.Tensor) -> tf.Tensor:
        return tf.nn.softmax(logits * self.scale)


def convert_module(module: tf.Module, *inputs: tf.TensorSpec) -> bytes:
    """A module as a float32 .tflite model; ``inputs`` have their names in its signature."""
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as saved:
        function = module.__call__.get_concrete_function(*inputs)
        with stderr_held():
            tf.saved_model.save(module, saved, signatures=function)
        return _convert(saved, "float32", np.empty(0))


def calibration_windows(
    logmel: clip_arrays.ClipArrays, training_ids: list[str], config: Config
) -> np.ndarray:
    """All windows of ``config.export.calibration_clips`` training clips, drawn by the run's seed.

    They are cut as in evaluation, zeros after short clips included, for that is what the model
    will see.

    Returns:
        float32 ``[windows, frames, mels]``.

    Raises:
        UserError: There is no clip to calibrate on.
    """
    count = min(config.export.calibration_clips, len(training_ids))
    if count < 1:
        raise UserError(
            f"int8 needs clips to calibrate on: export.calibration_clips = "
            f"{config.export.calibration_clips}, training clips: {len(training_ids)}"
        )
    chosen = np.random.default_rng(config.seed).choice(len(training_ids), count, replace=False)
    arrays = logmel.select([training_ids[index] for index in sorted(chosen)])
    return all_windows(arrays, config)[1]


def all_windows(arrays: clip_arrays.ClipArrays, config: Config) -> tuple[np.ndarray, np.ndarray]:
    """Clip index ``[windows]`` and features ``[windows, frames, mels]``, as in evaluation."""
    windowing = Windowing.of(config.audio, config.logmel)
    frames = config.logmel.frames(config.audio.window_samples)
    batches = list(batching.evaluation_batches(arrays, windowing, frames, 256))
    return (
        np.concatenate([clips for clips, _, _ in batches]),
        np.concatenate([windows for _, windows, _ in batches]),
    )


def pcm_batches(waveforms: clip_arrays.ClipArrays, config: Config) -> Iterator[np.ndarray]:
    """The windows of ``all_windows`` in the same order, as float32 samples ``[.., samples]``."""
    windowing = Windowing.of(config.audio, config.logmel)
    for _, windows, _ in batching.evaluation_batches(
        waveforms, windowing, config.audio.window_samples, 64
    ):
        yield decoding.to_float(windows)
