"""The encoder on a CPU against torch and against transformers' last TensorFlow model.

    python benchmarks/encoder_cpu.py [--old-python PATH] [--rounds 5]

Base size (95 M parameters, random weights), 4 clips of 3 s, both cores. Each peer runs in a process
of its own; they take turns, so that other load on the machine affects all of them. A peer whose
packages are missing is left out, and a line says so: torch is no dependency of this project, and
transformers' TensorFlow models exist only in the environment of constraints/classic.txt, whose
Python --old-python names. A step is forward + backward in training mode, without LayerDrop
and SpecAugment. CPU-seconds count all threads. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

BATCH, SAMPLES = 4, 48_000
STILL: dict[str, Any] = {"layerdrop": 0.0, "apply_spec_augment": False, "mask_time_prob": 0.0}
Work = dict[str, Callable[[], Any]]


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Waveforms and their mask, ``[batch, samples]`` each."""
    waveforms = np.random.default_rng(0).normal(size=(BATCH, SAMPLES)).astype(np.float32)
    return waveforms, np.ones((BATCH, SAMPLES), np.int32)


def ours() -> Work:
    """ser_kd's encoder."""
    import tensorflow as tf

    from ser_kd.encoder.architecture import architecture
    from ser_kd.encoder.model import SpeechEncoder

    encoder = SpeechEncoder(architecture(**STILL))
    encoder.build()
    x, mask = map(tf.constant, inputs())

    def step(frozen: bool) -> Callable[[], Any]:
        @tf.function
        def run() -> Any:
            encoder.feature_encoder.trainable = not frozen
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square(encoder(x, mask=mask, training=True)))
            weights = [weight.value for weight in encoder.trainable_weights]
            return [tf.reduce_sum(gradient) for gradient in tape.gradient(loss, weights)]

        return lambda: [value.numpy() for value in run()]

    forward = tf.function(lambda: encoder(x, mask=mask))
    return {
        "forward": lambda: forward().numpy(),
        "step": step(frozen=False),
        "step, convolutions frozen": step(frozen=True),
    }


def torch_peer() -> Work:
    """The torch model of transformers."""
    import torch
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    model = Wav2Vec2Model(Wav2Vec2Config(**STILL))
    x, mask = (torch.tensor(value) for value in inputs())

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            model(x, attention_mask=mask)

    def step(frozen: bool) -> Callable[[], None]:
        def run() -> None:
            model.train()
            model.feature_extractor.requires_grad_(not frozen)
            # transformers asks for the gradient of the frozen front end's output otherwise.
            model.feature_extractor._requires_grad = not frozen
            model.zero_grad()
            model(x, attention_mask=mask).last_hidden_state.square().mean().backward()

        return run

    return {
        "forward": forward,
        "step": step(frozen=False),
        "step, convolutions frozen": step(frozen=True),
    }


def old_tensorflow() -> Work:
    """The last TensorFlow model of transformers."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    import tensorflow as tf
    from transformers import TFWav2Vec2Model, Wav2Vec2Config

    model = TFWav2Vec2Model(Wav2Vec2Config(**STILL))
    x, mask = map(tf.constant, inputs())
    model(x, attention_mask=mask)

    def step(frozen: bool) -> Callable[[], Any]:
        @tf.function
        def run() -> Any:
            model.wav2vec2.feature_extractor.trainable = not frozen
            with tf.GradientTape() as tape:
                states = model(x, attention_mask=mask, training=True).last_hidden_state
                loss = tf.reduce_mean(tf.square(states))
            found = tape.gradient(loss, model.trainable_weights)
            return [tf.reduce_sum(gradient) for gradient in found if gradient is not None]

        return lambda: [value.numpy() for value in run()]

    forward = tf.function(lambda: model(x, attention_mask=mask).last_hidden_state)
    return {
        "forward": lambda: forward().numpy(),
        "step": step(frozen=False),
        "step, convolutions frozen": step(frozen=True),
    }


PEERS: dict[str, Callable[[], Work]] = {
    "ser_kd": ours,
    "torch": torch_peer,
    "old TensorFlow": old_tensorflow,
}
PARTS = ("forward", "step", "step, convolutions frozen")


def child(peer: str) -> None:
    """Warms up, then runs the part that each line of stdin names."""
    work = PEERS[peer]()
    for run in work.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        work[line.strip()]()
        print(time.perf_counter() - start, time.process_time() - cpu, flush=True)


def start(peer: str, python: str) -> "subprocess.Popen[str] | None":
    """A peer's process, warmed up; None where it cannot run, and says why."""
    process = subprocess.Popen(
        [python, __file__, "--child", peer],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    if process.stdout.readline().strip() == "ready":
        return process
    reason = process.stderr.read().strip().splitlines() or ["no reason given"]
    print(f"{peer} is left out: {reason[-1]}")
    return None


def measure(processes: dict[str, "subprocess.Popen[str]"], rounds: int) -> dict[str, Any]:
    """Medians of wall time and CPU time by peer and part."""
    times: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(rounds):
        for part in PARTS:
            for peer, process in processes.items():
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(part + "\n")
                process.stdin.flush()
                values = [float(value) for value in process.stdout.readline().split()]
                times.setdefault((peer, part), []).append(values)
    return {
        peer: {
            part: dict(zip(("wall_s", "cpu_s"), np.median(times[peer, part], axis=0), strict=True))
            for part in PARTS
        }
        for peer in processes
    }


def main() -> None:
    """Prints a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old-python", help="the classic environment's Python")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", choices=list(PEERS), help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        child(parsed.child)
        return
    pythons = {"ser_kd": sys.executable, "torch": sys.executable}
    if parsed.old_python:
        pythons["old TensorFlow"] = parsed.old_python
    started = {peer: start(peer, python) for peer, python in pythons.items()}
    processes = {peer: process for peer, process in started.items() if process is not None}
    try:
        results = measure(processes, parsed.rounds)
    finally:
        for process in processes.values():
            process.kill()
    print(f"{'':<28}" + "".join(f"{peer:>24}" for peer in results))
    for part in PARTS:
        cells = [
            f"{r[part]['wall_s']:.2f} s, {r[part]['cpu_s']:.2f} CPU-s" for r in results.values()
        ]
        print(f"{part:<28}" + "".join(f"{cell:>24}" for cell in cells))
    rounded = {
        peer: {p: {k: round(float(v), 3) for k, v in t.items()} for p, t in parts.items()}
        for peer, parts in results.items()
    }
    print(json.dumps({"benchmark": "encoder_cpu", "cores": os.cpu_count(), "results": rounded}))


if __name__ == "__main__":
    main()
