"""Students as .tflite files, run without TensorFlow."""

from pathlib import Path

import numpy as np

from ser_kd.audio.mel import NumpyLogMel
from ser_kd.data.targets import softmax
from ser_kd.speaker.adaptation import LogMelAdaptation, WaveformAdaptation
from ser_kd.speaker.statistics import CLASSIFY_OWNER, LISTEN_TO_OWNER
from ser_kd.students.frontend import Frontend
from ser_kd.tflite.interpreters import TFLiteModel


def load(path: Path, frontend: Frontend) -> "WaveformStudent | LogMelStudent":
    """A .tflite file of either kind.

    Raises:
        UserError: It is missing, damaged, or no interpreter runs it.
    """
    model = TFLiteModel(path)
    return (WaveformStudent if model.takes_waveforms else LogMelStudent)(model, frontend)


class WaveformStudent:
    """A file that holds its front end: samples in, probabilities out."""

    def __init__(self, model: TFLiteModel, frontend: Frontend) -> None:
        self.expected_input: tuple[int, ...] = (frontend.window_samples,)
        self.input_shape, self.output_shape = model.input_shape, model.output_shape
        self.predict_windows = model.predict
        self.adaptation: WaveformAdaptation | None = None
        if frontend.corpus and {CLASSIFY_OWNER, LISTEN_TO_OWNER} <= set(model.signatures):
            self.adaptation = WaveformAdaptation(frontend.corpus, model)


class LogMelStudent:
    """A file that is given log-mel frames, which NumPy computes; float32 or int8."""

    def __init__(self, model: TFLiteModel, frontend: Frontend) -> None:
        self.expected_input: tuple[int, ...] = (frontend.frames, frontend.mels)
        self.input_shape, self.output_shape = model.input_shape, model.output_shape
        self._model, self._temperature = model, frontend.temperature
        self._logmel = NumpyLogMel(frontend.logmel)
        self.adaptation: LogMelAdaptation | None = None
        if frontend.corpus:
            self.adaptation = LogMelAdaptation(
                frontend.corpus, frontend.floor_db, self._logmel, self._predict_logmel
            )

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Windows float32 ``[windows, samples]`` -> probabilities ``[windows, classes]``."""
        return self._predict_logmel(self._logmel(windows))

    def _predict_logmel(self, frames: np.ndarray) -> np.ndarray:
        return softmax(self._model.predict(frames) / self._temperature)
