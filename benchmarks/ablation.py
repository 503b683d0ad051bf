"""What each setting is worth: one training run per variant and seed, a table and a figure.

    python benchmarks/ablation.py --data-dir $CREMA_D_DIR          # all variants, seeds 0 1 2
    python benchmarks/ablation.py --data-dir $CREMA_D_DIR --variants base mels_40 --seeds 0
    python benchmarks/ablation.py --list
    python benchmarks/ablation.py --report                         # of the runs that are there

Each row is a ``train.py`` with some ``--set``, in a run folder of its own. The command goes on
where it was interrupted: finished runs are kept, an unfinished one resumes. With all variants of
one seed done, the next seed begins.

The score of a row is the mean validation UA of its last epochs, which nobody chose; the exported
epoch is chosen on the same clips and flatters. A difference is taken on the same seeds, and its
95 % interval is Student's t over them: fewer than three seeds are a screen, which supports no
conclusion. The last line is JSON.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scipy import stats

ROOT = Path(__file__).parents[1]
TARGETS = ROOT / "ser_kd" / "recipes" / "targets"
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class Variant:
    """One row of the table.

    Attributes:
        name: Also the first part of its run folders' names.
        group: What it changes, a heading of the table.
        settings: ``section.key=value``, on top of the recipe and of ``parent``'s.
        parent: The variant that it is compared with.
    """

    name: str
    group: str = ""
    settings: tuple[str, ...] = ()
    parent: str = "base"


OWN_TEACHER = (
    "teachers.own.kind=logmel_ensemble",
    "teachers.own.folds=3",
    "teachers.own.members=1",
    "teachers.own.student.width=1.0",
    "teachers.own.fit.epochs=24",
)
STORED_TEACHER = (
    "teachers.stored.kind=file",
    f"teachers.stored.path={TARGETS / 'crema_d_students.npz'}",
)
HALF_LABELS = ("distill.label_weight=0.5", "distill.logit_weight=0.5", "distill.temperature=1.0")

VARIANTS = (
    Variant("base", settings=("fit.epochs=24",)),
    Variant("hop_10ms", "front end", ("logmel.hop_seconds=0.010",)),
    Variant("mels_40", "front end", ("logmel.mels=40",)),
    Variant("window_1024", "front end", ("logmel.fft_samples=1024",)),
    Variant("width_006", "width", ("student.width=0.0625",)),
    Variant("width_012", "width", ("student.width=0.125",)),
    Variant("width_025", "width", ("student.width=0.25",)),
    Variant("width_050", "width", ("student.width=0.5",)),
    Variant("epochs_48", "schedule", ("fit.epochs=48",)),
    Variant("smoothing_01", "schedule", ("fit.label_smoothing=0.1",)),
    Variant("no_mixup", "augmentation", ("augment.mixup_alpha=0.0",)),
    Variant("no_masks", "augmentation", ("augment.time_masks=0", "augment.mel_masks=0")),
    Variant("no_gain", "augmentation", ("augment.gain_db=0.0",)),
    Variant("noise", "augmentation", ("augment.noise_probability=0.2",)),
    Variant("babble", "augmentation", ("augment.babble_probability=0.2",)),
    Variant("room", "augmentation", ("augment.room_probability=0.3",)),
    Variant("microphone", "augmentation", ("augment.microphone_db=3.0",)),
    Variant("band_limit", "augmentation", ("augment.band_limit_probability=0.1",)),
    Variant("known_speaker", "augmentation", ("augment.known_speaker_probability=0.5",)),
    Variant("views", "views", ("views.count=2",)),
    Variant("codec_views", "views", ("views.codec_probability=0.5",), parent="views"),
    Variant("stored", "teachers", STORED_TEACHER + HALF_LABELS),
    Variant("temperature_2", "teachers", ("distill.temperature=2.0",), parent="stored"),
    Variant("temperature_4", "teachers", ("distill.temperature=4.0",), parent="stored"),
    Variant(
        "label_weight_03",
        "teachers",
        ("distill.label_weight=0.3", "distill.logit_weight=0.7"),
        parent="stored",
    ),
    Variant("own_teacher", "teachers", OWN_TEACHER + HALF_LABELS),
    Variant("in_fold", "teachers", ("teachers.own.in_fold=true",), parent="own_teacher"),
    Variant("two_members", "teachers", ("teachers.own.members=2",), parent="own_teacher"),
    Variant(
        "embedding",
        "teachers",
        ("distill.embedding_weights={ own = 0.2 }", "distill.embedding_loss=cosine"),
        parent="own_teacher",
    ),
    Variant("consistent_views", "teachers", ("views.count=2",), parent="own_teacher"),
)


@dataclass(frozen=True)
class Row:
    """One finished run.

    Attributes:
        variant: Its name.
        seed: Of its weights, order and augmentation.
        ua: Mean validation UA of the last epochs, 0 to 1.
        best_ua: Validation UA of the exported epoch, chosen on the same clips.
        int8_ua: The same of its int8 file, where it was scored.
    """

    variant: str
    seed: int
    ua: float
    best_ua: float
    int8_ua: float | None


def settings_of(name: str, variants: Sequence[Variant] = VARIANTS) -> tuple[str, ...]:
    """All settings of a variant, its ancestors' first, so that its own win."""
    by_name = {variant.name: variant for variant in variants}
    if name not in by_name:
        raise SystemExit(f"error: no variant {name!r} (there are {', '.join(by_name)})")
    variant = by_name[name]
    inherited = () if name == variant.parent else settings_of(variant.parent, variants)
    return inherited + variant.settings


