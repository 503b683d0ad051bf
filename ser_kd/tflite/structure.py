"""What a .tflite file holds, read without TensorFlow and without running it."""

from collections import Counter
from pathlib import Path

from ser_kd.android_bench.flatbuffer import FlatbufferError, Tensor, read_structure
from ser_kd.errors import UserError

__all__ = ["Tensor", "check_flatbuffer", "read_tensors", "tensor_dtypes"]


def check_flatbuffer(path: Path | str) -> None:
    """Walks a .tflite file; after that it is safe to give it to native code.

    Raises:
        UserError: Missing, empty, no TensorFlow Lite model, truncated or damaged.
    """
    read_tensors(path)


def read_tensors(path: Path | str) -> list[Tensor]:
    """The tensors of all subgraphs, read from the file itself; one that several share comes once.

    Raises:
        UserError: As ``check_flatbuffer``.
    """
    try:
        return list(read_structure(path).tensors)
    except FlatbufferError as error:
        raise UserError(str(error)) from None


def tensor_dtypes(path: Path | str) -> dict[str, dict[str, int]]:
    """How many tensors of which type a file holds.

    Returns:
        ``{"activation": {"int8": 56}, "weight": ..., "bias": ..., "index": ...}``; roles that do
        not occur are absent.
    """
    counts: dict[str, Counter[str]] = {}
    for tensor in read_tensors(path):
        counts.setdefault(tensor.role, Counter())[tensor.dtype] += 1
    return {role: dict(counts[role]) for role in sorted(counts)}
