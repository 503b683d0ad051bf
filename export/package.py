"""What stands beside the exported files for those who only take them: README, card, checksums."""

from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from export.plot import family_svg
from ser_kd import __version__, files
from ser_kd.config import Config

_TEMPLATES = Path(__file__).parent / "templates"
CHECKSUMS, PLOT = "SHA256SUMS", "family.svg"


def write(
    export_dir: Path,
    config: Config,
    labels: tuple[str, ...],
    models: Mapping[str, Mapping[str, Any]],
    keras_ua: float,
    temperature: float,
) -> None:
    """Writes ``README.md`` (how to feed the files), ``MODEL_CARD.md``, a plot and checksums.

    Args:
        export_dir: Receives them.
        config: Of the run.
        labels: In output order.
        models: Figures by kind, as of ``export.json``.
        keras_ua: UA of the Keras model on the validation clips.
        temperature: What logits are divided by before softmax.
    """
    teachers = [f"{name} ({teacher.kind})" for name, teacher in config.teachers.items()]
    facts = {
        "name": config.name,
        "version": __version__,
        "seed": config.seed,
        "corpus": config.corpus.name,
        "teachers": ", ".join(teachers) or "none",
        "labels": ", ".join(labels),
        "classes": len(labels),
        "rate_hz": config.audio.sample_rate_hz,
        "samples": config.audio.window_samples,
        "seconds": f"{config.audio.window_seconds:g}",
        "hop_seconds": f"{config.audio.window_hop_seconds:g}",
        "waveform_ua": f"{models['waveform']['ua']:.1%}",
        "ece": f"{models['waveform']['ece']:.3f}",
        "temperature": f"{temperature:.2f}",
        "keras_ua": f"{keras_ua:.1%}",
        "table": _table(models),
    }
    for template in sorted(_TEMPLATES.iterdir()):
        text = Template(template.read_text(encoding="utf-8")).substitute(facts)
        _write(export_dir / template.name, text)
    _write(export_dir / PLOT, family_svg(f"{config.name}: the exported files", models, keras_ua))
    sums = (f"{model['sha256']}  {model['file']}\n" for model in models.values())
    _write(export_dir / CHECKSUMS, "".join(sums))


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
