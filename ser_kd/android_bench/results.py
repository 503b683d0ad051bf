"""What was measured: a JSON file and a CSV that are whole at any moment, and tables for people."""

import csv
import io
import json
import os
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.verdict import OK

Record = dict[str, Any]
_KEY = ("model", "delegate", "xnnpack", "threads")
_COLUMNS = (
    "device", "kind", "model", "model_sha256", "delegate", "xnnpack", "threads", "repetition",
    "state", "reason", "median_ms", "avg_ms", "p5_ms", "p95_ms", "min_ms", "max_ms", "std_ms",
    "count", "init_ms", "first_ms", "warmup_avg_ms", "memory_mb", "battery_celsius_before",
    "battery_celsius_after", "throttling_after", "log",
)  # fmt: skip


class Store:
    """``bench_<device>.json`` and the CSV beside it; both grow with every run.

    A file is rewritten as a whole and renamed into place, so it can be read at any moment and
    survives Ctrl-C and a full disk.
    """

    def __init__(self, folder: Path, header: dict[str, Any], resume: bool) -> None:
        """Starts a file, or goes on with one.

        Args:
            folder: Where the files go.
            header: ``device`` (with kind, serial, model), ``started``, what was asked for.
            resume: Keep what an interrupted run of the same device has; else its file is kept
                under a name with the time at which it was started.

        Raises:
            BenchError: ``resume``, and the file there cannot be read.
        """
        device = header["device"]
        slug = re.sub(r"\W+", "-", device["model"]).strip("-").lower() or "unknown"
        prefix = "emulator_" if device["kind"] == "emulator" else ""
        self.path = folder / f"bench_{prefix}{slug}.json"
        if self.path.is_file() and _serial(self.path) not in (None, device["serial"]):
            serial = re.sub(r"\W+", "-", device["serial"])  # a second device of the same model
            self.path = folder / f"bench_{prefix}{slug}_{serial}.json"
        self.content: dict[str, Any] = {**header, "results": []}
        if self.path.is_file() and resume:
            self.content["results"] = read(self.path)["results"]
        elif self.path.is_file():
            self._keep_old()
        self.logs = folder / f"{self.path.stem}_logs" / _compact(header["started"])
        self.save()

    def _keep_old(self) -> None:
        try:
            started = _compact(read(self.path)["started"])
        except BenchError:
            started = "unreadable"
        for path in (self.path, self.path.with_suffix(".csv")):
            if path.is_file():
                path.replace(path.with_stem(f"{path.stem}.{started}"))

    @property
    def results(self) -> list[Record]:
        """The runs so far, those that do not count among them."""
        records: list[Record] = self.content["results"]
        return records

    def has(self, wanted: Record) -> bool:
        """Whether a run that counts is there with all of these values."""
        return any(
            old["state"] == OK and all(old.get(key) == wanted[key] for key in wanted)
            for old in self.results
        )

    def add(self, record: Record) -> None:
        """Adds a run; one that it replaces (same configuration and repetition) goes."""
        keys = (*_KEY, "repetition", "model_sha256", "profiled")
        self.content["results"] = [
            old for old in self.results if any(old.get(key) != record.get(key) for key in keys)
        ]
        self.results.append(record)
        self.save()

    def save(self) -> None:
        """Writes both files."""
        text = json.dumps(self.content, indent=2, ensure_ascii=False) + "\n"
        _write(self.path, text)
        table = io.StringIO()
        writer = csv.DictWriter(table, _COLUMNS, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        for record in self.results:
            if not record.get("profiled"):
                writer.writerow(self._row(record))
        _write(self.path.with_suffix(".csv"), table.getvalue())

    def _row(self, record: Record) -> Record:
        row = {**record, **record["timings"], "memory_mb": _memory(record)}
        for when in ("before", "after"):
            for name, value in record.get(f"temperature_{when}", {}).items():
                row[f"{name}_{when}"] = value
        device = self.content["device"]
        return {**row, "device": device["model"], "kind": device["kind"]}


def read(path: Path) -> dict[str, Any]:
    """A file that ``Store`` wrote.

    Raises:
        BenchError: It is none.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content["device"]["serial"], content["started"], list(content["results"])
    except (OSError, ValueError, LookupError, TypeError):
        raise BenchError(f"{path}: is no result file of android_bench") from None
    return content


def summary(records: Iterable[Record]) -> list[Record]:
    """One record for each configuration, of the repetitions that count.

    Returns:
        In the order of first appearance: the configuration, ``state`` (ok, with ``(2/3)`` when
        not all repetitions are; else that of the last one), ``reason``, ``repetitions`` and the
        medians over repetitions of ``median_ms`` (of the averages where the tool gave no
        medians), ``avg_ms, p95_ms, init_ms, memory_mb``, and ``low_ms``/``high_ms``: the lowest
        and the highest repetition.
    """
    groups: dict[tuple[Any, ...], list[Record]] = {}
    for record in records:
        if not record.get("profiled"):
            groups.setdefault(tuple(record[key] for key in _KEY), []).append(record)
    rows = []
    for key, group in groups.items():
        good = [record for record in group if record["state"] == OK]
        row: Record = dict(zip(_KEY, key, strict=True))
        row["repetitions"] = len(good)
        row["state"] = group[-1]["state"] if not good else OK
        row["reason"] = next((r["reason"] for r in reversed(group) if r["state"] != OK), "")
        if good and len(good) < len(group):
            row["state"] = f"ok ({len(good)}/{len(group)})"
        centers = [_center(record) for record in good]
        row["median_ms"] = _median(centers)
        row["low_ms"], row["high_ms"] = min(centers, default=None), max(centers, default=None)
        for name in ("avg_ms", "p95_ms", "init_ms"):
            row[name] = _median(record["timings"].get(name) for record in good)
        row["memory_mb"] = _median(_memory(record) for record in good)
        rows.append(row)
    return rows


def table(content: dict[str, Any]) -> str:
    """The table of one device, for people; an emulator's and a computer's say so."""
    device = content["device"]
    titles = {
        "emulator": "EMULATOR {model}, Android {android}: not a phone, for functional tests only",
        "host": "THIS COMPUTER ({soc}, {cpus} CPUs): not a phone",
    }
    title = titles.get(device["kind"], "{manufacturer} {model} ({soc}), Android {android}")
    header = (
        "model", "delegate", "xnnpack", "threads", "median ms", "(range)", "avg", "p95",
        "init ms", "MB", "state",
    )  # fmt: skip
    rows = [
        (
            row["model"],
            row["delegate"],
            row["xnnpack"],
            str(row["threads"]),
            _number(row["median_ms"]),
            f"{_number(row['low_ms'])}-{_number(row['high_ms'])}" if row["repetitions"] > 1 else "",
            _number(row["avg_ms"]),
            _number(row["p95_ms"]),
            _number(row["init_ms"]),
            _number(row["memory_mb"]),
            row["state"],
        )
        for row in sorted(summary(content["results"]), key=_order(content))
    ]
    lines = [title.format(**device).replace(" ()", ""), *_aligned([header, *rows])]
    reasons = {
        f"{row['state']}: {row['model']} {row['delegate']}: {row['reason']}": None
        for row in summary(content["results"])
        if row["reason"]
    }
    return "\n".join([*lines, *reasons])


def comparison(content: dict[str, Any]) -> str:
    """Ratios of medians against the first model, within each delegate, XNNPACK and thread count.

    The range is that of the repetitions: each is a ratio of two runs of the same repetition.
    """
    names = [model["name"] for model in content["models"]]
    runs: dict[tuple[Any, ...], dict[str, dict[int, float]]] = {}
    for record in content["results"]:
        if record["state"] == OK and not record.get("profiled"):
            group = tuple(record[key] for key in _KEY[1:])
            model = runs.setdefault(group, {}).setdefault(record["model"], {})
            model[record["repetition"]] = _center(record)
    rows = [("model", "delegate", "xnnpack", "threads", f"time / time of {names[0]}", "(range)")]
    for group in sorted(runs, key=str):
        first = runs[group].get(names[0], {})
        for name in names:
            mine = runs[group].get(name, {})
            ratios = [mine[turn] / first[turn] for turn in mine if first.get(turn)]
            if ratios:
                middle = statistics.median(ratios)
                spread = f"{min(ratios):.2f}-{max(ratios):.2f}" if len(ratios) > 1 else ""
                rows.append((name, *map(str, group), f"{middle:.2f}", spread))
    lines = _aligned(rows)
    inputs = {model["name"]: tuple(model["inputs"]) for model in content["models"]}
    if len(set(inputs.values())) > 1:
        said = "; ".join(f"{name}: {' '.join(shapes)}" for name, shapes in inputs.items())
        lines.append(f"the models' inputs differ, so do the tasks that are timed: {said}")
    return "\n".join(lines)


def notes(content: dict[str, Any]) -> list[str]:
    """What in these very results may distort them."""
    found = []
    good = [record for record in content["results"] if record["state"] == OK]
    if any(record.get("temperature_after", {}).get("throttling", 0) > 0 for record in good):
        found.append("the device was throttling: let it cool, or use a longer --cooldown")
    warm = [
        record["temperature_after"]["battery_celsius"]
        - good[0]["temperature_before"]["battery_celsius"]
        for record in good
        if "battery_celsius" in record.get("temperature_after", {})
        and "battery_celsius" in good[0].get("temperature_before", {})
    ]
    if warm and max(warm) >= 3:
        found.append(f"the battery grew {max(warm):.1f} degrees warmer while it was measured")
    for row in summary(content["results"]):
        if row["repetitions"] > 1 and row["high_ms"] > 1.2 * row["low_ms"]:
            found.append(
                f"{row['model']} {row['delegate']} xnnpack-{row['xnnpack']} {row['threads']} "
                f"threads: repetitions differ by {row['high_ms'] / row['low_ms'] - 1:.0%}; more "
                "of them, or a quieter device"
            )
    for record in good:
        if record.get("coverage") == "partially" and record["delegate"] != "cpu":
            found.append(
                f"{record['model']}: the {record['delegate']} delegate took only a part of the "
                "graph, the CPU did the rest"
            )
    if content["device"]["kind"] == "phone" and content["settings"].get("route") == "binary":
        found.append(
            "the command-line tool may be scheduled onto other cores than an app (--apk measures "
            "inside one); docs/phone.md says what else matters"
        )
    return list(dict.fromkeys(found))


def _center(record: Record) -> float:
    timings = record["timings"]
    return float(timings.get("median_ms") or timings["avg_ms"])


def _memory(record: Record) -> float | None:
    value: float | None = record["memory"].get("peak_mb") or record["memory"].get("overall_mb")
    return value


def _median(values: Iterable[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return statistics.median(there) if there else None


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _order(content: dict[str, Any]) -> Any:
    names = [model["name"] for model in content["models"]]
    return lambda row: (
        names.index(row["model"]) if row["model"] in names else len(names),
        row["delegate"],
        row["xnnpack"],
        row["threads"],
    )


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _compact(time: str) -> str:
    return re.sub(r"\D", "", time)[:14]


def _serial(path: Path) -> str | None:
    try:
        serial: str = read(path)["device"]["serial"]
    except BenchError:
        return None
    return serial


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
