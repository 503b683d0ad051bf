"""The adb client, called with timeouts, and believed only where it can be checked.

Its exit codes are worth little: a pulled cable gives 0 with adb 29, Android 6 and older lose the
exit code of what ran, ``adb connect`` gives 0 when it failed. So every shell command prints its own
exit code last, and a pushed file is believed when its hash on the device is the right one.
"""

import contextlib
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ser_kd.android_bench.errors import BenchError, DeviceLostError

QUICK_SECONDS = 20.0
"""How long a command may take that should answer at once."""
_PUSH_BYTES_PER_SECOND = 500_000  # a slow cable; a lower bound, for the timeout only
_MARKER = re.compile(r"__RC=(\d+)\s*\Z")


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
class ShellOutput:
    """What a command on the device left.

    Attributes:
        rc: Its own exit code, from the marker; None when no marker came back.
        stdout: Without the marker.
        stderr: Empty for devices without shell_v2, which mix it into stdout.
        timed_out: It was still running when the time was over.
    """

    rc: int | None
    stdout: str
    stderr: str
    timed_out: bool = False


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
            "adb was not found: install Android's platform-tools or `pip install adbutils`, "
            "or name it with --adb PATH"
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


class Device:
    """One device that is plugged in and ready."""

    def __init__(self, adb: Adb, serial: str) -> None:
        self.adb = Adb(adb.path, serial)
        self.serial = serial

    @cached_property
    def features(self) -> frozenset[str]:
        """Such as shell_v2; what adb and the device agreed on."""
        return frozenset(self.adb.run("features").stdout.split())

    def online(self) -> bool:
        """Whether it answers."""
        output = self.adb.run("get-state")
        return output.rc == 0 and output.stdout.strip() == "device"

    def wait(self, seconds: float) -> bool:
        """Waits for a device that went away; whether it came back within ``seconds``."""
        end = time.monotonic() + seconds
        while not (back := self.online()) and time.monotonic() < end:
            time.sleep(min(1.0, seconds))
        return back

    def shell(self, command: str, timeout: float = QUICK_SECONDS) -> ShellOutput:
        """Runs a command; never raises for what happens to it there.

        Args:
            command: For the device's own shell.
            timeout: Seconds after which it is given up (what runs on the device is not stopped).
        """
        # The subshell keeps an ``exit`` or ``exec`` within the command from losing the marker.
        output = self.adb.run("shell", f"({command}); echo __RC=$?", timeout=timeout)
        match = _MARKER.search(output.stdout)
        return ShellOutput(
            rc=int(match[1]) if match else None,
            stdout=output.stdout[: match.start()] if match else output.stdout,
            stderr=output.stderr,
            timed_out=output.rc is None,
        )

    def ask(self, command: str, timeout: float = QUICK_SECONDS) -> str:
        """The output of a command that should work, stripped; empty when it does not.

        Raises:
            DeviceLostError: The device no longer answers.
        """
        output = self.shell(command, timeout)
        if output.rc is None:
            self.check_online(f"`{command}` gave no answer")
        return output.stdout.strip() if output.rc == 0 else ""

    def check_online(self, what: str) -> None:
        """Raises:
        DeviceLostError: The device no longer answers; ``what`` says what was noticed.
        """
        if not self.online():
            raise DeviceLostError(
                f"{self.serial} was lost ({what}): check the cable and that the screen shows no "
                "question, then run the same command with --resume"
            )

    def sha256(self, remote: str) -> str:
        """The hash of a file on the device; empty when there is none.

        Raises:
            DeviceLostError: The device no longer answers.
        """
        path = shlex.quote(remote)
        answer = self.ask(f"[ -f {path} ] && (sha256sum {path} || echo none)", timeout=120)
        if answer.startswith("none"):  # before Android 6: fetch it and count here
            with tempfile.TemporaryDirectory(prefix="android_bench-") as folder:
                copy = Path(folder, "copy")
                return hash_file(copy) if self.pull(remote, copy) else ""
        return answer.split()[0] if re.match(r"[0-9a-f]{64}\b", answer) else ""

    def push(self, local: Path, remote: str) -> None:
        """Copies a file onto the device.

        Raises:
            DeviceLostError: The device no longer answers.
            BenchError: It could not be written, or arrived damaged.
        """
        timeout = QUICK_SECONDS + local.stat().st_size / _PUSH_BYTES_PER_SECOND
        output = self.adb.run("push", str(local), remote, timeout=timeout)
        if output.rc == 0 and self.sha256(remote) == hash_file(local):
            return
        self.check_online(f"while {local.name} was copied")
        if output.rc is None:
            raise BenchError(f"{local.name} was not copied in {timeout:.0f} s: try another cable")
        if output.rc == 0:
            raise BenchError(f"{local.name} arrived damaged on {self.serial}: try another cable")
        reason = re.sub(r"^error: (failed to copy .*: )?", "", output.message)
        raise BenchError(f"{local.name} cannot be copied to {self.serial}: {reason}")

    def pull(self, remote: str, local: Path) -> bool:
        """Copies a file from the device; whether that worked. Never raises for the device."""
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".partial-{os.getpid()}-{local.name}")
        try:
            output = self.adb.run("pull", remote, str(partial), timeout=3 * QUICK_SECONDS)
            if output.rc != 0 or not partial.is_file():
                return False
            partial.replace(local)
            return True
        finally:
            with contextlib.suppress(OSError):
                partial.unlink()


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
            "(docs/android.md)"
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
