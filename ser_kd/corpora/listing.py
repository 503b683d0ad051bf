"""The audio files below a folder, and what lies there unused: the only walk through folders."""

import os
from dataclasses import dataclass
from pathlib import Path

from ser_kd.audio.ffmpeg import AUDIO_SUFFIXES as THROUGH_FFMPEG
from ser_kd.errors import UserError

# Of two files of one clip the earlier format is taken.
AUDIO_SUFFIXES = (
    ".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aiff", ".aif", ".aifc", ".wave", ".au",
    ".snd", ".caf", ".w64", ".rf64", ".sph", ".nist", *THROUGH_FFMPEG,
)  # fmt: skip
# Sound, or film with sound, that a folder of clips is not read from.
_NOT_READ = (
    ".ape", ".wv", ".mka", ".m4b", ".ra", ".ac3", ".tta", ".spx", ".voc", ".pcm", ".raw",
    ".mp4", ".mov", ".m4v", ".webm", ".mkv", ".avi", ".flv", ".mpg", ".mpeg",
)  # fmt: skip


@dataclass(frozen=True)
class Listing:
    """What was found below a folder.

    Attributes:
        files: The audio files, sorted.
        unused: Path relative to the folder -> why it is passed over, of what may have been meant:
            formats that are not read, links that lead nowhere or round in a circle.
    """

    files: tuple[Path, ...]
    unused: dict[str, str]


def existing_folder(folder: Path) -> Path:
    """Returns ``folder`` itself.

    Raises:
        UserError: it is missing or no folder.
    """
    if not folder.exists():
        raise UserError(f"data folder {folder} does not exist: check the path")
    if not folder.is_dir():
        raise UserError(f"data folder {folder} is a file: give the folder that holds the clips")
    return folder


def list_audio(folder: Path) -> Listing:
    """Every audio file below ``folder``, also through links; hidden ones are none.

    A folder is read once: a link to one that is read elsewhere, or to one that holds the link, is
    passed over, so that links in a circle end.

    Raises:
        UserError: the folder is missing, no folder, cannot be read, or holds no audio file.
    """
    existing_folder(folder)
    files: list[Path] = []
    unused: dict[str, str] = {}
    read: set[tuple[int, int]] = set()
    waiting, links = [folder], list[Path]()
    while waiting or links:
        # Folders before links: of two ways to the same clips the shorter one names them.
        place = waiting.pop() if waiting else links.pop(0)
        try:
            status = place.stat()
        except OSError as error:
            unused[_name(place, folder)] = f"cannot be read ({error.strerror})"
            continue
        if (status.st_dev, status.st_ino) in read:
            unused[_name(place, folder)] = "a link to a folder that is read already"
            continue
        read.add((status.st_dev, status.st_ino))
        for path in _entries(place):
            if path.is_dir():
                (links if path.is_symlink() else waiting).append(path)
            elif path.suffix.lower() in AUDIO_SUFFIXES:
                files.append(path)
            elif path.suffix.lower() in _NOT_READ:
                unused[_name(path, folder)] = f"{path.suffix.lower()} is not read"
            elif path.is_symlink() and not path.exists():
                unused[_name(path, folder)] = "a link that leads nowhere"
    if not files:
        seen = f" ({len(unused)} are there that are not read)" if unused else ""
        raise UserError(
            f"no audio file in {folder}{seen}: expected {', '.join(AUDIO_SUFFIXES[:5])} files; "
            "check the path"
        )
    return Listing(tuple(sorted(files)), dict(sorted(unused.items())))


def audio_files(folder: Path) -> tuple[Path, ...]:
    """``list_audio(folder).files``."""
    return list_audio(folder).files


def _name(path: Path, folder: Path) -> str:
    return printable(path.relative_to(folder).as_posix())


def printable(name: str) -> str:
    r"""A file's name as text that can be written anywhere: what is not UTF-8 as ``\xf6``."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _entries(place: Path) -> list[Path]:
    try:
        found = sorted(place.iterdir())
    except OSError as error:
        raise UserError(f"cannot read {place} ({error.strerror}): mend its permissions") from None
    # Hidden: "._x.wav" of macOS is a resource fork, not audio.
    return [path for path in found if not path.name.startswith(".")]
