"""Convert a run's student to TensorFlow Lite and compare the files with it."""

import argparse
from pathlib import Path

from ser_kd.commands.checks import check_run
from ser_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd export``."""
    parser.add_argument("run_dir", type=Path, metavar="RUN", help="such as runs/crema_d")
    parser.add_argument("--force", action="store_true", help="convert again what is there")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="afterwards copy what users of the model need there",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the files into the run's ``export/`` and prints how they compare.

    Returns:
        0.

    Raises:
        UserError: There is no such run, it has no student, or a file differs too much.
    """
    check_run(arguments.run_dir)
    from ser_kd.export import limits, package
    from ser_kd.export.run import export_run
    from ser_kd.export.table import table
    from ser_kd.progress import never_silent, say
    from ser_kd.runs.folder import Run
    from ser_kd.runs.lock import only_writer

    run_dir, publish = arguments.run_dir, arguments.publish
    run = Run.open(run_dir)
    if not run.students:  # before the corpus is read, which may take minutes
        raise UserError(f"{run_dir} has no {run.student_path.name}: train first: ser-kd train")
    if publish and run.student_path not in run.students:
        raise UserError(
            f"--publish copies models of categories, and {run_dir} has none; "
            f"copy {run.export_dir} itself"
        )
    with only_writer(run.directory), never_silent():
        figures = export_run(run, run.data(), arguments.force)
    say(table(figures))
    say(f"files: {run.export_dir}")
    limits.require(figures, run.config.export, run.export_dir)  # before anything is published
    if publish:
        package.publish(run, publish)
        say(f"published: {publish}")
    return 0
