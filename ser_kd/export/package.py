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
    ends = reported_interval(waveform["ua_interval"], figures["validation_speakers"])
    facts = {
        "name": config.name,
        "command": repeating_command(config),
        "warning": _warning(waveform, labels),
        "run": f"runs/{config.name}",
        "calibration": _calibration(figures, waveform),
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
        "waveform_ua": f"{waveform['ua']:.1%}",
        "interval": f"{ends[0]:.1%} to {ends[1]:.1%}" if ends else "not known: too few",
        "ua": f"{waveform['ua']:.4f}",
        "wa": f"{waveform['wa']:.4f}",
        "macro_f1": f"{waveform['macro_f1']:.4f}",
        "ece": f"{waveform['ece']:.3f}",
        "one_in": _one_in(1.0 - waveform["wa"]),
        "temperature": f"{figures['temperature']:.2f}",
        "clips": f"{figures['validation_clips']:,}",
        "speakers": figures["validation_speakers"],
        "training_clips": f"{figures['training_clips']:,}",
        "training_speakers": figures["training_speakers"],
        "minutes": f"{_training_seconds(run) / 60:,.0f}",
        "machine": machine(),
        "keras_ua": f"{figures['keras_ua']:.1%}",
        "table": _table(models),
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
    histories += (run.directory / "teachers").rglob(HISTORY)
    texts = [path.read_text(encoding="utf-8") for path in histories if path.exists()]
    return sum(json.loads(row)["seconds"] for text in texts for row in text.splitlines())


def _one_in(share: float) -> str:
    return f"{1.0 / share:.1f}" if share > 0 else "very many"


def _write(path: Path, text: str) -> None:
    with files.atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _table(models: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        "| file | input -> output | size | UA, validation | same label as Keras |",
        "|---|---|---|---|---|",
    ]
    for kind, model in models.items():
        takes = "samples -> probabilities" if kind == "waveform" else "log-mel -> logits"
        rows.append(
            f"| `{model['file']}` | {takes} | {model['bytes'] / 1e3:,.0f} kB "
            f"| {model['ua']:.1%} | {model['agreement']:.1%} |"
        )
    return "\n".join(rows)
