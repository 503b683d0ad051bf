"""Joins .tflite models end to end in one graph: what leaves the first enters the second.

So the waveform model holds the int8 student's very tensors between a float front end and a float
head: nothing is calibrated or quantised twice, and what was verified of the student holds for it.
"""

from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_QUANTIZE, _DEQUANTIZE, _RESHAPE = 114, 6, 22  # BuiltinOperator of the schema
_IDENTIFIER = b"TFL3"
_ALIGNMENT = 16  # of constants, in bytes


def chain(models: list[bytes], inputs: str, outputs: str, signature: str) -> bytes:
    """One model of several, each with one input and one output.

    Where a float tensor meets an int8 one (or the other way round), it is quantised (dequantised)
    with the parameters that the int8 model has for its own.

    Args:
        models: Contents of .tflite files, in order.
        inputs: Name of the whole's input in the signature.
        outputs: Name of its output.
        signature: Key of its only signature.

    Raises:
        ValueError: Types or shapes of neighbours do not fit.
    """
    whole = _read(models[0])
    for content in models[1:]:
        _append(whole, _read(content))
    graph = whole.subgraphs[0]
    first, last = int(graph.inputs[0]), int(graph.outputs[0])
    # The converter's names are paths of 150 letters: 17 kB of a student of half a megabyte.
    for number, tensor in enumerate(graph.tensors):
        tensor.name = f"{tensor.name.decode().split(';')[0].split('/')[-1]}_{number}"
    graph.tensors[first].name, graph.tensors[last].name = inputs, outputs
    whole.signatureDefs = [_signature(signature, {inputs: first}, {outputs: last})]
    return _write(whole)


def store_as_float16(content: bytes, shape: tuple[int, ...]) -> bytes:
    """The same model with one constant stored in half the bytes; it is widened when loaded.

    Args:
        content: Of a .tflite file.
        shape: Which one: the only float32 constant of this shape.

    Raises:
        ValueError: There is not exactly one.
    """
    model = _read(content)
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
    widen.opcodeIndex = _operator_code(model, _DEQUANTIZE, 3)
    widen.inputs, widen.outputs = [len(graph.tensors) - 1], [found[0]]
    graph.operators.insert(0, widen)
    return _write(model)


def compact(content: bytes) -> bytes:
    """The same model in fewer bytes, with its constants at addresses that suit native code.

    The converter gives each of the thousands of channels of weights and biases a zero point of 8
    bytes, which is 0: a seventh of a student of half a megabyte. Here equal ones are stored once.

    Args:
        content: Of a .tflite file.
    """
    return _write(_parse(content))


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


def _write(model: Any) -> bytes:
    builder = _Builder()
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _parse(content: bytes) -> Any:
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _read(content: bytes) -> Any:
    model = _parse(content)
    graphs = model.subgraphs
    if len(graphs) != 1 or len(graphs[0].inputs) != 1 or len(graphs[0].outputs) != 1:
        raise ValueError("a model needs one graph with one input and one output to be chained")
    return model


def _append(whole: Any, model: Any) -> None:
    """Adds ``model``'s operators behind those of ``whole``."""
    graph, added = whole.subgraphs[0], model.subgraphs[0]
    first_code, first_tensor = len(whole.operatorCodes), len(graph.tensors)
    # Buffer 0 is the empty one of every model.
    first_buffer = len(whole.buffers) - 1
    whole.operatorCodes += model.operatorCodes
    whole.buffers += model.buffers[1:]
    for tensor in added.tensors:
        tensor.buffer = tensor.buffer + first_buffer if tensor.buffer else 0
    graph.tensors += added.tensors
    for operator in added.operators:
        operator.opcodeIndex += first_code
        operator.inputs = [_moved(i, first_tensor) for i in operator.inputs]
        operator.outputs = [_moved(i, first_tensor) for i in operator.outputs]
    source, target = int(graph.outputs[0]), int(added.inputs[0]) + first_tensor
    graph.operators += [_join(whole, graph, source, target), *added.operators]
    graph.outputs = [int(added.outputs[0]) + first_tensor]


def _moved(index: int, by: int) -> int:
    return int(index) + by if index >= 0 else -1  # -1: an optional input that is absent


def _join(whole: Any, graph: Any, source: int, target: int) -> Any:
    """The operator between two models: QUANTIZE, DEQUANTIZE, or a RESHAPE that changes nothing."""
    one, other = graph.tensors[source], graph.tensors[target]
    shapes = [[int(size) for size in tensor.shape] for tensor in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"shape {shapes[0]} does not fit {shapes[1]}")
    types = (one.type, other.type)
    floating, integer = schema.TensorType.FLOAT32, schema.TensorType.INT8
    codes = {
        (floating, integer): (_QUANTIZE, 1),
        (integer, floating): (_DEQUANTIZE, 2),
        (floating, floating): (_RESHAPE, 1),
    }
    if types not in codes:
        raise ValueError(f"tensor type {one.type} does not fit {other.type}")
    code, version = codes[types]
    operator = schema.OperatorT()
    operator.opcodeIndex = _operator_code(whole, code, version)
    operator.inputs, operator.outputs = [source], [target]
    if code == _RESHAPE:
        options = schema.ReshapeOptionsT()
        options.newShape = [int(size) for size in other.shape]
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = options
    return operator


def _operator_code(whole: Any, code: int, version: int) -> int:
    found = schema.OperatorCodeT()
    found.builtinCode, found.deprecatedBuiltinCode, found.version = code, min(code, 127), version
    whole.operatorCodes.append(found)
    return len(whole.operatorCodes) - 1


def _signature(key: str, inputs: dict[str, int], outputs: dict[str, int]) -> Any:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    signature.inputs = [_tensor_map(name, index) for name, index in inputs.items()]
    signature.outputs = [_tensor_map(name, index) for name, index in outputs.items()]
    return signature


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
