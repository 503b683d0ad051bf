"""Float samples far beyond -1..1: integers that were stored as floats without dividing them."""

import logging

import numpy as np

_LOG = logging.getLogger("ser_kd")
_LARGEST_FLOAT = 8.0
"""Mixing and resampling exceed full scale by some dB, never by 18."""
_CLIPPED = 0.001
"""Share of samples beyond full scale of which nothing is said: a few peaks of a loud recording."""
_EVIDENT = 200.0
_OVERSHOOT = 2.0
_INTEGER_BITS = (16, 24, 32)
_NAMED = 3
_seen: list[str] = []


def is_full_scale(samples: np.ndarray) -> bool:
    """Whether floats ``[...]`` can be a recording in -1..1, which may exceed that by some dB."""
    return float(np.abs(samples).max(initial=0.0)) <= _LARGEST_FLOAT


def at_full_scale(samples: np.ndarray, name: str) -> np.ndarray:
    """Samples in -1..1, where they evidently are 16, 24 or 32-bit integers stored as floats.

    That is so where the largest is beyond 8 (18 dB above full scale) and all are whole numbers, or
    where it is beyond 200: they are divided by the full scale of the smallest of these types that
    holds them (resampling may have exceeded it), and a warning says so. Up to 8 they stay as they
    are. A recording of more bits that is very soft is taken for one of fewer: the warning names the
    factor.

    Args:
        samples: float32 ``[...]``, finite.
        name: Of the file, for messages.

    Raises:
        ValueError: The samples are beyond the range of 32 bits, or what they are cannot be told.
    """
    if is_full_scale(samples):
        beyond = float(np.mean(np.abs(samples) > 1.0)) if samples.size else 0.0
        if beyond > _CLIPPED:
            _warn(
                name,
                f"{beyond:.1%} of the float samples are beyond -1..1 and will be clipped; was it "
                "normalised by its deviation? Divide it by its peak",
            )
        return samples
    peak = float(np.abs(samples).max())
    evident = peak > _EVIDENT or not np.any(samples % 1)
    for bits in _INTEGER_BITS if evident else ():
        scale = 2.0 ** (bits - 1)
        if peak <= _OVERSHOOT * scale:
            _warn(
                name,
                f"float samples up to {peak:,.0f} are taken for {bits}-bit integers and divided by "
                f"{scale:,.0f}; float files are to lie within -1 to 1",
            )
            return (samples / np.float32(scale)).astype(np.float32)
    raise ValueError(
        f"samples up to {peak:.3g}: floats lie within -1 to 1; divide them by their full scale"
    )


def _warn(name: str, what: str) -> None:
    """A line for each of the first files; of many, the others go without."""
    if name in _seen:
        return
    _seen.append(name)
    if len(_seen) <= _NAMED:
        _LOG.warning("warning: %s: %s", name, what)
    elif len(_seen) == _NAMED + 1:
        _LOG.warning("warning: further files with such samples are not named")
