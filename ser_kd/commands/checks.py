"""What is wrong with an argument is said at once: before TensorFlow is imported (5 s and more)."""

from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora.loading import corpus_folder
from ser_kd.errors import UserError


def check_corpus(config: CorpusConfig) -> None:
    """That there is such a corpus, and its folder where it needs one, with something in it.

    Raises:
        UserError: There is not.
    """
    folder = corpus_folder(config)
    if folder is not None and not folder.exists():
        raise UserError(f"data folder {folder} does not exist: check the path")
    if folder is not None and folder.is_dir() and not any(folder.iterdir()):
        raise UserError(f"data folder {folder} is empty: check the path")


def check_run_dir(directory: Path | None) -> None:
    """That a run's folder may be made, or is a folder.

    Raises:
        UserError: It is a file.
    """
    if directory is not None and directory.exists() and not directory.is_dir():
        raise UserError(f"--run-dir {directory} is a file: name a folder, which may be a new one")


def check_run(directory: Path) -> None:
    """That a folder is a run's.

    Raises:
        UserError: It is not.
    """
    if not (directory / "config.json").is_file():
        raise UserError(
            f"{directory} is no run folder (it has no config.json); train one first: ser-kd train"
        )
