"""From a folder of speech to a phone-ready file.

python train.py                                                  the demo: no download
python train.py --recipe crema_d_cpu --data-dir ~/CREMA-D        real speech
"""

import argparse
import json
import sys
from pathlib import Path

from ser_kd.commands.cli import guarded
from ser_kd.config import Config, load_config, recipe_names
from ser_kd.progress import say


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--recipe",
        default="demo",
        metavar="NAME|FILE",
        help=f"a shipped recipe ({', '.join(recipe_names())}) or a .toml file; default: demo",
    )
    parser.add_argument("--data-dir", help="the corpus's folder")
    parser.add_argument("--metadata-dir", help="the folder of the corpus's CSV files")
    parser.add_argument("--run-dir", type=Path, help="default: runs/<recipe>")
    parser.add_argument("--seed", type=int, help="of weights, order, augmentation; default: 0")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="changes a setting of the recipe; may be repeated",
    )
    parsed = parser.parse_args(arguments)
    return guarded(lambda: _train(_config(parsed), parsed.run_dir))


def _config(parsed: argparse.Namespace) -> Config:
    overrides = list(parsed.set)
    for key, value in (
        ("corpus.data_dir", parsed.data_dir),
        ("corpus.metadata_dir", parsed.metadata_dir),
    ):
        if value is not None:
            overrides.append(f"{key}={json.dumps(value, ensure_ascii=False)}")
    if parsed.seed is not None:
        overrides.append(f"seed={parsed.seed}")
    return load_config(parsed.recipe, overrides)


def _train(config: Config, run_dir: Path | None) -> int:
    # Imported late: a wrong argument should not wait for TensorFlow.
    from ser_kd.distillation import fit_loop
    from ser_kd.evaluation import run as evaluation
    from ser_kd.evaluation import run_dimensions
    from ser_kd.evaluation.summary import summary
    from ser_kd.export import export_run
    from ser_kd.export.convert import calibration_windows
    from ser_kd.pipeline import resources, stages
    from ser_kd.runs.folder import Run

    if config.deterministic:
        fit_loop.make_deterministic()
    run = Run.create(config, run_dir)
    _announce(run.directory, config)
    say("\n1. Data")
    run_data = run.data()
    teachers, truth = config.teachers_in_use, config.ground_truth
    say("\n2. Teachers" if teachers else "\n2. Teachers: none")
    targets = stages.all_teacher_targets(run, run_data)
    if teachers:
        say(f"\n3. Student from {truth} alone (what distillation is compared with)")
        stages.baseline_student(run, run_data)
        say(f"\n4. Student from {truth} and teachers")
    else:
        say(f"\n3. and 4. Student from {truth} alone")
    stages.distilled_student(run, run_data, targets)
    if config.quantization.epochs:
        say("\n   The student once more, with the rounding of its int8 file")
        calibration = calibration_windows(run_data.logmel, run_data.ids("training"), config)
        stages.int8_student(run, run_data, targets, calibration)
    say("\n5. Export to TensorFlow Lite")
    export_run(run, run_data)
    if config.dimensions.alone:
        say("\n6. Scores")
        say("\n" + run_dimensions.table(run_dimensions.evaluate_dimensions(run, run_data)))
        say(f"\nFor the phone: {run.export_dir} (docs/dimensions.md shows how)")
        return 0
    say("\n6. Scores, time and memory, report")
    measured = resources.measure_run(run)
    evaluated = evaluation.evaluate_run(run, run_data, targets)
    say("\n" + summary(evaluated, measured))
    if run_data.dimensions:
        say("\n" + run_dimensions.table(run_dimensions.evaluate_dimensions(run, run_data)))
    _say_what_next(
        run.directory / evaluation.PAGE, run.export_dir / "student_waveform.tflite", config
    )
    return 0


def _announce(directory: Path, config: Config) -> None:
    used = config.teachers_in_use
    teachers = ", ".join(f"{name} ({t.kind})" for name, t in used.items()) or "none"
    say(f"run folder  {directory}  (the same command goes on where it was interrupted)")
    say(f"corpus      {config.corpus.name}  {config.corpus.data_dir}".rstrip())
    say(f"teachers    {teachers}")
    unused = ", ".join(name for name in config.teachers if name not in used)
    if unused:
        taught = config.dimensions.teacher_weight > 0
        why = "categories alone" if taught else "dimensions.teacher_weight is 0"
        say(f"            without {unused}: {why}")
    say(f"student     {config.student.kind}, width {config.student.width:g}")
    if config.dimensions.alone:
        say("makes       a student of dimensions alone: no categories, eval.json or report.html")
    say("steps       data, teachers, student without and with them, export, scores")
    if config.expected_minutes:
        say(f"time        about {config.expected_minutes:g} minutes on 2 CPU cores")


def _say_what_next(page: Path, model: Path, config: Config) -> None:
    say(f"\nReport:        {page}")
    say(f"For the phone: {model} with labels.txt (README.md beside it shows how)")
    say(f"Try it:        python -m ser_kd predict {model} SOME_SPEECH.wav")
    if config.corpus.name == "demo":
        say("Real speech:   python -m ser_kd data crema_d ~/CREMA-D --download")
        say("               python train.py --recipe crema_d_cpu --data-dir ~/CREMA-D")


if __name__ == "__main__":
    sys.exit(main())
