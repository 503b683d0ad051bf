"""One device, a matrix of configurations: checks, copies, runs in shuffled order, cleans up."""

import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from ser_kd.android_bench import phone
from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import DeviceLostError
from ser_kd.android_bench.matrix import Configuration
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.options import Options
from ser_kd.android_bench.results import Record, Store
from ser_kd.android_bench.route import Route
from ser_kd.android_bench.tool_output.figures import Log, Timings
from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.tool_output.profile import parse_op_csv
from ser_kd.android_bench.tool_output.result_file import parse_result
from ser_kd.android_bench.verdict import FAILED, LOST, OK, judge


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
    """The profile of one inference, slowest operator first, times in ms."""
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
