"""The command line: ``python -m android_bench MODEL... [options] [-- tool's own flags]``."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from ser_kd.android_bench import apk, binary, host, phone, results, runner
from ser_kd.android_bench.adb import Adb, choose, find_adb
from ser_kd.android_bench.device import Device
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.matrix import DELEGATES, XNNPACK, Configuration, configurations, shuffled
from ser_kd.android_bench.model import Model, read_models
from ser_kd.android_bench.options import Options
from ser_kd.android_bench.route import BinaryRoute, Route
from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.tool_output.profile import parse_op_csv
from ser_kd.android_bench.tool_output.result_file import parse_result
from ser_kd.android_bench.verdict import OK, judge

_MARKER = re.compile(r"^__RC=(\d+)\s*\Z", re.M)
_EPILOG = """\
What stands behind -- is given to the tool as it is: -- --min_secs=3 --warmup_min_secs=1
Exit status: 0 everything that was asked for counts; 1 something does not; 2 something to mend;
130 interrupted, what is measured is kept. docs/android.md says how to set a phone up and what the
figures mean."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BenchError(f"{message} (see --help)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; errors of the user are one line on stderr.

    Returns:
        The exit status, as the help describes it.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except BenchError as error:
        print("error: " + " ".join(str(error).split()), file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"error: {error.strerror or error}{where}", file=sys.stderr)
        return 2
    except EOFError:
        print("error: nobody answered: choose with --device SERIAL", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ninterrupted; what is measured is kept: --resume goes on", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    own, extra = arguments, []
    if "--" in arguments:
        cut = arguments.index("--")
        own, extra = arguments[:cut], arguments[cut + 1 :]
    for flag in extra:
        if not re.match(r"--\w+=", flag):
            raise BenchError(f"{flag!r}: the tool's flags have the form --name=value")
    args = _parser().parse_args(own)
    if args.parse:
        return _parse_files(args.parse)
    if (args.fetch_binary or "").endswith(".tflite"):
        raise BenchError(f"{args.fetch_binary}: models stand in front of --fetch-binary")
    if not args.models:
        if args.fetch_binary and args.abi:
            _fetch(args, args.abi)
            return 0
        raise BenchError("name at least one .tflite file (see --help)")
    if args.compare and len(args.models) < 2:
        raise BenchError("--compare needs two models or more")
    models = read_models(args.models)
    options = Options(
        runs=args.runs,
        repetitions=args.repetitions,
        cooldown_seconds=args.cooldown,
        timeout_seconds=args.timeout,
        reconnect_seconds=args.reconnect,
        profile=args.profile,
        cpu_mask=args.cpu_mask,
        fixed_performance=args.fixed_performance,
        keep=args.keep,
        extra_flags=tuple(extra),
        seed=args.seed,
    )
    matrix = configurations(models, args.threads, args.delegate, args.xnnpack)
    for model in models:
        if model.signature is not None and not _names_signature(extra):
            names = ", ".join(name for name, _ in model.signatures)
            print(f"{model.name}: has signatures {names}; {model.signature} is run")
    if args.dry_run:
        return _dry_run(args, models, matrix, options)
    if args.host:
        for name in ("binary", "fetch_binary", "apk", "profile", "cpu_mask", "fixed_performance"):
            if getattr(args, name):
                raise BenchError(f"--{name.replace('_', '-')} is for a device, not for --host")
        return _on_host(args, models, matrix, options)
    return _on_device(args, models, matrix, options)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m android_bench",
        description="Latency of .tflite models on the phone that is plugged in.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", metavar="MODEL", nargs="*", type=Path, help=".tflite files")
    where = parser.add_argument_group("where")
    add = where.add_argument
    add("--device", metavar="SERIAL", help="which one, of several (default: $ANDROID_SERIAL)")
    add("--adb", metavar="PATH", help="default: $ADB, then PATH, then the package adbutils")
    add("--host", action="store_true", help="on this computer, through ai-edge-litert")
    add("--dry-run", action="store_true", help="say what would be done; needs no device")
    add("--parse", metavar="LOG", nargs="+", type=Path, help="read logs of the tool; no model")
    tool = parser.add_argument_group("what runs there")
    add = tool.add_argument
    add("--binary", metavar="PATH", type=Path, help="benchmark_model for the device's processor")
    add(
        "--fetch-binary",
        metavar="SOURCE",
        nargs="?",
        const="nightly",
        help="download it: nightly (TensorFlow Lite, the default), litert-VERSION, or a URL, "
        "in which {abi} is replaced",
    )
    add("--abi", metavar="ABI", help="with --fetch-binary and no model: which one to download")
    add("--apk", metavar="PATH", type=Path, help="measure inside TensorFlow Lite's benchmark app")
    what = parser.add_argument_group("what is measured: all combinations, in random order")
    add = what.add_argument
    add("--threads", type=_numbers, default=[1], metavar="1,2,4", help="default: 1")
    add("--xnnpack", type=_choice(XNNPACK), default=["on"], metavar="on,off", help="default: on")
    add("--delegate", type=_choice(DELEGATES), default=["cpu"], metavar="cpu,gpu,nnapi")
    add("--runs", type=_positive, default=50, metavar="N", help="inferences of a run, at least")
    add("--repetitions", type=_positive, default=3, metavar="N", help="of each run (default: 3)")
    add("--profile", action="store_true", help="one more run each, with the time of each operator")
    add("--compare", action="store_true", help="print ratios against the first model")
    add("--seed", type=int, default=0, metavar="N", help="of the order")
    steady = parser.add_argument_group("how steadily")
    add = steady.add_argument
    add("--cooldown", type=_seconds, default=5.0, metavar="SECONDS", help="between runs (5)")
    add("--cpu-mask", type=_mask, metavar="HEX", help="cores to run on, for taskset: f0")
    add("--fixed-performance", action="store_true", help="Android's sustainable speed (11+)")
    add("--timeout", type=_seconds, default=300.0, metavar="SECONDS", help="of a run (300)")
    add(
        "--reconnect", type=_seconds, default=30.0, metavar="SECONDS", help="wait for a lost device"
    )
    after = parser.add_argument_group("what stays")
    add = after.add_argument
    add("--out", metavar="DIR", type=Path, default=Path("runs/bench"), help="default: runs/bench")
    add("--resume", action="store_true", help="keep the runs of DIR's file that count")
    add("--keep", action="store_true", help="leave models and tool on the device")
    return parser


