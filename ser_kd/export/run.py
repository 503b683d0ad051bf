"""The export of a run: its student -> .tflite files, verified.

Stages meet at files: whatever is in ``export/`` and younger than the student is kept, so a killed
export goes on where it was. ``export.json`` is written last.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import keras

from ser_kd import files, metrics
from ser_kd.errors import UserError
from ser_kd.export import convert, package, verify, waveform
from ser_kd.export.describe import describe
from ser_kd.export.dimensional import export_dimensions
from ser_kd.export.known_voice import compare_known_voices
from ser_kd.export.reference import Reference, in_batches
from ser_kd.export.temperature import scale_temperature
from ser_kd.export.windows import all_windows, pcm_batches, representative_windows
from ser_kd.inference.measure import measure_all
from ser_kd.metrics.calibration import calibration_error_by_chance
from ser_kd.progress import say
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.runs.out_of_fold import OutOfFold
from ser_kd.students.saved import keras_corpus, keras_logits, load_keras

_GUIDES = ("labels.txt", "frontend.json", "README.md", "MODEL_CARD.md")


def export_run(run: Run, run_data: RunData, force: bool = False) -> dict[str, Any]:
    """Converts ``student.keras`` of a run to all forms and compares each of them with it.

    A student with continuous targets also becomes ``student_dimensions_int8.tflite``
    (``export.dimensional``); one without categories becomes nothing else.

    Args:
        run: Has a trained student.
        run_data: Its data: int8 takes its ranges from training clips, all files are compared on
            the validation clips.
        force: Whether to convert again what is there.

    Returns:
        The content of ``export.json``; of a student without categories that of
        ``dimensions.json``.

    Raises:
        UserError: No or no usable student, or a failed conversion. Whether the figures are within
            ``config.export`` is for ``limits.require`` to say.
    """
    student, folder = run.student_path, run.export_dir
    if not run.students:
        raise UserError(f"{run.directory} has no {student.name}: train first: ser-kd train")
    if run_data.dimensions:
        exported = export_dimensions(run, run_data, force)
        if student not in run.students:
            return exported
    figures = None if force else _finished(run)
    if figures is None:
        figures = _export(run, run_data, force)
        files.write_json(folder / "export.json", figures)
    return figures


def _export(run: Run, run_data: RunData, force: bool) -> dict[str, Any]:
    """Converts, compares and times; the content of ``export.json``."""
    folder, config, labels = run.export_dir, run.config, run_data.labels
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "export.json").unlink(missing_ok=True)  # it tells of other files
    for partial in folder.glob(".partial-*"):  # left by a process that was killed
        partial.unlink(missing_ok=True)
    model = load_keras(run.student_path)
    say(f"  what {run.student_path.name} predicts, to compare the files with")
    reference = _reference(run, run_data, model)
    training = run_data.ids("training")
    quantised_with = representative_windows(run_data.logmel, training, config)
    convert.convert(model, _missing(run, force), folder, quantised_with)
    scaling = scale_temperature(convert.model_path(folder, "int8"), reference)
    reference = dataclasses.replace(reference, temperature=scaling["temperature"])
    corpus = keras_corpus(model)
    if corpus is None:
        raise UserError(
            f"{run.student_path} has no layer standardize: no student of this project; train"
        )
    waveform.write_sidecars(folder, config, labels, reference.temperature, corpus)
    pieces = [convert.model_path(folder, "int8"), *(folder / name for name in waveform.SIDECARS)]
    app_file = convert.model_path(folder, waveform.WAVEFORM)
    if force or not files.is_current(app_file, pieces):
        waveform.write_waveform_model(folder, config, labels, reference.temperature, corpus)
    models = _compare_all(folder, reference)
    say("  comparing predictions for known voices")
    owner = compare_known_voices(app_file, reference, keras_logits(model), corpus, config.logmel)
    figures = {
        "student_sha256": verify.sha256(run.student_path),
        "parameters": model.count_params(),
        "training_clips": len(training),
        "training_speakers": len({run_data.speakers[clip_id] for clip_id in training}),
        "representative_clips": min(config.export.representative_clips, len(training)),
        "representative_windows": len(quantised_with),
        "validation_clips": len(reference.truth),
        "by_speaker": run_data.by_speaker,
        "validation_speakers": len(set(reference.speakers)),
        "validation_windows": len(reference.windows),
        "cross_validation": _cross_validation(run, reference),
        "keras_ua": reference.ua,
        "keras_nll": reference.nll(reference.probs),
        "keras_ece": reference.ece(reference.probs),
        **scaling,
        "models": models,
        "owner": owner,
    }
    package.write(run, labels, figures)
    return figures


def _reference(run: Run, run_data: RunData, model: keras.Model) -> Reference:
    """The Keras model's answers on the validation clips, once it is known to fit the run."""
    config, student = run.config, run.student_path
    validation = run_data.logmel.select(run_data.ids("validation"))
    clips, windows = all_windows(validation, config)
    expected = (config.logmel.frames(config.audio.window_samples), config.logmel.mels)
    if tuple(model.input_shape[1:]) != expected:
        raise UserError(
            f"{student} takes {model.input_shape}, but the run's front end gives log-mel "
            f"{list(expected)}: another run's student?"
        )
    logits = keras_logits(model)
    verify.check_model(logits, windows[:4], len(run_data.labels), student.name)
    return Reference(
        clips,
        windows,
        functools.partial(pcm_batches, run_data.waveforms.select(validation.ids), config),
        run_data.one_hot(validation.ids).argmax(1),
        [run_data.speakers[clip_id] for clip_id in validation.ids],
        in_batches(logits, windows),
        held_out_logits=_held_out(run).chosen_logits if run_data.cross_validated else None,
    )


