"""``ser-kd``: train, evaluate, use and time speech emotion models."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from ser_kd import __version__
from ser_kd.commands.cli import guarded, print_any_character
from ser_kd.errors import UserError

COMMANDS = {
    "train": "from a folder of speech to a phone-ready file",
    "data": "say what a corpus folder holds, or download CREMA-D into it",
    "teacher": "say what a checkpoint is, and whether it loads",
    "predict": "print the emotion of audio files",
    "listen": "print the emotion of what the microphone records",
    "evaluate": "score a model on a corpus and write a report",
    "export": "convert a run's student to TensorFlow Lite and compare the files with it",
    "bench": "time .tflite files on an Android phone or on this computer",
}
"""Each in a module of its name, which has ``add_arguments`` and ``run``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; what a user can mend is one line on stderr.

    Returns:
        The exit status.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    print_any_character()
    if given[:1] == ["bench"]:  # has flags of its own behind --, and needs nothing but Python
        status: int = importlib.import_module("ser_kd.commands.bench").main(given[1:])
        return status
    return guarded(lambda: _run(given))


def _run(given: Sequence[str]) -> int:
    if not given or given[0] not in COMMANDS:
        _overview().parse_args(given)  # prints help or version, or says what is wrong
        raise UserError(f"the command comes first: ser-kd {' | '.join(COMMANDS)}")
    module = importlib.import_module(f"ser_kd.commands.{given[0]}")
    parser = argparse.ArgumentParser(
        prog=f"ser-kd {given[0]}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    # Intermixed: an option may also stand between two files.
    status: int = module.run(parser.parse_intermixed_args(given[1:]))
    return status


def _overview() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ser-kd", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def run_alone(name: str, arguments: Sequence[str] | None = None) -> int:
    """Runs one command with the arguments of the process, for the doors of a checkout."""
    return main([name, *(sys.argv[1:] if arguments is None else arguments)])
