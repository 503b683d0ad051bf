"""Frames of a waveform, every 10 ms."""

import numpy as np

HOP_SECONDS = 0.010


def hop_samples(sample_rate_hz: int) -> int:
    """Samples from one frame to the next: 10 ms, as near as whole samples come."""
    return round(HOP_SECONDS * sample_rate_hz)


def centred_frames(padded: np.ndarray, size: int, hop: int, frames: int) -> np.ndarray:
    """``[frames, size]``: frame t is centred on sample ``t * hop``; zeros beyond the ends."""
    around = np.pad(padded, (size // 2, size))
    cut: np.ndarray = np.lib.stride_tricks.sliding_window_view(around, size)[::hop][:frames]
    return cut
