"""Reading AAC and other formats of phones with PyAV, which brings FFmpeg's libraries (extra aac).

Imported only where such a file is read, through ``registry.load_object``.
"""

from pathlib import Path

import av
import numpy as np


class PyAVError(Exception):
    """The file holds no audio that can be read; the message says why."""


def read_channels(path: Path) -> tuple[np.ndarray, int]:
    """The first audio stream of a file.

    Returns:
        float32 [samples, channels] at its own rate, and that rate in Hz.

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
                blocks += [part.to_ndarray().T for part in as_float.resample(frame)]
            blocks += [part.to_ndarray().T for part in as_float.resample(None)]
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise PyAVError(getattr(error, "strerror", None) or str(error)) from None
    return np.concatenate(blocks) if blocks else np.zeros((0, 1), np.float32), rate_hz
