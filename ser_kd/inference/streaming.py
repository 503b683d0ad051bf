"""A stream of samples becomes a stream of answers: windows, voice activity, smoothing.

The reference for an app: no device, no file, no clock, and every answer depends on the samples
that have come so far, not on how they were cut into chunks.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ser_kd.audio.decoding import to_float, to_int16
from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.corpora.emotions import emotion
from ser_kd.errors import UserError

_FIRST_SECONDS = 1.0


class Frontend(Protocol):
    """What is needed of ``ser_kd.students.frontend.Frontend``."""

    @property
    def sample_rate_hz(self) -> int: ...

    @property
    def window_samples(self) -> int: ...


@dataclass(frozen=True)
class Update:
    """The prediction at one moment.

    Attributes:
        time_seconds: End of the window, counted from the start of the stream.
        label: The likeliest class; None = no speech.
        probs: float32 ``[classes]``, smoothed; None without speech.
        speech_share: Share of the window's audio that is speech, 0 to 1.
    """

    time_seconds: float
    label: str | None
    probs: np.ndarray | None
    speech_share: float


class Streamer:
    """Windows of the latest audio, one every ``hop_seconds``.

    A window is the last ``frontend.window_samples`` samples. As long as fewer have come, they
    stand at its beginning and zeros follow, just as in evaluation; the first update waits for 1 s
    of audio (or a window, if that is shorter). Without speech in the window the model is not
    asked.

    Probabilities are smoothed over time: ``exp(-elapsed / smoothing_seconds)`` of the previous
    update's stay, the rest is the window's own. An update without speech forgets the past. A
    label may thus outlive the speech by almost a window.

    Args:
        predict_windows: float32 ``[1, window_samples]`` -> probabilities ``[1, classes]``, such as
            ``Predictor.predict_windows``.
        labels: Class names, in the order of the probabilities.
        frontend: The model's rate and window.
        hop_seconds: Distance of the updates, above 0.
        smoothing_seconds: Time constant; 0 = no smoothing.
        detector: Says what speech is.
        learn: Is given float32 ``[samples]``, up to a window of them, after the answer for a window
            with speech, and says whether it could use them; what it used it never hears again
            (``VoiceLoop.learn``).

    Raises:
        ValueError: A time is out of range.
    """

    def __init__(
        self,
        predict_windows: Callable[[np.ndarray], np.ndarray],
        labels: tuple[str, ...],
        frontend: Frontend,
        hop_seconds: float = 0.5,
        smoothing_seconds: float = 1.0,
        detector: VoiceActivityDetector | None = None,
        learn: Callable[[np.ndarray], bool] | None = None,
    ) -> None:
        self._rate_hz = frontend.sample_rate_hz
        self._window_samples = frontend.window_samples
        if not 1 / self._rate_hz <= hop_seconds < math.inf:
            raise ValueError(f"hop_seconds = {hop_seconds}: at least one sample is needed")
        if not 0 <= smoothing_seconds < math.inf:
            raise ValueError(f"smoothing_seconds = {smoothing_seconds}: 0 or more is needed")
        self._predict_windows, self._labels = predict_windows, labels
        self._hop_samples = round(hop_seconds * self._rate_hz)
        self._first_samples = min(round(_FIRST_SECONDS * self._rate_hz), self._window_samples)
        self._smoothing_seconds = smoothing_seconds
        self._detector = detector or VoiceActivityDetector()
        self._learn = learn
        self._learnt_samples = 0  # of the stream; what came before is not to be learnt from again
        self._recent = np.zeros(0, np.float32)  # the last window, up to the last hop
        self._parts: list[np.ndarray] = []  # what came after it
        self._received_samples = 0
        self._update_samples = 0  # of the last update
        self._probs: np.ndarray | None = None

    def push(self, samples: np.ndarray) -> list[Update]:
        """Takes more samples.

        Args:
            samples: float32 ``[samples]`` in -1..1 at the model's rate, as many as there are.

        Returns:
            An update for every hop that is now complete, oldest first.

        Raises:
            ValueError: Not floating-point numbers ``[samples]``.
            UserError: There are samples that are not finite numbers.
        """
        samples = np.asarray(samples)
        if samples.ndim != 1 or samples.dtype.kind != "f":
            raise ValueError(
                f"{samples.dtype} {list(samples.shape)}: float32 [samples] in -1..1 is needed"
            )
        if not np.isfinite(samples).all():
            raise UserError("the stream holds samples that are not finite numbers")
        # 16 bits, as in evaluation. The result is a copy: callers may reuse their buffer.
        samples = to_float(to_int16(samples))
        updates = []
        while len(samples):
            missing = self._hop_samples - self._received_samples % self._hop_samples
            part, samples = samples[:missing], samples[missing:]
            self._parts.append(part)
            self._received_samples += len(part)
            if len(part) == missing:
                self._collect()
                if self._received_samples >= self._first_samples:
                    updates.append(self._update())
        return updates

    def finish(self) -> list[Update]:
        """Ends the stream.

        Returns:
            One last update, for the window that ends with the stream; none if the last update was
            for that window already, or if nothing came.
        """
        if self._received_samples == self._update_samples:
            return []
        self._collect()
        return [self._update(last=True)]

    def _collect(self) -> None:
        """Moves what came since the last hop into the latest window."""
        self._recent = np.concatenate([self._recent, *self._parts])[-self._window_samples :]
        self._parts = []

    def _update(self, last: bool = False) -> Update:
        elapsed_seconds = (self._received_samples - self._update_samples) / self._rate_hz
        self._update_samples = self._received_samples
        time_seconds = self._received_samples / self._rate_hz
        share = self._detector.speech_share(self._recent, self._rate_hz)
        if share < self._detector.min_share:
            self._probs = None
            return Update(time_seconds, None, None, share)
        window = np.zeros((1, self._window_samples), np.float32)
        window[0, : len(self._recent)] = self._recent
        probs = self._predict_windows(window)[0]
        if self._probs is not None and self._smoothing_seconds:
            kept = math.exp(-elapsed_seconds / self._smoothing_seconds)
            probs = kept * self._probs + (1 - kept) * probs
        self._probs = probs.astype(np.float32)
        self._let_learn(last)
        return Update(time_seconds, self._labels[int(probs.argmax())], self._probs.copy(), share)

    def _let_learn(self, last: bool) -> None:
        """Offers what is new once it fills a window, or at the end of the stream."""
        new = min(self._received_samples - self._learnt_samples, self._window_samples)
        enough = self._first_samples if last else self._window_samples
        if self._learn and new >= enough and self._learn(self._recent[-new:]):
            self._learnt_samples = self._received_samples


def line(update: Update, labels: tuple[str, ...], as_json: bool = False, file: str = "") -> str:
    """An update as one line of text or JSON; ``file`` names where it comes from."""
    names: dict[str, float] | None = None
    if update.probs is not None:
        names = {name: round(float(p), 4) for name, p in zip(labels, update.probs, strict=True)}
    label = update.label
    if as_json:
        record: dict[str, Any] = {
            **({"file": file} if file else {}),
            "time_seconds": round(update.time_seconds, 3),
            "label": label,
            "probability": names[label] if names and label else None,
            "probabilities": names,
            "speech_share": round(update.speech_share, 3),
        }
        return json.dumps(record, ensure_ascii=False)
    start = f"{file}: " * bool(file) + f"{update.time_seconds:6.1f} s  "
    if not names or not label:
        return f"{start}no speech"
    rest = "  ".join(f"{name} {p:.2f}" for name, p in names.items())
    return f"{start}{emotion(label)} {names[label]:.2f}   [{rest}]"
