"""One device behind adb, believed only where it can be checked.

adb's exit codes are worth little: a pulled cable gives 0 with adb 29, Android 6 and older lose the
exit code of what ran, ``adb connect`` gives 0 when it failed. So every shell command prints its own
exit code last, and a pushed file is believed when its hash on the device is the right one.
"""

import contextlib
import os
import re
import shlex
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ser_kd.android_bench.adb import QUICK_SECONDS, Adb, Listed, hash_file
from ser_kd.android_bench.errors import BenchError, DeviceLostError

_PUSH_BYTES_PER_SECOND = 500_000  # a slow cable; a lower bound, for the timeout only
_MARKER = re.compile(r"__RC=(\d+)\s*\Z")


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


class Device:
    """One device that is plugged in and ready."""

    def __init__(self, adb: Adb, listed: Listed) -> None:
        self.adb = Adb(adb.path, listed.selector)
        self.serial = listed.serial

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
        """Makes sure that the device is still there.

        Raises:
            DeviceLostError: It no longer answers; ``what`` says what was noticed.
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
