"""A published checkpoint, by its hub name or from a folder, as a Keras model."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ser_kd.encoder.architecture import (
    SAMPLE_RATE_HZ,
    EncoderConfig,
    encoder_class,
    family,
    read_architecture,
)
from ser_kd.encoder.checkpoint_files import (
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    find_checkpoint,
    read_tensors,
)
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.encoder.weights import load_weights
from ser_kd.encoder.whisper import HOP_SAMPLES, WINDOW_SAMPLES
from ser_kd.errors import UserError
from ser_kd.progress import say


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose architecture is known and can be built; its weights are not read yet.

    Attributes:
        name: As it was asked for.
        folder: Where its files are.
        config: The architecture, with what ``regularization`` changed.
        normalize_input: What its preprocessor does.
        notices: What a user should know about the files.
    """

    name: str
    folder: Path
    config: EncoderConfig
    normalize_input: bool
    notices: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """Changes when a file of the checkpoint does: of their names, sizes and times."""
        paths = sorted(path for path in self.folder.iterdir() if path.is_file())
        facts = [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in paths]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    def encoder(
        self, gradient_checkpointing: bool = False, notify: Callable[[str], None] = say
    ) -> SpeechEncoder:
        """A new encoder with the checkpoint's weights.

        Raises:
            UserError: Damaged files, or tensors that do not fit the architecture.
        """
        tensors = read_tensors(self.folder)
        encoder: SpeechEncoder = encoder_class(self.config.model_type)(
            self.config, self.normalize_input, gradient_checkpointing, name="encoder"
        )
        try:
            notices = load_weights(encoder, tensors)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from None
        for line in (*self.notices, *notices):
            notify(f"  {self.name}: {line}")
        return encoder


def open_checkpoint(
    name_or_folder: str | Path, regularization: Mapping[str, Any] | None = None
) -> Checkpoint:
    """Finds a checkpoint, downloading it if need be, and reads what it is.

    Args:
        name_or_folder: See ``load_encoder``.
        regularization: See ``load_encoder``.

    Raises:
        UserError: As ``load_encoder``, but for the weights.
    """
    folder = find_checkpoint(name_or_folder)
    fields = read_json(folder / CONFIG_FILE)
    try:
        adjustable = family(fields.get("model_type")).regularization
        for key in regularization or {}:
            if key not in adjustable:
                raise UserError(
                    f"{key!r} cannot be set for the checkpoint: its config.json decides; yours to "
                    f"set are {', '.join(adjustable)}"
                )
        config = read_architecture({**fields, **(regularization or {})})
    except UserError as error:
        raise UserError(f"{name_or_folder}: {error}") from None
    normalizes, notices = _read_preprocessor(folder / PREPROCESSOR_FILE, config)
    return Checkpoint(str(name_or_folder), folder, config, normalizes, notices)


def load_encoder(
    name_or_folder: str | Path,
    regularization: Mapping[str, Any] | None = None,
    gradient_checkpointing: bool = False,
    notify: Callable[[str], None] = say,
) -> SpeechEncoder:
    """The encoder of a Wav2Vec2, HuBERT, WavLM or Whisper checkpoint, with its weights.

    Args:
        name_or_folder: A folder with ``config.json`` and weights, or a name on the hub such as
            ``facebook/wav2vec2-base`` or ``facebook/wav2vec2-base@refs/pr/2`` (a revision), which
            is downloaded once.
        regularization: Fields of the config to set anew: dropout, LayerDrop, SpecAugment
            (``ser_kd.encoder.architecture.FAMILIES`` has the names).
        gradient_checkpointing: See ``SpeechEncoder``.
        notify: Is told what was left out of the checkpoint or stays random.

    Returns:
        A built model: ``encoder(waveforms, mask=None, training=False)`` takes float32 waveforms
        [batch, samples] at 16 kHz as ``encoder.preprocess`` returns them and gives the last hidden
        state [batch, frames, dim].

    Raises:
        UserError: Not found, no connection, damaged or foreign files, an unsupported architecture,
            tensors that do not fit. Nothing that a file asks for is executed.
    """
    # The architecture comes first: a wrong one should not wait for a gigabyte to be read.
    checkpoint = open_checkpoint(name_or_folder, regularization)
    return checkpoint.encoder(gradient_checkpointing, notify)


def _read_preprocessor(path: Path, config: EncoderConfig) -> tuple[bool, tuple[str, ...]]:
    """Whether the input is to be normalised, and a notice where the folder does not say."""
    whisper = config.model_type == "whisper"
    usual = not whisper
    if not path.exists():
        done = "normalised" if usual else "not normalised"
        return usual, (f"no {path.name}: input is {done}, as is transformers' default",)
    fields = read_json(path)
    rate_hz = fields.get("sampling_rate", SAMPLE_RATE_HZ)
    if rate_hz != SAMPLE_RATE_HZ:
        raise UserError(f"{path} asks for {rate_hz} Hz; only {SAMPLE_RATE_HZ} Hz is supported")
    if whisper:
        needed = {
            "feature_size": config.num_mel_bins,
            "n_fft": WINDOW_SAMPLES,
            "hop_length": HOP_SAMPLES,
        }
        for key, value in needed.items():
            if fields.get(key, value) != value:
                raise UserError(
                    f"{path}: {key} = {fields[key]!r}; config.json's Whisper needs {value}"
                )
    normalizes = fields.get("do_normalize", usual)
    if not isinstance(normalizes, bool):
        raise UserError(f"{path}: do_normalize = {normalizes!r}; it must be true or false")
    return normalizes, ()


def read_json(path: Path) -> dict[str, Any]:
    """The fields of a JSON object.

    Raises:
        UserError: It is none.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not valid JSON: {error}; download it again") from None
    if not isinstance(fields, dict):
        raise UserError(f"{path} holds no JSON object; download it again")
    return fields
