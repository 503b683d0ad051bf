"""Walking a .tflite file, so that native code can be trusted with it.

Native interpreters and ``benchmark_model`` map the file and follow its offsets unchecked: a
truncated or damaged one crashes the process. So every table is walked here first: every offset has
to stay inside the file, every index has to exist. The walk needs the standard library alone; field
numbers of TensorFlow Lite's schema never change.
"""

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_IDENTIFIER = b"TFL3"
# TensorType of the schema: name, bytes per element (0 = not checked).
_TYPES = {
    0: ("float32", 4), 1: ("float16", 2), 2: ("int32", 4), 3: ("uint8", 1), 4: ("int64", 8),
    5: ("string", 0), 6: ("bool", 1), 7: ("int16", 2), 8: ("complex64", 8), 9: ("int8", 1),
    10: ("float64", 8), 11: ("complex128", 16), 12: ("uint64", 8), 13: ("resource", 0),
    14: ("variant", 0), 15: ("uint32", 4), 16: ("uint16", 2), 17: ("int4", 0), 18: ("bfloat16", 2),
    19: ("int2", 0), 20: ("uint4", 0),
}  # fmt: skip
# BuiltinOperator -> which of its inputs are biases.
_BIAS_INPUTS = {3: (2,), 4: (2,), 9: (2,), 16: (12, 13, 14, 15), 44: (12, 13, 14, 15), 67: (3,)}
# BuiltinOptions whose first field is a vector of int32 (new_shape, squeeze_dims).
_OPTIONS_WITH_VECTOR = (17, 30)


class FlatbufferError(ValueError):
    """A file that is missing or no whole TensorFlow Lite model; one line that begins with it."""


@dataclass(frozen=True)
class Tensor:
    """One tensor of a file.

    Attributes:
        name: As in the file.
        shape: As in the file.
        dtype: Such as ``int8``.
        role: ``activation``, ``weight``, ``bias``, or ``index`` for integer constants that are
            shapes, axes and the like.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    role: str


@dataclass(frozen=True)
class Structure:
    """What a file holds.

    Attributes:
        tensors: Those of all subgraphs; one that several share comes once.
        inputs: Of the first subgraph, which an interpreter runs by default.
        signatures: (key, index of its subgraph) of each.
    """

    tensors: tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    signatures: tuple[tuple[str, int], ...]


def read_structure(path: Path | str) -> Structure:
    """Walks a .tflite file; after that it is safe to give it to native code.

    Raises:
        FlatbufferError: Missing, empty, no TensorFlow Lite model, truncated or damaged.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise FlatbufferError(f"{path}: no such file") from None
    except OSError as error:
        raise FlatbufferError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise FlatbufferError(f"{path}: the file is empty; export it again")
    if content[4:8] != _IDENTIFIER:
        raise FlatbufferError(
            f"{path}: is no TensorFlow Lite model (no {_IDENTIFIER.decode()} in it)"
        )
    try:
        return _read_model(_Table(content, _number(content, "<I", 0)))
    except (_DamagedError, UnicodeDecodeError) as error:
        raise FlatbufferError(f"{path}: truncated or damaged ({error}); export it again") from None


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

    def number(self, field: int, form: str, default: int = 0) -> int:
        offset = self._at(field)
        return _number(self.content, form, self.position + offset) if offset else default

    def _target(self, field: int) -> int:
        offset = self._at(field)
        if not offset:
            return 0
        position = self.position + offset
        return position + _number(self.content, "<I", position)

    def table(self, field: int) -> "_Table | None":
        target = self._target(field)
        return _Table(self.content, target) if target else None

    def _vector(self, field: int, item_bytes: int) -> tuple[int, int]:
        """(position of the first item, number of items)."""
        target = self._target(field)
        if not target:
            return 0, 0
        count = _number(self.content, "<I", target)
        if target + 4 + count * item_bytes > len(self.content):
            raise _DamagedError(f"{count * item_bytes:,} bytes from {target:,} on are cut off")
        return target + 4, count

    def vector(self, field: int, form: str = "<i") -> list[int]:
        start, count = self._vector(field, struct.calcsize(form))
        return list(struct.unpack_from(f"<{count}{form[1:]}", self.content, start))

    def vector_bytes(self, field: int) -> int:
        return self._vector(field, 1)[1]

    def text(self, field: int) -> str:
        start, count = self._vector(field, 1)
        if start:  # C code reads strings to the zero behind them
            _number(self.content, "<B", start + count)
        return self.content[start : start + count].decode()

    def tables(self, field: int) -> "Iterator[_Table]":
        start, count = self._vector(field, 4)
        for position in range(start, start + 4 * count, 4):
            yield _Table(self.content, position + _number(self.content, "<I", position))


