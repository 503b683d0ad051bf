"""The ways to run the tool on a device, and what both of them copy there.

``BinaryRoute`` runs the command-line tool in the device's shell; ``apk.ApkRoute`` runs an app.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ser_kd.android_bench import binary, phone
from ser_kd.android_bench.adb import hash_file
from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.options import Options

REMOTE = "/data/local/tmp/android_bench"
_OUT = f"{REMOTE}/out"
_SPARE_BYTES = 8 * 1024 * 1024  # for results and profiles, and so that the device stays usable


@dataclass(frozen=True)
class Attempt:
    """What came back from one run of the tool.

    Attributes:
        text: All that it printed.
        rc: Its exit code; None = not seen.
        flags: All that were given to it.
        problem: Why it cannot have worked, where something else than its output says so.
        broke: The connection ended before the tool did.
        files: What was pulled, such as ``result.pb``, by name.
    """

    text: str
    rc: int | None
    flags: list[str]
    problem: str = ""
    broke: bool = False
    files: dict[str, Path] = field(default_factory=dict)


class Route(Protocol):
    """A way to run the tool on a device."""

    description: dict[str, Any]

    def prepare(self, models: Sequence[Model]) -> None:
        """Checks the device and copies everything there; again after it was lost."""

    def run(self, model: Model, flags: list[str], profiled: bool, stem: Path) -> Attempt:
        """Runs the tool once; what is pulled goes beside ``stem``."""

    def clean(self) -> None:
        """Removes what ``prepare`` copied."""


class BinaryRoute:
    """The command-line tool, in the device's shell.

    Raises:
        BenchError: The tool is no program for this device.
    """

    def __init__(self, device: Device, tool: Path, abis: Sequence[str], options: Options) -> None:
        self._device, self._tool, self._options = device, tool, options
        abi = binary.check_abi(tool, tuple(abis))
        self.sha256 = hash_file(tool)
        self.description = {
            "route": "binary",
            "tool": str(tool),
            "tool_sha256": self.sha256,
            "tool_abi": abi,
        }
        self._remote_tool = f"{REMOTE}/{self.sha256[:12]}_benchmark_model"
        self._known: set[str] = set()

    def prepare(self, models: Sequence[Model]) -> None:
        """Copies the tool and the models, and asks the tool which flags it knows."""
        copy_models(self._device, models, extra=[(self._tool, self._remote_tool)])
        if self._device.shell(f"chmod 755 {self._remote_tool}").rc != 0:
            self._device.check_online("at chmod")
            raise BenchError(f"{self._device.serial}: chmod failed in {REMOTE}")
        mask = self._options.cpu_mask
        if mask and self._device.shell(f"taskset {mask} true").rc != 0:
            raise BenchError(f"{self._device.serial}: has no CPUs {mask}, or no taskset")
        usage = self._device.shell(f"{self._remote_tool} --help", timeout=60)
        self._known = set(re.findall(r"^\s*--(\w+)=", usage.stdout + usage.stderr, re.M))

    def run(self, model: Model, flags: list[str], profiled: bool, stem: Path) -> Attempt:
        """Runs the tool once and pulls its result and profile."""
        flags = [f"--graph={remote_model(model)}", *flags]
        wanted = {"result.pb": f"{_OUT}/result.pb"}
        optional = [f"--result_file_path={wanted['result.pb']}"]
        if profiled:
            wanted["profile.csv"] = f"{_OUT}/profile.csv"
            flags.append("--enable_op_profiling=true")
            optional += [
                "--op_profiling_output_mode=csv",
                f"--op_profiling_output_file={wanted['profile.csv']}",
            ]
        flags += [flag for flag in optional if self._knows(flag)]
        prefix = f"taskset {self._options.cpu_mask} " if self._options.cpu_mask else ""
        tool = f"{prefix}{self._remote_tool} {shlex.join(flags)}"
        # The number of its process is noted down, so that a hanging tool can be ended by it.
        command = "sh -c " + shlex.quote(f"echo $$ >{_OUT}/pid; exec {tool}")
        apart = "shell_v2" not in self._device.features  # older devices mix stderr into stdout
        if apart:
            command += f" 2>{_OUT}/stderr"
        self._device.shell(f"rm -rf {_OUT} && mkdir -p {_OUT}")
        try:
            output = self._device.shell(command, self._options.timeout_seconds)
        except BaseException:  # Ctrl-C too
            self._end_tool()
            raise
        stderr = output.stderr
        if output.timed_out:
            self._end_tool()
        if apart:
            stderr += self._device.shell(f"cat {_OUT}/stderr").stdout
        # The marker shows that the last line is whole, even if the tool did not end it.
        text = "\n".join([output.stdout.removesuffix("\n"), stderr])
        files = {}
        if output.rc == 0:
            for name, remote in wanted.items():
                local = stem.with_name(f"{stem.name}_{name}")
                if self._device.pull(remote, local):
                    files[name] = local
        seconds = self._options.timeout_seconds
        problem = f"it was still running after {seconds:.0f} s" if output.timed_out else ""
        broke = output.rc is None and not output.timed_out
        return Attempt(text, output.rc, flags, problem, broke, files)

    def clean(self) -> None:
        """Removes the tool and the models."""
        remove(self._device, [self._remote_tool])

    def _knows(self, flag: str) -> bool:
        return not self._known or flag.split("=")[0].lstrip("-") in self._known

    def _end_tool(self) -> None:
        self._device.shell(f"kill -9 $(cat {_OUT}/pid)")


def remote_model(model: Model) -> str:
    """Where a model lies on the device."""
    return f"{REMOTE}/{model.sha256[:12]}.tflite"


def copy_models(
    device: Device, models: Sequence[Model], extra: Sequence[tuple[Path, str]] = ()
) -> None:
    """Copies models and other files onto the device, those that are not there yet.

    Raises:
        DeviceLostError: The device no longer answers.
        BenchError: Its storage is full or cannot be written.
    """
    if device.shell(f"mkdir -p {REMOTE}").rc != 0:
        device.check_online("at mkdir")
        raise BenchError(f"{device.serial}: {REMOTE} cannot be made: storage full or read-only?")
    files = [*extra, *((model.path, remote_model(model)) for model in models)]
    missing = [
        (local, remote) for local, remote in files if device.sha256(remote) != hash_file(local)
    ]
    wanted = sum(local.stat().st_size for local, _ in missing) + _SPARE_BYTES
    room = phone.free_bytes(device, REMOTE)
    if missing and room is not None and room < wanted:
        raise BenchError(
            f"{device.serial}: {room / 1e6:.0f} MB are free, {wanted / 1e6:.0f} MB are needed in "
            f"{REMOTE}: make room on it"
        )
    for local, remote in missing:
        device.push(local, remote)


def remove(device: Device, files: Sequence[str]) -> None:
    """Removes all models, ``files`` and, if it is empty then, their folder."""
    device.shell(f"rm -rf {_OUT} {' '.join(files)} {REMOTE}/*.tflite; rmdir {REMOTE}")
