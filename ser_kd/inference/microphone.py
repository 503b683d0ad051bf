"""A microphone as an iterator of chunks, through the package ``sounddevice``."""

import importlib
import queue
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import soxr

from ser_kd.errors import UserError

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


@dataclass
class Microphone:
    """A microphone as an iterator of chunks.

    Attributes:
        sounddevice: The package.
        device: Its number or a part of its name; None = the system's default.
        name: As the system names it.
        rate_hz: At which it is recorded.
        lost: How often the driver dropped samples, because nobody took them in time.
    """

    sounddevice: Any
    device: int | str | None
    name: str
    rate_hz: int
    lost: int = 0

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
        return cls(sounddevice, device, str(found["name"]), round(found["default_samplerate"]))

    def prefer_rate(self, rate_hz: int) -> None:
        """Records at another rate, where the device can."""
        try:
            self.sounddevice.check_input_settings(
                device=self.device, channels=1, dtype="float32", samplerate=rate_hz
            )
        except (ValueError, self.sounddevice.PortAudioError):
            return
        self.rate_hz = rate_hz

    def chunks(self) -> Generator[np.ndarray, None, None]:
        """Yields float32 ``[samples]`` at ``rate_hz``, for ever.

        Raises:
            UserError: The microphone cannot be opened, or it stops (unplugged, say).
        """
        # The driver's thread must not wait for the model: it only puts, this one takes.
        arrived: queue.Queue[np.ndarray | None] = queue.Queue()

        def take(samples: np.ndarray, frames: int, time: object, status: Any) -> None:
            if status.input_overflow:
                self.lost += 1
                if self.lost == 1:
                    print("warning: sound was lost: the machine is busy", file=sys.stderr)
            arrived.put(samples[:, 0].copy())

        try:
            with self.sounddevice.InputStream(
                samplerate=self.rate_hz,
                device=self.device,
                channels=1,
                dtype="float32",
                callback=take,
                finished_callback=lambda: arrived.put(None),
            ):
                while True:
                    try:
                        samples = arrived.get(timeout=_WAIT_SECONDS)
                    except queue.Empty:
                        continue
                    if samples is None:
                        raise UserError(f"{self.name} stopped; connect it and start again")
                    yield samples
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
