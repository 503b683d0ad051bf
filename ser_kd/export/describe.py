"""What a .tflite file is made of: operators, what is not int8, memory for activations."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")
}
_TYPES = {value: name.lower() for name, value in vars(schema.TensorType).items() if name[0] != "_"}
_BYTES = {"float32": 4, "int32": 4, "float16": 2, "int8": 1, "uint8": 1, "int64": 8, "bool": 1}


def describe(path: Path) -> dict[str, Any]:
    """Reads a file's first graph, which is what an interpreter runs unless told otherwise.

    Returns:
        ``operators``: "NAME type" -> count, where the type is that of the output;
        ``not_int8_operators``: those whose output is not int8, in order of execution (for a float
        model: all); ``activation_bytes``: the largest sum of activations that are alive at the same
        time, which an interpreter's arena cannot go below.
    """
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    graph = model.subgraphs[0]
    names = []
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        name = _OPERATOR_NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]
        names.append((name, _TYPES[graph.tensors[operator.outputs[0]].type]))
    counts = Counter(f"{name} {kind}" for name, kind in names)
    return {
        "operators": dict(sorted(counts.items())),
        "not_int8_operators": [f"{name} {kind}" for name, kind in names if kind != "int8"],
        "activation_bytes": _peak_bytes(model, graph),
    }


def _peak_bytes(model: Any, graph: Any) -> int:
    """Each activation lives from the operator that makes it to the last that reads it."""
    born = {int(index): 0 for index in graph.inputs}
    dies = {int(index): len(graph.operators) for index in graph.outputs}
    for time, operator in enumerate(graph.operators):
        for index in operator.outputs:
            born.setdefault(int(index), time)
            dies.setdefault(int(index), time)
        for index in operator.inputs:
            if int(index) in born:
                dies[int(index)] = max(dies.get(int(index), 0), time)
    live = np.zeros(len(graph.operators) + 1, np.int64)
    for index, time in born.items():
        tensor = graph.tensors[index]
        size = int(np.prod(tensor.shape, dtype=np.int64)) * _BYTES.get(_TYPES[tensor.type], 4)
        live[time : dies.get(index, time) + 1] += size
    return int(live.max())
