"""What the tool's outputs hold, in one form for all versions of the tool."""

from __future__ import annotations

from dataclasses import dataclass, field
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
