"""Files that are either whole or absent, so that any run can be killed at any moment."""

import contextlib
import errno
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd.errors import is_disk_full


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside ``path`` (same suffix); renames it over ``path`` at the end.

    After an error (a full disk, Ctrl-C) the temporary file is removed and ``path`` is as before.

    Raises:
        OSError: With ``errno.ENOSPC`` and the file's name where the disk is full, whatever the
            library that writes makes of that.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def is_current(path: Path, sources: Iterable[Path]) -> bool:
    """Whether ``path`` is there and none of ``sources`` (those that exist) was written after it."""
    if not path.is_file():
        return False
    times = [source.stat().st_mtime_ns for source in sources if source.exists()]
    return path.stat().st_mtime_ns >= max(times, default=0)


def write_json(path: Path, value: Any) -> None:
    """Writes ``value`` as indented JSON, atomically."""
    with atomic(path) as partial:
        text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
        # Of a file name that is not UTF-8 the bytes stand in JSON's own form, "\\udcf6".
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ValueError: It is not JSON.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def write_npz(path: Path, **arrays: Any) -> None:
    """Writes the arrays as an uncompressed .npz, atomically."""
    with atomic(path) as partial, partial.open("wb") as file:
        np.savez(file, **arrays)
