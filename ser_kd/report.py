"""The table at the end of a run, from the run folder's JSON files alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_kd import files

_HEADINGS = ("", "WA", "UA", "macro-F1", "parameters", "file", "per clip", "memory", "runtime")


def summary_rows(run_dir: Path) -> list[dict[str, Any]]:
    """One row per model, from ``eval.json`` and ``resources.json``.

    Returns:
        ``name``, ``wa``, ``ua``, ``macro_f1``, ``intervals`` and, as far as measured,
        ``parameters``, ``bytes``, ``latency_ms``, ``peak_memory_mb``, ``runtime``.
    """
    evaluated, resources = _read(run_dir / "eval.json"), _read(run_dir / "resources.json")
    scores = evaluated["parts"][reported_part(evaluated)]["models"]
    return [{"name": name, **score, **resources.get(name, {})} for name, score in scores.items()]


def reported_part(evaluated: Mapping[str, Any]) -> str:
    """``test`` where the test speakers were there, else ``validation``."""
    return "test" if "test" in evaluated["parts"] else "validation"


def summary(run_dir: Path) -> str:
    """The final table as text, with what it was measured on."""
    evaluated = _read(run_dir / "eval.json")
    part = reported_part(evaluated)
    facts = evaluated["parts"][part]
    lines = [_what_it_is(evaluated, part, facts), ""]
    lines += _align([_HEADINGS, *(_cells(row) for row in summary_rows(run_dir))])
    lines += ["", _READING_HELP]
    lines += _teacher_lines(evaluated)
    return "\n".join(lines)


def _what_it_is(evaluated: Mapping[str, Any], part: str, facts: Mapping[str, Any]) -> str:
    synthetic = "SYNTHETIC SPEECH (demo corpus): " if evaluated["synthetic"] else ""
    voices = f"{facts['clips']:,} {part} clips of {facts['speakers']} speakers never trained on"
    caveat = (
        "; the best epoch was chosen on these same clips, the test speakers are not there"
        if part == "validation"
        else ""
    )
    return f"{synthetic}{voices}{caveat}"


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = row["intervals"]["ua"]
    return (
        row["name"],
        f"{100 * row['wa']:.1f}",
        f"{100 * row['ua']:.1f} ({100 * low:.0f}-{100 * high:.0f})",
        f"{100 * row['macro_f1']:.1f}",
        _or_dash(row, "parameters", lambda n: f"{n / 1e3:,.0f} k"),
        _or_dash(row, "bytes", lambda n: f"{n / 1e3:,.0f} kB"),
        _or_dash(row, "latency_ms", lambda ms: f"{ms:.2f} ms"),
        _or_dash(row, "peak_memory_mb", lambda mb: f"{mb:,.0f} MB"),
        row.get("runtime", "-"),
    )


def _or_dash(row: Mapping[str, Any], key: str, show: Any) -> str:
    return show(row[key]) if row.get(key) is not None else "-"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


_READING_HELP = """\
WA accuracy, UA mean recall of the classes (95 % interval over speakers), in per cent.
per clip: median of one window on one CPU thread, all models taking turns; log-mel models
without the front end. memory: peak of a process that loads and runs the model, its runtime
included. A teacher is all of its networks (folds x members), run one after the other."""


def _teacher_lines(evaluated: Mapping[str, Any]) -> list[str]:
    """How good the targets were that the student learnt from."""
    rows = [("UA of the teachers' targets", "training", "validation")]
    validation = evaluated["parts"]["validation"]["models"]
    for name, score in evaluated["teachers_out_of_fold"].items():
        out_of_fold = "-" if score is None else f"{100 * score['ua']:.1f}"
        mean = validation.get(f"teacher {name}")
        rows.append((name, out_of_fold, f"{100 * mean['ua']:.1f}" if mean else "-"))
    if len(rows) == 1:
        return []
    return [
        "",
        *_align(rows),
        "training: each clip by the fold that never heard its speaker;",
        "validation: the mean of the folds",
    ]


def _read(path: Path) -> Any:
    return files.read_json(path)
