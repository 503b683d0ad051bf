"""One writer per run folder: two trainings in one folder would mix their files."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ser_kd import files
from ser_kd.errors import UserError

LOCK, HOLDER = ".lock", ".writer.json"


@contextlib.contextmanager
def only_writer(directory: Path) -> Iterator[None]:
    """Holds the folder for this process while the block runs.

    The operating system gives a lock back when its process ends, however it ends: what a killed
    run leaves behind holds nobody up.

    Args:
        directory: The run folder; it is made if missing.

    Raises:
        UserError: Another process holds it; the message says which, on which computer and since
            when.
    """
    directory.mkdir(parents=True, exist_ok=True)
    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(_held(directory)) from None
    try:
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
        files.write_json(directory / HOLDER, holder)
        yield
    finally:
        (directory / HOLDER).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):
            if [item.name for item in directory.iterdir()] == [LOCK]:  # nothing came of it
                (directory / LOCK).unlink()
                directory.rmdir()


def _held(directory: Path) -> str:
    try:
        holder: dict[str, Any] = files.read_json(directory / HOLDER)
        who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):  # it is just beginning, or ending
        who = "another process"
    return f"{directory} is being written by {who}; wait for it, stop it, or give another --run-dir"
