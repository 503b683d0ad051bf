"""Adapting a student to a voice: log-mel frames are moved to the corpus's mean and deviation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ser_kd.audio.decoding import to_float, to_int16
from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.speaker.statistics import (
    CLASSIFY_OWNER,
    LISTEN_TO_OWNER,
    VoiceStatistics,
    sounding,
    to_corpus,
)
from ser_kd.students.frontend import Corpus
from ser_kd.tflite.interpreters import TFLiteModel

MIN_SPEECH_SHARE = 0.3
"""Of a clip that is learnt from: what is learnt should be as full of speech as the corpus's clips,
98 in 100 of which have more (400 of CREMA-D)."""


class Adaptation(Protocol):
    """What a student can do with a voice."""

    @property
    def corpus(self) -> Corpus:
        """What voices are moved to."""

    def predict_windows(self, windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        """Class probabilities of a voice's windows.

        Args:
            windows: float32 ``[windows, samples]``.
            voice: float32 ``[2, mels]``, mean and deviation in dB.

        Returns:
            float32 ``[windows, classes]``.
        """

    def sums(self, windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """What ``VoiceStatistics.added`` takes.

        Returns:
            How many frames of the windows sound, their sum ``[mels]`` in dB, and the sum of their
            squares.
        """


class Frontend(Protocol):
    """What is needed of a student's front end."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...


@dataclass(frozen=True)
class LogMelAdaptation:
    """Of a log-mel student: frames are moved on their way from the front end to the network.

    Attributes:
        corpus: What voices are moved to.
        floor_db: Of the front end.
        logmel: Windows of samples -> log-mel frames ``[windows, frames, mels]`` in dB.
        predict_logmel: Such frames -> probabilities ``[windows, classes]``.
    """

    corpus: Corpus
    floor_db: float
    logmel: Callable[[np.ndarray], np.ndarray]
    predict_logmel: Callable[[np.ndarray], np.ndarray]

    def predict_windows(self, windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        target = self.corpus.mean_db, self.corpus.deviation_db
        moved = to_corpus(self.logmel(windows), (voice[0], voice[1]), target, self.floor_db)
        return self.predict_logmel(moved)

    def sums(self, windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        frames = sounding(self.logmel(windows), self.floor_db).astype(np.float64)
        return len(frames), frames.sum(0), (frames**2).sum(0)


@dataclass(frozen=True)
class WaveformAdaptation:
    """Of a waveform .tflite file, which has signatures for both.

    Attributes:
        corpus: What voices are moved to.
        model: The file.
    """

    corpus: Corpus
    model: TFLiteModel

    def predict_windows(self, windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        answers = (
            self.model.run(CLASSIFY_OWNER, pcm=window[np.newaxis], statistics=voice)
            for window in windows
        )
        return np.concatenate([answer["probabilities"] for answer in answers])

    def sums(self, windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        parts = [self.model.run(LISTEN_TO_OWNER, pcm=window[np.newaxis]) for window in windows]
        frames, total, squares = (
            np.stack([part[name] for part in parts]).sum(axis=0, dtype=np.float64)
            for name in ("frames", "total", "squares")
        )
        return float(frames[0]), total, squares


def learn_speech(
    known: VoiceStatistics,
    waveform: np.ndarray,
    adaptation: Adaptation,
    frontend: Frontend,
    detector: VoiceActivityDetector | None = None,
) -> VoiceStatistics:
    """The statistics after what is speech in one more clip.

    Parts of at most a window are judged, and counted as clips, for themselves.

    Args:
        known: The statistics before it.
        waveform: float32 ``[samples]`` in -1..1 at the student's rate, without padding.
        adaptation: Of the student.
        frontend: The same.
        detector: Says what is speech; None = one with ``MIN_SPEECH_SHARE``.

    Returns:
        ``known`` itself where there is no speech.
    """
    detector = detector or VoiceActivityDetector(min_share=MIN_SPEECH_SHARE)
    samples = frontend.window_samples
    rounded = to_float(to_int16(waveform))
    for part in np.array_split(rounded, max(1, math.ceil(len(rounded) / samples))):
        if detector.speech_share(part, frontend.sample_rate_hz) >= detector.min_share:
            window = np.zeros((1, samples), np.float32)
            window[0, : len(part)] = part
            known = known.added(*adaptation.sums(window))
    return known
