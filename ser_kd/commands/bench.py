"""Latency of .tflite models on the phone that is plugged in, or on this computer."""

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from ser_kd.android_bench import session
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.matrix import DELEGATES, XNNPACK, configurations
from ser_kd.android_bench.model import read_models
from ser_kd.android_bench.options import Options

_EPILOG = """\
What stands behind -- is given to the tool as it is: -- --min_secs=3 --warmup_min_secs=1
Exit status: 0 everything that was asked for counts; 1 something does not; 2 something to mend;
130 interrupted, what is measured is kept. docs/phone.md says how to set a phone up and what the
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
        with _polite_kill():
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
    args = _parser().parse_intermixed_args(own)
    if args.parse:
        return session.parse_files(args.parse)
    if (args.fetch_binary or "").endswith(".tflite"):
        raise BenchError(f"{args.fetch_binary}: models stand in front of --fetch-binary")
    if not args.models:
        if args.fetch_binary and args.abi:
            session.fetch(args.fetch_binary, args.abi, args.out)
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
    request = session.Request(
        models=models,
        matrix=configurations(models, args.threads, args.delegate, args.xnnpack),
        options=options,
        out=args.out,
        resume=args.resume,
        compare=args.compare,
        binary=args.binary,
        fetch_binary=args.fetch_binary,
        apk=args.apk,
    )
    for model in models:
        if model.signature is not None and not _names_signature(extra):
            names = ", ".join(name for name, _ in model.signatures)
            print(f"{model.name}: has signatures {names}; {model.signature} is run")
    if args.dry_run:
        return session.dry_run(request)
    if args.host:
        for name in ("binary", "fetch_binary", "apk", "profile", "cpu_mask", "fixed_performance"):
            if getattr(args, name):
                raise BenchError(f"--{name.replace('_', '-')} is for a device, not for --host")
        return session.on_host(request)
    return session.on_device(request, args.adb, args.device or os.environ.get("ANDROID_SERIAL"))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ser-kd bench",
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


@contextlib.contextmanager
def _polite_kill() -> Iterator[None]:
    """Within it SIGTERM cleans up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
