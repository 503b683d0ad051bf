"""Joins .tflite models end to end: what leaves one enters the next, along one or several routes.

So the waveform model holds the int8 student's very tensors between a float front end and a float
head: nothing is quantised twice, and what was verified of the student holds for it.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
from tensorflow.lite.python import schema_py_generated as schema

from ser_kd.export.model_file import (
    DEQUANTIZE,
    layer_and_operation,
    operator_code,
    parse,
    write,
)

_QUANTIZE, _RESHAPE = 114, 22  # BuiltinOperator of the schema


@dataclass(frozen=True)
class Route:
    """A way through the pieces of a model; it becomes one of the model's signatures.

    Attributes:
        signature: Its key.
        pieces: Their names, in order. What leaves one (its only output) enters the next.
        inputs: Names in the signature: first that of the first piece's only input, then those
            inputs of later pieces that the piece before does not fill, by their names there.
        outputs: Names in the signature: one for the last piece's only output, or several that the
            last piece has.
    """

    signature: str
    pieces: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def chain(pieces: Mapping[str, bytes], routes: Sequence[Route]) -> bytes:
    """One model of several, with a graph and a signature for each route through them.

    Where a float tensor meets an int8 one (or the other way round), it is quantised (dequantised)
    with the parameters that the int8 model has for its own. A piece on several routes is in the
    file once: constants, and the tables of its tensors and operators, to which every graph points.
    A further route thus costs little more than what is new on it.

    Args:
        pieces: Name -> content of a .tflite file with one graph and one signature.
        routes: The first is what an interpreter runs unless told otherwise.

    Raises:
        ValueError: Types, shapes or names of neighbours do not fit, or the pieces of a route do not
            lie side by side after what the routes before it have placed.
    """
    names = dict.fromkeys(name for route in routes for name in route.pieces)
    models = {name: parse(pieces[name]) for name in names}
    placed = {name: _Piece.of(name, model) for name, model in models.items()}
    whole, *others = models.values()
    whole.subgraphs, whole.signatureDefs = [], []
    for model in others:
        _add_constants(whole, model)
    once: dict[int, _Once] = {}
    for number, route in enumerate(routes):
        graph, signature = _graph(whole, [placed[name] for name in route.pieces], route)
        graph.tensors = [once.setdefault(id(table), _Once(table)) for table in graph.tensors]
        graph.operators = [once.setdefault(id(table), _Once(table)) for table in graph.operators]
        signature.subgraphIndex = number
        whole.subgraphs.append(graph)
        whole.signatureDefs.append(signature)
    return write(whole)


class _Once:
    """A table that several places of a file point at: it is packed for the first of them."""

    def __init__(self, table: Any) -> None:
        self._table, self._offset = table, 0

    def Pack(self, builder: flatbuffers.Builder) -> int:
        self._offset = self._offset or int(self._table.Pack(builder))
        return self._offset


@dataclass
class _Piece:
    """A model that becomes a part of another one.

    Attributes:
        name: What it is called in messages.
        tensors: Of its graph.
        operators: The same.
        inputs: Name in its signature -> number of the tensor.
        outputs: The same.
        place: Number of its first tensor in every graph that it is a part of; None = nowhere yet.
    """

    name: str
    tensors: list[Any]
    operators: list[Any]
    inputs: dict[str, int]
    outputs: dict[str, int]
    place: int | None = None

    @classmethod
    def of(cls, name: str, model: Any) -> "_Piece":
        if len(model.subgraphs) != 1 or len(model.signatureDefs or ()) != 1:
            raise ValueError(f"{name}: one graph and one signature are needed to chain a model")
        (graph,), (signature,) = model.subgraphs, model.signatureDefs
        inputs, outputs = (
            {entry.name.decode(): int(entry.tensorIndex) for entry in ends}
            for ends in (signature.inputs, signature.outputs)
        )
        # Other signatures of the whole may use the same tables: what is packed are these lists.
        return cls(name, list(graph.tensors), list(graph.operators), inputs, outputs)

    def put(self, place: int) -> None:
        """Numbers its tensors from ``place`` on, for good."""
        self.place = place
        for number, tensor in enumerate(self.tensors, place):
            tensor.name = f"{layer_and_operation(tensor)[-1]}_{number}"
        for operator in self.operators:
            operator.inputs = [_moved(index, place) for index in operator.inputs]
            operator.outputs = [_moved(index, place) for index in operator.outputs]
        self.inputs = {name: index + place for name, index in self.inputs.items()}
        self.outputs = {name: index + place for name, index in self.outputs.items()}

    def only(self, ends: Mapping[str, int], what: str) -> int:
        if len(ends) != 1:
            raise ValueError(f"{self.name} has {len(ends)} {what}s {list(ends)}: one is needed")
        (index,) = ends.values()
        return index

    def output(self, name: str) -> int:
        if name not in self.outputs:
            raise ValueError(f"{self.name} has the outputs {sorted(self.outputs)}, not {name!r}")
        return self.outputs[name]


def _add_constants(whole: Any, model: Any) -> None:
    """Adds a model's buffers and operator codes to those of ``whole``."""
    (graph,) = model.subgraphs
    # Buffer 0 is the empty one of every model.
    first_code, first_buffer = len(whole.operatorCodes), len(whole.buffers) - 1
    whole.operatorCodes += model.operatorCodes
    whole.buffers += model.buffers[1:]
    for tensor in graph.tensors:
        tensor.buffer = tensor.buffer + first_buffer if tensor.buffer else 0
    for operator in graph.operators:
        operator.opcodeIndex += first_code


