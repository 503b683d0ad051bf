"""The adb client, called with timeouts, and which of its devices to use."""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
    """A line of ``adb devices -l``.

    Attributes:
        serial: May hold spaces; ``(no serial number)`` where the device has none.
        state: ``device`` when it can be used.
        model: Empty where adb does not say it.
        transport: adb's own number of the connection, until it is unplugged; empty in old versions.
        alone: Whether the serial names this one device.
    """

    serial: str
    state: str
    model: str
    transport: str = ""
    alone: bool = True

    @property
    def selector(self) -> tuple[str, ...]:
        """Adb's arguments that name it: its serial, which outlives a lost cable, where that can."""
        if (self.alone and self.serial != _NO_SERIAL) or not self.transport:
            return ("-s", self.serial)
        return ("-t", self.transport)

    @property
    def name(self) -> str:
        """What ``--device`` takes for it."""
        return self.serial if self.selector[0] == "-s" else f"transport_id:{self.transport}"

    @classmethod
    def parse(cls, line: str) -> "Listed | None":
        """Reads a line; None: it is none of a device."""
        match = _LINE.match(line) or _UNUSUAL_LINE.match(line)
        if not match:
            return None
        model = re.search(r"\bmodel:(\S+)", match["rest"])
        transport = re.search(r"\btransport_id:(\d+)", match["rest"])
        return cls(
            match["serial"],
            match["state"],
            model[1] if model else "",
            transport[1] if transport else "",
        )


_NO_SERIAL = "(no serial number)"
# Serials of wireless devices hold spaces: "adb-X (2)._adb-tls-connect._tcp". What follows a state
# is nothing, "key:value"s, or of "no permissions" an explanation. "* daemon started" is no device.
_LINE = re.compile(
    r"(?P<serial>[^\s*].*?)\s+(?P<state>no permissions|no device|[a-z]+)"
    r"(?P<rest>(?<=no permissions).*|(?:\s+\w+:\S+)*\s*)$"
)
# Whatever else an adb may print behind a state that exists.
_UNUSUAL_LINE = re.compile(
    r"(?P<serial>[^\s*]\S*)\s+(?P<state>device|offline|unauthorized|authorizing|connecting|recovery|"
    r"rescue|sideload|bootloader|host|detached)\b(?P<rest>.*)$"
)


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
    """An adb client, for one device once ``selector`` names it."""

    def __init__(self, path: Path, selector: Sequence[str] = ()) -> None:
        self.path, self.selector = path, tuple(selector)

    def run(self, *arguments: str, timeout: float = QUICK_SECONDS) -> Output:
        """Runs ``adb [-s SERIAL | -t TRANSPORT] arguments``.

        Args:
            arguments: For adb.
            timeout: Seconds after which the client is killed.

        Raises:
            BenchError: adb cannot be started.
        """
        command = [str(self.path), *self.selector, *arguments]
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
        found = [device for line in listing.splitlines() if (device := Listed.parse(line))]
        times = Counter(device.serial for device in found)
        return [replace(device, alone=times[device.serial] == 1) for device in found]


_STATES = {
    "unauthorized": "unlock its screen and allow USB debugging for this computer",
    "offline": "unplug it, plug it in again, and switch USB debugging off and on",
    "no permissions": "this computer may not open it: install Android's udev rules",
    "authorizing": "look at its screen and try again",
    "recovery": "start Android on it",
    "sideload": "start Android on it",
    "bootloader": "start Android on it",
}


def choose(listed: Sequence[Listed], wanted: str | None, ask: bool) -> Listed:
    """Which device to use.

    Args:
        listed: What is plugged in.
        wanted: The user's wish: a serial, or ``transport_id:N`` where devices share one.
        ask: Whether somebody sits there who can answer.

    Raises:
        BenchError: None, not the one that was wished for, not ready, or several and nobody to ask.
    """
    if wanted:
        named = [device for device in listed if wanted in (device.serial, device.name)]
        if not named:
            there = ", ".join(device.name for device in listed) or "none"
            raise BenchError(f"there is no device {wanted} (there: {there})")
        listed = named
    ready = [device for device in listed if device.state == "device"]
    if len(ready) == 1:
        return ready[0]
    if not ready and listed:
        first = listed[0]
        raise BenchError(
            f"{first.name} is {first.state}: {_STATES.get(first.state, 'wait until it is ready')}"
        )
    if not ready:
        raise BenchError(
            "no device: plug a phone in with USB debugging switched on, or start an emulator "
            "(docs/phone.md)"
        )
    names = [f"{device.name} ({device.model or 'no name'})" for device in ready]
    if not ask:
        raise BenchError(f"several devices, choose one with --device: {', '.join(names)}")
    for number, name in enumerate(names, 1):
        print(f"{number}  {name}")
    answer = input(f"which one? [1-{len(names)}] ").strip()
    if not answer.isdigit() or not 1 <= int(answer) <= len(names):
        raise BenchError(f"{answer!r} is none of 1 to {len(names)}")
    return ready[int(answer) - 1]


def hash_file(path: Path) -> str:
    """The sha256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
