"""The adb client, called with timeouts, and which of its devices to use."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ser_kd.android_bench.errors import BenchError

QUICK_SECONDS = 20.0
"""How long a command may take that should answer at once."""


@dataclass(frozen=True)
class Output:
    """What a local program left: its exit code (None = killed after the timeout) and its output."""

    rc: int | None
    stdout: str
    stderr: str

    @property
    def message(self) -> str:
        """The line that says most, for errors: the last one of stderr, else of stdout."""
        lines = (self.stderr.strip() or self.stdout.strip()).splitlines()
        telling = [line for line in lines if "rror" in line or line.startswith("adb:")]
        return (telling or lines or ["it said nothing"])[0].removeprefix("adb: ").strip()


@dataclass(frozen=True)
class Listed:
    """A line of ``adb devices -l``: state is ``device`` when it can be used."""

    serial: str
    state: str
    model: str


def find_adb(given: Path | str | None = None) -> Path:
    """Where adb is: ``given``, else ``$ADB``, else on the PATH, else in the package adbutils.

    Raises:
        BenchError: Nowhere, or what was named is not a program.
    """
    for origin, named in (("--adb", given), ("$ADB", os.environ.get("ADB"))):
        if named:
            path = shutil.which(str(named))
            if not path:
                raise BenchError(f"{origin} names {named}, which is not a program that can be run")
            return Path(path)
    path = shutil.which("adb") or _bundled_adb()
    if not path:
        raise BenchError(
            "adb was not found: install Android's platform-tools, or its client with "
            "`pip install 'ser-kd[android]'`, or name it with --adb PATH"
        )
    return Path(path)


def _bundled_adb() -> str | None:
    # Found without importing adbutils, which would load half of the web.
    spec = importlib.util.find_spec("adbutils")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for name in ("adb", "adb.exe"):
            path = shutil.which(str(Path(folder, "binaries", name)))
            if path:
                return path
    return None


class Adb:
    """An adb client, for one device once ``serial`` is set."""

    def __init__(self, path: Path, serial: str | None = None) -> None:
        self.path, self.serial = path, serial

    def run(self, *arguments: str, timeout: float = QUICK_SECONDS) -> Output:
        """Runs ``adb [-s SERIAL] arguments``.

        Args:
            arguments: For adb.
            timeout: Seconds after which the client is killed.

        Raises:
            BenchError: adb cannot be started.
        """
        command = [str(self.path), *(["-s", self.serial] if self.serial else []), *arguments]
        # Files, not pipes: an adb server that this call starts inherits them and would keep a
        # pipe open. A session of its own: Ctrl-C must not reach adb, which still has to clean up.
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            try:
                client = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                )
            except OSError as error:
                raise BenchError(f"{self.path} cannot be run: {error.strerror}") from None
            rc: int | None = None
            try:
                rc = client.wait(timeout)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if rc is None:
                    client.kill()
                    client.wait()
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode("utf-8", "replace").replace("\r\n", "\n"))
        return Output(rc, *texts)

    def version(self) -> str:
        """Such as ``36.0.0-13206524``.

        Raises:
            BenchError: It is not adb, or does not run here.
        """
        output = self.run("version")
        found = re.search(r"^Version (\S+)", output.stdout, re.M)
        bridge = re.search(r"Android Debug Bridge version (\S+)", output.stdout)
        if output.rc != 0 or not bridge:
            raise BenchError(f"{self.path} is not a working adb: {output.message}")
        return (found or bridge)[1]

    def devices(self) -> list[Listed]:
        """What is plugged in, in whatever state.

        Raises:
            BenchError: The adb server does not start.
        """
        output = self.run("devices", "-l", timeout=3 * QUICK_SECONDS)
        _, header, listing = output.stdout.partition("List of devices attached")
        if not header:
            what = "it did not answer in time" if output.rc is None else output.message
            raise BenchError(f"the adb server does not start: {what}")
        found = []
        for line in listing.splitlines():
            # "SERIAL   no permissions (user in plugdev group; ...)": a state of several words
            match = re.match(r"(\S+)\s+(no permissions|\S+)(.*)", line)
            if match:
                model = re.search(r"\bmodel:(\S+)", match[3])
                found.append(Listed(match[1], match[2], model[1] if model else ""))
        return found


_STATES = {
    "unauthorized": "unlock its screen and allow USB debugging for this computer",
    "offline": "unplug it, plug it in again, and switch USB debugging off and on",
    "no permissions": "this computer may not open it: install Android's udev rules",
    "authorizing": "look at its screen and try again",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
    "bootloader": "start Android on it",
}


def choose(listed: Sequence[Listed], serial: str | None, ask: bool) -> str:
    """Which device to use.

    Args:
        listed: What is plugged in.
        serial: The user's wish.
        ask: Whether somebody sits there who can answer.

    Raises:
        BenchError: None, not the one that was wished for, not ready, or several and nobody to ask.
    """
    if serial:
        named = [device for device in listed if device.serial == serial]
        if not named:
            there = ", ".join(device.serial for device in listed) or "none"
            raise BenchError(f"there is no device {serial} (there: {there})")
        listed = named
    ready = [device for device in listed if device.state == "device"]
    if len(ready) == 1:
        return ready[0].serial
    if not ready and listed:
        first = listed[0]
        raise BenchError(
            f"{first.serial} is {first.state}: {_STATES.get(first.state, 'wait until it is ready')}"
        )
    if not ready:
        raise BenchError(
            "no device: plug a phone in with USB debugging switched on, or start an emulator "
            "(docs/phone.md)"
        )
    names = [f"{device.serial} ({device.model or 'no name'})" for device in ready]
    if not ask:
        raise BenchError(f"several devices, choose one with --device: {', '.join(names)}")
    for number, name in enumerate(names, 1):
        print(f"{number}  {name}")
    answer = input(f"which one? [1-{len(names)}] ").strip()
    if not answer.isdigit() or not 1 <= int(answer) <= len(names):
        raise BenchError(f"{answer!r} is none of 1 to {len(names)}")
    return ready[int(answer) - 1].serial


def hash_file(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
