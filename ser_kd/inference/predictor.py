"""A finished student and its front end, ready for audio of any length."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np

from ser_kd.audio.decoding import decode, is_silent, to_float, to_int16
from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.errors import UserError
from ser_kd.registry import load_object
from ser_kd.speaker.adaptation import Adaptation
from ser_kd.speaker.statistics import CLASSIFY_OWNER
from ser_kd.speaker.voice import Voice
from ser_kd.speaker.voice_loop import VoiceLoop
from ser_kd.students.frontend import Frontend, find_frontend

STUDENTS = {
    ".tflite": "ser_kd.inference.tflite_student:load",
    ".keras": "ser_kd.inference.keras_student:KerasStudent",
}
"""What loads a file, by its suffix: a function of the path and the front end."""
_FILES_OF_A_FOLDER = (
    "student_waveform.tflite",
    "student_int8.tflite",
    "student_float32.tflite",
    "student.keras",
)
_BATCH = 64


class Student(Protocol):
    """A loaded file: ``ser_kd.inference.tflite_student`` and ``keras_student`` have them.

    Attributes:
        expected_input: What the front end says that it takes, without the batch axis.
        input_shape: What it takes, with the batch axis.
        output_shape: What it gives.
        adaptation: What it can do with a voice; None = nothing.
    """

    expected_input: tuple[int, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    @property
    def adaptation(self) -> Adaptation | None: ...

    @property
    def predict_windows(self) -> Callable[[np.ndarray], np.ndarray]: ...


@dataclass(frozen=True)
class Prediction:
    """The class probabilities of one clip.

    Attributes:
        label: The likeliest class.
        probability: Of that class.
        probabilities: float32 ``[classes]``, the mean over the windows.
        seconds: The clip's length.
        silent: No sample is above the noise of the format: the label then means nothing.
    """

    label: str
    probability: float
    probabilities: np.ndarray
    seconds: float
    silent: bool


@dataclass(frozen=True)
class TimedPrediction:
    """The prediction of one window of a longer clip.

    Attributes:
        start_seconds: Where the window begins.
        prediction: Of the window alone.
        speech: Whether the window holds speech; without, its label means nothing.
    """

    start_seconds: float
    prediction: Prediction
    speech: bool


class Predictor:
    """A student and its front end, ready for audio files.

    Args:
        predict_windows: float32 ``[windows, frontend.window_samples]`` -> probabilities
            ``[windows, classes]``.
        labels: Class names, in the order of the probabilities.
        frontend: How audio becomes the model's input.
        adaptation: What the model can do with a voice; None = nothing.
    """

    def __init__(
        self,
        predict_windows: Callable[[np.ndarray], np.ndarray],
        labels: tuple[str, ...],
        frontend: Frontend,
        adaptation: Adaptation | None = None,
    ) -> None:
        self._predict_windows = predict_windows
        self.labels = labels
        self.frontend = frontend
        self.adaptation = adaptation

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """Loads a .tflite or .keras student.

        ``labels.txt`` and ``frontend.json`` are looked for beside the model, then in ``export/``
        beside it, then the config of the run that the model lies in is asked; a waveform model
        brings its own.

        Raises:
            UserError: The model cannot be loaded, does not fit its front end, or that is missing.
        """
        require_model(path)
        labels, frontend = find_frontend(path)
        student: Student = load_object(STUDENTS[path.suffix])(path, frontend)
        inputs, outputs = student.input_shape, student.output_shape
        wanted = student.expected_input, (len(labels),)
        if isinstance(inputs, dict) or (tuple(inputs[1:]), tuple(outputs[1:])) != wanted:
            raise UserError(
                f"{path} does not fit its labels.txt and frontend.json: it takes {inputs} and "
                f"gives {outputs}; they say [1, {', '.join(map(str, student.expected_input))}] and "
                f"{len(labels)} labels"
            )
        return cls(student.predict_windows, labels, frontend, student.adaptation)

    def adaptation_or_error(self, model: Path | str = "this model") -> Adaptation:
        """What the model can do with a voice; ``model`` is its name in the message.

        Raises:
            UserError: Nothing.
        """
        if self.adaptation is None:
            raise UserError(
                f"{model} cannot be adapted to a voice: it has no signature {CLASSIFY_OWNER}, or "
                "its frontend.json no corpus; export its run again: ser-kd export RUN"
            )
        return self.adaptation

    def for_voice(self, voice: Voice) -> "Predictor":
        """The same model, adapted to a voice.

        Raises:
            UserError: The voice has other mel bands, or the model cannot be adapted.
        """
        adaptation = self.adaptation_or_error()
        voice.check_bands(self.frontend.mel_bands)
        predict = partial(adaptation.predict_windows, voice=voice.as_array(adaptation.corpus))
        return Predictor(predict, self.labels, self.frontend, adaptation)

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

    def has_speech(self, waveform: np.ndarray) -> bool:
        """Whether any window of a clip holds speech, by the stream's voice activity detector.

        Args:
            waveform: As ``predict_waveform`` takes it.
        """
        detector, windowing = VoiceActivityDetector(), self.frontend.windowing
        rate_hz, length = self.frontend.sample_rate_hz, self.frontend.window_samples
        return any(
            detector.speech_share(waveform[start : start + length], rate_hz) >= detector.min_share
            for start in windowing.starts(len(waveform))
        )

    def predict(self, clip: Path | str | np.ndarray) -> Prediction:
        """The prediction for an audio file, or for a waveform as ``predict_waveform`` takes it.

        Raises:
            AudioError: The file cannot be used.
        """
        rate_hz = self.frontend.sample_rate_hz
        waveform = clip if isinstance(clip, np.ndarray) else decode(clip, rate_hz)
        probabilities = self.predict_waveform(waveform)
        best = int(probabilities.argmax())
        return Prediction(
            label=self.labels[best],
            probability=float(probabilities[best]),
            probabilities=probabilities,
            seconds=len(waveform) / rate_hz,
            silent=is_silent(waveform),
        )

    def timeline(self, waveform: np.ndarray) -> list[TimedPrediction]:
        """The prediction of every window of a clip, in order.

        Args:
            waveform: As ``predict_waveform`` takes it.
        """
        windowing, rate_hz = self.frontend.windowing, self.frontend.sample_rate_hz
        found = []
        for start in windowing.starts(len(waveform)):
            window = waveform[start : start + self.frontend.window_samples]
            seconds = float(start) / rate_hz
            found.append(TimedPrediction(seconds, self.predict(window), self.has_speech(window)))
        return found

    def predict_file(self, path: Path | str) -> np.ndarray:
        """Class probabilities of an audio file, float32 ``[classes]``; see ``predict``."""
        return self.predict(path).probabilities


def load_with_voice(model: Path, path: Path) -> tuple[Predictor, VoiceLoop]:
    """A predictor that knows one voice as far as a file does, and what lets it learn.

    Raises:
        UserError: As ``Predictor.load``; the model cannot be adapted to a voice; or the voice's
            file is damaged or of another front end.
    """
    plain = Predictor.load(model)
    loop = VoiceLoop(path, plain.adaptation_or_error(model), plain.frontend)
    return Predictor(loop.predict_windows, plain.labels, plain.frontend, plain.adaptation), loop


def default_model() -> Path:
    """The bundled student: ``ser_kd/pretrained/student_waveform.tflite``."""
    return Path(str(resources.files("ser_kd") / "pretrained" / "student_waveform.tflite"))


def sample_clip() -> Path:
    """The bundled clip to try at once: two sentences of a synthetic voice, angry and sad."""
    return Path(str(resources.files("ser_kd") / "inference" / "sample.ogg"))


def require_model(path: Path) -> None:
    """That a path is a model's file, as far as its name tells.

    Raises:
        UserError: It ends in another suffix, or is not there.
    """
    if path.suffix not in STUDENTS:
        raise UserError(f"{path}: a model ends in {' or '.join(STUDENTS)}")
    if not path.is_file():
        raise UserError(f"{path}: no such model")


def find_model(path: Path) -> Path:
    """The model that a path names: a file, or the best one of a run's or an export's folder.

    Raises:
        UserError: The folder holds none.
    """
    if not path.is_dir():
        return path
    for folder in (path / "export", path):
        for name in _FILES_OF_A_FOLDER[:3]:
            if (folder / name).is_file():
                return folder / name
    if (path / _FILES_OF_A_FOLDER[3]).is_file():
        return path / _FILES_OF_A_FOLDER[3]
    raise UserError(
        f"{path}: no model there; looked for {', '.join(_FILES_OF_A_FOLDER)} in it and in its "
        "export/. A run that is not exported yet: ser-kd export RUN"
    )
