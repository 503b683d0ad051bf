"""The tool's own words in a line of a log, and numbers in them."""

import codecs
import math
import re
from collections.abc import Iterator

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
ERROR_LEVELS = ("E", "F")

# Failures that carry no level: versions before TF 2.3, the C++ runtime, the shell, adb.
FAILURE = re.compile(
    r"Killed|Aborted|Segmentation fault|Bus error|Illegal instruction|Floating point exception"
    r"|Fatal signal|terminate called|what\(\):|libc\+\+abi|CANNOT LINK EXECUTABLE|Out of memory"
    r"|Benchmarking failed|Failed to |Could not |Unable to |Error|ERROR|Inputs mismatch"
    r"|Didn't find op|Encountered unresolved custom op|Node number \d+ .*failed"
    r"|(?:E: )?(?:\S*/)?(?:sh|mksh|bash|linker\w*|adb|error)(?: \d+)?:"
)


def messages(text: str | bytes) -> Iterator[tuple[str, str, bool]]:
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
        if level not in ERROR_LEVELS:
            level = next((name[0] for name in prefix.groups() if name), level)
        message = message[prefix.end() :].lstrip()
    return message, level


NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
COUNT = r"[0-9]{1,15}"


def number(text: str) -> float | None:
    """Returns a number that is finite and not negative, else None."""
    if not re.fullmatch(NUMBER, text):
        return None
    value = float(text)
    return value if math.isfinite(value) else None
