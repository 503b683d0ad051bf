"""Running .tflite files: LiteRT, else tflite-runtime, else TensorFlow's interpreter."""

import contextlib
import functools
import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd.errors import UserError
from ser_kd.quiet import stderr_held
from ser_kd.tflite.structure import check_flatbuffer

_INTERPRETERS = (
    ("LiteRT", "ai_edge_litert.interpreter"),
    ("tflite-runtime", "tflite_runtime.interpreter"),
    # By the module that defines it: importing ``tensorflow.lite`` by name gives an empty package.
    ("TensorFlow Lite", "tensorflow.lite.python.interpreter"),
)
RUNTIMES = tuple(name for name, _ in _INTERPRETERS)


def load_interpreter(path: Path | str, threads: int = 1) -> Any:
    """An interpreter with its tensors allocated: LiteRT, else tflite-runtime, else TensorFlow's.

    Raises:
        UserError: The file is damaged, or no interpreter can run it or is installed.
    """
    return _load(path, threads)[1]


def _load(
    path: Path | str, threads: int, runtimes: Sequence[str] = RUNTIMES, delegates: bool = True
) -> tuple[str, Any, Callable[[], Any]]:
    """(which runtime can run a file, an interpreter of it, a function that makes another)."""
    check_flatbuffer(path)
    content = Path(path).read_bytes()
    reason = ""
    for runtime, module in _INTERPRETERS:
        if runtime not in runtimes:
            continue
        try:
            # Importing says nothing: tflite-runtime imports with NumPy 2 and fails afterwards.
            with warnings.catch_warnings(), stderr_held():
                warnings.simplefilter("ignore")  # TensorFlow's own is deprecated, and says so
                library = importlib.import_module(module)
                make = functools.partial(_interpreter, library, content, threads, delegates)
                interpreter = make()
        except ModuleNotFoundError:
            continue
        except Exception as error:  # broken installations fail in many ways
            reason = reason or f"{runtime}: {' '.join(str(error).split())[:200]}"
        else:
            return runtime, interpreter, make
    if reason:
        raise UserError(f"{path}: cannot be run ({reason})")
    raise UserError("no TensorFlow Lite interpreter is installed: pip install ai-edge-litert")


def _interpreter(library: Any, content: bytes, threads: int, delegates: bool) -> Any:
    kernels = library.OpResolverType
    interpreter = library.Interpreter(
        model_content=content,
        num_threads=threads,
        experimental_op_resolver_type=kernels.AUTO
        if delegates
        else kernels.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter


class TFLiteModel:
    """A student as a .tflite file: float32 or int8, one input ``[1, ...]``, one output of interest.

    May be used from several threads: an interpreter runs one inference at a time, so each call
    borrows one, and another is made where all are in use.

    Args:
        path: The file.
        threads: Of each interpreter.
        runtimes: Which of ``RUNTIMES`` may run it; the first that is installed does.
        delegates: Whether XNNPACK may replace the runtime's own kernels, as it does by default.
            Both are right, but their int8 rounds differently.
        output: Which output is read of a file that has several, by its name in the signature.

    Attributes:
        name: Of the file.
        runtime: Which interpreter runs it.
        signatures: Keys of the file's signatures.
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
        self.runtime, interpreter, self._make = _load(path, threads, runtimes, delegates)
        self._idle = [interpreter]
        self.signatures = tuple(interpreter.get_signature_list())
        inputs = interpreter.get_input_details()
        outputs = _outputs(interpreter, output)
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
    def takes_waveforms(self) -> bool:
        """Whether the front end is in the file: samples in, probabilities out."""
        return len(self.input_shape) == 2

    @property
    def output_step(self) -> float:
        """Difference between two neighbouring output values of an int8 model; 0 for float."""
        return float(self._output["quantization"][0])

    @contextlib.contextmanager
    def _borrowed(self) -> Iterator[Any]:
        """An interpreter that no other thread uses meanwhile."""
        try:
            interpreter = self._idle.pop()
        except IndexError:
            interpreter = self._make()
        try:
            yield interpreter
        finally:
            self._idle.append(interpreter)

    def run(self, signature: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Runs a signature of float inputs and outputs.

        Args:
            signature: One of ``signatures``.
            inputs: Each of its inputs, float32.

        Returns:
            Its outputs by name.
        """
        with self._borrowed() as interpreter:
            # Not kept: as long as there is a runner, an interpreter refuses to be run by itself.
            runner = interpreter.get_signature_runner(signature)
            outputs: dict[str, np.ndarray] = runner(**inputs)
            del runner
        return outputs

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Runs one row after the other.

        Args:
            features: float32 ``[batch, frames, mels]``, or ``[batch, samples]``.

        Returns:
            float32 logits (of waveforms: probabilities) ``[batch, classes]``.
        """
        logits = np.empty((len(features), *self.output_shape[1:]), np.float32)
        with self._borrowed() as interpreter:
            for row, window in zip(logits, features, strict=True):
                interpreter.set_tensor(
                    self._input["index"], quantize(window[np.newaxis], self._input)
                )
                interpreter.invoke()
                row[...] = dequantize(
                    interpreter.get_tensor(self._output["index"])[0], self._output
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