def train(name: str, seed: int, folder: Path, arguments: argparse.Namespace) -> bool:
    """Trains one row, or goes on with it.

    Returns:
        Whether there was something to do.
    """
    if (folder / "eval.json").is_file():
        return False
    command = [sys.executable, str(ROOT / "train.py"), "--recipe", arguments.recipe]
    command += ["--data-dir", arguments.data_dir] if arguments.data_dir else []
    command += ["--run-dir", str(folder), "--seed", str(seed)]
    for setting in (*settings_of(name), *arguments.set):
        command += ["--set", setting]
    print(f"{name}, seed {seed}: {folder}", flush=True)
    subprocess.run(command, check=True)
    return True


def read_row(name: str, seed: int, folder: Path, last: int) -> Row | None:
    """The figures of a run; None if it is not finished."""
    evaluation, history = folder / "eval.json", folder / "history.jsonl"
    if not evaluation.is_file():
        return None
    epochs = [json.loads(line) for line in history.read_text("utf-8").splitlines()]
    scores = [epoch["validation_ua"] for epoch in epochs[-last:]]
    models = json.loads(evaluation.read_text("utf-8"))["parts"]["validation"]["models"]
    int8 = [model["ua"] for title, model in models.items() if title.endswith("int8")]
    return Row(
        variant=name,
        seed=seed,
        ua=sum(scores) / len(scores),
        best_ua=max(epoch["validation_ua"] for epoch in epochs),
        int8_ua=int8[0] if int8 else None,
    )