def _held_out(run: Run) -> OutOfFold:
    if not run.out_of_fold_path.is_file():
        raise UserError(
            f"{run.directory} has no {run.out_of_fold_path.name}: its cross-validation is not "
            "finished; go on with ser-kd train"
        )
    return OutOfFold.load(run.out_of_fold_path)


def _cross_validation(run: Run, reference: Reference) -> dict[str, Any] | None:
    """The scores of a run whose student was trained on all clips; None: some were held out."""
    if reference.held_out_logits is None:
        return None
    found = _held_out(run)
    probs = found.probs(found.chosen, reference.temperature)
    truth, speakers = reference.truth, reference.speakers
    one_label = metrics.collapsed_class(metrics.confusion(truth, probs.argmax(1), probs.shape[1]))
    return {
        **metrics.scores(truth, probs.argmax(1)),
        "ua_interval": list(
            metrics.speaker_intervals(truth, probs.argmax(1), speakers, probs.shape[1])["ua"]
        ),
        "ece": reference.ece(probs),
        "ece_by_chance": list(calibration_error_by_chance(probs)),
        "one_label": list(one_label) if one_label else None,
        "chosen": found.chosen,
        "folds": found.folds,
        "by_speaker": found.by_speaker,
    }


def _missing(run: Run, force: bool) -> tuple[str, ...]:
    """The kinds of files that are not there, or were converted from an older student."""
    converted = run.student_path.stat().st_mtime_ns
    paths = {kind: convert.model_path(run.export_dir, kind) for kind in convert.KINDS}
    return tuple(
        kind
        for kind, path in paths.items()
        if force or not path.is_file() or path.stat().st_mtime_ns < converted
    )


def _compare_all(folder: Path, reference: Reference) -> dict[str, Any]:
    """Kind -> the figures of its file, time and memory among them."""
    models: dict[str, Any] = {}
    paths = {kind: convert.model_path(folder, kind) for kind in (*convert.KINDS, waveform.WAVEFORM)}
    for kind, path in paths.items():
        say(f"  comparing {kind} with Keras on {len(reference.truth):,} clips")
        models[kind] = {**verify.compare(path, reference), **describe(path)}
    models["int8"]["not_int8"] = verify.not_int8(paths["int8"])
    measured = measure_all(list(paths.values()))
    for figures, times in zip(models.values(), measured, strict=True):
        figures |= {key: times[key] for key in ("latency_ms", "latency_p95_ms", "peak_memory_mb")}
    return models


def _finished(run: Run) -> dict[str, Any] | None:
    """The figures of an export that is whole and of this very student."""
    path = run.export_dir / "export.json"
    try:
        figures: dict[str, Any] = files.read_json(path)
        names = [model["file"] for model in figures["models"].values()]
        hashes = [model["sha256"] for model in figures["models"].values()]
        whole = (
            # Added on 2026-11-20, -21 and 2026-12-01.
            {"temperature", "owner", "cross_validation"} <= set(figures)
            and figures["student_sha256"] == verify.sha256(run.student_path)
            and hashes == [verify.sha256(run.export_dir / name) for name in names]
            and all((run.export_dir / name).is_file() for name in _GUIDES)
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or written by something else
    return figures if whole else None
