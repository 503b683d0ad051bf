"""The owner's voice in use: every answer takes what is known, every clip of speech adds to it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ser_kd.audio.decoding import to_float, to_int16
from ser_kd.audio.voice_activity import SpeechGate
from ser_kd.speaker.owner import OwnerStatistics
from ser_kd.students.frontend import Corpus

MIN_SPEECH_SHARE = 0.3
"""Of a clip that is learnt from: what is learnt should be as full of speech as the corpus's clips,
98 in 100 of which have more (400 of CREMA-D)."""


@dataclass(frozen=True)
class Voices:
    """What a model can do with a voice.

    Attributes:
        corpus: What voices are moved to.
        predict_windows: Windows float32 ``[windows, samples]`` and a voice float32 ``[2, mels]``
            (mean and deviation in dB) -> probabilities ``[windows, classes]``.
        sums: Windows -> how many frames of them sound, their sum ``[mels]`` in dB, and the sum of
            their squares.
    """

    corpus: Corpus
    predict_windows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    sums: Callable[[np.ndarray], tuple[float, np.ndarray, np.ndarray]]


class Frontend(Protocol):
    """What is needed of ``ser_kd.students.frontend.Frontend``."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...

    @property
    def mel_bands(self) -> dict[str, float]: ...


class OwnerLoop:
    """One owner, whose statistics are kept in a file.

    Args:
        path: The file; where there is none, nobody has been heard yet. Deleting it forgets.
        voices: The model's.
        frontend: The same.
        gate: Says what is speech; None = one with ``MIN_SPEECH_SHARE``.

    Raises:
        UserError: The file is damaged, or of another front end.
    """

    def __init__(
        self, path: Path, voices: Voices, frontend: Frontend, gate: SpeechGate | None = None
    ) -> None:
        self.path = path
        self._voices, self._frontend = voices, frontend
        self._gate = gate or SpeechGate(min_share=MIN_SPEECH_SHARE)
        self.known = OwnerStatistics.read(path, frontend.mel_bands)

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Class probabilities ``[windows, classes]``, with what is known so far."""
        corpus = self._voices.corpus
        voice = self.known.voice(corpus.mean_db, corpus.deviation_db, corpus.prior_clips)
        return self._voices.predict_windows(windows, np.stack(voice))

    def learn(self, waveform: np.ndarray) -> bool:
        """Adds what is speech in a clip, and writes the file.

        Parts of at most a window are judged, and counted as clips, for themselves.

        Args:
            waveform: float32 ``[samples]`` in -1..1 at the model's rate, without padding.

        Returns:
            Whether there was speech.
        """
        samples = self._frontend.window_samples
        before = self.known
        heard = to_float(to_int16(waveform))
        for part in np.array_split(heard, max(1, math.ceil(len(heard) / samples))):
            share = self._gate.speech_share(part, self._frontend.sample_rate_hz)
            if share >= self._gate.min_share:
                window = np.zeros((1, samples), np.float32)
                window[0, : len(part)] = part
                self.known = self.known.added(*self._voices.sums(window))
        if self.known is before:
            return False
        self.known.write(self.path, self._frontend.mel_bands)
        return True

    def __str__(self) -> str:
        noun = "clip" if self.known.clips == 1 else "clips"
        return f"owner: {self.known.clips:.0f} {noun} known; to forget them, delete {self.path}"
