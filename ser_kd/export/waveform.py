"""The file for apps: front end, int8 student and softmax in one graph, labels within."""

import json
import re
import zipfile
from pathlib import Path

import tensorflow as tf

from ser_kd import files
from ser_kd.config import Config
from ser_kd.export.chain import Route, chain
from ser_kd.export.convert import convert_module, model_path
from ser_kd.export.frontend import FrontEnd
from ser_kd.export.known_voice import STATISTICS, SUMS, MoveToCorpus, SumFrames
from ser_kd.export.model_file import store_as_float16
from ser_kd.progress import say
from ser_kd.speaker.statistics import CLASSIFY_OWNER, LISTEN_TO_OWNER
from ser_kd.students.frontend import Corpus, Frontend

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


def write_waveform_model(
    export_dir: Path,
    config: Config,
    labels: tuple[str, ...],
    temperature: float,
    corpus: Corpus,
) -> None:
    """Writes ``student_waveform.tflite``: front end, the very int8 student, softmax, in one graph.

    Two more graphs share their constants with it: one moves a known voice's frames to the corpus
    on their way into the student, one sums up what is known of a voice
    (``ser_kd.speaker.statistics``).

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
