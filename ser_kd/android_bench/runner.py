"""One device, a matrix of configurations: checks, copies, runs in shuffled order, cleans up."""

import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

from ser_kd.android_bench import binary, phone
from ser_kd.android_bench.adb import Device, hash_file
from ser_kd.android_bench.errors import BenchError, DeviceLostError
from ser_kd.android_bench.matrix import Configuration
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.parse import Log, Timings, parse_log, parse_op_csv, parse_result
from ser_kd.android_bench.results import Record, Store
from ser_kd.android_bench.verdict import FAILED, LOST, OK, judge

REMOTE = "/data/local/tmp/android_bench"
_OUT = f"{REMOTE}/out"
_SPARE_BYTES = 8 * 1024 * 1024  # for results and profiles, and so that the device stays usable


@dataclass(frozen=True)
class Options:
    """How every configuration is measured.

    Attributes:
        runs: Inferences that are timed, at least (--num_runs).
        repetitions: How often each configuration is started anew.
        cooldown_seconds: Pause between two runs.
        timeout_seconds: Of one run.
        reconnect_seconds: How long a lost device is waited for.
        profile: One more run of each configuration, with the time of every operator.
        cpu_mask: Hexadecimal, for ``taskset``; None = wherever the device puts it.
        fixed_performance: Android's sustainable speed, for all of the measurement.
        keep: Leave on the device what was copied there.
        extra_flags: For the tool, as they are.
        seed: Of the order.
    """

    runs: int = 50
    repetitions: int = 3
    cooldown_seconds: float = 5.0
    timeout_seconds: float = 300.0
    reconnect_seconds: float = 30.0
    profile: bool = False
    cpu_mask: str | None = None
    fixed_performance: bool = False
    keep: bool = False
    extra_flags: tuple[str, ...] = ()
    seed: int = 0

    def flags(self, model: Model, configuration: Configuration) -> list[str]:
        """The tool's flags, without those that name files on the device."""
        flags = [*configuration.flags(), f"--num_runs={self.runs}"]
        if model.signature is not None:
            flags.append(f"--signature_to_run_for={model.signature}")
        given = {flag.split("=")[0] for flag in self.extra_flags}
        return [flag for flag in flags if flag.split("=")[0] not in given] + list(self.extra_flags)


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
    """The command-line tool, in the device's shell."""

    def __init__(self, device: Device, tool: Path, abis: Sequence[str], options: Options) -> None:
        """Raises:
        BenchError: The tool is no program for this device.
        """
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


def measure(
    device: Device,
    route: Route,
    models: Sequence[Model],
    order: Sequence[tuple[int, Configuration]],
    options: Options,
    store: Store,
    say: Callable[[str], None] = print,
) -> None:
    """Runs everything in ``order``, adding each result to ``store`` at once.

    A run that fails is a result too; the rest goes on. What was copied is removed and the
    performance mode ended in any case, after Ctrl-C as well.

    Raises:
        DeviceLostError: The device went away and did not come back.
        BenchError: The device cannot be prepared.
    """
    by_name = {model.name: model for model in models}
    jobs = [(repetition, configuration, False) for repetition, configuration in order]
    if options.profile:
        jobs += [(0, configuration, True) for repetition, configuration in order if repetition == 1]
    try:
        with phone.fixed_performance(device, options.fixed_performance):
            route.prepare(models)
            started = False
            for number, (repetition, configuration, profiled) in enumerate(jobs, 1):
                model = by_name[configuration.model]
                flags = options.flags(model, configuration)
                record: Record = {
                    **configuration.as_json(),
                    "model_sha256": model.sha256,
                    "repetition": repetition,
                    "profiled": profiled,
                    "tool_sha256": route.description["tool_sha256"],
                    "flags": flags,
                }
                counts = {name: record[name] for name in ("model_sha256", *configuration.as_json())}
                if store.has(record) or (profiled and not store.has(counts)):
                    continue
                if started:
                    time.sleep(options.cooldown_seconds)
                started = True
                stem = store.logs / f"{number:03d}_{_slug(configuration)}"
                record |= _run(device, route, model, configuration, flags, profiled, stem)
                store.add(record)
                say(f"[{number}/{len(jobs)}] {configuration}: {_outcome(record)}")
                if record["state"] == LOST:
                    if not device.wait(options.reconnect_seconds):
                        device.check_online("in the middle of a run")
                    say(f"{device.serial} is back")
                    route.prepare(models)
                    if options.fixed_performance:
                        phone.set_fixed_performance(device, True)
    finally:
        if not options.keep:
            route.clean()


