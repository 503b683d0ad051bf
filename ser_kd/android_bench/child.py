"""The process in which ``--host`` runs one model: ``python -m ser_kd.android_bench.child``.

A line with a number on stdin lets it run that many inferences; it answers with their times in ms.
The first answer begins with the time that loading took. To 0 it answers with the peak memory in
bytes and the number of kernels that delegates run.
"""

import importlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


def _load(
    path: str, threads: int, xnnpack: str, signature: str
) -> tuple[float, Callable[[], Any], Callable[[], int]]:
    """(ms that loading took, one inference of random input, number of delegates' kernels)."""
    numpy: Any = importlib.import_module("numpy")
    litert: Any = importlib.import_module("ai_edge_litert.interpreter")
    options: dict[str, Any] = {}
    if xnnpack == "off":
        options["experimental_op_resolver_type"] = (
            litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        )
    start = time.perf_counter()
    interpreter = litert.Interpreter(model_path=path, num_threads=threads, **options)
    interpreter.allocate_tensors()
    init_ms = (time.perf_counter() - start) * 1e3
    generator = numpy.random.default_rng(0)

    def noise(details: dict[str, Any]) -> Any:
        dtype = numpy.dtype(details["dtype"])
        if dtype.kind in "iu":  # small: a large number may be an index
            return generator.integers(0, 100, details["shape"]).astype(dtype)
        return generator.normal(size=details["shape"]).astype(dtype)

    def kernels() -> int:
        # There is no public way to see what a delegate took over.
        return sum(item["op_name"] == "DELEGATE" for item in interpreter._get_ops_details())

    if signature:
        runner = interpreter.get_signature_runner(signature)
        named = {name: noise(item) for name, item in runner.get_input_details().items()}
        return init_ms, lambda: runner(**named), kernels
    for item in interpreter.get_input_details():
        interpreter.set_tensor(item["index"], noise(item))
    invoke: Callable[[], Any] = interpreter.invoke
    return init_ms, invoke, kernels


def _peak_bytes() -> int:
    try:
        # Not ru_maxrss: across fork and exec Linux counts the parent's memory in.
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):  # no /proc: macOS, where ru_maxrss is in bytes
        resource: Any = importlib.import_module("resource")  # Windows has none
        return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


def _serve(arguments: list[str], answers: IO[str]) -> None:
    path, threads, xnnpack, signature = arguments
    init_ms, infer, kernels = _load(path, int(threads), xnnpack, signature)
    prefix = [init_ms]
    for line in sys.stdin:
        times = []
        if int(line) and not prefix:
            infer()  # caches that others have used meanwhile fill again
        for _ in range(int(line)):
            start = time.perf_counter()
            infer()
            times.append((time.perf_counter() - start) * 1e3)
        print(*prefix, *times or [_peak_bytes(), kernels()], file=answers, flush=True)
        prefix = []


if __name__ == "__main__":
    # Whatever libraries print must not mix with the answers.
    out, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    try:
        _serve(sys.argv[1:], out)
    except (ValueError, RuntimeError, ImportError) as error:
        sys.exit(" ".join(str(error).split()))
