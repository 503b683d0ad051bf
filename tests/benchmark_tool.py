"""benchmark_model for the scripted device (``adbd.py``): times a model and prints the real format.

It starts for every run of every test, so it imports little.
"""

import json
import os
import signal
import struct
import sys
import time
from pathlib import Path

_KNOWN = {
    "graph", "num_threads", "num_runs", "min_secs", "warmup_min_secs", "use_xnnpack",
    "result_file_path", "enable_op_profiling", "op_profiling_output_mode",
    "op_profiling_output_file", "signature_to_run_for", "help",
}  # fmt: skip


def known(behaviour: dict[str, object]) -> set[str]:
    """The flags that this build of the tool knows."""
    gpu = {"use_gpu"} if "gpu" in behaviour else set()
    return (_KNOWN | gpu) - set(behaviour.get("unknown", ()))  # type: ignore[call-overload]


def _run(arguments: list[str]) -> int:
    behaviour = json.loads(Path(os.environ["STATE"], "tool.json").read_text(encoding="utf-8"))
    names = known(behaviour)
    flags = dict(item.lstrip("-").split("=", 1) for item in arguments)
    say("STARTING!")
    unknown = [f"--{name}={value}" for name, value in flags.items() if name not in names]
    if unknown:
        print(f"WARN: Unconsumed cmdline flags: {' '.join(unknown)}", flush=True)
    say(f"Graph: [{flags['graph']}]")
    threads = flags.get("num_threads", "1")
    mode = behaviour.get("modes", {}).get(threads, behaviour.get("mode", "run"))
    if mode == "mute":
        return 0
    if mode == "hang":
        time.sleep(600)
    model = Path(flags["graph"]).read_bytes()
    say(f"Loaded model {flags['graph']}")
    if mode == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if flags.get("use_gpu") == "true" and "use_gpu" in names:
        say("GPU delegate created.")
        if behaviour["gpu"] == "applied":
            _applied("GPU", "completely executed by the delegate.")
        else:
            say(
                "Though GPU delegate is explicitly applied, the model graph will not be executed "
                "by the delegate."
            )
    if flags.get("use_xnnpack") == "true" and "use_xnnpack" in names:
        _applied("XNNPACK", "partially executed by the delegate w/ 2 delegate kernels.")
    print("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.", file=sys.stderr)
    runs = int(flags.get("num_runs", 50))
    if mode == "fixed":
        init_us, times = 100.0, [500.0] * (runs + 1)
    else:
        init_us, times = _time(model, runs + 1, int(threads))
    say(f"Initialized session in {init_us / 1000}ms.")
    _statistics(times[:1])
    _statistics(times[1:])
    average = sum(times[1:]) / runs
    say(
        f"Inference timings in us: Init: {init_us:.6g}, First inference: {times[0]:.6g}, "
        f"Warmup (avg): {times[0]:.6g}, Inference (avg): {average:.6g}"
    )
    say("Memory footprint delta from the start of the tool (MB): init=1.5 overall=3.25")
    if "result_file_path" in flags and "result_file_path" in names:
        latency = struct.pack("<BfBf", 0x0D, average / 1000, 0x2D, _percentile(times, 50) / 1000)
        count = bytes([0x10, runs])
        message = b"\x12" + bytes([len(latency)]) + latency + b"\x22" + bytes([len(count)]) + count
        Path(flags["result_file_path"]).write_bytes(message)
    if "op_profiling_output_file" in flags:
        Path(flags["op_profiling_output_file"]).write_text(_PROFILE, encoding="utf-8")
    return 0


_PROFILE = """\
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 11.552, 11.552, 100%, 100%, 20912, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Fully Connected (NC, F32) GEMM, 0.02, 0.01, 25%, 25%, 0, 1, Delegate/a:0
SOFTMAX, 0.04, 0.03, 75%, 100%, 0, 1, [b]:1
"""


def say(text: str) -> None:
    print(f"INFO: {text}", flush=True)


def _applied(name: str, how: str) -> None:
    say(f"Explicitly applied {name} delegate, and the model graph will be {how}")


def _time(model: bytes, runs: int, threads: int) -> tuple[float, list[float]]:
    from ai_edge_litert.interpreter import Interpreter

    start = time.perf_counter()
    interpreter = Interpreter(model_content=model, num_threads=threads)
    interpreter.allocate_tensors()
    init_us = (time.perf_counter() - start) * 1e6
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        times.append((time.perf_counter() - start) * 1e6)
    return init_us, times


def _percentile(times: list[float], percent: int) -> float:
    return sorted(times)[percent * len(times) // 100]


def _statistics(times: list[float]) -> None:
    average = sum(times) / len(times)
    deviation = (sum((time - average) ** 2 for time in times) / len(times)) ** 0.5
    p5, median, p95 = (_percentile(times, percent) for percent in (5, 50, 95))
    say(
        f"count={len(times)} first={times[0]:.0f} curr={times[-1]:.0f} min={min(times):.0f} "
        f"max={max(times):.0f} avg={average:.6g} std={deviation:.0f} "
        f"p5={p5:.0f} median={median:.0f} p95={p95:.0f}\n"
    )


if __name__ == "__main__":
    sys.exit(_run(sys.argv[1:]))
