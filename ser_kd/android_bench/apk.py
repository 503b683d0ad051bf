"""The benchmark inside an app, which the scheduler treats as it will treat yours.

The app is TensorFlow Lite's (``android_aarch64_benchmark_model.apk``); its figures come through the
device's log, there is no exit code and no result file.
"""

import re
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from ser_kd.android_bench.adb import hash_file
from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.options import Options
from ser_kd.android_bench.route import REMOTE, Attempt, copy_models, remote_model, remove

PACKAGE = "org.tensorflow.lite.benchmark"
_ACTIVITY = f"{PACKAGE}/.BenchmarkModelActivity"
_LOGCAT = "logcat -d -v brief -s tflite:V tflite_BenchmarkModelActivity:V AndroidRuntime:E libc:F"
_POLL_SECONDS = 1.0
_DONE = re.compile(r"Inference timings in us:|Inference \(avg\):")
_BROKEN = re.compile(r"FATAL EXCEPTION|Fatal signal|Benchmarking failed|Failed to run")


class ApkRoute:
    """TensorFlow Lite's benchmark app.

    Raises:
        BenchError: The file is no app, or the options ask for what an app cannot do.
    """

    def __init__(self, device: Device, apk: Path, options: Options) -> None:
        try:
            with apk.open("rb") as file:
                magic = file.read(4)
        except OSError as error:
            raise BenchError(f"{apk}: cannot be read ({error.strerror})") from None
        if magic != b"PK\x03\x04":
            raise BenchError(f"{apk}: is no Android app (no zip file)")
        if options.cpu_mask:
            raise BenchError("--cpu-mask is for the command-line tool: an app chooses no cores")
        self._device, self._apk, self._options = device, apk, options
        sha256 = hash_file(apk)
        self.description = {"route": "apk", "tool": str(apk), "tool_sha256": sha256}
        self._remote_apk = f"{REMOTE}/{sha256[:12]}.apk"
        self._installed_by_us = False

    def prepare(self, models: Sequence[Model]) -> None:
        """Copies the models, copies and installs the app."""
        device = self._device
        copy_models(device, models, extra=[(self._apk, self._remote_apk)])
        # The app reads them under another user's name.
        device.shell(f"chmod 755 {REMOTE}; chmod 644 {REMOTE}/*.tflite")
        there = device.shell(f"pm path {PACKAGE}").stdout.strip()
        self._installed_by_us = self._installed_by_us or not there
        output = device.shell(f"pm install -r -d -g {self._remote_apk}", timeout=180)
        if "Success" not in output.stdout:
            device.check_online("while the app was installed")
            said = (output.stdout + output.stderr).strip().splitlines() or ["no answer"]
            raise BenchError(f"{device.serial}: the app cannot be installed: {said[-1]}")

    def run(self, model: Model, flags: list[str], profiled: bool, stem: Path) -> Attempt:
        """Starts the app and reads the log until it is done; ``stem`` is not used."""
        device = self._device
        flags = [f"--graph={remote_model(model)}", *flags]
        if profiled:
            flags.append("--enable_op_profiling=true")
        start = device.ask("date '+%m-%d %H:%M:%S.000'")
        since = f" -T {shlex.quote(start)}" if start else ""
        # The app splits the text itself; the inner quotes keep am's shell from doing so.
        arguments = shlex.quote('"' + " ".join(flags) + '"')
        output = device.shell(f"am start -S -n {_ACTIVITY} --es args {arguments}", timeout=60)
        if output.rc != 0 or "Error" in output.stdout + output.stderr:
            problem = f"the app did not start: {(output.stderr or output.stdout).strip()}"
            return Attempt(output.stdout + output.stderr, output.rc or 1, flags, problem)
        end = time.monotonic() + self._options.timeout_seconds
        text, problem = "", ""
        try:
            while not _DONE.search(text):
                if _BROKEN.search(text):
                    return Attempt(text, 1, flags)
                if time.monotonic() > end:
                    seconds = self._options.timeout_seconds
                    problem = f"the app was not done after {seconds:.0f} s"
                    return Attempt(text, None, flags, problem)
                time.sleep(min(_POLL_SECONDS, self._options.timeout_seconds / 10))
                output = device.shell(_LOGCAT + since)
                text = output.stdout
                if output.rc is None:
                    return Attempt(text, None, flags, broke=True)
        finally:
            device.shell(f"am force-stop {PACKAGE}")
        return Attempt(text, 0, flags)

    def clean(self) -> None:
        """Removes the models, and the app unless it was there before."""
        if self._installed_by_us:
            self._device.shell(f"pm uninstall {PACKAGE}", timeout=60)
        remove(self._device, [self._remote_apk])
