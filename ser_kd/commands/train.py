"""From a folder of speech to a phone-ready file.

ser-kd train                                                  the demo: no download
ser-kd train my_clips/                                        your own clips, 50 or more
ser-kd train --recipe crema_d_cpu --data-dir ~/CREMA-D        real speech
"""

import argparse
import json
from pathlib import Path

from ser_kd.commands.checks import check_corpus, check_run_dir
from ser_kd.config import Config, load_config, recipe_names
from ser_kd.errors import UserError
from ser_kd.progress import never_silent
from ser_kd.students.weights_file import require_weights_file

_OWN_FOLDER = "own_folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd train``."""
    parser.add_argument(
        "folder",
        nargs="?",
        help="your own clips, <emotion>/<speaker>/x.wav or a CSV; the same as --data-dir",
    )
    parser.add_argument(
        "--recipe",
        metavar="NAME|FILE",
        help=f"a shipped recipe ({', '.join(recipe_names())}) or a .toml file; default: demo, or "
        f"{_OWN_FOLDER} where a folder is given",
    )
    parser.add_argument("--data-dir", help="the corpus's folder")
    parser.add_argument("--metadata-dir", help="the folder of the corpus's CSV files")
    parser.add_argument("--name", help="of the model, on its card; default: the recipe's")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>")
    parser.add_argument("--epochs", type=int, help="of the student; the same as --set fit.epochs=N")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"with {_OWN_FOLDER}: a new head alone, no fine-tuning; a minute",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="say what was read, what would be done and how long it takes; nothing is trained",
    )
    parser.add_argument("--seed", type=int, help="of weights, order, augmentation; default: 0")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="changes a setting of the recipe; may be repeated",
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains, exports and scores; a run that was interrupted goes on.

    Returns:
        0.

    Raises:
        UserError: The recipe or a setting is wrong, the corpus or a teacher cannot be used, or an
            exported file is too far from the student.
    """
    config = _config(arguments)
    check_corpus(config.corpus)
    if config.student.initial_weights:
        require_weights_file(Path(config.student.initial_weights).expanduser())
    check_run_dir(arguments.run_dir)
    # Late: a wrong argument should not wait for TensorFlow.
    if arguments.dry_run:
        from ser_kd.pipeline.dry_run import dry_run

        with never_silent():
            dry_run(config, arguments.run_dir)
        return 0
    from ser_kd.pipeline.run import train_run

    with never_silent():
        train_run(config, arguments.run_dir)
    return 0


def _config(parsed: argparse.Namespace) -> Config:
    if parsed.folder is not None and parsed.data_dir is not None:
        raise UserError(f"two folders, {parsed.folder} and --data-dir {parsed.data_dir}: give one")
    folder = parsed.folder if parsed.folder is not None else parsed.data_dir
    recipe = parsed.recipe or ("demo" if parsed.folder is None else _OWN_FOLDER)
    name = parsed.name
    if name is None and recipe == _OWN_FOLDER and folder:
        name = _name_of(Path(folder))
    overrides = list(parsed.set)
    for key, value in (
        ("corpus.data_dir", folder),
        ("corpus.metadata_dir", parsed.metadata_dir),
        ("name", name),
    ):
        if value is not None:
            overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    for key, number in (("seed", parsed.seed), ("fit.epochs", parsed.epochs)):
        if number is not None:
            overrides.append(f"{key}={number}")
    if parsed.quick:
        if recipe != _OWN_FOLDER:
            raise UserError(
                f"--quick is for your own clips, recipe {_OWN_FOLDER}; for {recipe} "
                "give fewer --epochs"
            )
        overrides.append("student.transfer=head")
    return load_config(recipe, overrides)


def _name_of(folder: Path) -> str:
    """What a run on this folder is called: as the folder, or as the CSV."""
    path = folder.expanduser().resolve()
    name = path.stem if path.suffix.lower() == ".csv" else path.name
    return "".join("_" if sign in '/\\:"$\n' else sign for sign in name).strip() or "own"