def _moved(index: int, by: int) -> int:
    return int(index) + by if index >= 0 else -1  # -1: an optional input that is absent


def _graph(whole: Any, pieces: list[_Piece], route: Route) -> tuple[Any, Any]:
    """A route's graph and signature; pieces that are nowhere yet go behind the others."""
    for piece in pieces:
        if piece.place is None:
            ends = [p.place + len(p.tensors) for p in pieces if p.place is not None]
            piece.put(max(ends, default=0))
    tensors: list[Any] = []
    for piece in sorted(pieces, key=lambda piece: piece.place or 0):
        if piece.place != len(tensors):
            raise ValueError(f"{route.signature}: {piece.name} lies apart from the other pieces")
        tensors += piece.tensors
    entry, *sides = route.inputs
    inputs = {entry: pieces[0].only(pieces[0].inputs, "input")}
    operators = list(pieces[0].operators)
    for before, piece in itertools.pairwise(pieces):
        filled = {name: index for name, index in piece.inputs.items() if name not in sides}
        target = piece.only(filled, "input")
        inputs |= {name: index for name, index in piece.inputs.items() if name in sides}
        source = before.only(before.outputs, "output")
        operators += [_connection(whole, tensors, source, target), *piece.operators]
    if set(sides) - set(inputs):
        raise ValueError(f"{route.signature}: no piece of it has the inputs {sides}")
    last = pieces[-1]
    if len(route.outputs) == 1:
        outputs = {route.outputs[0]: last.only(last.outputs, "output")}
    else:
        outputs = {name: last.output(name) for name in route.outputs}
    for name, index in (*inputs.items(), *outputs.items()):
        tensors[index].name = name
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = route.signature, tensors, operators
    graph.inputs = [inputs[name] for name in route.inputs]
    graph.outputs = [outputs[name] for name in route.outputs]
    signature = schema.SignatureDefT()
    signature.signatureKey = route.signature
    signature.inputs = [_tensor_map(name, inputs[name]) for name in route.inputs]
    signature.outputs = [_tensor_map(name, outputs[name]) for name in route.outputs]
    return graph, signature


def _connection(whole: Any, tensors: list[Any], source: int, target: int) -> Any:
    """The operator between two models: QUANTIZE, DEQUANTIZE, or a RESHAPE that changes nothing."""
    one, other = tensors[source], tensors[target]
    shapes = [[int(size) for size in tensor.shape] for tensor in (one, other)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"shape {shapes[0]} does not fit {shapes[1]}")
    types = (one.type, other.type)
    floating, integer = schema.TensorType.FLOAT32, schema.TensorType.INT8
    codes = {
        (floating, integer): (_QUANTIZE, 1),
        (integer, floating): (DEQUANTIZE, 2),
        (floating, floating): (_RESHAPE, 1),
    }
    if types not in codes:
        raise ValueError(f"tensor type {one.type} does not fit {other.type}")
    code, version = codes[types]
    operator = schema.OperatorT()
    operator.opcodeIndex = operator_code(whole, code, version)
    operator.inputs, operator.outputs = [source], [target]
    if code == _RESHAPE:
        options = schema.ReshapeOptionsT()
        options.newShape = [int(size) for size in other.shape]
        operator.builtinOptionsType = schema.BuiltinOptions.ReshapeOptions
        operator.builtinOptions = options
    return operator


def _tensor_map(name: str, index: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry
