"""Fetches CREMA-D's official WAV files, each checked against its published sha256.

The checksums ship with the package (``crema_d.sha256.bin``): per file, in order of name, 15 bytes
of name without ``.wav`` and 32 bytes of digest. ``write_manifest`` makes it from a text in the
format of ``sha256sum``.
"""

import errno
import hashlib
import http.client
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from ser_kd.corpora.crema_d import audio_folder
from ser_kd.errors import UserError

OFFICIAL = (
    "https://media.githubusercontent.com/media/CheyneyComputerScience/CREMA-D/master/AudioWAV"
)

_MANIFEST = "crema_d.sha256.bin"
_NAME_BYTES = 15
_DIGEST_BYTES = 32
# In the manifest as in the corpus's tables; the repository has had it under one X.
_OTHER_NAME = {"1040_ITH_SAD_XX.wav": "1040_ITH_SAD_X.wav"}

_ATTEMPTS = 4
_TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16
# After so many failed files in a row the server or the network is away.
_HOPELESS_FAILURES = 20
_PROGRESS_SECONDS = 2.0


def load_manifest() -> dict[str, str]:
    """File name -> sha256 (hex) of the 7,442 official WAV files, in order of name."""
    data = resources.files("ser_kd.corpora").joinpath(_MANIFEST).read_bytes()
    record = _NAME_BYTES + _DIGEST_BYTES
    return {
        data[start : start + _NAME_BYTES].decode() + ".wav": data[
            start + _NAME_BYTES : start + record
        ].hex()
        for start in range(0, len(data), record)
    }


def write_manifest(sha256sums: str, path: Path) -> None:
    """Writes the manifest from ``sha256sum`` text (lines of digest, two spaces, name)."""
    lines = [line.split() for line in sha256sums.splitlines()]
    records = sorted((name.removesuffix(".wav").encode(), digest) for digest, name in lines)
    if any(len(name) != _NAME_BYTES for name, _ in records):
        raise ValueError(f"every name must have {_NAME_BYTES} characters before .wav")
    path.write_bytes(b"".join(name + bytes.fromhex(digest) for name, digest in records))


def download_crema_d(
    directory: Path,
    base_url: str = OFFICIAL,
    workers: int = 8,
    progress: Callable[[str], None] = print,
    manifest: Mapping[str, str] | None = None,
    retry_seconds: float = 1.0,
) -> Path:
    """Fetches every file that is not there yet with the right content.

    A file appears under its name only when complete and checked. Files that fail are tried again
    and do not stop the others. Ctrl-C keeps what has arrived; the same call continues.

    Args:
        directory: Receives the files; its ``AudioWAV/`` if it has one. Files of the manifest's
            names with other content (Git LFS pointers of a checkout, say) are replaced.
        base_url: Where the files lie.
        workers: Connections at a time.
        progress: Takes one line of text.
        manifest: File name -> sha256 (hex); the official one by default.
        retry_seconds: Pause before the second attempt; doubles with every further one.

    Returns:
        The folder with the WAV files.

    Raises:
        UserError: some files could not be fetched, the disk is full, or the folder cannot be
            written; what has arrived stays.
    """
    manifest = load_manifest() if manifest is None else manifest
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make folder {directory} ({error.strerror})") from None
    folder = audio_folder(directory)
    progress(f"checking which of {len(manifest):,} files are already in {folder}")
    missing = [name for name, digest in manifest.items() if not _has_content(folder / name, digest)]
    if not missing:
        progress(f"all {len(manifest):,} files are there and match their checksums")
        return folder
    progress(f"{len(manifest) - len(missing):,} are, fetching {len(missing):,} from {base_url}")
    job = _Job(folder, base_url, manifest, retry_seconds)
    _fetch_all(job, missing, workers, progress)
    progress(f"all {len(manifest):,} files are there and match their checksums")
    return folder


@dataclass(frozen=True)
class _Job:
    folder: Path
    base_url: str
    manifest: Mapping[str, str]
    retry_seconds: float


