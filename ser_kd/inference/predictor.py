"""A finished student and its front end, ready for audio of any length."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ser_kd.audio.decoding import decode, is_silent, to_float, to_int16
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.speaker.owner import CLASSIFY_OWNER, LISTEN_TO_OWNER, sounding, to_corpus
from ser_kd.speaker.owner_loop import OwnerLoop, Voices
from ser_kd.tflite.interpreters import TFLiteModel

# TensorFlow (5 s) is imported where it is used, so that ``ser-kd --help`` is quick.
if TYPE_CHECKING:
    pass
from ser_kd.students.frontend import Corpus, Frontend, find_frontend, no_categories
from ser_kd.students.saved import keras_corpus, keras_logits, load_keras

_MODEL_SUFFIXES = (".tflite", ".keras")
_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
        probs: float32 ``[classes]``, the mean over the windows.
        seconds: The file's length.
        silent: No sample is above the noise of the format: the label then means nothing.
    """

    probs: np.ndarray
    seconds: float
    silent: bool


class Predictor:
    """A student and its front end, ready for audio files.

    Attributes:
        labels: Class names, in the order of the probabilities.
        frontend: How audio becomes the model's input.
        voices: What the model can do with its owner's voice; None = nothing.
    """

    def __init__(
        self,
        predict_windows: Callable[[np.ndarray], np.ndarray],
        labels: tuple[str, ...],
        frontend: Frontend,
        voices: Voices | None = None,
    ) -> None:
        self._predict_windows = predict_windows
        self.labels = labels
        self.frontend = frontend
        self.voices = voices

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """Loads a .tflite or .keras student.

        ``labels.txt`` and ``frontend.json`` are looked for beside the model, then in ``export/``
        beside it, then the config of the run that the model lies in is asked; a waveform model
        brings its own.

        Raises:
            UserError: The model cannot be loaded, does not fit its front end, or that is missing.
        """
        if path.suffix not in _MODEL_SUFFIXES:
            raise UserError(f"{path}: a model ends in {' or '.join(_MODEL_SUFFIXES)}")
        if not path.is_file():
            raise UserError(f"{path}: no such model")
        labels, frontend = find_frontend(path)
        predict: Callable[[np.ndarray], np.ndarray]
        voices, corpus = None, frontend.corpus
        takes: tuple[int, ...] = (frontend.frames, frontend.mels)
        if path.suffix == ".tflite":
            model = TFLiteModel(path)
            inputs, outputs, predict = model.input_shape, model.output_shape, model.predict
            if model.hears_waveforms:
                takes = (frontend.window_samples,)
                voices = _waveform_voices(model, corpus)
        else:
            network = load_keras(path)
            inputs, outputs = network.input_shape, network.output_shape
            if isinstance(network.output, dict):  # output_shape is a tuple where it has one entry
                raise no_categories(path)
            predict, corpus = keras_logits(network), keras_corpus(network)
        wanted = takes, (len(labels),)
        if isinstance(inputs, dict) or (tuple(inputs[1:]), tuple(outputs[1:])) != wanted:
            raise UserError(
                f"{path} does not fit its labels.txt and frontend.json: it takes {inputs} and "
                f"gives {outputs}; they say [1, {', '.join(map(str, takes))}] and "
                f"{len(labels)} labels"
            )
        if len(takes) > 1:
            logits, predict = predict, _with_front_end(predict, frontend)
            voices = _logmel_voices(logits, frontend, corpus)
        return cls(predict, labels, frontend, voices)

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Class probabilities of windows.

        Args:
            windows: float32 ``[windows, frontend.window_samples]`` in -1..1; zeros after a clip
                that is shorter.

        Returns:
            float32 ``[windows, classes]``.
        """
        return self._predict_windows(windows)

    def predict_waveform(self, waveform: np.ndarray) -> np.ndarray:
        """Class probabilities of a clip, computed exactly as in evaluation.

        Args:
            waveform: float32 ``[samples]`` in -1..1 at ``frontend.sample_rate_hz``.

        Returns:
            float32 ``[classes]``: softmax, then the mean over the windows.
        """
        frontend = self.frontend
        waveform = to_float(to_int16(waveform))
        starts = frontend.windowing.starts(len(waveform))
        total = np.zeros(len(self.labels))
        for first in range(0, len(starts), _BATCH):
            windows = frontend.windowing.cut(waveform, starts[first : first + _BATCH])
            total += self.predict_windows(windows).sum(axis=0)
        mean: np.ndarray = (total / len(starts)).astype(np.float32)
        return mean

    def predict(self, path: Path | str) -> Prediction:
        """What the model says of an audio file.

        Raises:
            AudioError: The file cannot be used.
        """
        return self.hear(decode(path, self.frontend.sample_rate_hz))

    def hear(self, waveform: np.ndarray) -> Prediction:
        """What the model says of a clip; ``waveform`` as for ``predict_waveform``."""
        seconds = len(waveform) / self.frontend.sample_rate_hz
        return Prediction(self.predict_waveform(waveform), seconds, is_silent(waveform))

    def predict_file(self, path: Path | str) -> np.ndarray:
        """Class probabilities of an audio file, float32 ``[classes]``; see ``predict``."""
        return self.predict(path).probs


def load_for_owner(model: Path, statistics: Path) -> tuple[Predictor, OwnerLoop]:
    """A predictor that knows its owner as far as ``statistics`` does, and what lets it learn.

    Raises:
        UserError: As ``Predictor.load``; the model cannot be moved to a voice; or the file with the
            statistics is damaged or of another front end.
    """
    stranger = Predictor.load(model)
    if stranger.voices is None:
        raise UserError(
            f"{model} cannot learn its owner's voice: it has no signature {CLASSIFY_OWNER}, or its "
            "frontend.json no corpus; export its run again (python -m export RUN_DIR)"
        )
    owner = OwnerLoop(statistics, stranger.voices, stranger.frontend)
    known = Predictor(owner.predict_windows, stranger.labels, stranger.frontend, stranger.voices)
    return known, owner


def _with_front_end(
    predict_logits: Callable[[np.ndarray], np.ndarray], frontend: Frontend
) -> Callable[[np.ndarray], np.ndarray]:
    """A log-mel model as a function of samples: windows -> probabilities."""
    from ser_kd.audio.logmel import LogMel

    logmel = LogMel(frontend.logmel)
    temperature = frontend.temperature
    return lambda windows: softmax(predict_logits(np.asarray(logmel(windows))) / temperature)


def _logmel_voices(
    predict_logits: Callable[[np.ndarray], np.ndarray], frontend: Frontend, corpus: Corpus | None
) -> Voices | None:
    from ser_kd.audio.logmel import LogMel

    if corpus is None:
        return None
    logmel, floor_db = LogMel(frontend.logmel), frontend.floor_db
    target = corpus.mean_db, corpus.deviation_db

    def predict_windows(windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        moved = to_corpus(np.asarray(logmel(windows)), (voice[0], voice[1]), target, floor_db)
        return softmax(predict_logits(moved) / frontend.temperature)

    def sums(windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        frames = sounding(np.asarray(logmel(windows)), floor_db).astype(np.float64)
        return len(frames), frames.sum(0), (frames**2).sum(0)

    return Voices(corpus, predict_windows, sums)


def _waveform_voices(model: TFLiteModel, corpus: Corpus | None) -> Voices | None:
    if corpus is None or not {CLASSIFY_OWNER, LISTEN_TO_OWNER} <= set(model.signatures):
        return None

    def predict_windows(windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        answers = (
            model.run(CLASSIFY_OWNER, pcm=window[np.newaxis], statistics=voice)
            for window in windows
        )
        return np.concatenate([answer["probabilities"] for answer in answers])

    def sums(windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        parts = [model.run(LISTEN_TO_OWNER, pcm=window[np.newaxis]) for window in windows]
        frames, total, squares = (
            np.stack([part[name] for part in parts]).sum(axis=0, dtype=np.float64)
            for name in ("frames", "total", "squares")
        )
        return float(frames[0]), total, squares

    return Voices(corpus, predict_windows, sums)


def default_model() -> Path:
    """The student that comes with the package: ``ser_kd/pretrained/student_waveform.tflite``."""
    return Path(str(resources.files("ser_kd") / "pretrained" / "student_waveform.tflite"))