def _run(
    device: Device,
    route: Route,
    model: Model,
    configuration: Configuration,
    flags: list[str],
    profiled: bool,
    stem: Path,
) -> Record:
    """One run, whatever becomes of it."""
    record: Record = {"state": LOST, "reason": "", "timings": {}, "memory": {}}
    log_path = stem.with_suffix(".txt")
    try:
        record["temperature_before"] = phone.temperatures(device)
        attempt = route.run(model, flags, profiled, stem)
        log_path.parent.mkdir(parents=True, exist_ok=True)
        marker = "" if attempt.rc is None else f"\n__RC={attempt.rc}\n"
        log_path.write_text(
            f"# benchmark_model {shlex.join(attempt.flags)}\n{attempt.text}{marker}",
            encoding="utf-8",
        )
        record["log"] = f"{log_path.parent.parent.name}/{log_path.parent.name}/{log_path.name}"
        log = parse_log(attempt.text)
        result = _read_result(attempt.files.get("result.pb"))
        state, reason = judge(log, attempt.rc, attempt.flags)
        if attempt.rc is None:
            device.check_online("while the model was running")
        if attempt.broke:  # and the device is back already
            raise DeviceLostError(f"{device.serial}: the connection broke in the middle of the run")
        if state == FAILED:
            reason = attempt.problem or reason
        record |= {"state": state, "reason": reason}
        if state == OK:  # other figures are those of something else; the log has them
            record["timings"] = timings_ms(log.timings, result)
            memory = asdict(log.memory)
            record["memory"] = {name: memory[name] for name in memory if memory[name] is not None}
        found = log.delegate(configuration.judged_delegate)
        if found and found.applied:
            record["coverage"] = found.state
        if profiled:
            record["operators"] = _operators(log, attempt.files.get("profile.csv"))
        record["temperature_after"] = phone.temperatures(device)
    except DeviceLostError as error:
        # A run whose figures came back whole counts, even if the device went right after it.
        if record["state"] != OK:
            record |= {"state": LOST, "reason": str(error)}
    return record


def _read_result(path: Path | None) -> Timings | None:
    found = parse_result(path.read_bytes()) if path else None
    return found.timings if found else None


def timings_ms(printed: Timings | None, written: Timings | None = None) -> dict[str, float]:
    """Figures in milliseconds: what the tool printed, completed by what it wrote to its file.

    Returns:
        ``avg_ms, median_ms, ...`` and the plain ``count`` and ``warmup_count``, those that are
        known.
    """
    if printed is None:
        return {}
    merged = printed
    if written is not None:
        gaps = {
            item.name: getattr(written, item.name)
            for item in fields(Timings)
            if getattr(printed, item.name) is None
        }
        merged = replace(printed, **gaps)
    found = {}
    for name, value in asdict(merged).items():
        if value is not None and name.endswith("_us"):
            found[name.removeprefix("inference_").replace("_us", "_ms")] = value / 1000
        elif value is not None:
            found[name] = value
    return found


def _operators(log: Log, path: Path | None) -> list[dict[str, Any]]:
    """The profile of one inference, dearest operator first, times in ms."""
    ops = parse_op_csv(path.read_bytes()) if path else log.ops
    running = [op for op in ops if op.phase == "run"]
    return [
        {"type": op.node_type, "name": op.name, "avg_ms": op.avg_us / 1000, "percent": op.percent}
        for op in sorted(running, key=lambda op: -op.avg_us)
    ]


def _outcome(record: Record) -> str:
    if record["state"] != OK:
        return f"{record['state']} ({record['reason']})"
    timings = record["timings"]
    name = "median" if "median_ms" in timings else "avg"
    return f"{timings[name + '_ms']:.3g} ms {name}{', profiled' if record['profiled'] else ''}"


def _slug(configuration: Configuration) -> str:
    return re.sub(r"\W+", "-", str(configuration)).strip("-")
