"""The tool's log: the figures of its last complete run, its delegates, its errors."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ser_kd.android_bench.tool_output.delegates import DelegateLines
from ser_kd.android_bench.tool_output.figures import Log, Memory, Timings
from ser_kd.android_bench.tool_output.lines import (
    COUNT,
    ERROR_LEVELS,
    FAILURE,
    NUMBER,
    messages,
    number,
)
from ser_kd.android_bench.tool_output.profile import OpTable

# How the versions call the figures, in the final line and in CompiledModel's block.
_FIELDS = {
    "Init": "init_us",
    "Model initialization": "init_us",
    "First inference": "first_us",
    "Warmup (first)": "first_us",
    "Warmup (avg)": "warmup_avg_us",
    "Warmup": "warmup_avg_us",
    "Inference (avg)": "inference_avg_us",
    "Inference": "inference_avg_us",
    "no stats": "inference_avg_us",
    "Inference (min)": "min_us",
    "Inference (max)": "max_us",
    "Inference (std)": "std_us",
    "Inference (median)": "median_us",
    "Inference (p5)": "p5_us",
    "Inference (p95)": "p95_us",
}

_SUMMARY = re.compile(r"(?:Average i|I)nference timings in us: (.*)")
# The TF 1 Android app glues "Overall max resident set size" to the last number.
_SUMMARY_PAIR = re.compile(rf"([A-Za-z ()]{{1,20}}): ({NUMBER})(?=,|\s|$|Overall)")
_BLOCK_LINE = re.compile(
    r"(Model initialization|First inference|(?:Warmup|Inference) \(\w+\)):\s+"
    rf"({NUMBER})(?: ms)?(?: \(({COUNT}) runs\))?$"
)
_STATS = re.compile(rf"count=({COUNT})((?: \w+=\S+(?: same\))?)*)$")
_STATS_PAIR = re.compile(rf" (\w+)=({NUMBER})(?:\(all same\))?(?=\s|$)")
_MEMORY = re.compile(
    r"(?:Memory footprint delta from the start of the tool|Peak memory footprint) \(MB\): "
    r"init=(\S+) overall=(\S+)$"
)
_MEMORY_LINES = {
    "overall peak memory footprint (mb) via periodic monitoring": "peak_mb",
    "init footprint": "init_mb",
    "overall footprint": "overall_mb",
    "peak memory": "peak_mb",
}
_MEMORY_LINE = re.compile(rf"([\w ()]+):\s+({NUMBER})(?: MB)?$")
_MODEL_SIZE = re.compile(rf"(?:The input model file size \(MB\)|Model size):\s+({NUMBER})(?: MB)?$")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (.+)")
_FLAG = re.compile(r"([^:\[\]]+?) ?: \[(.*)\]$")
# LiteRT's Python benchmark echoes without brackets.
_PLAIN_FLAG = re.compile(
    r"(Model|Accelerators|Num threads|Warmup runs|Benchmark runs|Using signature"
    r"|Fully accelerated):\s+(.+)"
)

# With these a run begins, or shows that it has begun where a filter took its first lines.
_BEGINNING = re.compile(
    r"STARTING!|Log parameter values|Graph: \[|Loaded model|Initialized session"
    r"|Running benchmark|count=|Model: |Model initialization:"
)


def parse_log(text: str | bytes) -> Log:
    """Reads what benchmark_model printed, or LiteRT's CompiledModel and Python benchmarks.

    Args:
        text: stdout and stderr, together or stdout alone, or a logcat of it. Prefixes (logcat,
            glog, levels, file names), CRLF, ANSI colours and UTF-16 are understood.

    Returns:
        The last complete run of the text. Anything that is not there is None or empty.
    """
    runs = [_Run()]
    for message, level, is_whole in messages(text):
        if is_whole:
            if runs[-1].is_over_at(message):
                runs.append(_Run())
            if runs[-1].read(message):
                continue
        if level in ERROR_LEVELS or (not level and FAILURE.match(message)):
            runs[-1].errors.append(message)

    complete = [i for i, run in enumerate(runs) if run.is_complete]
    chosen = complete[-1] if complete else len(runs) - 1
    run = runs[chosen]
    return Log(
        timings=run.timings(),
        memory=Memory(**run.memory),
        model_size_mb=run.model_size_mb,
        unconsumed_flags=tuple(run.unconsumed_flags),
        flags=run.flags,
        delegates=tuple(run.delegates.found.values()),
        ops=tuple(run.table.ops),
        errors=tuple(dict.fromkeys(e for later in runs[chosen:] for e in later.errors)),
        complete_runs=len(complete),
    )


@dataclass(frozen=True)
class _Stats:
    """A "count=" line of the warm-up or of the timed runs; keys as in Timings, avg apart."""

    count: int
    avg_us: float | None
    first_us: float | None
    fields: dict[str, float]

    def explains(self, average_us: float | None, count: int | None, rounding_us: float) -> bool:
        """Whether these are the statistics of the runs whose average was printed elsewhere."""
        if self.avg_us is None or average_us is None or count not in (None, self.count):
            return False
        # Both are printed with six digits.
        return math.isclose(self.avg_us, average_us, rel_tol=1e-5, abs_tol=rounding_us)


class _Run:
    """Collects the lines of one run."""

    def __init__(self) -> None:
        self.summary: dict[str, float] = {}  # keys as in Timings
        self.counts: dict[str, int] = {}  # count, warmup_count, where the summary has them
        self.rounding_us = 0.0
        self.stats: list[_Stats] = []
        self.memory: dict[str, float] = {}
        self.model_size_mb: float | None = None
        self.unconsumed_flags: list[str] = []
        self.flags: dict[str, str] = {}
        self.delegates = DelegateLines()
        self.table = OpTable()
        self.errors: list[str] = []
        self._has_started = False

    @property
    def is_complete(self) -> bool:
        return "inference_avg_us" in self.summary

    def is_over_at(self, message: str) -> bool:
        """Whether the message belongs to a run after this one."""
        if message.startswith("STARTING!"):
            return self._has_started or self.is_complete
        if not self.is_complete:
            return False
        if summary := _summary(message):
            # The Android app prints the same final line twice, through two listeners.
            return summary.get("inference_avg_us") != self.summary["inference_avg_us"]
        return _BEGINNING.match(message) is not None

    def read(self, message: str) -> bool:
        """Takes what the message says; False when it says nothing, or that something failed."""
        if self.table.read(message):
            return True
        if message.startswith("STARTING!"):
            self._has_started = True
        elif summary := _summary(message):
            self.summary.update(summary)
        elif stats := _stats(message):
            self.stats.append(stats)
        elif match := _BLOCK_LINE.match(message):
            self._read_block_line(*match.groups())
        elif match := _MEMORY.match(message):
            self._remember("init_mb", match[1])
            self._remember("overall_mb", match[2])
        elif match := _MODEL_SIZE.match(message):
            self.model_size_mb = number(match[1])
        elif (match := _MEMORY_LINE.match(message)) and match[1].lower() in _MEMORY_LINES:
            self._remember(_MEMORY_LINES[match[1].lower()], match[2])
        elif match := _UNCONSUMED.match(message):
            # A value can hold spaces: the next flag begins at a dash.
            self.unconsumed_flags += re.split(r"\s+(?=-)", match[1])
        elif match := _FLAG.match(message) or _PLAIN_FLAG.match(message):
            self.flags[match[1]] = match[2]
        else:
            return self.delegates.read(message)
        return True

    def timings(self) -> Timings | None:
        """Joins the final line or block with the statistics, which have more digits and fields."""
        if not self.is_complete:
            return None
        values: dict[str, float] = dict(self.summary)
        counts = dict(self.counts)
        average, warmup_average = values["inference_avg_us"], values.get("warmup_avg_us")
        timed = self.stats[-1] if self.stats else None
        if timed and timed.explains(average, counts.get("count"), self.rounding_us):
            values.update(timed.fields)
            if timed.avg_us is not None:
                values["inference_avg_us"] = timed.avg_us
            counts["count"] = timed.count
        warmup = self.stats[0] if len(self.stats) > 1 else None
        if warmup and warmup.explains(warmup_average, counts.get("warmup_count"), self.rounding_us):
            if warmup.avg_us is not None:
                values["warmup_avg_us"] = warmup.avg_us
            if warmup.first_us is not None:
                values["first_us"] = warmup.first_us
            counts["warmup_count"] = warmup.count
        return Timings(
            inference_avg_us=values.pop("inference_avg_us"),
            count=counts.get("count"),
            warmup_count=counts.get("warmup_count"),
            **values,
        )

    def _read_block_line(self, name: str, value: str, runs: str | None) -> None:
        milliseconds = number(value)
        if milliseconds is None or name not in _FIELDS:
            return
        self.summary[_FIELDS[name]] = round(milliseconds * 1000, 3)
        self.rounding_us = 5.001  # the block has two decimals of a millisecond
        if runs is not None:
            self.counts["warmup_count" if name.startswith("Warmup") else "count"] = int(runs)

    def _remember(self, name: str, value: str) -> None:
        megabytes = number(value)
        if megabytes is not None:
            self.memory[name] = megabytes


def _summary(message: str) -> dict[str, float]:
    """Reads the final "Inference timings in us:" line of any version; {} when it is not one."""
    match = _SUMMARY.match(message)
    if match is None:
        return {}
    pairs = [(name.strip(), number(value)) for name, value in _SUMMARY_PAIR.findall(match[1])]
    return {_FIELDS[n]: value for n, value in pairs if n in _FIELDS and value is not None}


def _stats(message: str) -> _Stats | None:
    """Reads a "count=20 first=.. curr=.. min=.. max=.. avg=.. std=.. [p5=..]" line."""
    match = _STATS.match(message)
    if match is None:
        return None
    count = int(match[1])
    values: dict[str, float] = {}
    for name, text in _STATS_PAIR.findall(match[2]):
        value = number(text)
        if value is not None:
            values[name] = value
    if "curr" in values and "first" not in values and "avg" not in values:
        # All runs took the same time, so the tool prints it once. One run has no spread.
        same = dict.fromkeys(("first", "min", "max", "avg", "median", "p5", "p95"), values["curr"])
        values = same | ({"std": 0.0} if count > 1 else {}) | values
    elif count == 0:
        values["avg"] = 0.0  # a dry run: so says the final line too
    names = ("min", "max", "std", "median", "p5", "p95")
    fields = {f"{name}_us": values[name] for name in names if name in values}
    return _Stats(count, values.get("avg"), values.get("first"), fields)
