"""Print the emotion of audio files: any format, any rate, any length."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd.audio.decoding import AudioError, decode
from ser_kd.errors import UserError
from ser_kd.inference import streaming
from ser_kd.inference.streaming import Streamer
from ser_kd.progress import say
from ser_kd.speaker.owner_loop import OwnerLoop

# TensorFlow (5 s) is imported where it is used, so that ``ser-kd --help`` is quick.
if TYPE_CHECKING:
    pass
from ser_kd.inference.predictor import (
    _MODEL_SUFFIXES,
    Prediction,
    Predictor,
    default_model,
    load_for_owner,
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``python -m ser_kd predict``."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[MODEL] FILE",
        help="audio files; one that ends in .tflite or .keras, first or last, is the model "
        "(default: the one that comes with ser_kd)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="hear each file as a microphone would: an answer every 0.5 s, or 'no speech'",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    add_owner_argument(parser)


def add_owner_argument(parser: argparse.ArgumentParser) -> None:
    """``--owner-statistics FILE``, for every command that hears one person."""
    parser.add_argument(
        "--owner-statistics",
        type=Path,
        metavar="FILE",
        help="learn the voice of the one person who speaks: each clip is heard with what FILE "
        "knows, and its speech is then added to FILE, which holds two numbers per mel band and no "
        "sound; it is made if missing, and deleting it forgets the voice",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per file, or per update; files that cannot be read are named on stderr.

    Returns:
        0, or 1 if a file could not be read.

    Raises:
        UserError: There is no model, or no audio file is given.
    """
    paths = [Path(path) for path in arguments.paths]
    place = next((at for at in (0, -1) if paths[at].suffix in _MODEL_SUFFIXES), None)
    given = None if place is None else paths.pop(place)
    if not paths:
        raise UserError(f"which audio files? Give them beside the model {given}")
    model = given or default_model()
    owner: OwnerLoop | None = None
    if arguments.owner_statistics:
        predictor, owner = load_for_owner(model, arguments.owner_statistics)
    else:
        predictor = Predictor.load(model)
    if not given:
        print(f"model: {model}", file=sys.stderr)
    if owner:
        print(owner, file=sys.stderr)
    failed = 0
    for path in paths:
        try:
            if arguments.stream:
                _stream(predictor, path, arguments.json, owner)
                continue
            waveform = decode(path, predictor.frontend.sample_rate_hz)
            prediction = predictor.hear(waveform)
            if owner:
                owner.learn(waveform)
        except AudioError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        if prediction.silent:
            print(f"warning: {path} is silent: its label means nothing", file=sys.stderr)
        say(_line(path, prediction, predictor.labels, arguments.json))
    if owner:
        print(owner, file=sys.stderr)
    if failed:
        print(f"{failed} of {len(paths)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _stream(predictor: Predictor, path: Path, as_json: bool, owner: OwnerLoop | None) -> None:
    frontend = predictor.frontend
    waveform = decode(path, frontend.sample_rate_hz)
    learn = owner.learn if owner else None
    streamer = Streamer(predictor.predict_windows, predictor.labels, frontend, learn=learn)
    for start in range(0, len(waveform), frontend.sample_rate_hz):
        for update in streamer.push(waveform[start : start + frontend.sample_rate_hz]):
            say(streaming.line(update, predictor.labels, as_json, str(path)))
    for update in streamer.finish():
        say(streaming.line(update, predictor.labels, as_json, str(path)))


def _line(path: Path, prediction: Prediction, labels: tuple[str, ...], as_json: bool) -> str:
    probs = {name: round(float(p), 4) for name, p in zip(labels, prediction.probs, strict=True)}
    label = max(probs, key=probs.__getitem__)
    if as_json:
        record: dict[str, Any] = {
            "file": str(path),
            "label": label,
            "probability": probs[label],
            "probabilities": probs,
            "seconds": round(prediction.seconds, 3),
            "silent": prediction.silent,
        }
        return json.dumps(record, ensure_ascii=False)
    rest = "  ".join(f"{name} {p:.2f}" for name, p in probs.items())
    return f"{path}: {label} {probs[label]:.2f}{' (silent)' * prediction.silent}   [{rest}]"
