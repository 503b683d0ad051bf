"""Print the emotion of audio files: any format, any rate, any length."""

import argparse
import glob
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd.errors import UserError
from ser_kd.progress import say

if TYPE_CHECKING:
    from ser_kd.inference.predictor import Predictor
    from ser_kd.speaker.voice_loop import VoiceLoop


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd predict``."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="[MODEL] FILE",
        help="audio files, folders of them, patterns such as '*.wav', or - for standard input; a "
        ".tflite or .keras file or a run's folder, first or last, is the model (default: the "
        "bundled student)",
    )
    parser.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="a .tflite or .keras file or a run's folder; every other path is then audio",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="take each file as a microphone's sound: a prediction every 0.5 s, or 'no speech'",
    )
    parser.add_argument(
        "--timeline", action="store_true", help="a prediction per window of each file, every second"
    )
    parser.add_argument(
        "--sample", action="store_true", help="predict the bundled clip, a synthetic voice"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one JSON object per line")
    form.add_argument("--csv", action="store_true", help="a CSV table, its first line the columns")
    add_voice_argument(parser)


def add_voice_argument(parser: argparse.ArgumentParser) -> None:
    """``--voice FILE``, for every command that listens to one person."""
    parser.add_argument(
        "--voice",
        "--owner-statistics",
        type=Path,
        metavar="FILE",
        help="adapt to the voice of the one person who speaks: each prediction takes what FILE "
        "knows, and the clip's speech is then added to FILE, which holds two numbers per mel band "
        "and no sound; it is made if missing, and deleting it forgets the voice",
    )


def load(model: Path, voice: Path | None) -> "tuple[Predictor, VoiceLoop | None]":
    """A model, and what lets it learn a voice.

    Raises:
        UserError: The model or the voice's file cannot be used.
    """
    from ser_kd.inference.predictor import Predictor, load_with_voice

    return load_with_voice(model, voice) if voice else (Predictor.load(model), None)


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per file, or per update; files that cannot be read are named on stderr.

    Returns:
        0, or 1 if a file could not be read.

    Raises:
        UserError: There is no model, or no audio file is given.
    """
    from ser_kd.audio.decoding import AudioError
    from ser_kd.commands.prediction_lines import Form, Lines
    from ser_kd.inference.predictor import default_model, find_model, sample_clip

    if arguments.stream and (arguments.timeline or arguments.csv):
        raise UserError("--stream prints text or --json; without it there are --timeline and --csv")
    paths = [Path(path) for path in arguments.paths]
    if arguments.sample:
        paths.append(sample_clip())
    if not paths:
        raise UserError("which audio files? Give them, or try the bundled clip: --sample")
    given = arguments.model
    if given is None:
        place = next((at for at in (0, -1) if _names_model(paths[at])), None)
        given = None if place is None else paths.pop(place)
    if not paths:
        if given is not None and _is_empty_folder(given):
            raise UserError(f"{given} holds neither audio nor a model")
        raise UserError(f"which audio files? Give them beside the model {given}")
    model = find_model(given) if given else default_model()
    if not model.is_file():
        raise UserError(f"{model}: no such model")
    paths = _audio(paths)
    predictor, loop = load(model, arguments.voice)
    if model != given:
        print(f"model: {model}", file=sys.stderr)
    if loop:
        print(loop, file=sys.stderr)
    form: Form = "json" if arguments.json else "csv" if arguments.csv else "text"
    lines = Lines(form, predictor.labels, arguments.timeline)
    if lines.heading and not arguments.stream:
        say(lines.heading)
    failed = 0
    for path in paths:
        try:
            waveform = _decode(path, predictor.frontend.sample_rate_hz)
        except AudioError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        if arguments.stream:
            for line in _stream(predictor, waveform, loop, path, arguments.json):
                say(line)
            continue
        prediction = predictor.predict(waveform)
        if loop:
            loop.learn(waveform)
        if prediction.silent:
            print(f"warning: {path} is silent: its label means nothing", file=sys.stderr)
        if arguments.timeline:
            for item in predictor.timeline(waveform):
                say(lines.line(path, item.prediction, item.speech, item.start_seconds))
        else:
            say(lines.line(path, prediction, predictor.has_speech(waveform)))
    if loop:
        print(loop, file=sys.stderr)
    if failed:
        print(f"{failed} of {len(paths)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _names_model(path: Path) -> bool:
    """Whether a path is a model's: a folder is one if it holds a model, or no audio either."""
    from ser_kd.inference.predictor import STUDENTS

    if not path.is_dir():
        return path.suffix in STUDENTS
    return _holds_model(path) or not _holds_audio(path)


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not _holds_model(path) and not _holds_audio(path)


def _holds_model(folder: Path) -> bool:
    from ser_kd.inference.predictor import find_model

    try:
        find_model(folder)
    except UserError:
        return False
    return True


def _holds_audio(folder: Path) -> bool:
    from ser_kd.corpora.listing import audio_files

    try:
        audio_files(folder)
    except UserError:
        return False
    return True


def _audio(paths: list[Path]) -> list[Path]:
    """The files that paths name: folders hold them, patterns match them.

    Raises:
        UserError: A folder holds no audio.
    """
    from ser_kd.corpora.listing import audio_files

    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += audio_files(path)
        elif path.exists() or not glob.has_magic(str(path)):
            found.append(path)
        else:  # quoted, or a shell that leaves patterns alone; without a match it is named
            # Path.glob takes no absolute pattern.
            matches = sorted(glob.glob(str(path.expanduser()), recursive=True))  # noqa: PTH207
            found += map(Path, matches) if matches else [path]
    return found


def _decode(path: Path, rate_hz: int) -> Any:
    """A file's samples, or those of standard input for ``-``."""
    from ser_kd.audio.decoding import AudioError, decode

    if str(path) != "-":
        return decode(path, rate_hz)
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as folder:
        copy = Path(folder, "stdin")
        copy.write_bytes(sys.stdin.buffer.read())
        try:
            return decode(copy, rate_hz)
        except AudioError as error:
            raise AudioError(str(error).replace(str(copy), "standard input")) from None


def _stream(
    predictor: "Predictor", waveform: Any, loop: "VoiceLoop | None", path: Path, as_json: bool
) -> Any:
    """The lines of a file that is taken as a microphone's sound, in chunks of a second."""
    from ser_kd.inference import streaming

    labels, second = predictor.labels, predictor.frontend.sample_rate_hz
    streamer = streaming.Streamer(
        predictor.predict_windows, labels, predictor.frontend, learn=loop.learn if loop else None
    )
    for start in range(0, len(waveform), second):
        for update in streamer.push(waveform[start : start + second]):
            yield streaming.line(update, labels, as_json, str(path))
    for update in streamer.finish():
        yield streaming.line(update, labels, as_json, str(path))
