"""One person's voice in use: every answer takes what is known, every clip of speech adds to it."""

from pathlib import Path
from typing import Protocol

import numpy as np

from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.speaker.adaptation import Adaptation, learn_speech
from ser_kd.speaker.statistics import VoiceStatistics
from ser_kd.speaker.voice import Voice


class Frontend(Protocol):
    """What is needed of a student's front end."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...

    @property
    def mel_bands(self) -> dict[str, float]: ...


class VoiceLoop:
    """One speaker, whose voice is kept in a file.

    Args:
        path: The file; where there is none, nothing is known yet. Deleting it forgets.
        adaptation: The student's.
        frontend: The same.
        detector: Says what is speech; None = one with ``MIN_SPEECH_SHARE``.

    Attributes:
        voice: What is known so far.

    Raises:
        UserError: The file is damaged, or of another front end.
    """

    def __init__(
        self,
        path: Path,
        adaptation: Adaptation,
        frontend: Frontend,
        detector: VoiceActivityDetector | None = None,
    ) -> None:
        self.path = path
        self._adaptation, self._frontend, self._detector = adaptation, frontend, detector
        self.voice = Voice(VoiceStatistics(), frontend.mel_bands)
        if path.exists():
            known = Voice.load(path)
            known.check_bands(frontend.mel_bands, f"{path}: the voice there")
            self.voice = Voice(known.statistics, frontend.mel_bands)

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Class probabilities ``[windows, classes]``, with what is known so far."""
        voice = self.voice.as_array(self._adaptation.corpus)
        return self._adaptation.predict_windows(windows, voice)

    def learn(self, waveform: np.ndarray) -> bool:
        """Adds what is speech in a clip, and writes the file.

        Args:
            waveform: float32 ``[samples]`` in -1..1 at the student's rate, without padding.

        Returns:
            Whether there was speech.
        """
        before = self.voice.statistics
        known = learn_speech(before, waveform, self._adaptation, self._frontend, self._detector)
        if known is before:
            return False
        self.voice = Voice(known, self._frontend.mel_bands)
        self.voice.save(self.path)
        return True

    def __str__(self) -> str:
        noun = "clip" if self.voice.clips == 1 else "clips"
        return f"voice: {self.voice.clips:.0f} {noun} known; to forget them, delete {self.path}"
