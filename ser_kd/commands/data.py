"""Say what is in a folder of speech, and what is wrong with it; every file is decoded."""

import argparse
import sys
from pathlib import Path

from ser_kd.commands.arguments import label_map
from ser_kd.config import AudioConfig, CorpusConfig
from ser_kd.errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd data``."""
    from ser_kd.corpora import CORPORA

    parser.add_argument("corpus", help=", ".join(CORPORA))
    parser.add_argument(
        "directory", nargs="?", default="", help="the folder with the clips (demo: made if missing)"
    )
    parser.add_argument("--metadata-dir", default="", help="the corpus's CSVs, if elsewhere")
    parser.add_argument(
        "--download", action="store_true", help="first fetch what is missing (crema_d, 0.6 GB)"
    )
    parser.add_argument(
        "--label-map",
        nargs="+",
        action="extend",
        default=[],
        metavar="LABEL=CLASS",
        help="rename or merge the corpus's labels; an empty class drops the label",
    )
    defaults = CorpusConfig()
    parser.add_argument("--folds", type=int, default=defaults.folds, help="default %(default)s")
    parser.add_argument(
        "--fold", type=int, default=defaults.fold, help="the one to test on, from 0"
    )
    parser.add_argument(
        "--allow-unknown-speakers",
        action="store_true",
        help="split although speakers are unknown; train and test may then share some",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a report of the folder.

    Returns:
        0.

    Raises:
        UserError: Wrong arguments, or nothing usable in the folder.
    """
    from ser_kd.corpora import find_reader
    from ser_kd.corpora.inspect import inspect_corpus, print_report
    from ser_kd.registry import load_object

    reader = find_reader(arguments.corpus)
    if not arguments.directory and reader.prepare is None and not arguments.download:
        raise UserError(
            f"which folder? ser-kd data {arguments.corpus} DIR (names there look like "
            f"{reader.name_example})"
        )
    config = CorpusConfig(
        name=arguments.corpus,
        data_dir=arguments.directory,
        metadata_dir=arguments.metadata_dir,
        folds=arguments.folds,
        fold=arguments.fold,
        label_map=label_map(arguments.label_map),
        allow_unknown_speakers=arguments.allow_unknown_speakers,
    )
    if arguments.download:
        if reader.download is None:
            raise UserError(f"--download fetches crema_d only, not {arguments.corpus!r}")
        if not arguments.directory:
            raise UserError("--download needs a folder: ser-kd data crema_d DIR --download")
        download = load_object(reader.download)
        download(Path(arguments.directory).expanduser(), progress=_to_stderr)
    print_report(inspect_corpus(config, AudioConfig(), progress=_to_stderr))
    return 0


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
