"""``python -m ser_kd`` (also installed as ``ser-kd``): look at data and checkpoints, predict."""

import argparse
import sys

from ser_kd import __version__
from ser_kd.commands import data as inspect_corpus
from ser_kd.commands import evaluate, listen, predict
from ser_kd.commands import teacher as inspect_checkpoint
from ser_kd.commands.cli import guarded


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ser-kd", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module, summary in (
        ("data", inspect_corpus, "say what a corpus folder holds, or download CREMA-D into it"),
        (
            "teacher",
            inspect_checkpoint,
            "say what a checkpoint is, and whether it loads",
        ),
        ("predict", predict, "print the emotion of audio files"),
        ("listen", listen, "print the emotion of what the microphone hears"),
        ("evaluate", evaluate, "score a model on a corpus and write a report"),
    ):
        command = commands.add_parser(name, help=summary, description=module.__doc__)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    return guarded(lambda: parsed.run(parsed))


if __name__ == "__main__":
    sys.exit(main())
