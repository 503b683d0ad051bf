"""Reading and running .tflite files without TensorFlow: structure, tensor types, interpreter.

Native interpreters trust a file's offsets, so a truncated or damaged one crashes the process. Every
file is therefore walked here first. The walk needs no schema library: field numbers of TensorFlow
Lite's schema never change.
"""

import importlib
import math
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd.commands.cli import stderr_held
from ser_kd.errors import UserError

_IDENTIFIER = b"TFL3"
# TensorType of the schema: name, bytes per element (0 = not checked).
_TYPES = {
    0: ("float32", 4), 1: ("float16", 2), 2: ("int32", 4), 3: ("uint8", 1), 4: ("int64", 8),
    5: ("string", 0), 6: ("bool", 1), 7: ("int16", 2), 8: ("complex64", 8), 9: ("int8", 1),
    10: ("float64", 8), 11: ("complex128", 16), 12: ("uint64", 8), 13: ("resource", 0),
    14: ("variant", 0), 15: ("uint32", 4), 16: ("uint16", 2), 17: ("int4", 0), 18: ("bfloat16", 2),
}  # fmt: skip
# BuiltinOperator -> which of its inputs are biases.
_BIAS_INPUTS = {3: (2,), 4: (2,), 9: (2,), 16: (12, 13, 14, 15), 44: (12, 13, 14, 15), 67: (3,)}
# BuiltinOptions whose first field is a vector of int32 (new_shape, squeeze_dims).
_OPTIONS_WITH_VECTOR = (17, 30)
_INTERPRETERS = (
    ("LiteRT", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    # By the module that defines it: importing ``tensorflow.lite`` by name gives an empty package.
    ("TensorFlow Lite", "tensorflow.lite.python.interpreter"),
)


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
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not content:
        raise UserError(f"{path}: the file is empty; export it again")
    if content[4:8] != _IDENTIFIER:
        raise UserError(f"{path}: is no TensorFlow Lite model (no {_IDENTIFIER.decode()} in it)")
    try:
        return _read_model(_Table(content, _number(content, "<I", 0)))
    except (_DamagedError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: truncated or damaged ({error}); export it again") from None


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


def load_interpreter(path: Path | str, threads: int = 1) -> Any:
    """An interpreter with its tensors allocated: LiteRT, else tflite-runtime, else TensorFlow's.

    Raises:
        UserError: The file is damaged, or no interpreter can run it or is installed.
    """
    return _load(path, threads)[1]


RUNTIMES = tuple(name for name, _ in _INTERPRETERS)


def _load(
    path: Path | str, threads: int, runtimes: Sequence[str] = RUNTIMES, delegates: bool = True
) -> tuple[str, Any]:
    check_flatbuffer(path)
    reason = ""
    for runtime, module in _INTERPRETERS:
        if runtime not in runtimes:
            continue
        try:
            # Importing says nothing: tflite-runtime imports with NumPy 2 and fails afterwards.
            with warnings.catch_warnings(), stderr_held():
                warnings.simplefilter("ignore")  # TensorFlow's own is deprecated, and says so
                library = importlib.import_module(module)
                kernels = library.OpResolverType
                interpreter = library.Interpreter(
                    model_path=str(path),
                    num_threads=threads,
                    experimental_op_resolver_type=kernels.AUTO
                    if delegates
                    else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                )
                interpreter.allocate_tensors()
        except ModuleNotFoundError:
            continue
        except Exception as error:  # broken installations fail in many ways
            reason = reason or f"{runtime}: {' '.join(str(error).split())[:200]}"
        else:
            return runtime, interpreter
    if reason:
        raise UserError(f"{path}: cannot be run ({reason})")
    raise UserError("no TensorFlow Lite interpreter is installed: pip install ai-edge-litert")


class TFLiteModel:
    """A student as a .tflite file: float32 or int8, one input ``[1, ...]``, one output of interest.

    Args:
        path: The file.
        threads: Of the interpreter.
        runtimes: Which of ``RUNTIMES`` may run it; the first that is installed does.
        delegates: Whether XNNPACK may replace the runtime's own kernels, as it does by default.
            Both are right, but their int8 rounds differently.
        output: Which output is read of a file that has several, by its name in the signature.

    Attributes:
        name: Of the file.
        runtime: Which interpreter runs it.
        input_shape: With the batch axis, which is 1.
        output_shape: The same.
    """

    def __init__(
        self,
        path: Path | str,
        threads: int = 1,
        runtimes: Sequence[str] = RUNTIMES,
        delegates: bool = True,
        output: str = "",
    ) -> None:
        self.name = Path(path).name
        self.runtime, self._interpreter = _load(path, threads, runtimes, delegates)
        inputs = self._interpreter.get_input_details()
        outputs = _outputs(self._interpreter, output)
        if len(inputs) != 1 or len(outputs) != 1 or list(inputs[0]["shape"])[:1] != [1]:
            raise UserError(
                f"{path}: one input [1, ...] and one output are needed, it has inputs "
                f"{[item['shape'].tolist() for item in inputs]} and {len(outputs)} outputs"
                + (f" of the name {output!r}" if output else "")
            )
        self._input, self._output = inputs[0], outputs[0]
        self.input_shape = tuple(int(size) for size in self._input["shape"])
        self.output_shape = tuple(int(size) for size in self._output["shape"])

    @property
    def hears_waveforms(self) -> bool:
        """Whether the front end is in the file: samples in, probabilities out."""
        return len(self.input_shape) == 2

    @property
    def output_step(self) -> float:
        """Difference between two neighbouring output values of an int8 model; 0 for float."""
        return float(self._output["quantization"][0])

    @property
    def signatures(self) -> tuple[str, ...]:
        """Keys of the file's signatures."""
        return tuple(self._interpreter.get_signature_list())

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature of float inputs and outputs.

        Args:
            signature: One of ``signatures``.
            inputs: Each of its inputs, float32.

        Returns:
            Its outputs by name.
        """
        # Not kept: as long as there is a runner, the interpreter refuses to be run by itself.
        runner = self._interpreter.get_signature_runner(signature)
        outputs: dict[str, np.ndarray] = runner(**inputs)
        return outputs

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Runs one row after the other.

        Args:
            features: float32 ``[batch, frames, mels]``, or ``[batch, samples]``.

        Returns:
            float32 logits (of waveforms: probabilities) ``[batch, classes]``.
        """
        logits = np.empty((len(features), *self.output_shape[1:]), np.float32)
        for row, window in zip(logits, features, strict=True):
            self._interpreter.set_tensor(
                self._input["index"], quantize(window[np.newaxis], self._input)
            )
            self._interpreter.invoke()
            row[...] = dequantize(
                self._interpreter.get_tensor(self._output["index"])[0], self._output
            )
        return logits


def _outputs(interpreter: Any, name: str) -> list[dict[str, Any]]:
    """All outputs, or those of that name in the file's only signature."""
    details: list[dict[str, Any]] = interpreter.get_output_details()
    if not name:
        return details
    signatures = interpreter.get_signature_list()
    if len(signatures) != 1 or name not in next(iter(signatures.values()))["outputs"]:
        return []
    place = interpreter.get_signature_runner().get_output_details()[name]["index"]
    return [item for item in details if item["index"] == place]


def quantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """float32 -> the type of an interpreter's input; ``details`` as the interpreter gives them."""
    dtype = np.dtype(details["dtype"])
    if dtype.kind == "f":
        return values.astype(dtype)
    scale, zero_point = details["quantization"]
    limits = np.iinfo(dtype)
    steps = np.round(values / scale + zero_point)
    quantized: np.ndarray = np.clip(steps, limits.min, limits.max).astype(dtype)
    return quantized


def dequantize(values: np.ndarray, details: dict[str, Any]) -> np.ndarray:
    """The type of an interpreter's output -> float32."""
    if np.dtype(details["dtype"]).kind == "f":
        return values.astype(np.float32)
    scale, zero_point = details["quantization"]
    real: np.ndarray = (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)
    return real


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


def _read_model(model: _Table) -> list[Tensor]:
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
    for signature in model.tables(7):
        graph = signature.number(4, "<I")
        _within([graph], len(subgraphs), "graph")
        for tensor_map in (*signature.tables(0), *signature.tables(1)):
            tensor_map.text(0)
            _within([tensor_map.number(1, "<I")], len(subgraphs[graph]), "tensor")
        signature.text(2)
    # By their places in the file: graphs may point at the same tables.
    return list({place: tensor for tensors in subgraphs for place, tensor in tensors}.values())


def _read_subgraph(
    graph: _Table, operators: list[int], buffers: list[int]
) -> list[tuple[int, Tensor]]:
    """Its tensors, each with its place in the file."""
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
    return [
        (table.position, _read_tensor(table, index in biases, buffers))
        for index, table in enumerate(tables)
    ]


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
