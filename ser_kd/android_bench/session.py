"""One session of measurements: what to run where, results kept as they come, a table at the end."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ser_kd.android_bench import apk, binary, host, phone, results, runner
from ser_kd.android_bench.adb import Adb, choose, find_adb
from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.matrix import Configuration, shuffled
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.options import Options
from ser_kd.android_bench.route import BinaryRoute, Route
from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.tool_output.profile import parse_op_csv
from ser_kd.android_bench.tool_output.result_file import parse_result
from ser_kd.android_bench.verdict import OK, judge

_MARKER = re.compile(r"^__RC=(\d+)\s*\Z", re.M)


@dataclass(frozen=True)
class Request:
    """What was asked for.

    Attributes:
        models: To be timed.
        matrix: What of them is timed, and how.
        options: How steadily.
        out: The folder of the results.
        resume: Whether runs that count in an earlier file of results are kept.
        compare: Whether ratios against the first model are printed.
        binary: ``benchmark_model`` for the device's processor.
        fetch_binary: Where to download it.
        apk: TensorFlow Lite's benchmark app, to measure inside of it.
    """

    models: Sequence[Model]
    matrix: Sequence[Configuration]
    options: Options
    out: Path
    resume: bool = False
    compare: bool = False
    binary: Path | None = None
    fetch_binary: str | None = None
    apk: Path | None = None


def dry_run(request: Request) -> int:
    """Says what would be done; needs no device. Gives the exit status."""
    options, by_name = request.options, {model.name: model for model in request.models}
    for model in request.models:
        print(f"{model.name}: {model.size_bytes:,} bytes, input {' '.join(model.inputs)}")
    if request.apk:
        print(f"app: {request.apk}")
    elif request.binary:
        print(f"binary: {request.binary}, for {binary.abis(request.binary)[0]}")
    order = shuffled(request.matrix, options.repetitions, options.seed)
    for repetition, configuration in order:
        flags = options.flags(by_name[configuration.model], configuration)
        print(f"{repetition}: {configuration.model}: benchmark_model --graph=... {' '.join(flags)}")
    seconds = (len(order) - 1) * options.cooldown_seconds
    print(f"{len(order)} runs, {seconds:.0f} s of pauses between them")
    return 0


def on_host(request: Request) -> int:
    """Measures on this computer.

    Returns:
        0 if everything that was asked for counts, else 1.

    Raises:
        BenchError: ai-edge-litert is not installed, or a flag is for phones only.
    """
    tool = host.runtime()
    header = _header(request, host.describe(), {"route": "host", "tool": tool})
    store = results.Store(request.out, header, request.resume)
    try:
        host.measure(request.models, request.matrix, request.options, store, tool)
    finally:
        _report(store, request.compare)
    return _status(store)


def on_device(request: Request, adb_path: str | None, serial: str | None) -> int:
    """Measures on a phone.

    Args:
        request: What was asked for.
        adb_path: Of adb; None = found by itself.
        serial: Of the device; None = the only one, or asked for.

    Returns:
        0 if everything that was asked for counts, else 1.

    Raises:
        BenchError: There is no device, adb or tool, or the device no longer answers.
    """
    if sum(map(bool, (request.binary, request.fetch_binary, request.apk))) != 1:
        raise BenchError(
            "say what to run on the device: --binary PATH, --fetch-binary or --apk PATH"
        )
    adb = Adb(find_adb(adb_path))
    version = adb.version()
    device = Device(adb, choose(adb.devices(), serial, ask=sys.stdin.isatty()))
    about = phone.describe(device)
    if not about["abis"]:
        device.check_online("it names no processor")
        raise BenchError(f"{device.serial} does not say which processor it has (getprop)")
    route: Route
    if request.apk:
        route = apk.ApkRoute(device, request.apk, request.options)
    else:
        tool = request.binary or fetch(str(request.fetch_binary), about["abis"][0], request.out)
        route = BinaryRoute(device, tool, about["abis"], request.options)
    print(f"{about['kind']} {about['model']} ({device.serial}), adb {version}")
    header = _header(request, about, {**route.description, "adb": version})
    store = results.Store(request.out, header, request.resume)
    order = shuffled(request.matrix, request.options.repetitions, request.options.seed)
    try:
        runner.measure(device, route, request.models, order, request.options, store)
    finally:
        _report(store, request.compare)
    return _status(store)


def fetch(source: str, abi: str, out: Path) -> Path:
    """Downloads ``benchmark_model`` for a processor and says where it is.

    Raises:
        BenchError: It cannot be had.
    """
    path, sha256 = binary.fetch(source, abi, out)
    print(f"{path}\nsha256 {sha256}")
    return path


def _header(request: Request, device: dict[str, Any], tool: dict[str, Any]) -> dict[str, Any]:
    options = request.options
    settings = {name: getattr(options, name) for name in options.__dataclass_fields__}
    return {
        "device": device,
        "started": datetime.now().astimezone().isoformat(timespec="seconds"),
        "settings": {**tool, **settings, "extra_flags": list(options.extra_flags)},
        "models": [
            {
                "name": model.name,
                "path": str(model.path),
                "sha256": model.sha256,
                "bytes": model.size_bytes,
                "inputs": list(model.inputs),
            }
            for model in request.models
        ],
    }


def _report(store: results.Store, compare: bool) -> None:
    if store.results:
        print("\n" + results.table(store.content))
        if compare:
            print("\n" + results.comparison(store.content))
        for note in results.notes(store.content):
            print(f"note: {note}")
    print(f"{store.path} and {store.path.with_suffix('.csv').name}")


def _status(store: results.Store) -> int:
    return 0 if all(record["state"] == OK for record in store.results) else 1


def parse_files(paths: Sequence[Path]) -> int:
    """Prints one line for each log, result proto or operator profile; gives the exit status."""
    status = 0
    for path in paths:
        content = path.read_bytes()
        operators = parse_op_csv(content) if path.suffix == ".csv" else ()
        if operators:
            running = [op for op in operators if op.phase == "run"]
            slowest = max(running, key=lambda op: op.avg_us, default=operators[0])
            print(
                f"{path}: {len(running)} operators, the slowest is {slowest.node_type} with "
                f"{slowest.avg_us / 1000:.3g} ms"
            )
            continue
        written = parse_result(content)
        log = parse_log(content)
        state, reason = OK, ""
        if not written:
            marker = _MARKER.search(content.decode("utf-8", "replace"))
            # A log without a marker was not written by us: its final line has to do.
            state, reason = judge(log, int(marker[1]) if marker else 0)
        figures = runner.timings_ms(written.timings if written else log.timings)
        names = ("median_ms", "avg_ms", "p95_ms", "init_ms", "count")
        said = "  ".join(f"{name} {figures[name]:.4g}" for name in names if name in figures)
        print(f"{path}: {state}{f' ({reason})' if reason else ''}  {said}".rstrip())
        status |= state != OK
    return status
