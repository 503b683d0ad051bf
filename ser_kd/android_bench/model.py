"""The .tflite files to be timed, checked before native code is given them."""

from dataclasses import dataclass
from pathlib import Path

from ser_kd.android_bench.adb import hash_file
from ser_kd.android_bench.errors import BenchError
from ser_kd.android_bench.flatbuffer import FlatbufferError, read_structure

# What a tool cannot make numbers for.
_NO_NUMBERS = ("string", "resource", "variant", "int4", "int2", "uint4", "bfloat16")


@dataclass(frozen=True)
class Model:
    """A model to be timed.

    Attributes:
        path: The file.
        name: What tables call it: the file name, made longer where two have the same.
        sha256: Of the file.
        size_bytes: Of the file.
        inputs: Such as ``float32[1,48000]``, those of the first graph.
        signatures: (name, graph) of each.
    """

    path: Path
    name: str
    sha256: str
    size_bytes: int
    inputs: tuple[str, ...]
    signatures: tuple[tuple[str, int], ...]

    @property
    def signature(self) -> str | None:
        """The one to run when there are several and nobody chose: that of the first graph."""
        if len(self.signatures) < 2:
            return None
        return next((name for name, graph in self.signatures if graph == 0), self.signatures[0][0])


def read_models(paths: list[Path]) -> list[Model]:
    """Checks model files and gives them names that differ.

    Raises:
        BenchError: One of them is missing, empty, truncated, no TensorFlow Lite model, needs an
            input that is no array of numbers, or is named twice.
    """
    models: list[Model] = []
    for path in paths:
        twins = [other for other in paths if other.name == path.name]
        if any(other.path.resolve() == path.resolve() for other in models):
            raise BenchError(f"{path} is named twice")
        models.append(_read(path, path.name if len(twins) == 1 else str(path)))
    return models


def _read(path: Path, name: str) -> Model:
    try:
        structure = read_structure(path)
    except FlatbufferError as error:
        raise BenchError(str(error)) from None
    inputs = tuple(f"{item.dtype}[{','.join(map(str, item.shape))}]" for item in structure.inputs)
    for text, item in zip(inputs, structure.inputs, strict=True):
        if item.dtype in _NO_NUMBERS:
            raise BenchError(f"{path}: has an input that is no array of numbers ({text})")
    size_bytes = path.stat().st_size
    return Model(path, name, hash_file(path), size_bytes, inputs, structure.signatures)
