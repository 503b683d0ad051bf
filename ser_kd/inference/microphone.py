"""A microphone as an iterator of chunks, through the package ``sounddevice``."""

import importlib
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from ser_kd.audio.channels import ChannelPowers, mixed
from ser_kd.errors import UserError

_LONGEST_WAIT_SECONDS = 2.0
"""So much sound may wait for the model; then the oldest is dropped."""
_MEMORY_SECONDS = 10.0
"""Over which the channels' powers are compared."""
_MOST_CHANNELS = 8
# Waiting for ever cannot be interrupted on Windows.
_WAIT_SECONDS = 0.5


def device_names() -> str:
    """The table of audio devices, as the system names them; empty where there are none.

    Raises:
        UserError: ``sounddevice`` or PortAudio is missing.
    """
    return str(_sounddevice().query_devices())


def resampler(from_hz: int, to_hz: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function of one chunk after the other; ``decode``'s resampler, but with a memory."""
    if from_hz == to_hz:
        return lambda samples: samples
    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    return lambda samples: stream.resample_chunk(samples)


class Backlog:
    """Sound that waits for the model: what comes beyond ``seconds`` drops the oldest.

    The driver's thread puts and never waits, another one takes.

    Attributes:
        dropped_samples: How many were dropped.
    """

    def __init__(self, seconds: float, rate_hz: float) -> None:
        self.dropped_samples = 0
        self._most, self._waiting = round(seconds * rate_hz), 0
        self._chunks: deque[np.ndarray] = deque()
        self._changed, self._ended = threading.Condition(), False

    def put(self, samples: np.ndarray) -> None:
        """Adds the newest sound, ``[samples, ...]``."""
        with self._changed:
            self._chunks.append(samples)
            self._waiting += len(samples)
            while self._waiting > self._most and len(self._chunks) > 1:
                oldest = self._chunks.popleft()
                self._waiting -= len(oldest)
                if not self.dropped_samples:
                    print(
                        "warning: sound is dropped: the model is slower than the microphone",
                        file=sys.stderr,
                    )
                self.dropped_samples += len(oldest)
            self._changed.notify()

    def end(self) -> None:
        """Nothing comes any more."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self, active: Callable[[], bool] = lambda: True) -> np.ndarray | None:
        """The oldest sound; None at the end. Waits for it.

        Args:
            active: Whether more may come; asked while nothing comes, for not every driver says
                when a device is gone.
        """
        with self._changed:
            while not self._chunks:
                if self._ended or not active():
                    return None
                self._changed.wait(_WAIT_SECONDS)
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
            return chunk


@dataclass
class Microphone:
    """A microphone as an iterator of chunks.

    All of its channels are recorded: which of them is dead shows in the sound only.

    Attributes:
        sounddevice: The package.
        device: Its number or a part of its name; None = the system's default.
        name: As the system names it.
        rate_hz: At which it is recorded.
        channels: How many are recorded.
        lost: How often the driver dropped samples, because nobody took them in time.
        dropped_samples: How many were dropped because the model was slower.
    """

    sounddevice: Any
    device: int | str | None
    name: str
    rate_hz: int
    channels: int = 1
    lost: int = 0
    dropped_samples: int = 0

    @classmethod
    def find(cls, device: int | str | None) -> "Microphone":
        """A microphone at its own rate; the system's default one without ``device``.

        Raises:
            UserError: There is none, or ``sounddevice`` or PortAudio is missing.
        """
        sounddevice = _sounddevice()
        try:
            found = sounddevice.query_devices(device, "input")
        except (ValueError, sounddevice.PortAudioError) as error:
            if device is None:
                raise UserError(
                    f"no microphone was found ({error}); connect one, or allow access to it, then "
                    "see --list-devices"
                ) from None
            raise UserError(
                f"--device {device} is no microphone ({error}); see --list-devices"
            ) from None
        channels = max(1, int(found["max_input_channels"]))
        rate_hz = round(found["default_samplerate"])
        return cls(sounddevice, device, str(found["name"]), rate_hz, channels)

    def prefer_rate(self, rate_hz: int) -> None:
        """Records at another rate and with as many channels as the device can."""
        most = self.channels
        for rate in (rate_hz, self.rate_hz):
            for channels in (min(most, _MOST_CHANNELS), min(most, 2), 1, most):
                if self._can(rate, channels):
                    self.rate_hz, self.channels = rate, channels
                    return

    def _can(self, rate_hz: int, channels: int) -> bool:
        try:
            self.sounddevice.check_input_settings(
                device=self.device, channels=channels, dtype="float32", samplerate=rate_hz
            )
        except (ValueError, self.sounddevice.PortAudioError):
            return False
        return True

    def chunks(self) -> Generator[np.ndarray, None, None]:
        """Yields float32 ``[samples]`` at ``rate_hz``, for ever.

        Raises:
            UserError: The microphone cannot be opened, or it stops (unplugged, say).
        """
        backlog = Backlog(_LONGEST_WAIT_SECONDS, self.rate_hz)
        powers = ChannelPowers(_MEMORY_SECONDS, self.rate_hz)

        def take(samples: np.ndarray, frames: int, time: object, status: Any) -> None:
            if status.input_overflow:
                self.lost += 1
                if self.lost == 1:
                    print("warning: sound was lost: the machine is busy", file=sys.stderr)
            backlog.put(samples.copy())

        try:
            with self.sounddevice.InputStream(
                samplerate=self.rate_hz,
                device=self.device,
                channels=self.channels,
                dtype="float32",
                callback=take,
                finished_callback=backlog.end,
            ) as stream:
                while (samples := backlog.take(lambda: bool(stream.active))) is not None:
                    self.dropped_samples = backlog.dropped_samples
                    powers.add(samples)
                    yield mixed(samples, powers.chosen())
                raise UserError(f"{self.name} stopped; connect it and start again")
        except self.sounddevice.PortAudioError as error:
            raise UserError(
                f"{self.name} cannot be recorded ({error}); is it used by another program? "
                "see --list-devices"
            ) from None


def _sounddevice() -> ModuleType:
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise UserError(
            "listening needs the package sounddevice: pip install 'ser-kd[listen]'"
        ) from None
    except OSError as error:  # PortAudio is loaded on import; wheels for Linux come without it
        raise UserError(
            f"sounddevice cannot load the PortAudio library ({error}); install it: "
            "apt install libportaudio2, dnf install portaudio, or brew install portaudio"
        ) from None
