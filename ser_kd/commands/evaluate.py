"""Score a model on a corpus, look for its weak points, and write a report."""

import argparse
import contextlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_kd.errors import UserError
from ser_kd.progress import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``ser-kd evaluate``."""
    from ser_kd.corpora import CORPORA
    from ser_kd.evaluation.clips import SPLITS

    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a .tflite or .keras file or a run's folder (default: the bundled student)",
    )
    parser.add_argument(
        "--corpus", metavar="NAME", help=f"{', '.join(CORPORA)} (default: that of the model's run)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where its clips are")
    parser.add_argument("--metadata-dir", metavar="DIR", help="where its tables are (CREMA-D)")
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        help=f"{', '.join(SPLITS)} (default: test if its clips are there, else validation)",
    )
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--cross",
        metavar="NAME=DIR",
        help="other corpora, all of their clips, such as emodb=EmoDB/wav",
        **several,
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="TARGETS.npz",
        help="stored predictions of teachers (those of the model's run are found)",
        **several,
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="MODEL",
        help="models to compare with (the float student of the model's run is found)",
        **several,
    )
    parser.add_argument(
        "--no-robustness", action="store_true", help="only the clips as they are: much quicker"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="(default: evaluation/ beside MODEL)"
    )
    parser.add_argument("--json", action="store_true", help="print eval.json instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Writes ``eval.json``, ``predictions.csv`` and ``report.html``, and prints a table.

    Returns:
        0.

    Raises:
        UserError: There is no model or corpus, an argument is wrong, or no clip can be used.
    """
    from ser_kd import files
    from ser_kd.evaluation.clips import Choice
    from ser_kd.evaluation.model import evaluate
    from ser_kd.evaluation.predictions import write_csv
    from ser_kd.evaluation.report import write_report
    from ser_kd.inference.predictor import default_model, find_model

    # With --json nothing but the JSON is on stdout.
    with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
        model = find_model(arguments.model) if arguments.model else default_model()
        # Not beside the default model: that would be among the installed packages.
        beside = model.parent if arguments.model else Path()
        out = arguments.out or beside / "evaluation"
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out} is a file: name a folder")
        if (out / "config.json").exists():
            raise UserError(
                f"--out {out} is a run's folder, whose eval.json tells of all its models"
            )
        evaluation, predictions = evaluate(
            model,
            Choice(arguments.corpus, arguments.data_dir, arguments.metadata_dir, arguments.split),
            cross=arguments.cross,
            teachers=arguments.teacher,
            against=arguments.against,
            no_robustness="--no-robustness" if arguments.no_robustness else "",
        )
        files.write_json(out / "eval.json", evaluation)
        write_csv(out / "predictions.csv", predictions)
        write_report(evaluation, out / "report.html")
        if not arguments.json:
            say("\n" + summary(evaluation) + "\n")
        say(f"written to {out}: eval.json, predictions.csv, report.html")
    if arguments.json:
        say(json.dumps(evaluation, ensure_ascii=False))
    return 0


def summary(evaluation: Mapping[str, Any]) -> str:
    """What is printed: the main figures of ``eval.json``, in per cent."""
    corpus, scores = evaluation["corpus"], evaluation["scores"]
    resources, model = evaluation["resources"], evaluation["model"]
    lines = [
        f"{'SYNTHETIC SPEECH: ' * corpus['synthetic']}{model['name']} on {corpus['clips']:,} "
        f"{corpus['split']} clips of {corpus['speakers']} speakers of {corpus['name']}",
        "  " + _score_line(scores),
        f"  ECE {100 * evaluation['calibration']['ece']:.1f} "
        f"({100 * evaluation['calibration']['ece_by_chance'][0]:.1f} by chance)",
        "  recall: "
        + ", ".join(
            f"{label} {100 * item['value']:.1f}" for label, item in scores["recall"].items()
        ),
    ]
    lines += [
        f"  same label as {item['with']}: {100 * item['same_label']:.1f} "
        f"(its UA {100 * item['ua']:.1f})"
        for item in evaluation["agreement"]
    ]
    for item in evaluation["slices"]:
        groups = ", ".join(f"{g['name']} {100 * g['ua']:.1f}" for g in item["groups"])
        lines.append(f"  UA by {item['by']}: {groups}")
    for gate in evaluation["robustness"]["gates"]:
        met = "met   " if gate["met"] else "MISSED"
        harder = "" if gate["published"] else "; harder than published"
        lines.append(
            f"  {met} {gate['name']} {100 * gate['worst']:.1f} ({gate['condition']}; "
            f"{gate['bound']} {100 * gate['limit']:g}{harder})"
        )
    for item in evaluation["cross_corpus"]:
        lines.append(f"  {item['corpus']}, {item['clips']:,} clips: {_score_line(item['scores'])}")
    if resources["latency_ms"] is not None:
        front_end = "" if model["hears"] == "waveform" else ", without front end"
        lines.append(
            f"  {resources['latency_ms']:.2f} ms per window on one thread{front_end} "
            f"({resources['runtime']}), {resources['bytes'] / 1e3:,.0f} kB, "
            f"{resources['peak_memory_mb']:,.0f} MB at most in a process of its own"
        )
    lines += [f"  note: {note}" for note in evaluation["notes"]]
    return "\n".join(lines)


def _score_line(scores: Mapping[str, Any]) -> str:
    parts = []
    for key, name in (("wa", "WA"), ("ua", "UA"), ("macro_f1", "macro-F1")):
        limits = scores["intervals"][key]
        between = f" ({100 * limits[0]:.1f}-{100 * limits[1]:.1f})" if limits else ""
        parts.append(f"{name} {100 * scores[key]:.1f}{between}")
    return ", ".join(parts)
