"""What stands beside the exported files for those who only take them: README, card, checksums."""

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from ser_kd import __version__, files
from ser_kd.config import StudentConfig
from ser_kd.config.command import repeating_command
from ser_kd.corpora import find_reader
from ser_kd.corpora.emotions import emotion
from ser_kd.distillation.fit_loop import HISTORY
from ser_kd.export.plot import family_svg
from ser_kd.export.verify import sha256
from ser_kd.inference.measure import machine
from ser_kd.metrics import reported_interval
from ser_kd.runs.folder import Run
from ser_kd.students.architectures import YAMNET_BLOCKS

_TEMPLATES = Path(__file__).parent / "templates"
CHECKSUMS, PLOT = "SHA256SUMS", "family.svg"
PUBLISHED = (
    "student_waveform.tflite",
    "student_int8.tflite",
    "labels.txt",
    "frontend.json",
)


def write(run: Run, labels: tuple[str, ...], figures: Mapping[str, Any]) -> None:
    """Writes ``README.md`` (how to feed the files), ``MODEL_CARD.md``, a plot and checksums.

    Args:
        run: Its export folder receives them.
        labels: In output order.
        figures: The content of ``export.json``.
    """
    _write_guides(run, labels, figures, figures["models"], run.export_dir)
    plot = family_svg(
        f"{run.config.name}: the exported files", figures["models"], figures["keras_ua"]
    )
    _write(run.export_dir / PLOT, plot)


def _write_guides(
    run: Run,
    labels: tuple[str, ...],
    figures: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    folder: Path,
) -> None:
    """README, card and checksums of ``models``, which are those in ``folder``."""
    config, waveform = run.config, models["waveform"]
    corpus = find_reader(config.corpus.name).facts
    teachers = [f"{name} ({teacher.kind})" for name, teacher in config.teachers.items()]
    scores = figures["cross_validation"] or waveform
    facts = {
        "name": config.name,
        "command": repeating_command(config),
        "warning": _warning(scores, labels),
        "run": f"runs/{config.name}",
        "score": _score(figures, waveform),
        "split": "cross-validation" if figures["cross_validation"] else "validation",
        "calibration": _calibration(figures, scores),
        "version": __version__,
        "seed": config.seed,
        "corpus": config.corpus.name,
        "corpus_name": corpus.name,
        "corpus_limits": corpus.limits,
        "corpus_licence": corpus.licence,
        "language": corpus.language,
        "teachers": ", ".join(teachers) or "none",
        "initial_weights": _initial_weights(config.student),
        "labels": ", ".join(map(emotion, labels)),
        "classes": len(labels),
        "rate_hz": config.audio.sample_rate_hz,
        "samples": config.audio.window_samples,
        "mels": config.logmel.mels,
        "frames": config.logmel.frames(config.audio.window_samples),
        "seconds": f"{config.audio.window_seconds:g}",
        "hop_seconds": f"{config.audio.window_hop_seconds:g}",
        "waveform_kb": f"{waveform['bytes'] / 1e3:,.0f}",
        "ua": f"{scores['ua']:.4f}",
        "wa": f"{scores['wa']:.4f}",
        "macro_f1": f"{scores['macro_f1']:.4f}",
        "ece": f"{scores['ece']:.3f}",
        "one_in": _one_in(1.0 - scores["wa"]),
        "temperature": f"{figures['temperature']:.2f}",
        "training_clips": f"{figures['training_clips']:,}",
        "training_speakers": figures["training_speakers"],
        "minutes": f"{_training_seconds(run) / 60:,.0f}",
        "machine": machine(),
        "table": _table(models, bool(figures["cross_validation"])),
    }
    for template in sorted(_TEMPLATES.iterdir()):
        text = Template(template.read_text(encoding="utf-8")).substitute(facts)
        _write(folder / template.name, text)
    names = [model["file"] for model in models.values()]
    sums = (f"{sha256(folder / name)}  {name}\n" for name in names)
    _write(folder / CHECKSUMS, "".join(sums))


def _warning(waveform: Mapping[str, Any], labels: tuple[str, ...]) -> str:
    """The card's first lines where the model has one label for nearly everything."""
    if not waveform.get("one_label"):
        return ""
    label, share = waveform["one_label"]
    return (
        f"\n**Not for use**: it predicts {emotion(labels[label])} for {share:.0%} of the "
        "validation clips, whatever is said in\nthem. It has not learned the classes; its scores "
        "are those of guessing.\n"
    )


