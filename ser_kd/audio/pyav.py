"""Reading AAC and other formats of phones with PyAV, which brings FFmpeg's libraries (extra aac).

Imported only where such a file is read: ``registry.load_object("ser_kd.audio.pyav:read_mono")``.
"""

from pathlib import Path

import av
import numpy as np


class PyAVError(Exception):
    """The file holds no audio that can be read; the message says why."""


def read_mono(path: Path) -> tuple[np.ndarray, int]:
    """The first audio stream of a file.

    Returns:
        float32 [samples], the mean of its channels at its own rate, and that rate in Hz.

    Raises:
        PyAVError: There is none, or it is damaged.
    """
    blocks: list[np.ndarray] = []
    try:
        # Opened here: PyAV takes no name that is not UTF-8.
        with path.open("rb") as file, av.open(file) as container:
            if not container.streams.audio:
                raise PyAVError("it holds no audio")
            stream = container.streams.audio[0]
            rate_hz = int(stream.rate)
            as_float = av.AudioResampler(format="fltp")
            for frame in container.decode(stream):
                blocks += [_mean(part) for part in as_float.resample(frame)]
            blocks += [_mean(part) for part in as_float.resample(None)]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise PyAVError(getattr(error, "strerror", None) or str(error)) from None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate_hz


def _mean(frame: "av.AudioFrame") -> np.ndarray:
    mean: np.ndarray = frame.to_ndarray().mean(axis=0, dtype=np.float32)
    return mean
