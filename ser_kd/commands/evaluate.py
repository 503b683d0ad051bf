"""Score a model on a corpus, look for its weak points, and write a report."""

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ser_kd.commands.arguments import label_map
from ser_kd.commands.checks import check_corpus
from ser_kd.config import CorpusConfig
from ser_kd.corpora import find_reader
from ser_kd.errors import UserError
from ser_kd.progress import never_silent, say

if TYPE_CHECKING:
    from ser_kd.evaluation.clips import Choice


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd evaluate``."""
    from ser_kd.corpora import CORPORA
    from ser_kd.evaluation.clips import SPLITS

    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a .tflite or .keras file or a run's folder (default: the bundled student)",
    )
    parser.add_argument(
        "--corpus", metavar="NAME", help=f"{', '.join(CORPORA)} (default: that of the model's run)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where its clips are")
    parser.add_argument("--metadata-dir", metavar="DIR", help="where its tables are (CREMA-D)")
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        help=f"{', '.join(SPLITS)} (default: test if its clips are there, else validation; "
        "of clips that the model's run does not know: all)",
    )
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--label-map",
        metavar="LABEL=CLASS",
        help="which of the model's classes a label of the corpus stands for, such as glad=HAP; an "
        "empty class leaves it out; names of the same emotion (happy, joy) are known",
        **several,
    )
    parser.add_argument(
        "--cross",
        metavar="NAME=DIR",
        help="other corpora, all of their clips, such as emodb=EmoDB/wav",
        **several,
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="TARGETS.npz",
        help="stored predictions of teachers (those of the model's run are found)",
        **several,
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="MODEL",
        help="models to compare with (the float student of the model's run is found)",
        **several,
    )
    parser.add_argument(
        "--no-robustness", action="store_true", help="only the clips as they are: much quicker"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="(default: evaluation/ beside MODEL)"
    )
    parser.add_argument("--json", action="store_true", help="print eval.json instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Writes the evaluation (``eval.json``, ``resources.json``, a CSV and a page), prints a table.

    Returns:
        0.

    Raises:
        UserError: There is no model or corpus, an argument is wrong, or no clip can be used.
    """
    from ser_kd.inference.predictor import default_model, find_model

    model = find_model(arguments.model) if arguments.model else default_model()
    # Not beside the default model: that would be among the installed packages.
    out = arguments.out or (model.parent if arguments.model else Path()) / "evaluation"
    choice = _checked(arguments, model, out)
    from ser_kd import files
    from ser_kd.evaluation.html_report.page import write_report
    from ser_kd.evaluation.model import Request, evaluate_model
    from ser_kd.evaluation.predictions import write_csv
    from ser_kd.evaluation.summary import summary

    # With --json nothing but the JSON is on stdout.
    with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout), never_silent():
        found = evaluate_model(
            model,
            choice,
            Request(
                cross=arguments.cross,
                teachers=arguments.teacher,
                against=arguments.against,
                degraded=not arguments.no_robustness,
            ),
        )
        write_csv(out / "predictions.csv", found.predictions)
        files.write_json(out / "resources.json", found.resources)
        files.write_json(out / "eval.json", found.evaluation)
        write_report(found.evaluation, found.resources, out / "report.html")
        if not arguments.json:
            say("\n" + summary(found.evaluation, found.resources) + "\n")
        say(f"written to {out}: eval.json, resources.json, predictions.csv, report.html")
    if arguments.json:
        say(json.dumps(found.evaluation, ensure_ascii=False))
    return 0


def _checked(arguments: argparse.Namespace, model: Path, out: Path) -> "Choice":
    """Which clips are asked for, once all is checked that can be without large imports.

    Raises:
        UserError: There is no such model, corpus, split, class, folder or file, the model is
            damaged, or ``out`` is none.
    """
    from ser_kd.evaluation.clips import Choice, check_choice, split_cross
    from ser_kd.evaluation.run_folder import find_run_dir
    from ser_kd.inference.predictor import require_model
    from ser_kd.students.frontend import find_frontend
    from ser_kd.tflite.structure import check_flatbuffer

    require_model(model)
    if model.suffix == ".tflite":
        check_flatbuffer(model)
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file: name a folder")
    if (out / "config.json").exists():
        raise UserError(f"--out {out} is a run's folder, whose eval.json tells of all its models")
    choice = Choice(
        arguments.corpus,
        arguments.data_dir,
        arguments.metadata_dir,
        arguments.split,
        label_map(arguments.label_map),
    )
    in_run = find_run_dir(model) is not None
    labels, _ = find_frontend(model)
    check_choice(choice, labels, in_run)
    if arguments.corpus is not None:
        find_reader(arguments.corpus)
        if arguments.data_dir or not in_run:
            check_corpus(CorpusConfig(arguments.corpus, data_dir=arguments.data_dir or ""))
    folders = [arguments.data_dir, *(split_cross(item)[1] for item in arguments.cross)]
    for folder in folders:
        if folder and not Path(folder).expanduser().exists():
            raise UserError(f"data folder {folder} does not exist: check the path")
    for path in arguments.teacher:
        if not path.is_file():
            raise UserError(f"no predictions file {str(path)!r}")
    for path in arguments.against:
        if not path.exists():
            raise UserError(f"{path}: no such model")
    return choice
