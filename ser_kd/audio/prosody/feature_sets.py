"""The sets of descriptors that a teacher can ask for, by name."""

from collections.abc import Callable

import numpy as np

from ser_kd.audio.prosody.columns import DESCRIPTORS, EGEMAPS, Descriptor
from ser_kd.audio.prosody.extraction import descriptors
from ser_kd.audio.prosody.opensmile import egemaps, require_opensmile

VERSION = 1
"""Raise it with every change that alters a value: what is kept on disk is then computed again."""
FEATURES: dict[str, tuple[tuple[Descriptor, ...], Callable[[np.ndarray, int], np.ndarray]]] = {
    "descriptors": (DESCRIPTORS, descriptors),
    "egemaps": (EGEMAPS, egemaps),
}
"""Name of a set -> its columns, and what computes them: (waveform, sampling rate) -> frames."""
APART = ("egemaps",)
"""Sets that need a process without TensorFlow: openSMILE's library (2.6.0) and TensorFlow's (2.21)
write over each other's memory, and Python aborts. openSMILE alone is sound."""


def compute(features: str, sample_rate_hz: int, waveform: np.ndarray) -> np.ndarray:
    """One set of ``FEATURES`` of a recording; a function that other processes can be given."""
    return FEATURES[features][1](waveform, sample_rate_hz)


def require(features: str) -> None:
    """Makes sure that a set can be computed here.

    Raises:
        UserError: Its package is missing.
    """
    if features == "egemaps":
        require_opensmile()
