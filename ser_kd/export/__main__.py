"""Converts a run's student to TensorFlow Lite and compares the files with it."""

import argparse
import sys
from pathlib import Path

from ser_kd.commands.cli import guarded
from ser_kd.errors import UserError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m export", description=__doc__)
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="such as runs/crema_d")
    parser.add_argument("--force", action="store_true", help="convert again what is there")
    parser.add_argument(
        "--publish",
        type=Path,
        metavar="DIR",
        help="afterwards copy what users of the model need there, such as ser_kd/pretrained",
    )
    parsed = parser.parse_args(arguments)
    return guarded(lambda: _export(parsed.run_dir, parsed.force, parsed.publish))


def _export(run_dir: Path, force: bool, publish: Path | None) -> int:
    # Here, so that --help is quick and guarded() has silenced TensorFlow's start-up messages.
    from ser_kd import export
    from ser_kd.export import package
    from ser_kd.progress import say
    from ser_kd.runs.folder import Run

    run = Run.open(run_dir)
    if not run.students:  # before the corpus is read, which may take minutes
        raise UserError(f"{run_dir} has no {run.student_path.name}: train first, python train.py")
    if publish and run.student_path not in run.students:
        raise UserError(
            f"--publish copies models of categories, and {run_dir} has none; "
            f"copy {run.export_dir} itself"
        )
    figures = export.export_run(run, run.data(), force)
    say(export.table(figures))
    say(f"files: {run.export_dir}")
    if publish:
        package.publish(run, publish)
        say(f"published: {publish}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
