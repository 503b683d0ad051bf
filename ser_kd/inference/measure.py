"""Latency and memory of models, each in a fresh process of its own, one thread.

Several models are measured in turns, so that whatever else the machine does hits all alike and the
ratios hold. A model's child process waits on stdin while it is not its turn.
"""

import contextlib
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from ser_kd.errors import UserError
from ser_kd.registry import load_object
from ser_kd.tflite.interpreters import TFLiteModel

Example = np.ndarray | Mapping[str, np.ndarray]
Model = Path | Sequence[Path]
"""A file, or the files of an ensemble, whose networks run one after the other."""

_TIMED_NETWORK = "ser_kd.inference.keras_student:timed_network"
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def machine() -> str:
    """Cores and processor of this computer, as the system names them."""
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError, StopIteration):  # Linux says more
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line for line in lines if line.startswith("model name")).split(":")[1].strip()
    return f"{os.cpu_count()} cores ({name})"


def measure(model: Model, example: Example | None = None) -> dict[str, Any]:
    """``measure_all`` for one model."""
    return measure_all([model], [example])[0]


def measure_all(
    models: Sequence[Model],
    examples: Sequence[Example | None] | None = None,
    rounds: int = 10,
    inferences: int = 10,
) -> list[dict[str, Any]]:
    """Times models in turns: ``rounds`` times ``inferences`` inferences of each, after a warm-up.

    Args:
        models: .tflite or .keras files, teachers' included; a list of files is an ensemble.
        examples: One input for each, batch axis 1 included (a mapping for named inputs); None =
            noise of the shape that the model itself names.
        rounds: Turns of each model.
        inferences: Per turn.

    Returns:
        For each: ``latency_ms`` (median of one inference, batch 1, one thread, without front end),
        ``latency_p95_ms``, ``peak_memory_mb`` (the largest resident set, 10^6 bytes, of the process
        that loads and runs the model, Python and the runtime included) and ``runtime``.

    Raises:
        UserError: A model cannot be loaded or run.
    """
    children: list[subprocess.Popen[str]] = []
    paths = [[model] if isinstance(model, Path) else list(model) for model in models]
    times: list[list[float]] = [[] for _ in models]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as scratch:
        try:
            for index, files in enumerate(paths):
                example = examples[index] if examples else None
                children.append(_start(files, example, Path(scratch, f"{index}.npz")))
                _ask(children[-1], 3, files[0])
            for _ in range(rounds):
                for index, child in enumerate(children):
                    times[index] += map(float, _ask(child, inferences, paths[index][0]).split())
            for index, child in enumerate(children):
                runtime, peak_bytes = _ask(child, 0, paths[index][0]).rsplit(" ", 1)
                results.append(
                    {
                        "latency_ms": float(np.median(times[index])),
                        "latency_p95_ms": float(np.percentile(times[index], 95)),
                        "peak_memory_mb": int(peak_bytes) / 1e6,
                        "runtime": runtime,
                    }
                )
        finally:
            for child in children:
                child.kill()
                child.communicate()
    return results


def _start(
    files: Sequence[Path], example: Example | None, example_path: Path
) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ser_kd.inference.measure"]
    if example is not None:
        named = example if isinstance(example, Mapping) else {"": example}
        arrays: dict[str, Any] = {f"_{name}": value for name, value in named.items()}
        with example_path.open("wb") as file:
            np.savez(file, **arrays)
        command += ["--example", str(example_path)]
    command += [str(path.resolve()) for path in files]
    here = str(Path(__file__).parents[2])
    search = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": search},
    )


def _ask(child: "subprocess.Popen[str]", inferences: int, path: Path) -> str:
    """Lets a child run; the answer is its times in ms, or for 0 its runtime and peak memory."""
    stdin, stdout, stderr = cast(tuple[IO[str], ...], (child.stdin, child.stdout, child.stderr))
    try:
        print(inferences, file=stdin, flush=True)
        answer = stdout.readline()
    except BrokenPipeError:
        answer = ""
    if not answer:
        reason = (stderr.read().strip().splitlines() or [f"status {child.wait()}"])[-1]
        raise UserError(f"{path} cannot be measured: {reason}")
    return answer.strip()


def _timed_tflite(path: Path, example: Example | None) -> tuple[str, Callable[[], Any]]:
    """(runtime, one inference) of a .tflite file.

    Raises:
        UserError: It cannot be loaded.
    """
    model = TFLiteModel(path)
    if example is None:
        generator = np.random.default_rng(0)
        example = generator.normal(size=model.input_shape).astype(np.float32)
    return model.runtime, lambda: model.predict(cast(np.ndarray, example))


def _load(path: Path, example_path: Path | None) -> tuple[str, Callable[[], Any]]:
    """(runtime, one inference)."""
    example: Any = None
    if example_path:
        with np.load(example_path) as arrays:
            example = {name[1:]: arrays[name] for name in arrays.files}
        example = example.get("", example)
    if path.suffix == ".tflite":  # a process that must not import TensorFlow
        return _timed_tflite(path, example)
    timed: tuple[str, Callable[[], Any]] = load_object(_TIMED_NETWORK)(path, example)
    return timed


def _peak_bytes() -> int:
    try:
        # Not ru_maxrss: across fork and exec Linux counts the parent's memory in.
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):  # no /proc: macOS, where ru_maxrss is in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _serve(arguments: list[str], out: IO[str]) -> None:
    example = Path(arguments[1]) if arguments[0] == "--example" else None
    loaded = [_load(Path(path), example) for path in arguments[2 if example else 0 :]]
    runtime = loaded[0][0]
    for line in sys.stdin:
        times = []
        for _ in range(int(line)):
            start = time.perf_counter()
            for _, infer in loaded:
                infer()
            times.append((time.perf_counter() - start) * 1e3)
        print(*times or (runtime, _peak_bytes()), file=out, flush=True)


if __name__ == "__main__":
    # Whatever libraries print must not mix with the answers.
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)
    try:
        _serve(sys.argv[1:], answers)
    except UserError as error:
        sys.exit(str(error))