def _numbers(text: str) -> list[int]:
    return list(dict.fromkeys(_positive(item) for item in text.split(",")))


def _positive(text: str) -> int:
    if not text.strip().isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return value


def _mask(text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]+", text.removeprefix("0x")) or not int(text, 16):
        raise argparse.ArgumentTypeError(f"{text!r} is no mask of cores such as f0")
    return text.removeprefix("0x")


def _choice(known: Sequence[str]) -> Any:
    def convert(text: str) -> list[str]:
        names = list(dict.fromkeys(text.split(",")))
        for name in names:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(known)}")
        return names

    return convert


def _names_signature(extra: Sequence[str]) -> bool:
    return any(flag.startswith("--signature_to_run_for=") for flag in extra)


def _dry_run(
    args: argparse.Namespace,
    models: Sequence[Model],
    matrix: Sequence[Configuration],
    options: Options,
) -> int:
    by_name = {model.name: model for model in models}
    for model in models:
        print(f"{model.name}: {model.size_bytes:,} bytes, input {' '.join(model.inputs)}")
    if args.apk:
        print(f"app: {args.apk}")
    elif args.binary:
        print(f"binary: {args.binary}, for {binary.abis(args.binary)[0]}")
    for repetition, configuration in shuffled(matrix, options.repetitions, options.seed):
        flags = options.flags(by_name[configuration.model], configuration)
        print(f"{repetition}: {configuration.model}: benchmark_model --graph=... {' '.join(flags)}")
    seconds = (len(matrix) * options.repetitions - 1) * options.cooldown_seconds
    print(f"{len(matrix) * options.repetitions} runs, {seconds:.0f} s of pauses between them")
    return 0


def _on_host(
    args: argparse.Namespace,
    models: Sequence[Model],
    matrix: Sequence[Configuration],
    options: Options,
) -> int:
    tool = host.runtime()
    header = _header(args, models, options, host.describe(), {"route": "host", "tool": tool})
    store = results.Store(args.out, header, args.resume)
    try:
        host.measure(models, matrix, options, store, tool)
    finally:
        _report(store, args.compare)
    return _status(store)


def _on_device(
    args: argparse.Namespace,
    models: Sequence[Model],
    matrix: Sequence[Configuration],
    options: Options,
) -> int:
    if sum(map(bool, (args.binary, args.fetch_binary, args.apk))) != 1:
        raise BenchError(
            "say what to run on the device: --binary PATH, --fetch-binary or --apk PATH"
        )
    adb = Adb(find_adb(args.adb))
    version = adb.version()
    serial = args.device or os.environ.get("ANDROID_SERIAL")
    device = Device(adb, choose(adb.devices(), serial, ask=sys.stdin.isatty()))
    about = phone.describe(device)
    if not about["abis"]:
        device.check_online("it names no processor")
        raise BenchError(f"{device.serial} does not say which processor it has (getprop)")
    route: Route
    if args.apk:
        route = apk.ApkRoute(device, args.apk, options)
    else:
        tool = args.binary or _fetch(args, about["abis"][0])
        route = BinaryRoute(device, tool, about["abis"], options)
    print(f"{about['kind']} {about['model']} ({device.serial}), adb {version}")
    header = _header(args, models, options, about, {**route.description, "adb": version})
    store = results.Store(args.out, header, args.resume)
    order = shuffled(matrix, options.repetitions, options.seed)
    try:
        runner.measure(device, route, models, order, options, store)
    finally:
        _report(store, args.compare)
    return _status(store)


def _fetch(args: argparse.Namespace, abi: str) -> Path:
    path, sha256 = binary.fetch(args.fetch_binary, abi, args.out)
    print(f"{path}\nsha256 {sha256}")
    return path


def _header(
    args: argparse.Namespace,
    models: Sequence[Model],
    options: Options,
    device: dict[str, Any],
    tool: dict[str, Any],
) -> dict[str, Any]:
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
            for model in models
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


def _parse_files(paths: Sequence[Path]) -> int:
    """One line for each log, result proto or operator profile."""
    status = 0
    for path in paths:
        content = path.read_bytes()
        operators = parse_op_csv(content) if path.suffix == ".csv" else ()
        if operators:
            running = [op for op in operators if op.phase == "run"]
            dearest = max(running, key=lambda op: op.avg_us, default=operators[0])
            print(
                f"{path}: {len(running)} operators, the dearest is {dearest.node_type} with "
                f"{dearest.avg_us / 1000:.3g} ms"
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


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupt)  # the polite kill cleans up as Ctrl-C does
    sys.exit(main())
