"""A run's student -> .tflite files, verified: ``ser-kd export RUN``.

Stages meet at files: whatever is in ``export/`` and younger than the student is kept, so a killed
export goes on where it was. ``export.json`` is written last.
"""

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_kd import files
from ser_kd.errors import UserError
from ser_kd.export import verify
from ser_kd.export.temperature import fit_temperature
from ser_kd.inference.measure import measure_all
from ser_kd.progress import say
from ser_kd.students.saved import keras_corpus, keras_logits, load_keras
from ser_kd.tflite.interpreters import TFLiteModel

# TensorFlow (5 s) is imported where it is used, so that ``ser-kd export --help`` is quick.
if TYPE_CHECKING:
    from ser_kd.runs.data import RunData
    from ser_kd.runs.folder import Run

SIDECARS = ("labels.txt", "frontend.json", "README.md", "MODEL_CARD.md", "SHA256SUMS")

__all__ = ["export_run", "table"]


def export_run(run: "Run", run_data: "RunData", force: bool = False) -> dict[str, Any]:
    """Converts ``student.keras`` of a run to all forms and compares each of them with it.

    A student with continuous targets also becomes ``student_dimensions_int8.tflite``
    (``export.dimensional``); one without categories becomes nothing else.

    Args:
        run: Has a trained student.
        run_data: Its data: int8 is calibrated on training clips, all are compared on the
            validation clips.
        force: Whether to convert again what is there.

    Returns:
        The content of ``export.json``; of a student without categories that of
        ``dimensions.json``.

    Raises:
        UserError: No or no usable student, a failed conversion, or figures outside of
            ``config.export`` (they are in ``export.json`` all the same).
    """
    student, folder, config = run.student_path, run.export_dir, run.config
    if not run.students:
        raise UserError(f"{run.directory} has no {student.name}: train first: ser-kd train")
    if run_data.dimensions:
        from ser_kd.export.dimensional import export_dimensions

        exported = export_dimensions(run, run_data, force)
        if student not in run.students:
            return exported
    figures = None if force else _finished(run)
    if figures is None:
        figures = _export(run, run_data, force)
        files.write_json(folder / "export.json", figures)
    found = verify.problems(figures["models"], config.export)
    found += verify.owner_problems(figures["owner"], config.export)
    if found:
        raise UserError("; ".join(found) + f"; all figures are in {folder / 'export.json'}")
    return figures


def _export(run: "Run", run_data: "RunData", force: bool) -> dict[str, Any]:
    from ser_kd.export import convert, package
    from ser_kd.export.describe import describe
    from ser_kd.export.owner import compare_owner

    student, folder, config = run.student_path, run.export_dir, run.config
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "export.json").unlink(missing_ok=True)  # it tells of other files
    for partial in folder.glob(".partial-*"):  # left by a process that was killed
        partial.unlink(missing_ok=True)
    model = load_keras(student)
    labels = run_data.labels
    validation = run_data.logmel.select(run_data.ids("validation"))
    clips, windows = convert.all_windows(validation, config)
    expected = (config.logmel.frames(config.audio.window_samples), config.logmel.mels)
    if tuple(model.input_shape[1:]) != expected:
        raise UserError(
            f"{student} takes {model.input_shape}, but the run's front end gives log-mel "
            f"{list(expected)}: another run's student?"
        )
    keras = keras_logits(model)
    verify.check_model(keras, windows[:4], len(labels), student.name)
    truth = run_data.one_hot(validation.ids).argmax(1)
    pcm = functools.partial(convert.pcm_batches, run_data.waveforms.select(validation.ids), config)
    speakers = [run_data.speakers[clip_id] for clip_id in validation.ids]
    reference = verify.Reference(clips, windows, pcm, truth, speakers, _in_batches(keras, windows))

    missing = tuple(
        kind
        for kind in convert.KINDS
        if force or not _kept(convert.model_path(folder, kind), student)
    )
    calibration = convert.calibration_windows(run_data.logmel, run_data.ids("training"), config)
    convert.convert(model, missing, folder, calibration)
    temperature = _temperature(folder, reference)
    reference = dataclasses.replace(reference, temperature=temperature["temperature"])
    corpus = keras_corpus(model)
    if corpus is None:
        raise UserError(f"{student} has no layer standardize: no student of this project; train")
    convert.write_sidecars(folder, config, labels, reference.temperature, corpus)
    pieces = [convert.model_path(folder, "int8"), *(folder / name for name in convert.SIDECARS)]
    if force or not files.is_current(convert.model_path(folder, convert.WAVEFORM), pieces):
        convert.write_waveform_model(folder, config, labels, reference.temperature, corpus)
    models = {}
    for kind in (*convert.KINDS, convert.WAVEFORM):
        say(f"  comparing {kind} with Keras on {len(validation):,} validation clips")
        path = convert.model_path(folder, kind)
        models[kind] = {**verify.compare(path, reference), **describe(path)}
    say("  comparing what they say of speakers whose voice is known")
    owner = compare_owner(
        convert.model_path(folder, convert.WAVEFORM), reference, keras, corpus, config.logmel
    )
    models["int8"]["not_int8"] = verify.not_int8(convert.model_path(folder, "int8"))
    measured = measure_all([convert.model_path(folder, kind) for kind in models])
    for figures, times in zip(models.values(), measured, strict=True):
        figures |= {key: times[key] for key in ("latency_ms", "latency_p95_ms", "peak_memory_mb")}
    training = run_data.ids("training")
    figures = {
        "student_sha256": verify.sha256(student),
        "parameters": model.count_params(),
        "training_clips": len(training),
        "training_speakers": len({run_data.speakers[clip_id] for clip_id in training}),
        "calibration_clips": min(config.export.calibration_clips, len(training)),
        "calibration_windows": len(calibration),
        "validation_clips": len(validation),
        "validation_speakers": len(set(speakers)),
        "validation_windows": len(windows),
        "keras_ua": reference.ua,
        "keras_nll": reference.nll(reference.probs),
        "keras_ece": reference.ece(reference.probs),
        **temperature,
        "models": models,
        "owner": owner,
    }
    package.write(run, labels, figures)
    return figures


