"""Damaged .tflite files, checkpoints and logs: read, or refused in one line, and no crash.

python tests/fuzz/models_and_logs.py --minutes 10 --checks tflite      (or: checkpoint, log)
"""

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from frame import Checks, adds_to, main, tried
from hypothesis import strategies as st

from ser_kd.android_bench.tool_output.log import parse_log
from ser_kd.android_bench.tool_output.profile import parse_op_csv
from ser_kd.android_bench.tool_output.result_file import parse_result
from ser_kd.encoder.checkpoint import open_checkpoint
from ser_kd.encoder.checkpoint_files import read_tensors
from ser_kd.encoder.model import SpeechEncoder
from ser_kd.encoder.weights import load_weights

CHECKS: Checks = {}
check = adds_to(CHECKS)

_FIXTURES = Path(__file__).parents[1] / "fixtures"
_PRETRAINED = Path(__file__).parents[2] / "ser_kd" / "pretrained" / "small"
_LOGS = sorted((_FIXTURES / "benchmark_logs").iterdir())
_TORCH_FILES = sorted((_FIXTURES / "torch_files").glob("*.bin"))

_damage = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from([b"", b"\0", b"\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"[[[[[", b"\n"]),
        st.integers(0, 9),
    ),
    max_size=4,
)
_cut = st.one_of(st.just(1.0), st.floats(0, 1))


def damaged(content: bytes, changes: list[tuple[float, bytes, int]], cut: float) -> bytes:
    """Bytes that are replaced at shares of the length, and cut off at one."""
    for place, new, length in changes:
        at = round(place * len(content))
        content = content[:at] + new + content[at + length :]
    return content[: round(cut * len(content))]


_CHILD = """
import sys
from pathlib import Path
import numpy as np
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Predictor
for line in sys.stdin:
    try:
        predictor = Predictor.load(Path(line.rstrip()))
        probs = predictor.predict_windows(np.zeros((1, predictor.frontend.window_samples), "f4"))
        assert probs.shape == (1, len(predictor.labels))
        print("read", flush=True)
    except UserError as error:
        print("refused " + " ".join(str(error).split()), flush=True)
    except Exception as error:
        print(f"fault {type(error).__name__}: {error}".splitlines()[0], flush=True)
"""


@functools.cache
def _child(number: int) -> "subprocess.Popen[str]":
    """A process that loads models: a crash ends it, and not the fuzzer."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


@check(
    name=st.sampled_from(["student_int8.tflite", "student_waveform.tflite"]),
    changes=_damage,
    cut=_cut,
    alone=st.booleans(),
)
def tflite_files_are_read_or_refused(
    name: str, changes: list[tuple[float, bytes, int]], cut: float, alone: bool
) -> None:
    """With and without what lies beside them in an export."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(damaged((_PRETRAINED / name).read_bytes(), changes, cut))
        for beside in () if alone else ("labels.txt", "frontend.json"):
            shutil.copy(_PRETRAINED / beside, folder)
        child = _child(0)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{path}\n")
        child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            _child.cache_clear()
        assert answer.startswith(("read", "refused")), answer or "the process ended"


@functools.cache
def _encoder() -> SpeechEncoder:
    checkpoint = open_checkpoint(_FIXTURES / "encoders" / "hubert_layer_stable")
    encoder = checkpoint.encoder(notify=lambda _: None)
    assert isinstance(encoder, SpeechEncoder)
    return encoder


@check(changes=_damage, cut=_cut)
def checkpoint_safetensors_are_read_or_refused(
    changes: list[tuple[float, bytes, int]], cut: float
) -> None:
    """Whatever is in the file, an encoder has all of its weights, or keeps those that it had."""
    source = _FIXTURES / "encoders" / "hubert_layer_stable" / "model.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        content = damaged(source.read_bytes(), changes, cut)
        Path(folder, "model.safetensors").write_bytes(content)
        tensors, _ = tried(lambda: read_tensors(Path(folder)))
        if tensors is not None:
            tried(lambda: load_weights(_encoder(), tensors))


@check(source=st.sampled_from(_TORCH_FILES), changes=_damage, cut=_cut)
def checkpoint_torch_files_are_read_or_refused(
    source: Path, changes: list[tuple[float, bytes, int]], cut: float
) -> None:
    """PyTorch's own formats, which are pickles."""
    with tempfile.TemporaryDirectory() as folder:
        content = damaged(source.read_bytes(), changes, cut)
        Path(folder, "pytorch_model.bin").write_bytes(content)
        tried(lambda: read_tensors(Path(folder)))


@check(source=st.sampled_from(_LOGS), changes=_damage, cut=_cut)
def logs_are_read(source: Path, changes: list[tuple[float, bytes, int]], cut: float) -> None:
    """What ``benchmark_model`` prints and writes, by all three readers."""
    content = damaged(source.read_bytes(), changes, cut)
    tried(lambda: parse_log(content))
    tried(lambda: parse_op_csv(content))
    tried(lambda: parse_result(content))


if __name__ == "__main__":
    main(CHECKS, __doc__)