def _score(figures: Mapping[str, Any], waveform: Mapping[str, Any]) -> str:
    """What it scores, on whom, and what that does not tell."""
    clips, speakers = f"{figures['validation_clips']:,}", figures["validation_speakers"]
    scores = figures["cross_validation"] or waveform
    ends = reported_interval(scores["ua_interval"], speakers)
    interval = f"{ends[0]:.1%} to {ends[1]:.1%}" if ends else "not known: too few"
    ua = f"UA {scores['ua']:.1%} (95 % interval over speakers {interval})"
    if not figures["cross_validation"] and not figures["by_speaker"]:
        return (
            f"of `{waveform['file']}`: UA {scores['ua']:.1%} on the {clips} validation clips.\n"
            "  Divided by clip, **not by speaker**: of new voices that tells nothing. The Keras "
            f"model has {figures['keras_ua']:.1%}."
        )
    if not figures["cross_validation"]:
        return (
            f"of `{waveform['file']}`: {ua} on the {clips} validation clips\n  of {speakers} "
            "speakers, who are not in training but on whom the epoch was chosen; the Keras model "
            f"has {figures['keras_ua']:.1%}."
        )
    if scores["by_speaker"]:
        by = f"speaker, of whom there are {speakers}"
    else:
        by = f"clip, **not by speaker**: of new voices the {clips} clips tell nothing"
        ua = f"UA {scores['ua']:.1%}"
    return (
        f"by cross-validation: {ua}, each clip\n  predicted by one of {scores['folds']} students "
        f"that were not trained on it. Divided by {by}. The student here was trained on all of "
        "them in the same way."
    )


def _calibration(figures: Mapping[str, Any], waveform: Mapping[str, Any]) -> str:
    """How far the probabilities can be trusted; nothing where all clips get one label."""
    temperature = f"{figures['temperature']:.2f}"
    scaled = f"Its probabilities\n  are temperature-scaled on such clips (by {temperature})"
    if waveform.get("one_label"):
        return f"{scaled}; of one label for everything that says nothing."
    return (
        f"{scaled}: ECE {waveform['ece']:.3f}, where perfect probabilities would measure "
        f"{waveform['ece_by_chance'][0]:.3f} with so few; {figures['ece_held_out']:.3f} where the "
        "temperature\n  is fitted on the other speakers. On other corpora they are too confident."
    )


def _initial_weights(student: StudentConfig) -> str:
    if not student.initial_weights:
        return "random"
    path = Path(student.initial_weights)
    if path.suffix == ".keras":
        return f"those of another student, {path.parent.name}/{path.name}"
    most = max(channels for channels, _ in YAMNET_BLOCKS[: student.blocks])
    cut = f", cut to {student.most_channels} channels" if student.most_channels < most else ""
    return (
        f"the first {student.blocks} blocks of YAMNet{cut} (the TensorFlow authors, Apache-2.0), "
        "which was trained on AudioSet (Google, CC BY 4.0)"
    )


def publish(run: Run, folder: Path) -> list[Path]:
    """Copies what users of a model need: the two int8 models, the Keras student, labels, front end.

    README, card and checksums are written anew, of these files alone.

    Args:
        run: Exported.
        folder: Made if missing. ``ser_kd/pretrained`` is what ``pip install`` brings along.

    Returns:
        The copies.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = [*(run.export_dir / name for name in PUBLISHED), run.student_path]
    for source in sources:
        with files.atomic(folder / source.name) as partial:
            partial.write_bytes(source.read_bytes())
    figures = json.loads((run.export_dir / "export.json").read_text(encoding="utf-8"))
    labels = (run.export_dir / "labels.txt").read_text(encoding="utf-8").splitlines()
    models = {
        kind: model for kind, model in figures["models"].items() if model["file"] in PUBLISHED
    }
    _write_guides(run, tuple(labels), figures, models, folder)
    return [folder / source.name for source in sources]


def _training_seconds(run: Run) -> float:
    """What all epochs of the students and of the teachers that were trained here took together."""
    histories = [run.directory / HISTORY, *run.directory.glob(f"baseline/{HISTORY}")]
    for room in ("teachers", "folds"):
        histories += (run.directory / room).rglob(HISTORY)
    texts = [path.read_text(encoding="utf-8") for path in histories if path.exists()]
    return sum(json.loads(row)["seconds"] for text in texts for row in text.splitlines())


def _one_in(share: float) -> str:
    return f"{1.0 / share:.1f}" if share > 0 else "very many"


def _write(path: Path, text: str) -> None:
    with files.atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _table(models: Mapping[str, Mapping[str, Any]], own_clips: bool) -> str:
    clips = "the clips trained on" if own_clips else "validation"
    rows = [
        f"| file | input -> output | size | UA, {clips} | same label as Keras |",
        "|---|---|---|---|---|",
    ]
    for kind, model in models.items():
        takes = "samples -> probabilities" if kind == "waveform" else "log-mel -> logits"
        rows.append(
            f"| `{model['file']}` | {takes} | {model['bytes'] / 1e3:,.0f} kB "
            f"| {model['ua']:.1%} | {model['agreement']:.1%} |"
        )
    return "\n".join(rows)
