"""What a published checkpoint is, and whether it loads."""

import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from ser_kd.encoder.architecture import longest_seconds, transformer
from ser_kd.encoder.checkpoint import Checkpoint, open_checkpoint
from ser_kd.encoder.checkpoint_files import MODEL_CARD
from ser_kd.encoder.whisper import FRAME_SAMPLES, RECEPTIVE_FIELD_SAMPLES
from ser_kd.errors import UserError


@dataclass(frozen=True)
class CheckpointReport:
    """What was found.

    Attributes:
        checkpoint: The architecture and where its files are.
        files: Name -> bytes.
        parameters: Of the encoder, without heads; 0 where it does not load.
        frozen_parameters: Those of the convolutional front end, which fine-tuning leaves as it is.
        license: The ``license`` field of the model card, or empty.
        notices: What was left out, and what stays random.
        error: Why the weights do not load; empty where they do.
    """

    checkpoint: Checkpoint
    files: dict[str, int]
    parameters: int = 0
    frozen_parameters: int = 0
    license: str = ""
    notices: list[str] = field(default_factory=list)
    error: str = ""

    def __str__(self) -> str:
        config = self.checkpoint.config
        blocks = transformer(config)
        norm = "before" if blocks.pre_norm else "after"
        lines = [
            ("checkpoint", self.checkpoint.name),
            ("files in", str(self.checkpoint.folder)),
            *(("", f"{name}  {_size(count)}") for name, count in self.files.items()),
            ("license", self.license or "not stated in the files; see the model's page"),
            ("family", config.model_type),
            ("front end", self._front_end()),
            (
                "transformer",
                f"{blocks.layers} layers, {blocks.hidden_size} wide, {blocks.heads} heads, "
                f"norm {norm} each block",
            ),
            ("frame", self._frame()),
            ("input", self._input()),
        ]
        if self.error:
            lines.append(("loads", f"NO: {self.error}"))
        else:
            front_end = f"{_millions(self.frozen_parameters)} of them in the front end"
            lines += [
                ("parameters", f"{_millions(self.parameters)}, {front_end}"),
                ("in float32", _size(4 * self.parameters)),
                *(("notice", notice) for notice in self.notices),
                ("loads", "yes"),
            ]
        return "\n".join(f"{name:<12}{text}" for name, text in lines)

    @property
    def _is_whisper(self) -> bool:
        return bool(self.checkpoint.config.model_type == "whisper")

    def _front_end(self) -> str:
        config = self.checkpoint.config
        if self._is_whisper:
            return f"{config.num_mel_bins} mels, 2 convolutions to {config.d_model} channels"
        return (
            f"{len(config.conv_dim)} convolutions to {config.conv_dim[-1]} channels, "
            f"{config.feat_extract_norm} norm, {'with' if config.conv_bias else 'no'} bias"
        )

    def _input(self) -> str:
        scaled = "normalised" if self.checkpoint.normalize_input else "as it is"
        longest = longest_seconds(self.checkpoint.config)
        return f"{scaled}, at most {longest:g} s" if math.isfinite(longest) else scaled

    def _frame(self) -> str:
        hop, span = 1, 1
        config = self.checkpoint.config
        if self._is_whisper:
            hop, span = FRAME_SAMPLES, RECEPTIVE_FIELD_SAMPLES
        else:
            layers = zip(config.conv_kernel[::-1], config.conv_stride[::-1], strict=True)
            for kernel, stride in layers:
                hop, span = hop * stride, (span - 1) * stride + kernel
        return f"every {hop / 16:.4g} ms, spans {span / 16:.4g} ms of speech at 16 kHz"


def inspect_checkpoint(name_or_folder: str | Path) -> CheckpointReport:
    """Reads a checkpoint, weights included.

    Args:
        name_or_folder: See ``ser_kd.encoder.checkpoint.load_encoder``.

    Raises:
        UserError: It is not found, or its architecture cannot be built. Weights that do not load
            are no error but part of the report.
    """
    checkpoint = open_checkpoint(name_or_folder)
    paths = sorted(path for path in checkpoint.folder.iterdir() if path.is_file())
    files = {path.name: path.stat().st_size for path in paths}
    stated = _license(checkpoint.folder)
    notices: list[str] = []
    try:
        encoder = checkpoint.encoder(notify=notices.append)
    except UserError as error:
        return CheckpointReport(checkpoint, files, license=stated, error=str(error))
    return CheckpointReport(
        checkpoint,
        files,
        parameters=encoder.count_params(),
        frozen_parameters=encoder.feature_encoder.count_params(),
        license=stated,
        notices=[line.strip().removeprefix(f"{checkpoint.name}: ") for line in notices],
    )


def _license(folder: Path) -> str:
    """The license field of the model card's front matter."""
    path = folder / MODEL_CARD
    if not path.is_file():
        return ""
    text = path.read_text(encoding="utf-8", errors="replace")
    front = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    found = re.search(r"^license:[ \t]*(\S.*)$", front.group(1), re.MULTILINE) if front else None
    return found.group(1).strip().strip("'\"") if found else ""


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1e3:,.1f} kB"
    return f"{count / 1e6:,.1f} MB"
