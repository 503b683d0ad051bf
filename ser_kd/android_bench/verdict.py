"""Whether a run counts.

The tool exits with 0 when it did not know a flag and measured something else, and when a delegate
could do nothing and the CPU did the work. So a run counts only if everything that was asked for can
be read in what came back.
"""

from collections.abc import Mapping, Sequence

from ser_kd.android_bench.tool_output.figures import Log

OK = "ok"
FELL_BACK = "fell back"
UNSUPPORTED = "unsupported"
FAILED = "failed"
LOST = "device lost"

_DELEGATES = ("gpu", "nnapi", "npu", "xnnpack", "hexagon", "coreml")
_EXIT_CODES = {
    126: "the device cannot execute the binary",
    127: "the binary was not found",
    132: "illegal instruction: the binary is for a newer processor",
    134: "it aborted",
    135: "it crashed (bus error)",
    137: "it was killed, most often for want of memory",
    139: "it crashed (segmentation fault)",
    143: "it was ended by the device",
}


def judge(log: Log, rc: int | None, flags: Sequence[str] | None = None) -> tuple[str, str]:
    """The state of a run that came back from a device which is still there.

    Args:
        log: What the tool printed.
        rc: Its exit code, None when no marker came back.
        flags: What was given to the tool; None = nobody knows, then the log has to say it.

    Returns:
        (state, reason); the reason is empty for ``ok``.
    """
    given = None if flags is None else {_name(flag) for flag in flags}
    unknown = [flag for flag in log.unconsumed_flags if given is None or _name(flag) in given]
    for flag in unknown:
        if _name(flag) in [f"use_{name}" for name in _DELEGATES]:
            hint = "; --xnnpack default leaves it away" if "xnnpack" in flag else ""
            return UNSUPPORTED, f"the binary does not know {flag}{hint}"
    wanted = _requested(log.flags if flags is None else _echo(flags))
    refused = [name for name in wanted if (found := log.delegate(name)) and found.state == "failed"]
    if rc is None:
        return FAILED, "its end was not seen (no exit code came back)"
    if rc != 0:
        if refused:
            return UNSUPPORTED, f"the {refused[0]} delegate cannot be used: {_error(log, rc)}"
        if any("CPU fallback" in error for error in log.errors):
            return FELL_BACK, _error(log, rc)
        return FAILED, _error(log, rc)
    if unknown:
        return FAILED, f"the binary does not know {' '.join(unknown)}"
    if log.timings is None:
        return FAILED, "no timings in its output" + (f": {log.errors[0]}" if log.errors else "")
    if not log.timings.count:
        return FAILED, "it ran the model no time, or does not say how often"
    for name in wanted:
        found = log.delegate(name)
        if found is None or not found.applied:
            return FELL_BACK, f"the {name} delegate was asked for and not applied"
    return OK, ""


def _name(flag: str) -> str:
    return flag.strip().split("=")[0].lstrip("-")


def _echo(flags: Sequence[str]) -> dict[str, str]:
    """Flags in the form in which the tool repeats them in its log."""
    return {_name(flag).replace("_", " "): flag.partition("=")[2] for flag in flags}


def _requested(echoed: Mapping[str, str]) -> list[str]:
    """The delegates that were asked for, as the parser calls them."""
    settings = {name.lower(): value for name, value in echoed.items()}
    names = [name for name in _DELEGATES if settings.get(f"use {name}") in ("1", "true")]
    if settings.get("external delegate path"):
        names.append("external")
    return [name.upper() for name in names]


def _error(log: Log, rc: int) -> str:
    # The first line is the cause, the others are what it caused.
    said = next((error for error in log.errors if "Benchmarking failed" not in error), "")
    meaning = _EXIT_CODES.get(rc, f"exit code {rc}")
    return f"{meaning}: {said}" if said else meaning