def _in_batches(logits: verify.Logits, windows: np.ndarray) -> np.ndarray:
    batches = [logits(windows[first : first + 128]) for first in range(0, len(windows), 128)]
    return np.concatenate(batches)


def _temperature(folder: Path, reference: verify.Reference) -> dict[str, float]:
    """The temperature that suits the int8 student, as its file rounds, and what it does to ECE.

    ``ece_held_out`` is that of clips whose speaker had no part in choosing their temperature.
    """
    logits = TFLiteModel(folder / "student_int8.tflite").predict(reference.windows)
    clips, truth, speakers = reference.clips, reference.truth, np.array(reference.speakers)
    temperature = fit_temperature(logits, clips, truth)
    held_out = np.full(len(logits), temperature)
    for speaker in sorted(set(reference.speakers)):
        others = speakers[clips] != speaker
        if others.any():
            names, renumbered = np.unique(clips[others], return_inverse=True)
            held_out[~others] = fit_temperature(logits[others], renumbered, truth[names])
    return {
        "temperature": temperature,
        "ece_without_temperature": reference.ece(reference.average(logits)),
        "ece_held_out": reference.ece(reference.average(logits / held_out[:, np.newaxis])),
    }


def _kept(path: Path, student: Path) -> bool:
    """Whether a file is there and was converted from this student."""
    return path.is_file() and path.stat().st_mtime_ns >= student.stat().st_mtime_ns


def _finished(run: "Run") -> dict[str, Any] | None:
    """The figures of an export that is whole and of this very student."""
    path = run.export_dir / "export.json"
    try:
        figures: dict[str, Any] = files.read_json(path)
        names = [model["file"] for model in figures["models"].values()]
        hashes = [model["sha256"] for model in figures["models"].values()]
        whole = (
            {"temperature", "owner"} <= set(figures)  # not so before 2026-11-20 and -21
            and figures["student_sha256"] == verify.sha256(run.student_path)
            and hashes == [verify.sha256(run.export_dir / name) for name in names]
            and all(
                (run.export_dir / n).is_file()
                for n in ("labels.txt", "frontend.json", "README.md", "MODEL_CARD.md")
            )
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # absent, or written by something else
    return figures if whole else None


def table(figures: dict[str, Any]) -> str:
    """The figures for people."""
    if "models" not in figures:  # a student without categories
        from ser_kd.export import dimensional

        return dimensional.table(figures)
    lines = [
        f"{'':<10}{'size':>10}{'UA':>8}{'difference':>12}{'agreement':>11}{'one window':>12}",
        f"{'Keras':<10}{'':>10}{figures['keras_ua']:>8.1%}",
    ]
    for kind, model in figures["models"].items():
        points = 100.0 * model["ua_difference"]
        lines.append(
            f"{kind:<10}{model['bytes'] / 1000:>7,.0f} kB{model['ua']:>8.1%}"
            f"{points:>+9.1f} pt{model['agreement']:>11.1%}{model['latency_ms']:>9.2f} ms"
        )
    lines.append(
        "one window: median on one CPU thread of this machine, models taking turns; all but"
    )
    lines.append(
        "waveform without the front end. agreement: same label as Keras, validation clips."
    )
    for kind in ("int8", "waveform"):
        model = figures["models"][kind]
        roles = (
            f"{role} {', '.join(f'{dtype} x {n}' for dtype, n in counts.items())}"
            for role, counts in model["dtypes"].items()
        )
        lines.append(f"{kind} tensors: {'; '.join(roles)}")
        lines.append(f"{kind} without XNNPACK: {_differs(model['without_xnnpack'])}")
        for runtime, other in model["other_runtimes"].items():
            lines.append(
                f"{kind} on {runtime}: {_differs(other)}; by default: "
                f"{_differs(other['by_default'])}"
            )
    owner = figures["owner"]
    lines.append(
        f"classify_owner, speakers known: UA {owner['ua']:.1%} (Keras {owner['keras_ua']:.1%}), "
        f"agreement {owner['agreement']:.1%}"
    )
    lines.append("other runtimes: against LiteRT, both without XNNPACK; by default: as they come.")
    return "\n".join(lines)


def _differs(figures: dict[str, float]) -> str:
    largest = (
        f"{figures['max_steps']:.0f} steps"
        if "max_steps" in figures
        else f"{figures['max_difference']:.4f}"
    )
    return f"same label {figures['same_label']:.1%} of windows, outputs within {largest}"
