"""A .tflite file, read just far enough to know that native code can be trusted with it.

The tools map the file and follow its offsets unchecked: a truncated one crashes them. So the tables
are walked here first: every offset has to stay inside the file, every index has to exist.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ser_kd.android_bench.adb import hash_file
from ser_kd.android_bench.errors import BenchError

# TensorType of TensorFlow Lite's schema; the rest is nothing that a tool can make numbers for.
_NUMBERS = {
    0: "float32", 1: "float16", 2: "int32", 3: "uint8", 4: "int64", 6: "bool", 7: "int16",
    8: "complex64", 9: "int8", 10: "float64", 12: "uint64", 15: "uint32", 16: "uint16",
}  # fmt: skip


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
        content = path.read_bytes()
    except FileNotFoundError:
        raise BenchError(f"{path}: no such file") from None
    except OSError as error:
        raise BenchError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise BenchError(f"{path}: the file is empty; export it again")
    if content[4:8] != b"TFL3":
        raise BenchError(f"{path}: is no TensorFlow Lite model (no TFL3 in it)")
    try:
        inputs, signatures = _walk(_Table(content, _number(content, "<I", 0)))
    except (_DamagedError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: truncated or damaged ({error}); export it again") from None
    for item in inputs:
        if item.startswith("type"):
            raise BenchError(f"{path}: has an input that is no array of numbers ({item})")
    return Model(path, name, hash_file(path), len(content), inputs, signatures)


class _DamagedError(Exception):
    pass


def _number(content: bytes, form: str, position: int) -> int:
    if not 0 <= position <= len(content) - struct.calcsize(form):
        raise _DamagedError(f"byte {position:,} of {len(content):,} is needed")
    number: int = struct.unpack_from(form, content, position)[0]
    return number


class _Table:
    """A flatbuffer table; whatever is read from it is checked to lie inside the file."""

    def __init__(self, content: bytes, position: int) -> None:
        self.content, self.position = content, position
        self.vtable = position - _number(content, "<i", position)
        size = _number(content, "<H", self.vtable)
        inline = _number(content, "<H", self.vtable + 2)
        _number(content, "<B", self.vtable + size - 1)
        _number(content, "<B", position + inline - 1)
        self.fields = (size - 4) // 2
        if size < 4 or inline < 4 or any(self._at(i) >= inline for i in range(self.fields)):
            raise _DamagedError(f"no table at byte {position:,}")

    def _at(self, field: int) -> int:
        """Offset of a field within the table; 0 = it has its default."""
        if field >= self.fields:
            return 0
        return _number(self.content, "<H", self.vtable + 4 + 2 * field)

    def number(self, field: int, form: str) -> int:
        offset = self._at(field)
        return _number(self.content, form, self.position + offset) if offset else 0

    def vector(self, field: int, form: str = "<i") -> tuple[int, ...]:
        start, count = self._vector(field, struct.calcsize(form))
        return struct.unpack_from(f"<{count}{form[1:]}", self.content, start)

    def text(self, field: int) -> str:
        return bytes(self.vector(field, "<B")).decode()

    def tables(self, field: int) -> "Iterator[_Table]":
        start, count = self._vector(field, 4)
        for position in range(start, start + 4 * count, 4):
            yield _Table(self.content, position + _number(self.content, "<I", position))

    def skip(self, field: int, item_bytes: int = 1) -> int:
        """The number of items of a vector whose content is of no interest, only its end."""
        return self._vector(field, item_bytes)[1]

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """(position of the first item, number of items)."""
        offset = self._at(field)
        if not offset:
            return 0, 0
        position = self.position + offset
        position += _number(self.content, "<I", position)
        count = _number(self.content, "<I", position)
        if position + 4 + count * item_bytes > len(self.content):
            raise _DamagedError(f"{count * item_bytes:,} bytes from {position:,} on are cut off")
        return position + 4, count


def _within(indices: tuple[int, ...], count: int, what: str, low: int = 0) -> None:
    if any(not low <= index < count for index in indices):
        raise _DamagedError(f"a {what} that does not exist is named")


def _walk(model: _Table) -> tuple[tuple[str, ...], tuple[tuple[str, int], ...]]:
    """(inputs of the first graph, signatures); the field numbers are those of the schema."""
    operators = model.skip(1, 4)
    buffers = model.skip(4, 4)
    for buffer in model.tables(4):
        buffer.skip(0)
        if buffer.number(1, "<Q") > 1:  # weights behind the tables: files above 2 GB
            end = buffer.number(1, "<Q") + buffer.number(2, "<Q")
            if end > len(model.content):
                raise _DamagedError("a buffer behind the tables is cut off")
    graphs = [_walk_graph(graph, operators, buffers) for graph in model.tables(2)]
    if not graphs:
        raise _DamagedError("it has no graph")
    signatures = []
    for signature in model.tables(7):
        graph = signature.number(4, "<I")
        _within((graph,), len(graphs), "graph")
        signatures.append((signature.text(2), graph))
    return graphs[0], tuple(signatures)


def _walk_graph(graph: _Table, operators: int, buffers: int) -> tuple[str, ...]:
    described = []
    for tensor in graph.tables(0):
        _within((tensor.number(2, "<I"),), buffers, "buffer")
        tensor.skip(3)
        kind = tensor.number(1, "<b")
        shape = ",".join(map(str, tensor.vector(0)))
        described.append(f"{_NUMBERS.get(kind, f'type {kind}')}[{shape}]")
    for field in (1, 2):
        _within(graph.vector(field), len(described), "tensor")
    for operator in graph.tables(3):
        _within((operator.number(0, "<I"),), operators, "operator")
        for field in (1, 2):
            _within(operator.vector(field), len(described), "tensor", low=-1)
    return tuple(described[index] for index in graph.vector(1))
