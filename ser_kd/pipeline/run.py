"""A whole run: data, teachers, student, export, scores."""

from pathlib import Path

from ser_kd.config import Config
from ser_kd.distillation import fit_loop
from ser_kd.evaluation import run_dimensions
from ser_kd.evaluation.run import evaluate_run
from ser_kd.evaluation.summary import collapsed, guessing, result, summary
from ser_kd.export import limits
from ser_kd.export.run import export_run
from ser_kd.pipeline import dimensions_only, resources, students
from ser_kd.pipeline.announcement import announce
from ser_kd.pipeline.cross_validation import out_of_fold
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.progress import say
from ser_kd.runs.folder import LABELS_ALONE, Run
from ser_kd.runs.lock import only_writer


def train_run(config: Config, run_dir: Path | None = None) -> None:
    """From a folder of speech to files for the phone and their scores, in a run folder.

    Every stage finds what it has finished before, so a run that was interrupted goes on.

    Args:
        config: Of the run.
        run_dir: Its folder; None = ``runs/<name>``.

    Raises:
        UserError: The folder belongs to another run, or another process writes it; the corpus or a
            teacher cannot be used; an exported file is too far from the student (said at the end,
            when scores and report are there).
    """
    if config.deterministic:
        fit_loop.make_deterministic()
    if config.dimensions.alone:
        dimensions_only.train(config, run_dir)
        return
    run = Run.create(config, run_dir)
    with only_writer(run.directory):
        _stages(run)


def _stages(run: Run) -> None:
    config = run.config
    announce(run, config.teachers)
    say("\n1. Data")
    run_data = run.data()
    if not run_data.cross_validated:
        say("\n2. Teachers" if config.teachers else "\n2. Teachers: none")
    targets = all_teacher_targets(run, run_data)
    if run_data.cross_validated:
        say("\n2. Cross-validation: students that are each trained without one fold")
        chosen = out_of_fold(run, run_data).chosen
        say(f"\n3. and 4. Student from all clips: {chosen}")
        students.cross_validated_student(run, run_data, run.directory, LABELS_ALONE, chosen)
    elif config.teachers:
        say("\n3. Student from labels alone (what distillation is compared with)")
        students.baseline_student(run, run_data)
        say("\n4. Student from labels and teachers")
    else:
        say("\n3. and 4. Student from labels alone")
    if not run_data.cross_validated:
        students.distilled_student(run, run_data, targets)
    say("\n5. Export to TensorFlow Lite")
    exported = export_run(run, run_data)
    say("\n6. Scores, time and memory, report")
    measured = resources.measure_run(run)
    evaluation = evaluate_run(run, run_data, targets)
    say("\n" + summary(evaluation, measured))
    if run_data.dimensions:
        say("\n" + run_dimensions.table(run_dimensions.evaluate_dimensions(run, run_data)))
    say(f"\nResult:        {result(evaluation)}")
    say(f"Report:        {run.report_path}")
    if fault := collapsed(evaluation) or guessing(evaluation):
        say(f"Not for use:   {fault}")
        say("               more clips, more epochs (fit.epochs) or other labels may mend it")
    limits.require(exported, config.export, run.export_dir)
    if fault:
        return
    _say_what_next(run.export_dir / "student_waveform.tflite", config)


def _say_what_next(model: Path, config: Config) -> None:
    say(f"For the phone: {model} with labels.txt (README.md beside it shows how)")
    say(f"Try it:        ser-kd predict {model} SOME_SPEECH.wav")
    if config.corpus.name == "demo":
        say("Real speech:   ser-kd data crema_d ~/CREMA-D --download")
        say("               ser-kd train --recipe crema_d_cpu --data-dir ~/CREMA-D")
