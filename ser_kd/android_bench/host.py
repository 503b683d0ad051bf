"""The same matrix on this computer, through ai-edge-litert.

Every configuration has a process of its own, which waits while it is not its turn: all are loaded
together and take turns, so that whatever else the computer does hits all alike and ratios hold.
"""

import importlib.metadata
import importlib.util
import os
import platform
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, cast

from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.matrix import Configuration
from ser_kd.android_bench.model import Model
from ser_kd.android_bench.options import Options
from ser_kd.android_bench.results import Record, Store
from ser_kd.android_bench.verdict import FAILED, FELL_BACK, OK, UNSUPPORTED

_TURNS = 10
_WARMUP_RUNS = 3


def describe() -> dict[str, Any]:
    """This computer, in the form of ``phone.describe``."""
    name = platform.processor() or platform.machine()
    try:
        cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        name = cpus.split("model name")[1].split(":", 1)[1].splitlines()[0].strip()
    except (OSError, IndexError):
        pass
    return {
        "kind": "host",
        "serial": platform.node(),
        "model": "host",
        "soc": name,
        "cpus": os.cpu_count(),
        "system": platform.platform(),
    }


def runtime() -> str:
    """Such as ``ai-edge-litert 2.3.0``.

    Raises:
        BenchError: It is not installed.
    """
    if importlib.util.find_spec("ai_edge_litert") is None:
        raise BenchError("ai-edge-litert is not installed: pip install ai-edge-litert")
    try:
        return f"ai-edge-litert {importlib.metadata.version('ai-edge-litert')}"
    except importlib.metadata.PackageNotFoundError:  # a nightly build has another name
        return "ai-edge-litert"


def measure(
    models: Sequence[Model],
    matrix: Sequence[Configuration],
    options: Options,
    store: Store,
    tool: str,
    say: Callable[[str], None] = print,
) -> None:
    """Times all configurations in turns; each repetition has fresh processes.

    Args:
        models: Those that ``matrix`` names.
        matrix: What to time; delegates other than the CPU's are ``unsupported`` here.
        options: ``runs`` inferences are timed per repetition, in ten turns.
        store: Gets the results, at the end of each repetition.
        tool: What ``runtime`` says.
        say: Told how it goes.
    """
    by_name = {model.name: model for model in models}
    signature = _chosen_signature(options)
    generator = random.Random(options.seed)
    for repetition in range(1, options.repetitions + 1):
        records: dict[Configuration, Record] = {}
        for configuration in matrix:
            model = by_name[configuration.model]
            records[configuration] = {
                **configuration.as_json(),
                "model_sha256": model.sha256,
                "repetition": repetition,
                "profiled": False,
                "tool_sha256": tool,
                "flags": options.flags(model, configuration),
            }
        todo = [item for item in matrix if not store.has(records[item])]
        if todo and repetition > 1:
            time.sleep(options.cooldown_seconds)
        outcomes = _take_turns(todo, by_name, signature, options, generator)
        for configuration in todo:
            store.add({**records[configuration], **outcomes[configuration]})
            outcome = outcomes[configuration]
            figure = outcome["timings"].get("median_ms")
            text = outcome["reason"] if figure is None else f"{figure:.3g} ms median"
            say(f"[{repetition}/{options.repetitions}] {configuration}: {text}")


def _chosen_signature(options: Options) -> str | None:
    name = None
    for flag in options.extra_flags:
        key, _, value = flag.partition("=")
        if key != "--signature_to_run_for":
            raise BenchError(f"{flag} is a flag of the phone's tool: --host does not know it")
        name = value
    return name


