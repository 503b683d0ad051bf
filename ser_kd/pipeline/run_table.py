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
    lines += _teaching_lines(evaluated, part)
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


_TEACHING_HELP = """\
same label: share of clips, in per cent, on which labels alone and distilled choose the teacher's.
won: labels alone wrong, distilled and teacher right; lost: labels alone right, both others wrong.
nearer: how many clips more have the teacher's label with distilled than with labels alone, where
the teacher is right and where it is wrong; by chance 0. In brackets 95 % intervals over speakers.
This is association, not proof, and any good teacher has a good net, whoever learns from it.
Proof is training without that teacher."""


def _teaching_lines(evaluated: Mapping[str, Any], part: str) -> list[str]:
    """What the student took from each teacher; nothing without teachers or in older files."""
    teaching = evaluated.get("teaching") or {}
    found = teaching.get("parts", {}).get(part) or {}
    if not found.get("help"):
        return []
    headings = ("same label", "share", "labels alone", "distilled", "won", "lost", "net",
                "nearer: right", "wrong")  # fmt: skip
    rows: list[Sequence[str]] = [headings]
    for agreement, counts in zip(found["agreement"], found["help"]["teachers"], strict=True):
        share = teaching["shares"].get(agreement["with"])
        same = agreement["students"]
        nearer = counts["nearer"]
        rows.append(
            (
                agreement["with"],
                "-" if share is None else f"{100 * share:.0f} %",
                f"{100 * same['student, labels alone']['same_label']:.1f}",
                f"{100 * same['student, distilled']['same_label']:.1f}",
                f"{counts['won']:,}",
                f"{counts['lost']:,}",
                _change(counts["net"], counts["net_interval"]),
                _change(nearer["right"], nearer["right_interval"]),
                _change(nearer["wrong"], nearer["wrong_interval"]),
            )
        )
    return ["", *_align(rows), *_TEACHING_HELP.splitlines()]


def _change(clips: int, ends: Sequence[float] | None) -> str:
    """``+12 (+3 to +20)``."""
    return f"{clips:+,}" + (f" ({ends[0]:+,.0f} to {ends[1]:+,.0f})" if ends else "")


def _read(path: Path) -> Any:
    return files.read_json(path)
