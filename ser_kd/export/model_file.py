"""A .tflite file's content: read, written, and made smaller."""

from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

DEQUANTIZE = 6  # BuiltinOperator of the schema
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of constants, in bytes


def store_as_float16(content: bytes, shape: tuple[int, ...]) -> bytes:
    """The same model with one constant stored in half the bytes; it is widened when loaded.

    Args:
        content: Of a .tflite file.
        shape: Which one: the only float32 constant of this shape.

    Raises:
        ValueError: There is not exactly one.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    found = [
        index
        for index, tensor in enumerate(graph.tensors)
        if tensor.type == schema.TensorType.FLOAT32
        and tuple(tensor.shape) == shape
        and model.buffers[tensor.buffer].data is not None
    ]
    if len(found) != 1:
        raise ValueError(f"{len(found)} constants of shape {shape}")
    wide = graph.tensors[found[0]]
    buffer = model.buffers[wide.buffer]
    values = np.frombuffer(bytes(buffer.data), np.float32).astype(np.float16)
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    narrow = schema.TensorT()
    narrow.name, narrow.shape, narrow.type = wide.name, wide.shape, schema.TensorType.FLOAT16
    narrow.buffer, wide.buffer = wide.buffer, 0
    graph.tensors.append(narrow)
    widen = schema.OperatorT()
    widen.opcodeIndex = operator_code(model, DEQUANTIZE, 3)
    widen.inputs, widen.outputs = [len(graph.tensors) - 1], [found[0]]
    graph.operators.insert(0, widen)
    return write(model)


def compact(content: bytes) -> bytes:
    """The same model in fewer bytes, with its constants at addresses that suit native code.

    The converter gives each of the thousands of channels of weights and biases a zero point of 8
    bytes, which is 0: a seventh of a student of half a megabyte. Here equal ones are stored once.
    And it names a tensor after every layer that was fused into it, 150 letters: here the first of
    them is enough, and a number where that is the name of an earlier tensor.

    Args:
        content: Of a .tflite file.
    """
    model = parse(content)
    for graph in model.subgraphs:
        seen: set[str] = set()
        for number, tensor in enumerate(graph.tensors):
            name = "/".join(layer_and_operation(tensor))
            tensor.name = f"{name};{number}" if name in seen else name
            seen.add(name)
    return write(model)


class _Builder(flatbuffers.Builder):
    """Stores equal zero points once, and constants where native code wants them."""

    def __init__(self) -> None:
        super().__init__(1_000_000)
        self._shared: dict[bytes, int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        if x.dtype == np.uint8:
            # A buffer's data: the schema asks for 16 bytes, which the generated code forgets.
            self.StartVector(1, x.size, _ALIGNMENT)
            self.head -= x.size
            self.Bytes[self.head : self.head + x.size] = x.tobytes()
            return int(self.EndVector())
        if x.dtype != np.int64:
            return int(super().CreateNumpyVector(x))
        key = x.tobytes()
        if key not in self._shared:
            self._shared[key] = int(super().CreateNumpyVector(x))
        return self._shared[key]


def write(model: Any) -> bytes:
    """The content of a .tflite file."""
    builder = _Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def parse(content: bytes) -> Any:
    """A .tflite file's content as the objects of TensorFlow's schema."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def layer_and_operation(tensor: Any) -> list[str]:
    """The end of a tensor's name, of the first of the layers that were fused into it."""
    return str(tensor.name.decode()).split(";")[0].split("/")[-2:]


def operator_code(whole: Any, code: int, version: int) -> int:
    """The number of an operator in the model's table, added to it."""
    found = schema.OperatorCodeT()
    found.builtinCode, found.deprecatedBuiltinCode, found.version = code, min(code, 127), version
    whole.operatorCodes.append(found)
    return len(whole.operatorCodes) - 1
