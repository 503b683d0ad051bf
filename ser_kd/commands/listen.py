"""Print the emotion of what the microphone records, twice a second; Ctrl-C ends."""

import argparse
import contextlib
import sys
from pathlib import Path

from ser_kd.commands.predict import add_voice_argument, load
from ser_kd.progress import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd listen``."""
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a .tflite or .keras file or a run's folder (default: the bundled student)",
    )
    parser.add_argument(
        "--device",
        type=lambda text: int(text) if text.isdecimal() else text,
        metavar="N",
        help="which microphone: its number or a part of its name (default: the system's)",
    )
    parser.add_argument("--list-devices", action="store_true", help="name the devices and stop")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    add_voice_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per update until Ctrl-C.

    Returns:
        0, after Ctrl-C as well.

    Raises:
        UserError: ``sounddevice``, PortAudio, a microphone or a model is missing, or the
            microphone stops.
    """
    from ser_kd.inference import streaming
    from ser_kd.inference.microphone import Microphone, device_names, resampler
    from ser_kd.inference.predictor import default_model, find_model

    if arguments.list_devices:
        say(device_names() or "no audio devices")
        return 0
    # Before the model, which may take seconds.
    microphone = Microphone.find(arguments.device)
    model = find_model(arguments.model) if arguments.model else default_model()
    predictor, loop = load(model, arguments.voice)
    if model != arguments.model:
        print(f"model: {model}", file=sys.stderr)
    frontend = predictor.frontend
    microphone.prefer_rate(frontend.sample_rate_hz)
    resample = resampler(microphone.rate_hz, frontend.sample_rate_hz)
    streamer = streaming.Streamer(
        predictor.predict_windows,
        predictor.labels,
        frontend,
        learn=loop.learn if loop else None,
    )
    if loop:
        print(loop, file=sys.stderr)
    print(
        f"listening to {microphone.name} at {microphone.rate_hz} Hz; Ctrl-C ends", file=sys.stderr
    )
    recorded_samples = 0
    try:
        with contextlib.closing(microphone.chunks()) as chunks:
            for samples in chunks:
                recorded_samples += len(samples)
                for update in streamer.push(resample(samples)):
                    say(streaming.line(update, predictor.labels, arguments.json))
    except KeyboardInterrupt:
        lost = f"; sound was lost {microphone.lost} times" if microphone.lost else ""
        seconds = recorded_samples / microphone.rate_hz
        if microphone.dropped_samples:
            dropped = microphone.dropped_samples / microphone.rate_hz
            lost += f"; {dropped:.1f} s were dropped: the model is slower than the microphone"
        print(f"\nstopped after {seconds:.1f} s{lost}", file=sys.stderr)
        if loop:
            print(loop, file=sys.stderr)
    return 0
