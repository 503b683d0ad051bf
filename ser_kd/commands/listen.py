"""Print the emotion of what the microphone hears, twice a second; Ctrl-C ends."""

import argparse
import contextlib
import importlib
import queue
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ser_kd.commands.predict import add_owner_argument
from ser_kd.errors import UserError
from ser_kd.inference import streaming
from ser_kd.inference.predictor import Predictor, default_model, load_for_owner
from ser_kd.inference.streaming import Streamer
from ser_kd.progress import say
from ser_kd.speaker.owner_loop import OwnerLoop

# Waiting for ever cannot be interrupted on Windows.
_WAIT_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``python -m ser_kd listen``."""
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a .tflite or .keras file (default: the one that comes with ser_kd)",
    )
    parser.add_argument(
        "--device",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="N",
        help="which microphone: its number or a part of its name (default: the system's)",
    )
    parser.add_argument("--list-devices", action="store_true", help="name the devices and stop")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    add_owner_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per update until Ctrl-C.

    Returns:
        0, after Ctrl-C as well.

    Raises:
        UserError: ``sounddevice``, PortAudio, a microphone or a model is missing, or the
            microphone stops.
    """
    sounddevice = _sounddevice()
    if arguments.list_devices:
        say(str(sounddevice.query_devices()) or "no audio devices")
        return 0
    # Before the model, which may take seconds.
    name, device_rate_hz = _find(sounddevice, arguments.device)
    model = arguments.model or default_model()
    owner: OwnerLoop | None = None
    if arguments.owner_statistics:
        predictor, owner = load_for_owner(model, arguments.owner_statistics)
    else:
        predictor = Predictor.load(model)
    if not arguments.model:
        print(f"model: {model}", file=sys.stderr)
    rate_hz = predictor.frontend.sample_rate_hz
    if not _can(sounddevice, arguments.device, rate_hz):
        rate_hz = device_rate_hz
    microphone = _Microphone(sounddevice, arguments.device, name, rate_hz)
    resample = _resampler(rate_hz, predictor.frontend.sample_rate_hz)
    streamer = Streamer(
        predictor.predict_windows,
        predictor.labels,
        predictor.frontend,
        learn=owner.learn if owner else None,
    )
    if owner:
        print(owner, file=sys.stderr)
    print(f"listening to {name} at {rate_hz} Hz; Ctrl-C ends", file=sys.stderr)
    heard_samples = 0
    try:
        with contextlib.closing(microphone.chunks()) as chunks:
            for samples in chunks:
                heard_samples += len(samples)
                for update in streamer.push(resample(samples)):
                    say(streaming.line(update, predictor.labels, arguments.json))
    except KeyboardInterrupt:
        lost = f"; sound was lost {microphone.lost} times" if microphone.lost else ""
        print(f"\nstopped after {heard_samples / rate_hz:.1f} s{lost}", file=sys.stderr)
        if owner:
            print(owner, file=sys.stderr)
    return 0


def _sounddevice() -> ModuleType:
    try:
        return importlib.import_module("sounddevice")
    except ImportError:
        raise UserError(
            "listening needs the package sounddevice: pip install -e '.[listen]' "
            "(or pip install sounddevice)"
        ) from None
    except OSError as error:  # PortAudio is loaded on import; wheels for Linux come without it
        raise UserError(
            f"sounddevice cannot load the PortAudio library ({error}); install it: "
            "apt install libportaudio2, dnf install portaudio, or brew install portaudio"
        ) from None


def _find(sounddevice: Any, device: int | str | None) -> tuple[str, int]:
    """Name and own rate of a microphone; of the system's default one without ``device``."""
    try:
        found = sounddevice.query_devices(device, "input")
    except (ValueError, sounddevice.PortAudioError) as error:
        if device is None:
            raise UserError(
                f"no microphone was found ({error}); connect one, or allow access to it, then "
                "see --list-devices"
            ) from None
        raise UserError(f"--device {device} is no microphone ({error}); see --list-devices") from (
            None
        )
    return str(found["name"]), round(found["default_samplerate"])


def _can(sounddevice: Any, device: int | str | None, rate_hz: int) -> bool:
    try:
        sounddevice.check_input_settings(
            device=device, channels=1, dtype="float32", samplerate=rate_hz
        )
    except (ValueError, sounddevice.PortAudioError):
        return False
    return True


def _resampler(from_hz: int, to_hz: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function of one chunk after the other; ``decode``'s resampler, but with a memory."""
    if from_hz == to_hz:
        return lambda samples: samples
    import soxr

    stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")
    return lambda samples: stream.resample_chunk(samples)


@dataclass
class _Microphone:
    """A microphone as an iterator of chunks.

    Attributes:
        lost: How often the driver dropped samples, because nobody took them in time.
    """

    sounddevice: Any
    device: int | str | None
    name: str
    rate_hz: int
    lost: int = 0

    def chunks(self) -> Generator[np.ndarray, None, None]:
        """Yields float32 ``[samples]`` at ``rate_hz``, for ever.

        Raises:
            UserError: The microphone cannot be opened, or it stops (unplugged, say).
        """
        # The driver's thread must not wait for the model: it only puts, this one takes.
        arrived: queue.Queue[np.ndarray | None] = queue.Queue()

        def hear(samples: np.ndarray, frames: int, time: object, status: Any) -> None:
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
                callback=hear,
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
