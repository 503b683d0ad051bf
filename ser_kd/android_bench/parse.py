"""What TFLite's ``benchmark_model`` prints and writes, read by pure functions.

Three outputs are read: the log (TF 1.12 to LiteRT 2.3, from a terminal, adb or logcat), the
operator profile (a table or CSV) and the binary result proto. Nothing here raises: what is
torn, truncated, empty or not a log at all gives None and empty tuples, and it is the runner that
decides whether a configuration counts.

Two rules keep a damaged log from telling lies. A last line without its line break may have lost
digits, so no number is taken from it. The statistics of the timed runs count only when their
average is the one that the final line repeats, so that a warm-up is never taken for them.
"""

from __future__ import annotations

import codecs
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

Phase = Literal["init", "run"]
State = Literal["created", "completely", "partially", "not applied", "failed"]


@dataclass(frozen=True)
class Timings:
    """Latency of one complete run, microseconds; None where the format does not say.

    Attributes:
        inference_avg_us: mean of the timed runs. 0 in a dry run, where count is 0 too.
        init_us: loading the model and preparing the interpreter.
        first_us: the very first inference, that is the first of the warm-up.
        warmup_avg_us: mean of the warm-up runs.
        min_us, max_us, std_us, median_us, p5_us, p95_us: of the timed runs, never of the warm-up.
        count: timed runs; can differ from the --num_runs that was asked for.
        warmup_count: warm-up runs.
    """

    inference_avg_us: float
    init_us: float | None = None
    first_us: float | None = None
    warmup_avg_us: float | None = None
    min_us: float | None = None
    max_us: float | None = None
    std_us: float | None = None
    median_us: float | None = None
    p5_us: float | None = None
    p95_us: float | None = None
    count: int | None = None
    warmup_count: int | None = None


@dataclass(frozen=True)
class Memory:
    """Memory in the tool's MB, which are 2**20 bytes.

    Attributes:
        init_mb: growth from the start of the tool until the model was prepared.
        overall_mb: growth from the start of the tool to the end of the runs.
        peak_mb: peak of the whole process, only with --report_peak_memory_footprint.
    """

    init_mb: float | None = None
    overall_mb: float | None = None
    peak_mb: float | None = None


@dataclass(frozen=True)
class Delegate:
    """What a log says about one delegate.

    Attributes:
        name: upper case, as in the tool's flags: XNNPACK, GPU, NNAPI, HEXAGON, EXTERNAL, NPU.
        state: "completely" or "partially": runs all or a part of the graph. "not applied": took
            no node. "failed": unsupported here, or refused the graph. "created": nothing more is
            said, and that is not enough to tell that it ran anything.
        requested: whether a flag asked for it; the runtime's own XNNPACK is not requested.
        kernels: how many delegate kernels the graph was cut into.
        replaced_nodes, total_nodes: nodes of the main subgraph that it took, of how many.
    """

    name: str
    state: State = "created"
    requested: bool = False
    kernels: int | None = None
    replaced_nodes: int | None = None
    total_nodes: int | None = None

    @property
    def applied(self) -> bool:
        """Whether it runs at least a part of the graph."""
        return self.state in ("completely", "partially")


@dataclass(frozen=True)
class OpTime:
    """One row of the operator profile's "Run Order", times in microseconds.

    Attributes:
        node_type: such as CONV_2D, or "Fully Connected (NC, F32) GEMM" inside XNNPACK.
        name: the node's output tensors and index.
        first_us: the first call.
        avg_us: mean of one call; times times_called it is the share of one inference.
        percent, cdf_percent: of the time of all nodes, of this row and up to this row.
        mem_kb: growth of the memory while the node ran, kB.
        times_called: calls per inference; 0 for what ran once for all of them.
        start_us: start within the inference; only in versions that have a [start] column.
        phase: "init" for the table of the initialisation, "run" for that of the inferences.
    """

    node_type: str
    name: str
    first_us: float
    avg_us: float
    percent: float
    cdf_percent: float
    mem_kb: float
    times_called: int
    start_us: float | None = None
    phase: Phase = "run"