class _Failure(Exception):
    """One file could not be fetched this time."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _fetch_all(job: _Job, names: list[str], workers: int, progress: Callable[[str], None]) -> None:
    stop = threading.Event()
    failures: dict[str, str] = {}
    done, failed_in_a_row, received_bytes = 0, 0, 0
    started = last_shown = time.monotonic()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="download")
    name_of_future: dict[Future[int], str] = {}
    finished: queue.SimpleQueue[Future[int]] = queue.SimpleQueue()
    try:
        for name in names:
            future = pool.submit(_fetch, job, name, stop)
            name_of_future[future] = name
            future.add_done_callback(finished.put)
        while done + len(failures) < len(names):
            future = finished.get()
            try:
                received_bytes += future.result()
                done += 1
                failed_in_a_row = 0
            except _Failure as error:
                failures[name_of_future[future]] = str(error)
                failed_in_a_row += 1
            except OSError as error:
                raise UserError(_disk_message(error, job.folder, done)) from None
            if failed_in_a_row == _HOPELESS_FAILURES:
                progress(f"stopped: {failed_in_a_row} files in a row could not be fetched")
                break
            now = time.monotonic()
            if now - last_shown >= _PROGRESS_SECONDS:
                last_shown = now
                handled = done + len(failures)
                progress(_progress_line(handled, len(names), received_bytes, now - started))
    except KeyboardInterrupt:
        progress(f"interrupted: {done:,} new files are kept; run again to continue")
        raise
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)
    if failures:
        first = min(failures)
        raise UserError(
            f"{len(names) - done:,} of {len(names):,} files could not be fetched (first: {first}: "
            f"{failures[first]}); {done:,} new ones are in {job.folder}; run again to continue"
        )


def _fetch(job: _Job, name: str, stop: threading.Event) -> int:
    """Fetches one file, with retries; returns its size in bytes.

    Raises:
        _Failure: it could not be had.
        OSError: it could not be written.
    """
    pause_seconds = job.retry_seconds
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            content = _get(f"{job.base_url}/{urllib.parse.quote(name)}", name, job.base_url, stop)
            _check(content, job.manifest[name])
        except _Failure as error:
            if error.final or attempt == _ATTEMPTS:
                raise
            if stop.wait(pause_seconds):
                raise _Failure("interrupted", final=True) from None
            pause_seconds *= 2
            continue
        _write_atomically(job.folder / name, content)
        return len(content)
    raise AssertionError("the last attempt returns or raises")


def _get(url: str, name: str, base_url: str, stop: threading.Event) -> bytes:
    request = urllib.request.Request(url, headers={"User-Agent": "ser_kd"})
    chunks = []
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            while chunk := response.read(_CHUNK_BYTES):
                if stop.is_set():
                    raise _Failure("interrupted", final=True)
                chunks.append(chunk)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 404 and name in _OTHER_NAME:
            return _get(f"{base_url}/{_OTHER_NAME[name]}", "", base_url, stop)
        # Timeouts, too many requests and the server's own faults pass; others stay.
        passing = error.code in (408, 425, 429) or error.code >= 500
        raise _Failure(f"the server answers {error.code} {error.reason}", not passing) from None
    except urllib.error.URLError as error:
        raise _Failure(f"cannot reach the server ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise _Failure(f"the connection broke ({type(error).__name__})") from None
    return b"".join(chunks)


def _check(content: bytes, digest: str) -> None:
    if hashlib.sha256(content).hexdigest() == digest:
        return
    start = content[:64].lstrip().lower()
    if start.startswith(b"version https://git-lfs"):
        raise _Failure("the server sent a Git LFS pointer instead of the audio")
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise _Failure("the server sent a web page instead of the audio")
    raise _Failure(f"wrong checksum ({len(content):,} bytes arrived: cut short or changed)")


def _has_content(path: Path, digest: str) -> bool:
    try:
        return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except OSError:
        return False


def _write_atomically(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _disk_message(error: OSError, folder: Path, done: int) -> str:
    kept = f"{done:,} new files are kept"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"the disk is full at {folder}: {kept}; the whole of CREMA-D needs about 0.6 GB: "
            "free some space and run again"
        )
    return f"cannot write into {folder} ({error.strerror}): {kept}; mend that and run again"


def _progress_line(handled: int, total: int, received_bytes: int, seconds: float) -> str:
    remaining_seconds = seconds / max(handled, 1) * (total - handled)
    line = f"{handled:,}/{total:,} files, {received_bytes / 1e6:.0f} MB, "
    line += f"{received_bytes / 1e6 / seconds:.1f} MB/s"
    return line + (f", about {_duration(remaining_seconds)} left" if handled else "")


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
