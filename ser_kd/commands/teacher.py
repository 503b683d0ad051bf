"""Say what a checkpoint is, and whether it loads: ``ser-kd teacher inspect CHECKPOINT``."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd teacher``."""
    parser.add_argument(
        "action", choices=["inspect"], help="say what a checkpoint is, and whether it loads"
    )
    parser.add_argument(
        "checkpoint",
        help="a folder, or a name on the hub such as facebook/wav2vec2-base (name@revision)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a report of the checkpoint.

    Returns:
        0, or 2 where its weights do not load.

    Raises:
        UserError: It is not found, or its architecture cannot be built.
    """
    from ser_kd.encoder.inspect import inspect_checkpoint

    report = inspect_checkpoint(arguments.checkpoint)
    print(report)
    return 2 if report.error else 0