@dataclass(frozen=True)
class Log:
    """The last complete run of a log, or the last run, without timings, when none is complete.

    Attributes:
        timings: None when no final timings line was printed in full.
        memory: see Memory.
        model_size_mb: size of the model file, in 10**6 bytes.
        unconsumed_flags: flags that the tool did not know. It ignores them and exits with 0.
        flags: settings as the tool echoes them, such as {"Num threads": "1"}.
        delegates: one entry each, in the order of their first mention.
        ops: rows of the operator profile, when it went to the log.
        errors: why it failed, as printed but without prefixes: lines of level ERROR or FATAL,
            and what the shell or the C++ runtime says of a death. Also those of later runs, so
            that a failure after a complete run is not hidden. A successful run can have some.
        complete_runs: how many complete runs the text holds.
    """

    timings: Timings | None = None
    memory: Memory = Memory()
    model_size_mb: float | None = None
    unconsumed_flags: tuple[str, ...] = ()
    flags: dict[str, str] = field(default_factory=dict)
    delegates: tuple[Delegate, ...] = ()
    ops: tuple[OpTime, ...] = ()
    errors: tuple[str, ...] = ()
    complete_runs: int = 0

    def delegate(self, name: str) -> Delegate | None:
        """Returns what the log says about a delegate, None when it does not mention it.

        Args:
            name: such as "gpu", in upper or lower case.
        """
        return next((d for d in self.delegates if d.name == name.upper()), None)


@dataclass(frozen=True)
class Result:
    """The binary result proto: the figures of the log to seven digits, and a throughput.

    Attributes:
        timings: see Timings.
        memory: see Memory.
        model_size_mb: size of the model file, in 10**6 bytes.
        throughput_mb_s: bytes of the input tensors over the time, in MB per second.
    """

    timings: Timings
    memory: Memory = Memory()
    model_size_mb: float | None = None
    throughput_mb_s: float | None = None


def parse_log(text: str | bytes) -> Log:
    """Reads what benchmark_model printed, or LiteRT's CompiledModel and Python benchmarks.

    Args:
        text: stdout and stderr, together or stdout alone, or a logcat of it. Prefixes (logcat,
            glog, levels, file names), CRLF, ANSI colours and UTF-16 are understood.

    Returns:
        The last complete run of the text. Anything that is not there is None or empty.
    """
    runs = [_Run()]
    for message, level, is_whole in _messages(text):
        if is_whole:
            if runs[-1].is_over_at(message):
                runs.append(_Run())
            if runs[-1].read(message):
                continue
        if level in _ERROR_LEVELS or (not level and _FAILURE.match(message)):
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
        delegates=tuple(run.delegates.values()),
        ops=tuple(run.table.ops),
        errors=tuple(dict.fromkeys(e for later in runs[chosen:] for e in later.errors)),
        complete_runs=len(complete),
    )


def parse_op_csv(text: str | bytes) -> tuple[OpTime, ...]:
    """Reads an operator profile: --op_profiling_output_mode=csv or stdout, a file or a log.

    Args:
        text: the profile. Only "Run Order" is read: the other tables are sums of its rows.

    Returns:
        The rows in the order of execution; a damaged row is left out.
    """
    table = _OpTable()
    for message, _, is_whole in _messages(text):
        if is_whole:
            table.read(message)
    return tuple(table.ops)