def mean_and_interval(values: Sequence[float]) -> tuple[float, float | None]:
    """A mean, and half of its 95 % interval by Student's t; None with fewer than two values."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return mean, None
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    quantile = float(stats.t.ppf(0.975, len(values) - 1))
    return mean, quantile * math.sqrt(variance / len(values))


def differences(variant: Variant, rows: Iterable[Row]) -> dict[int, float]:
    """Seed -> points of UA that a variant is above its parent, of the seeds that both have."""
    of = {(row.variant, row.seed): row.ua for row in rows}
    return {
        seed: 100 * (ua - of[variant.parent, seed])
        for (name, seed), ua in sorted(of.items())
        if name == variant.name != variant.parent and (variant.parent, seed) in of
    }


def reading(gains: Sequence[float]) -> str:
    """What a list of differences, one per seed, allows to say."""
    mean, half = mean_and_interval(gains)
    if half is None or len(gains) < ENOUGH_SEEDS:
        return "screen"
    if abs(mean) <= half:
        return "not shown"
    return "better" if mean > 0 else "worse"


def table(rows: Sequence[Row], variants: Sequence[Variant] = VARIANTS) -> str:
    """Markdown, one line per variant that has a row."""
    lines = [
        "| | variant | UA, % | seeds | int8 | against | difference | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in variants:
        of = [row for row in rows if row.variant == variant.name]
        if not of:
            continue
        mean, _ = mean_and_interval([100 * row.ua for row in of])
        int8 = [100 * row.int8_ua for row in of if row.int8_ua is not None]
        gains = list(differences(variant, rows).values())
        cells = [variant.group, f"`{variant.name}`", f"{mean:.1f}"]
        cells += [", ".join(str(row.seed) for row in sorted(of, key=lambda row: row.seed))]
        cells += [f"{sum(int8) / len(int8):.1f}" if int8 else ""]
        if gains:
            gain, half = mean_and_interval(gains)
            interval = "" if half is None else f" ± {half:.1f}"
            cells += [f"`{variant.parent}`", f"{gain:+.1f}{interval}", reading(gains)]
        else:
            cells += ["", "", ""]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: Sequence[Row], path: Path, variants: Sequence[Variant] = VARIANTS) -> None:
    """Draws every variant's differences: a dot per seed, a line for the interval."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    shown = [(variant, differences(variant, rows)) for variant in variants]
    shown = [(variant, gains) for variant, gains in shown if gains]
    figure, axes = pyplot.subplots(figsize=(7, 1 + 0.3 * len(shown)), layout="constrained")
    for place, (_, gains) in enumerate(shown):
        mean, half = mean_and_interval(list(gains.values()))
        if half is not None:
            axes.plot([mean - half, mean + half], [place, place], color="0.6", zorder=1)
        axes.scatter(list(gains.values()), [place] * len(gains), s=14, color="tab:blue", zorder=2)
        axes.scatter([mean], [place], marker="|", s=120, color="black", zorder=3)
    axes.axvline(0, color="0.3", linewidth=0.8)
    names = [f"{variant.name}  (against {variant.parent})" for variant, _ in shown]
    axes.set_yticks(range(len(shown)), names)
    axes.invert_yaxis()
    axes.set_xlabel("difference of validation UA, points; a dot per seed, 95 % interval over seeds")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def report(rows: Sequence[Row], folder: Path) -> dict[str, Any]:
    """Writes and prints the table, draws the figure, and returns all rows for JSON."""
    text = table(rows)
    (folder / "ablation.md").write_text(text + "\n", encoding="utf-8")
    draw(rows, folder / "ablation.svg")
    print(text)
    return {"benchmark": "ablation", "rows": [vars(row) for row in rows]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is missing, then reports."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-dir", default="", help="the corpus's folder")
    parser.add_argument("--recipe", default="crema_d_labels", help="what base is made from")
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"), help="the run folders")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--last", type=int, default=10, help="so many epochs are averaged")
    parser.add_argument("--report", action="store_true", help="train nothing")
    parser.add_argument("--list", action="store_true", help="name the variants and stop")
    parsed = parser.parse_args(arguments)
    if parsed.list:
        for variant in VARIANTS:
            print(f"{variant.name:<18}{variant.group:<14}{' '.join(settings_of(variant.name))}")
        return
    names = parsed.variants or [variant.name for variant in VARIANTS]
    wanted = [(name, seed) for seed in parsed.seeds for name in names]
    for name, _ in wanted:
        settings_of(name)  # a misspelt name is said before anything is trained
    if not parsed.report:
        for name, seed in wanted:
            train(name, seed, parsed.runs / f"{name}_{seed}", parsed)
    found = [
        read_row(name, seed, parsed.runs / f"{name}_{seed}", parsed.last) for name, seed in wanted
    ]
    rows = [row for row in found if row is not None]
    if not rows:
        raise SystemExit(f"error: no finished run in {parsed.runs}")
    print(json.dumps(report(rows, parsed.runs)))


if __name__ == "__main__":
    main()
