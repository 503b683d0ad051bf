"""What a waveform model with several signatures costs those who use only the first: ratios.

    python benchmarks/waveform_signatures.py ONE_SIGNATURE.tflite SEVERAL_SIGNATURES.tflite

Each file is loaded and run in processes of its own, in turns, one thread: growth of the resident
memory up to the first answer, time to a loaded interpreter, time of an inference of the first
graph and, where the file has it, of ``classify_owner``. Times are CPU times of the
process, since a loaded machine interrupts it. Medians; the last line is JSON. Needs NumPy and a
runtime only, so that it also runs beside an old runtime.
"""

import argparse
import importlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_RUNS = 40


def main() -> None:
    """Prints medians of each file, and ratios to the first."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=15, help="processes per file (default: 15)")
    parser.add_argument(
        "--runtime",
        default="ai_edge_litert.interpreter",
        help="module with an Interpreter, such as tflite_runtime.interpreter",
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        print(json.dumps(_measure(parsed.models[0], parsed.runtime)))
        return
    found: dict[Path, list[dict[str, Any]]] = {path: [] for path in parsed.models}
    for _ in range(parsed.rounds):
        for path in parsed.models:
            command = [sys.executable, __file__, "--child", str(path), "--runtime", parsed.runtime]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found[path].append(json.loads(done.stdout.splitlines()[-1]))
    medians = [
        {name: float(np.median([turn[name] for turn in turns])) for name in turns[0]}
        for turns in found.values()
    ]
    first = medians[0]
    for path, figures in zip(found, medians, strict=True):
        print(f"{path} ({path.stat().st_size:,} bytes)")
        for name, value in figures.items():
            ratio = f"  x {value / first[name]:.3f}" if first.get(name) else ""
            print(f"  {name:<24}{value:10.3f}{ratio}")
    print(json.dumps({str(path): figures for path, figures in zip(found, medians, strict=True)}))


def _measure(path: Path, runtime: str) -> dict[str, float]:
    interpreter_class = importlib.import_module(runtime).Interpreter

    def load() -> Any:
        interpreter = interpreter_class(model_path=str(path), num_threads=1)
        interpreter.allocate_tensors()
        return interpreter

    before_kb = _resident_kb()
    interpreter = load()
    (given,) = interpreter.get_input_details()
    pcm = np.random.default_rng(0).normal(0, 0.1, given["shape"]).astype(np.float32)
    interpreter.set_tensor(given["index"], pcm)
    interpreter.invoke()
    figures = {"resident_kb": float(_resident_kb() - before_kb)}
    figures["load_ms"] = _median_ms(load)
    figures["classify_ms"] = _median_ms(interpreter.invoke)
    if "classify_owner" in interpreter.get_signature_list():
        owner = interpreter.get_signature_runner("classify_owner")
        shape = owner.get_input_details()["statistics"]["shape"]
        statistics = np.tile(np.array([[-45.0], [12.0]], np.float32), (1, shape[1]))
        figures["classify_owner_ms"] = _median_ms(lambda: owner(pcm=pcm, statistics=statistics))
    return figures


def _median_ms(run: Callable[[], Any]) -> float:
    times = []
    for _ in range(_RUNS):
        started = time.process_time()
        run()
        times.append(1e3 * (time.process_time() - started))
    return float(np.median(times[_RUNS // 4 :]))


def _resident_kb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4


if __name__ == "__main__":
    main()