def _take_turns(
    matrix: Sequence[Configuration],
    models: dict[str, Model],
    signature: str | None,
    options: Options,
    generator: random.Random,
) -> dict[Configuration, Record]:
    outcomes: dict[Configuration, Record] = {}
    children: dict[Configuration, _Child] = {}
    try:
        for configuration in matrix:
            if configuration.delegate != "cpu":
                reason = f"there is no {configuration.delegate} delegate on this computer"
                outcomes[configuration] = _outcome(UNSUPPORTED, reason)
                continue
            model = models[configuration.model]
            child = _Child(model, configuration, signature, options.timeout_seconds)
            children[configuration] = child
        for turn in range(_TURNS):
            inferences = options.runs // _TURNS + (turn < options.runs % _TURNS)
            for configuration in generator.sample(list(children), len(children)):
                if inferences and not children[configuration].problem:
                    children[configuration].infer(inferences)
        for configuration, child in children.items():
            outcomes[configuration] = child.finish()
    finally:
        for child in children.values():
            child.close()
    return outcomes


def _outcome(state: str, reason: str = "") -> Record:
    return {"state": state, "reason": reason, "timings": {}, "memory": {}}


class _Child:
    """A process that holds one model and runs it when told to."""

    def __init__(
        self,
        model: Model,
        configuration: Configuration,
        signature: str | None,
        timeout_seconds: float,
    ) -> None:
        self.problem = ""
        self._times_ms: list[float] = []
        self._timeout_seconds = timeout_seconds
        self._xnnpack = configuration.xnnpack
        here = str(Path(__file__).parents[2])
        search = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
        arguments = [str(model.path.resolve()), str(configuration.threads), configuration.xnnpack]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ser_kd.android_bench.child", *arguments, signature or ""],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": search},
        )
        self._init_ms, self._first_ms = 0.0, 0.0
        answer = self._ask(_WARMUP_RUNS)
        if answer:
            self._init_ms, self._first_ms = float(answer[0]), float(answer[1])
            self._warmup_ms = [float(value) for value in answer[1:]]

    def infer(self, inferences: int) -> None:
        self._times_ms += map(float, self._ask(inferences))

    def finish(self) -> Record:
        """Its outcome, in the form of a record."""
        answer = self._ask(0)
        if self.problem or not self._times_ms:
            return _outcome(FAILED, self.problem or "it ran the model no time")
        peak_bytes, kernels = map(int, answer)
        times = sorted(self._times_ms)
        record = _outcome(OK)
        if self._xnnpack == "on" and not kernels:
            record = _outcome(FELL_BACK, "the XNNPACK delegate was asked for and not applied")
        record["timings"] = {
            "avg_ms": statistics.fmean(times),
            "init_ms": self._init_ms,
            "first_ms": self._first_ms,
            "warmup_avg_ms": statistics.fmean(self._warmup_ms),
            "min_ms": times[0],
            "max_ms": times[-1],
            "std_ms": statistics.pstdev(times),
            "median_ms": statistics.median(times),
            "p5_ms": _percentile(times, 5),
            "p95_ms": _percentile(times, 95),
            "count": len(times),
            "warmup_count": _WARMUP_RUNS,
        }
        record["memory"] = {"peak_mb": peak_bytes / 2**20}
        return record

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _give_up(self) -> None:
        self.problem = f"it was still running after {self._timeout_seconds:.0f} s"
        self._process.kill()

    def _ask(self, inferences: int) -> list[str]:
        """Lets it run; the answer are its times in ms, or for 0 what ``finish`` needs."""
        if self.problem:
            return []
        stdin, stdout, stderr = cast(
            tuple[IO[str], ...], (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        watchdog = threading.Timer(self._timeout_seconds, self._give_up)
        watchdog.start()
        try:
            print(inferences, file=stdin, flush=True)
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        finally:
            watchdog.cancel()
        if not answer:
            said = stderr.read().strip().splitlines()
            crashed = said[-1] if said else f"it crashed (status {self._process.wait()})"
            self.problem = self.problem or crashed
        return answer.split()


def _percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest rank, as the phone's tool does it."""
    return ordered[min(len(ordered) - 1, int(percent / 100 * len(ordered)))]
