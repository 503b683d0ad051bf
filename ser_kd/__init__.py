"""Speech emotion recognition by knowledge distillation, ending on a phone."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ser_kd.encoder.model import SpeechEncoder

__all__ = ["__version__", "load_encoder"]
__version__ = "0.1.0"


def load_encoder(name_or_folder: str | Path, **options: Any) -> "SpeechEncoder":
    """A published Wav2Vec2, HuBERT or WavLM encoder: ``ser_kd.encoder.checkpoint.load_encoder``.

    Example:
        >>> encoder = load_encoder("facebook/wav2vec2-base")  # doctest: +SKIP
        >>> encoder(encoder.preprocess(waveforms)).shape  # doctest: +SKIP
        TensorShape([4, 149, 768])
    """
    # Here, since TensorFlow takes seconds to import.
    from ser_kd.encoder.checkpoint import load_encoder

    return load_encoder(name_or_folder, **options)
