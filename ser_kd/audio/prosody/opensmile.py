"""eGeMAPS by openSMILE, where that is installed."""

import importlib.util
from typing import Any

import numpy as np

from ser_kd.audio.prosody.columns import EGEMAPS, EGEMAPS_COLUMNS
from ser_kd.errors import UserError
from ser_kd.registry import load_object


def egemaps(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """The low-level descriptors of eGeMAPSv02, by openSMILE: its numbers, every 10 ms.

    Not where TensorFlow is loaded: see ``feature_sets.APART``.

    Args:
        waveform: float32 ``[samples]`` in -1..1, of any length.
        sample_rate_hz: 8000 or more.

    Returns:
        float32 ``[frames, len(EGEMAPS)]``. Voiced-only values are 0 without voice (in openSMILE
        some are -201 there); nothing is NaN.

    Raises:
        UserError: The package opensmile is not installed.
    """
    # openSMILE gives up on less than 0.06 s.
    padded = np.zeros(max(len(waveform), sample_rate_hz // 10), np.float32)
    padded[: len(waveform)] = waveform
    values = _open_smile().process_signal(padded, sample_rate_hz).to_numpy(np.float32)
    voiced = (
        values[:, [name for name, _ in EGEMAPS_COLUMNS].index("F0semitoneFrom27.5Hz_sma3nz")] > 0
    )
    values = np.concatenate([voiced[:, np.newaxis], values], axis=1)
    voiced_only = np.array([descriptor.voiced_only for descriptor in EGEMAPS])
    silenced: np.ndarray = np.where(voiced_only & ~voiced[:, np.newaxis], 0.0, values)
    return np.nan_to_num(silenced).astype(np.float32)


def require_opensmile() -> None:
    """Makes sure that openSMILE is installed.

    Raises:
        UserError: It is not.
    """
    # Looked for, not loaded: TensorFlow may be here.
    if importlib.util.find_spec("opensmile") is None:
        raise UserError(
            "features = 'egemaps' needs the package opensmile: pip install 'ser-kd[prosody]' (its "
            "licence allows research, not products), or set features = 'descriptors'"
        )


def _open_smile() -> Any:
    require_opensmile()
    return load_object("opensmile:Smile")(
        feature_set=load_object("opensmile:FeatureSet").eGeMAPSv02,
        feature_level=load_object("opensmile:FeatureLevel").LowLevelDescriptors,
    )
