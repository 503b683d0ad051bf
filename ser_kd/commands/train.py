"""From a folder of speech to a phone-ready file.

ser-kd train                                                  the demo: no download
ser-kd train --recipe crema_d_cpu --data-dir ~/CREMA-D        real speech
"""

import argparse
import json
from pathlib import Path

from ser_kd.config import Config, load_config, recipe_names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd train``."""
    parser.add_argument(
        "--recipe",
        default="demo",
        metavar="NAME|FILE",
        help=f"a shipped recipe ({', '.join(recipe_names())}) or a .toml file; default: demo",
    )
    parser.add_argument("--data-dir", help="the corpus's folder")
    parser.add_argument("--metadata-dir", help="the folder of the corpus's CSV files")
    parser.add_argument("--name", help="of the model, on its card; default: the recipe's")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<name>")
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
    return _train(_config(arguments), arguments.run_dir)


def _config(parsed: argparse.Namespace) -> Config:
    overrides = list(parsed.set)
    for key, value in (
        ("corpus.data_dir", parsed.data_dir),
        ("corpus.metadata_dir", parsed.metadata_dir),
        ("name", parsed.name),
    ):
        if value is not None:
            overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    if parsed.seed is not None:
        overrides.append(f"seed={parsed.seed}")
    return load_config(parsed.recipe, overrides)


def _train(config: Config, run_dir: Path | None) -> int:
    # Late: a wrong argument should not wait for TensorFlow.
    from ser_kd.pipeline.run import train_run

    train_run(config, run_dir)
    return 0