def parse_result(data: bytes) -> Result | None:
    """Reads what --result_file_path wrote (tflite.tools.benchmark.BenchmarkResult).

    Args:
        data: the file.

    Returns:
        The result, or None when the bytes are not one or are cut.
    """
    # Not a general reader: each number has the one wire type that its .proto declares.
    try:
        parts = {number: value for number, value in _proto_fields(data) if number in (2, 3, 4)}
        messages = {n: dict(_proto_fields(v)) for n, v in parts.items() if isinstance(v, bytes)}
    except ValueError:
        return None
    latency, memory, misc = (messages.get(number, {}) for number in (2, 3, 4))

    def us(number: int) -> float | None:
        return _float32(latency.get(number), 1000)

    average = us(1)
    if average is None:
        return None
    return Result(
        timings=Timings(
            inference_avg_us=average,
            min_us=us(2),
            max_us=us(3),
            std_us=us(4),
            median_us=us(5),
            p5_us=us(6),
            p95_us=us(7),
            init_us=us(8),
            first_us=us(9),
            warmup_avg_us=us(10),
            count=_int32(misc.get(2)),
            warmup_count=_int32(misc.get(3)),
        ),
        memory=Memory(
            init_mb=_kb_to_mb(_int32(memory.get(1))),
            overall_mb=_kb_to_mb(_int32(memory.get(2))),
            peak_mb=_float32(memory.get(3)),
        ),
        model_size_mb=_float32(misc.get(1)),
        throughput_mb_s=_float32(misc.get(4)),
    )


# --- Lines -------------------------------------------------------------------------------------

_ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

# What stands before the tool's own words. Repeated, as in "INFO: [file.h:94] Inference", and as
# in the "INFO: INFO: STARTING!" of two streams that met in one line. Each group is a level.
_PREFIX = re.compile(
    r"""
    # logcat: "07-14 13:14:52.097 228 228 I tflite  : ", "I/tflite  ( 5395): "
    (?:(?:\d{4}-)?\d\d-\d\d\ \d\d:\d\d:\d\d\.\d+\s+)? (?:\d+\s+){0,3}
        ([VDIWEF]) [/ ] [\w.-]+ \s{0,32} (?:\(\s{0,8}\d+\)\s?)? : (?:\s|$)
    # glog: "2017-12-06 17:16:24.73: I a/benchmark_model.cc:324] ", "I0000 00:00:17.5 62 a.cc:5] "
    | \d{4}-\d\d-\d\d\ [\d:.]+:\ ([IWEF])\ \S+:\d+\]\s?
    | ([IWEF])\d{4}\ [\d:.]+\s+ (?:\d+\s+)? \S+:\d+\]\s?
    # Python's logging: "2026-11-20 08:49:02 INFO benchmark_litert_model: "
    | \d{4}-\d\d-\d\d\ \d\d:\d\d:\d\d(?:,\d+)?\ ([A-Z]+)\ [\w.]+:\s
    | (INFO|WARN|WARNING|ERROR|FATAL|VERBOSE|DEBUG):(?:\s|$)
    | \[[^\]\s]+:\d+\](?:\s|$)
    """,
    re.VERBOSE | re.ASCII,
)

_MAX_PREFIXES = 8
_ERROR_LEVELS = ("E", "F")

# Failures that carry no level: versions before TF 2.3, the C++ runtime, the shell, adb.
_FAILURE = re.compile(
    r"Killed|Aborted|Segmentation fault|Bus error|Illegal instruction|Floating point exception"
    r"|Fatal signal|terminate called|what\(\):|libc\+\+abi|CANNOT LINK EXECUTABLE|Out of memory"
    r"|Benchmarking failed|Failed to |Could not |Unable to |Error|ERROR|Inputs mismatch"
    r"|Didn't find op|Encountered unresolved custom op|Node number \d+ .*failed"
    r"|(?:E: )?(?:\S*/)?(?:sh|mksh|bash|linker\w*|adb|error)(?: \d+)?:"
)


def _messages(text: str | bytes) -> Iterator[tuple[str, str, bool]]:
    """Yields (message without its prefixes, initial of the level or "", has its line break)."""
    if isinstance(text, bytes):
        # Windows PowerShell writes redirected output as UTF-16.
        is_utf16 = text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = text.decode("utf-16" if is_utf16 else "utf-8-sig", "replace")
    # Flash memory leaves NUL bytes where a write was lost. Inside a number they must not vanish:
    # a 4, three NULs and 6.8 are not 46.8.
    text = _ANSI.sub("", text).replace("\0", "\ufffd")
    # Not splitlines(), which also splits at characters that no tool ends a line with.
    *whole, torn = text.split("\n")
    for line in whole:
        yield *_strip_prefixes(line), True
    yield *_strip_prefixes(torn), False


