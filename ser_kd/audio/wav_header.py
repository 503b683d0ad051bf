"""WAV files whose header was never finished: a data size of 0, and sound behind it.

Recorders and pipes write the sizes when they end; where they cannot, 0 stays there, or the largest
number, which libsndfile takes for "to the end of the file" by itself.
"""

import re
import struct
from pathlib import Path

_FORMS = {b"RIFF": "<", b"RF64": "<", b"RIFX": ">"}
_TO_THE_END = b"\xff" * 4
_HEADER_BYTES, _CHUNK_HEADER_BYTES = 12, 8


def with_unsized_sound(path: Path) -> bytes | None:
    """The file with the data size "to the end", where sound stands behind a data chunk without any.

    Args:
        path: A file that holds no samples by its header.

    Returns:
        Its mended content; None: it is no WAV, or nothing but other chunks is behind its data.
    """
    with path.open("rb") as stream:
        head = stream.read(_HEADER_BYTES)
        if head[:4] not in _FORMS or head[8:] != b"WAVE":
            return None
        content = head + stream.read()
    order, at = _FORMS[head[:4]], _HEADER_BYTES
    while content[at : at + 4] != b"data":
        if (following := _behind(content, at, order)) is None:
            return None
        at = following
    sound = at + _CHUNK_HEADER_BYTES
    if sound >= len(content) or _are_chunks(content, sound, order):
        return None
    # RF64 keeps its sizes elsewhere; as RIFF the file says them here.
    form = head[:4].replace(b"RF64", b"RIFF")
    return form + _TO_THE_END + content[8 : at + 4] + _TO_THE_END + content[sound:]


def _behind(content: bytes, at: int, order: str) -> int | None:
    """Where the chunk after the one at ``at`` begins; None: there is no whole chunk."""
    name = content[at : at + 4]
    if len(content) < at + _CHUNK_HEADER_BYTES or not re.fullmatch(rb"[ -~]{4}", name):
        return None
    size: int = struct.unpack_from(f"{order}I", content, at + 4)[0]
    end = at + _CHUNK_HEADER_BYTES + size
    return end + size % 2 if end <= len(content) else None


def _are_chunks(content: bytes, at: int, order: str) -> bool:
    """Whether nothing but whole chunks stands there."""
    while at < len(content):
        if (following := _behind(content, at, order)) is None:
            return False
        at = following
    return True
