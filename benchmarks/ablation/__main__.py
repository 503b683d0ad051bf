"""The command: see the package."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import ablation
from benchmarks.ablation.rows import RESULTS, Results
from benchmarks.ablation.table import TABLE, Table, Variant, read_table
from ser_kd.commands.cli import guarded
from ser_kd.errors import UserError
from ser_kd.progress import say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation",
        description=ablation.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = parser.add_mutually_exclusive_group()
    stages.add_argument("--list", action="store_true", help="the variants, and what is trained")
    stages.add_argument("--time", action="store_true", help="convert and time the timed lever")
    stages.add_argument("--report", action="store_true", help="write the document's tables")
    parser.add_argument("--data-dir", default="", help="the corpus's folder")
    parser.add_argument("--metadata-dir", default="", help="the folder of the corpus's CSV files")
    parser.add_argument("--run-dir", type=Path, help="holds one run folder per row")
    parser.add_argument(
        "--variant", nargs="+", default=[], metavar="NAME", help="these alone; default: all"
    )
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: 0 1 2")
    parser.add_argument("--table", type=Path, default=TABLE, help="another table of variants")
    parser.add_argument("--results", type=Path, default=RESULTS, help="another folder of results")
    parser.add_argument("--document", type=Path, help="another document for --report")
    parsed = parser.parse_args(arguments)
    return guarded(lambda: _run(parsed))


def _run(parsed: argparse.Namespace) -> int:
    table, results = read_table(parsed.table), Results(parsed.results)
    chosen = table.choose(parsed.variant)
    if (parsed.time or parsed.report) and (parsed.variant or parsed.seeds):
        raise UserError("--variant and --seeds say what is trained; --time and --report take all")
    if parsed.list:
        _list(table, results, chosen)
        return 0
    if parsed.report:
        from benchmarks.ablation.report import DOCUMENT, write_report

        if not results.rows_path.is_file():  # a slip here would empty the document
            raise UserError(f"no results: {str(results.rows_path)!r} is not there")
        written = write_report(table, results, parsed.document or DOCUMENT)
        _say_json({"written": [path.name for path in written]})
        return 0
    if parsed.run_dir is None:
        raise UserError("--run-dir is missing: the folder that holds one run folder per row")
    if parsed.time:
        from benchmarks.ablation.speed import measure_speed

        _say_json(
            measure_speed(table, results, parsed.run_dir, parsed.data_dir, parsed.metadata_dir)
        )
        return 0
    from benchmarks.ablation.train import train_missing

    # Seed by seed: all variants are screened before any of them is looked at more closely.
    lacking = [variant.name for variant in chosen if not _can_be_made(variant, parsed.variant)]
    wanted = [
        (variant, seed)
        for seed in dict.fromkeys(parsed.seeds or (0, 1, 2))
        for variant in chosen
        if variant.name not in lacking
    ]
    made = train_missing(
        table, wanted, results, parsed.run_dir, parsed.data_dir, parsed.metadata_dir
    )
    _say_json({"rows_made": made, "rows": len(results.rows(table)), "left_out": lacking})
    return 0


def _can_be_made(variant: Variant, named: Sequence[str]) -> bool:
    """Whether the settings are there, and the files and folders that they name; else it is said.

    Raises:
        UserError: They are not, and the variant was asked for by name.
    """
    missing = variant.missing_source()
    if variant.deleted_after:
        lacks = (
            f"variant {variant.name!r}: its settings are deleted; commit {variant.deleted_after} "
            "is the last that has them"
        )
    elif missing is not None:
        lacks = (
            f"variant {variant.name!r} needs {missing!r}, which is not here; the table of variants "
            "says what it is"
        )
    else:
        return True
    if variant.name in named:
        raise UserError(lacks)
    say(f"left out: {lacks}")
    return False


def _list(table: Table, results: Results, chosen: list[Variant]) -> None:
    rows = results.rows(table)
    for variant in chosen:
        seeds = sorted(seed for name, seed in rows if name == variant.name)
        learns = "teachers" if variant.has_teachers else "labels"
        done = f"seeds {', '.join(map(str, seeds))}" if seeds else "-"
        done += " (settings deleted)" if variant.deleted_after else ""
        say(f"{variant.name:<24}{variant.lever:<28}{learns:<10}{done}")
    _say_json({"variants": len(chosen), "rows": len(rows)})


def _say_json(result: dict[str, object]) -> None:
    say(json.dumps({"benchmark": "ablation", **result}))


if __name__ == "__main__":
    sys.exit(main())