def _buffer_bytes(buffer: _Table) -> int:
    inside = buffer.vector_bytes(0)
    offset, size = buffer.number(1, "<Q"), buffer.number(2, "<Q")
    if offset > 1:  # models above 2 GB keep their buffers behind the flatbuffer
        if offset + size > len(buffer.content):
            raise _DamagedError("a buffer behind the tables is cut off")
        return size
    return inside


def _within(indices: list[int], count: int, what: str, optional: bool = False) -> None:
    low = -1 if optional else 0
    if any(not low <= index < count for index in indices):
        raise _DamagedError(f"a {what} that does not exist is named")


def _read_model(model: _Table) -> Structure:
    operators = []
    for code in model.tables(1):
        code.text(1)
        # Codes below 127 stand in the old one-byte field as well; older files have only that.
        operators.append(max(code.number(0, "<b"), code.number(3, "<i")))
    model.text(3)
    buffers = [_buffer_bytes(buffer) for buffer in model.tables(4)]
    _within(model.vector(5), len(buffers), "buffer")
    for metadata in model.tables(6):
        metadata.text(0)
        _within([metadata.number(1, "<I")], len(buffers), "buffer")
    subgraphs = [_read_subgraph(graph, operators, buffers) for graph in model.tables(2)]
    if not subgraphs:
        raise _DamagedError("it has no graph")
    signatures = []
    for signature in model.tables(7):
        graph = signature.number(4, "<I")
        _within([graph], len(subgraphs), "graph")
        for tensor_map in (*signature.tables(0), *signature.tables(1)):
            tensor_map.text(0)
            _within([tensor_map.number(1, "<I")], len(subgraphs[graph].tensors), "tensor")
        signatures.append((signature.text(2), graph))
    # By their places in the file: graphs may point at the same tables.
    tensors = {place: tensor for graph in subgraphs for place, tensor in graph.tensors}
    return Structure(tuple(tensors.values()), subgraphs[0].inputs, tuple(signatures))


@dataclass(frozen=True)
class _Subgraph:
    tensors: list[tuple[int, Tensor]]
    """Each with its place in the file."""
    inputs: tuple[Tensor, ...]


def _read_subgraph(graph: _Table, operators: list[int], buffers: list[int]) -> _Subgraph:
    graph.text(4)
    tables = list(graph.tables(0))
    for field in (1, 2):
        _within(graph.vector(field), len(tables), "tensor")
    biases = set()
    for operator in graph.tables(3):
        code, inputs = operator.number(0, "<I"), operator.vector(1)
        _within([code], len(operators), "operator")
        _within(inputs, len(tables), "tensor", optional=True)
        _within(operator.vector(2), len(tables), "tensor", optional=True)
        _within(operator.vector(8), len(tables), "tensor", optional=True)
        operator.vector_bytes(5)
        operator.vector_bytes(7)
        options = operator.table(4)
        if options and operator.number(3, "<B") in _OPTIONS_WITH_VECTOR:
            options.vector(0)
        places = _BIAS_INPUTS.get(operators[code], ())
        biases |= {inputs[place] for place in places if place < len(inputs)}
    tensors = [
        (table.position, _read_tensor(table, index in biases, buffers))
        for index, table in enumerate(tables)
    ]
    return _Subgraph(tensors, tuple(tensors[index][1] for index in graph.vector(1)))


def _read_tensor(table: _Table, bias: bool, buffers: list[int]) -> Tensor:
    name, shape, kind = table.text(3), tuple(table.vector(0)), table.number(1, "<b")
    table.vector(7)
    if kind not in _TYPES:
        raise _DamagedError(f"tensor {name!r} has type {kind}, which does not exist")
    dtype, item_bytes = _TYPES[kind]
    quantization = table.table(4)
    if quantization:
        scales = quantization.vector(2, "<I")
        zero_points = quantization.vector(3, "<q")
        quantization.vector(0, "<I")
        quantization.vector(1, "<I")
        quantization.table(5)
        if zero_points and len(zero_points) != len(scales):
            raise _DamagedError(f"tensor {name!r} has {len(scales)} scales")
    buffer = table.number(2, "<I")
    _within([buffer], len(buffers), "buffer")
    constant = buffers[buffer] > 0
    if any(size < 0 for size in shape) and constant:
        raise _DamagedError(f"tensor {name!r} has shape {shape}")
    if constant and item_bytes and not table.table(6):
        wanted = math.prod(shape) * item_bytes
        if buffers[buffer] != wanted:
            raise _DamagedError(f"tensor {name!r} needs {wanted} bytes, has {buffers[buffer]}")
    if not constant:
        role = "activation"
    elif bias:
        role = "bias"
    else:
        role = "index" if dtype in ("int32", "int64", "bool") else "weight"
    return Tensor(name, shape, dtype, role)