def _strip_prefixes(line: str) -> tuple[str, str]:
    """Returns (message, initial of the level); of several levels an error level holds."""
    message = line.strip().lstrip("\ufffd")
    level = ""
    for _ in range(_MAX_PREFIXES):
        prefix = _PREFIX.match(message)
        if prefix is None:
            break
        if level not in _ERROR_LEVELS:
            level = next((name[0] for name in prefix.groups() if name), level)
        message = message[prefix.end() :].lstrip()
    return message, level


_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
_COUNT = r"[0-9]{1,15}"


def _number(text: str) -> float | None:
    """Returns a number that is finite and not negative, else None."""
    if not re.fullmatch(_NUMBER, text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


# --- One run -----------------------------------------------------------------------------------

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
_SUMMARY_PAIR = re.compile(rf"([A-Za-z ()]{{1,20}}): ({_NUMBER})(?=,|\s|$|Overall)")
_BLOCK_LINE = re.compile(
    r"(Model initialization|First inference|(?:Warmup|Inference) \(\w+\)):\s+"
    rf"({_NUMBER})(?: ms)?(?: \(({_COUNT}) runs\))?$"
)
_STATS = re.compile(rf"count=({_COUNT})((?: \w+=\S+(?: same\))?)*)$")
_STATS_PAIR = re.compile(rf" (\w+)=({_NUMBER})(?:\(all same\))?(?=\s|$)")
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
_MEMORY_LINE = re.compile(rf"([\w ()]+):\s+({_NUMBER})(?: MB)?$")
_MODEL_SIZE = re.compile(
    rf"(?:The input model file size \(MB\)|Model size):\s+({_NUMBER})(?: MB)?$"
)
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

_DELEGATE_CREATED = re.compile(r"Created TensorFlow Lite (?:(\S+) )?delegate for (\w+)")
_DELEGATE_PROVIDED = re.compile(r"(\S+) delegate created\.$")
_DELEGATE_APPLIED = re.compile(
    r"(?:Explicitly a|A)pplied (\S+) delegate, and the model graph will be "
    r"(completely|partially) executed(?:.* w/ ([0-9]{1,9}) delegate kernels)?"
)
_DELEGATE_UNUSED = re.compile(
    r"Though (\S+) delegate is (?:explicitly )?applied, the model graph will not be"
)
_DELEGATE_REPLACING = re.compile(
    r"Replacing ([0-9]{1,9}) out of ([0-9]{1,9}) node\(s\) with delegate \(([^()]+)\)"
)
_DELEGATE_FAILED = re.compile(
    r"(?:Failed to|Could not|Unable to) (?:apply|create|load) (?:the )?(\S+) delegate\b"
    r"|(\S+) (?:acceleration|[Dd]elegate) is (?:unsupported|not supported)"
)
_DELEGATE_UNDONE = "Restored original execution plan after delegate application failure"


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
        self.delegates: dict[str, Delegate] = {}
        self.table = _OpTable()
        self.errors: list[str] = []
        self._evidence: dict[str, int] = {}  # how strong the line was that a state comes from
        self._last_replacing = ""
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
            self.model_size_mb = _number(match[1])
        elif (match := _MEMORY_LINE.match(message)) and match[1].lower() in _MEMORY_LINES:
            self._remember(_MEMORY_LINES[match[1].lower()], match[2])
        elif match := _UNCONSUMED.match(message):
            # A value can hold spaces: the next flag begins at a dash.
            self.unconsumed_flags += re.split(r"\s+(?=-)", match[1])
        elif match := _FLAG.match(message) or _PLAIN_FLAG.match(message):
            self.flags[match[1]] = match[2]
        else:
            return self._read_delegate(message)
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
        milliseconds = _number(value)
        if milliseconds is None or name not in _FIELDS:
            return
        self.summary[_FIELDS[name]] = round(milliseconds * 1000, 3)
        self.rounding_us = 5.001  # the block has two decimals of a millisecond
        if runs is not None:
            self.counts["warmup_count" if name.startswith("Warmup") else "count"] = int(runs)

    def _remember(self, name: str, value: str) -> None:
        megabytes = _number(value)
        if megabytes is not None:
            self.memory[name] = megabytes

    def _read_delegate(self, message: str) -> bool:
        if match := _DELEGATE_CREATED.match(message):
            self._note(match[1] or match[2], "created", evidence=0)
        elif match := _DELEGATE_PROVIDED.match(message):
            self._note(match[1], "created", evidence=0, requested=True)
        elif match := _DELEGATE_REPLACING.match(message):
            replaced, total = int(match[1]), int(match[2])
            state: State = "completely" if replaced == total else "partially"
            self._last_replacing = match[3]
            self._note(
                match[3],
                state if replaced else "not applied",
                evidence=1,
                replaced_nodes=replaced,
                total_nodes=total,
            )
        elif match := _DELEGATE_APPLIED.match(message):
            state = "completely" if match[2] == "completely" else "partially"
            kernels = int(match[3]) if match[3] else None
            self._note(match[1], state, evidence=2, requested=True, kernels=kernels)
        elif match := _DELEGATE_UNUSED.match(message):
            self._note(match[1], "not applied", evidence=2, requested=True)
        elif match := _DELEGATE_FAILED.match(message):
            self._note(match[1] or match[2], "failed", evidence=3, requested=True)
            return False
        elif message.startswith(_DELEGATE_UNDONE) and self._last_replacing:
            self._note(self._last_replacing, "failed", evidence=3)
            return False
        else:
            return False
        return True

    def _note(
        self,
        name: str,
        state: State,
        *,
        evidence: int,
        requested: bool = False,
        kernels: int | None = None,
        replaced_nodes: int | None = None,
        total_nodes: int | None = None,
    ) -> None:
        """Merges a mention of a delegate. Of two of the same strength the first holds.

        Nodes are replaced subgraph by subgraph, the main one first.
        """
        name = _delegate_name(name)
        known = self.delegates.get(name, Delegate(name))
        if evidence > self._evidence.get(name, -1):
            self._evidence[name] = evidence
            known = replace(known, state=state)
        if known.total_nodes is None:
            known = replace(known, replaced_nodes=replaced_nodes, total_nodes=total_nodes)
        self.delegates[name] = replace(
            known,
            requested=known.requested or requested,
            kernels=known.kernels if kernels is None else kernels,
        )


def _summary(message: str) -> dict[str, float]:
    """Reads the final "Inference timings in us:" line of any version; {} when it is not one."""
    match = _SUMMARY.match(message)
    if match is None:
        return {}
    pairs = [(name.strip(), _number(value)) for name, value in _SUMMARY_PAIR.findall(match[1])]
    return {_FIELDS[n]: value for n, value in pairs if n in _FIELDS and value is not None}


def _stats(message: str) -> _Stats | None:
    """Reads a "count=20 first=.. curr=.. min=.. max=.. avg=.. std=.. [p5=..]" line."""
    match = _STATS.match(message)
    if match is None:
        return None
    count = int(match[1])
    values: dict[str, float] = {}
    for name, text in _STATS_PAIR.findall(match[2]):
        value = _number(text)
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


def _delegate_name(raw: str) -> str:
    """TfLiteXNNPackDelegate -> XNNPACK, LITERT_CL -> GPU, DispatchDelegate -> NPU."""
    name = re.sub(r"^TfLite|Delegate(V\d+)?$", "", raw).upper()
    if name.startswith("LITERT_"):  # LiteRT's GPU delegate is called after its backend
        return "GPU"
    return {"DISPATCH": "NPU"}.get(name, name)


# --- Operator profile --------------------------------------------------------------------------


class _OpTable:
    """Collects the rows of "Run Order" tables, the one of the initialisation and the main one."""

    def __init__(self) -> None:
        self.ops: list[OpTime] = []
        self._phase: Phase = "run"
        self._title = "Run Order"  # a CSV can have been cut out of its file without its title
        self._has_start = False
        self._is_csv = False
        self._is_reading = False

    def read(self, message: str) -> bool:
        """Takes a line; False when it is not a part of a table."""
        if message.startswith("======"):
            self._title = message.strip("= ")
            self._is_reading = False
        elif "Profiling Info for" in message:
            self._phase = "init" if "Initialization" in message else "run"
            self._is_reading = False
        elif "[node type]" in message or message.startswith("node type, "):
            has_rows = "[first]" in message or ", first, " in message
            self._is_reading = self._title == "Run Order" and has_rows
            self._is_csv = "[node type]" not in message
            self._has_start = "[start]" in message or ", start, " in message
        elif self._is_reading and (op := self._row(message)):
            self.ops.append(op)
        else:
            self._is_reading &= message != ""  # a blank line ends the table
            return False
        return True

    def _row(self, message: str) -> OpTime | None:
        times = 3 if self._has_start else 2
        if self._is_csv:
            # Types hold commas, names do not: the tool makes tabs of theirs.
            cells = f"{message} ".rsplit(", ", times + 5)
            name = cells[-1].strip().replace("\t", ",")
        else:
            cells, name = self._table_cells(message, times)
        if len(cells) != times + 6 or not cells[0]:
            return None
        percents = cells[times + 1 : times + 3]
        if not all(cell.endswith("%") for cell in percents):
            return None
        numbers = [_number(cell.removesuffix("%")) for cell in cells[1:-1]]
        values = [number for number in numbers if number is not None]
        if len(values) != len(numbers):
            return None
        *start, first, average, percent, cdf_percent, mem_kb, times_called = values
        return OpTime(
            node_type=cells[0],
            name=name,
            first_us=_ms_to_us(first),
            avg_us=_ms_to_us(average),
            percent=percent,
            cdf_percent=cdf_percent,
            mem_kb=mem_kb,
            times_called=int(times_called),
            start_us=_ms_to_us(start[0]) if start else None,
            phase=self._phase,
        )

    @staticmethod
    def _table_cells(message: str, times: int) -> tuple[list[str], str]:
        """Splits an aligned row at its two percentages: terminals turn the tabs into blanks."""
        words = message.split()
        for i in range(times + 1, len(words) - 3):
            if words[i].endswith("%") and words[i + 1].endswith("%"):
                name = " ".join(words[i + 4 :])
                return [" ".join(words[: i - times]), *words[i - times : i + 4], name], name
        return [], ""


def _ms_to_us(milliseconds: float) -> float:
    return round(milliseconds * 1000, 6)


# --- Result proto ------------------------------------------------------------------------------

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _proto_fields(data: bytes) -> Iterator[tuple[int, int | float | bytes]]:
    """Yields (field number, value): varints as int, 32 bits as float, messages as bytes.

    Raises:
        ValueError: The bytes are not a protocol buffer, or are cut.
    """
    position = 0

    def take(count: int) -> bytes:
        nonlocal position
        position += count
        if position > len(data):
            raise ValueError("cut")
        return data[position - count : position]

    def varint() -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise ValueError("endless varint")

    while position < len(data):
        number, wire_type = divmod(varint(), 8)
        if number == 0:
            raise ValueError("field number 0")
        if wire_type == _VARINT:
            yield number, varint()
        elif wire_type == _FIXED32:
            yield number, struct.unpack("<f", take(4))[0]
        elif wire_type == _BYTES:
            yield number, take(varint())
        elif wire_type == _FIXED64:
            take(8)
        else:
            raise ValueError("groups are not used")


def _float32(value: int | float | bytes | None, scale: int = 1) -> float | None:
    """Returns a float field times scale, in the seven digits that it has."""
    if not isinstance(value, float) or not math.isfinite(value) or value < 0:
        return None
    return float(f"{value * scale:.7g}")


def _int32(value: int | float | bytes | None) -> int | None:
    """Returns an int32 field; a negative one is a varint of 64 bits."""
    return value if isinstance(value, int) and value < 2**31 else None


def _kb_to_mb(kilobytes: int | None) -> float | None:
    return None if kilobytes is None else kilobytes / 1024
