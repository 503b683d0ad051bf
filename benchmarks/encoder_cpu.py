"""The encoder on a CPU against torch and against transformers' last TensorFlow model.

    python benchmarks/encoder_cpu.py [--old-python PATH] [--torch-python PATH] [--rounds 5]
    python benchmarks/encoder_cpu.py --encoder whisper [--torch-python PATH] [--threads 1]

Wav2Vec2: base size (95 M parameters, random weights), 4 clips of 3 s. A step is forward + backward
in training mode, without LayerDrop and SpecAugment. Whisper: base size (20 M parameters), from
samples to the last state, front end included, clips at their own length; transformers itself pads
every clip to 30 s, so torch's model is made to take fewer frames here.

Each peer runs in a process of its own; they take turns, so that other load on the machine affects
all of them. A peer whose packages are missing is left out, and a line says so: torch is no
dependency of this project (--torch-python names a Python that has it, and transformers), and
transformers' TensorFlow models exist only in the environment of constraints/classic.txt, whose
Python --old-python names. CPU-seconds count all threads. The last line is JSON.
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
WHISPER_BASE: dict[str, Any] = {
    "d_model": 512,
    "encoder_layers": 6,
    "encoder_attention_heads": 8,
    "encoder_ffn_dim": 2048,
}
WHISPER_PARTS = {"1 clip of 3 s": (1, 3), "16 clips of 3 s": (16, 3), "1 clip of 30 s": (1, 30)}
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


def speech(clips: int, seconds: int) -> np.ndarray:
    """Noise where speech would be, float32 ``[clips, samples]``."""
    samples = 16_000 * seconds
    return (0.1 * np.random.default_rng(0).normal(size=(clips, samples))).astype(np.float32)


def our_whisper() -> Work:
    """ser_kd's encoder."""
    import tensorflow as tf

    from ser_kd.encoder.architecture import architecture
    from ser_kd.encoder.whisper import WhisperEncoder

    encoder = WhisperEncoder(architecture("whisper", **WHISPER_BASE))
    encoder.build()
    forward = tf.function(encoder)

    def part(x: tf.Tensor) -> Callable[[], Any]:
        return lambda: forward(x).numpy()

    return {name: part(tf.constant(speech(*size))) for name, size in WHISPER_PARTS.items()}


def torch_whisper() -> Work:
    """The torch model of transformers, which would pad every clip to 30 s."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    model = WhisperEncoder(WhisperConfig(**WHISPER_BASE)).eval()
    extractor, positions = WhisperFeatureExtractor(), model.embed_positions.weight

    def part(clips: list[np.ndarray]) -> Callable[[], Any]:
        def run() -> None:
            features = extractor(clips, sampling_rate=16_000, padding=False, return_tensors="pt")
            frames = features.input_features.shape[-1] // 2
            model.config.max_source_positions = frames
            model.embed_positions = torch.nn.Embedding.from_pretrained(positions[:frames])
            with torch.no_grad():
                model(features.input_features)

        return run

    return {name: part(list(speech(*size))) for name, size in WHISPER_PARTS.items()}


PEERS: dict[str, dict[str, Callable[[], Work]]] = {
    "wav2vec2": {"ser_kd": ours, "torch": torch_peer, "old TensorFlow": old_tensorflow},
    "whisper": {"ser_kd": our_whisper, "torch": torch_whisper},
}
PARTS = {
    "wav2vec2": ("forward", "step", "step, convolutions frozen"),
    "whisper": tuple(WHISPER_PARTS),
}


def child(encoder: str, peer: str, threads: int) -> None:
    """Warms up, then runs the part that each line of stdin names."""
    if peer == "torch":
        import torch

        torch.set_num_threads(threads)
    else:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
    work = PEERS[encoder][peer]()
    for run in work.values():
        run()
    print("ready", flush=True)
    for line in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        work[line.strip()]()
        print(time.perf_counter() - start, time.process_time() - cpu, flush=True)


def start(encoder: str, peer: str, python: str, threads: int) -> "subprocess.Popen[str] | None":
    """A peer's process, warmed up; None where it cannot run, and says why."""
    process = subprocess.Popen(
        [python, __file__, "--encoder", encoder, "--threads", str(threads), "--child", peer],
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


def measure(
    processes: dict[str, "subprocess.Popen[str]"], parts: tuple[str, ...], rounds: int
) -> dict[str, Any]:
    """Medians of wall time and CPU time by peer and part."""
    times: dict[tuple[str, str], list[list[float]]] = {}
    for _ in range(rounds):
        for part in parts:
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
            for part in parts
        }
        for peer in processes
    }


def main() -> None:
    """Prints a table of medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--old-python", help="the classic environment's Python")
    parser.add_argument("--torch-python", default=sys.executable, help="a Python that has torch")
    parser.add_argument("--encoder", choices=list(PEERS), default="wav2vec2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        child(parsed.encoder, parsed.child, parsed.threads)
        return
    pythons = {"ser_kd": sys.executable, "torch": parsed.torch_python}
    if parsed.old_python and parsed.encoder == "wav2vec2":
        pythons["old TensorFlow"] = parsed.old_python
    started = {
        peer: start(parsed.encoder, peer, python, parsed.threads)
        for peer, python in pythons.items()
    }
    parts = PARTS[parsed.encoder]
    processes = {peer: process for peer, process in started.items() if process is not None}
    try:
        results = measure(processes, parts, parsed.rounds)
    finally:
        for process in processes.values():
            process.kill()
    print(f"{'':<28}" + "".join(f"{peer:>24}" for peer in results))
    for part in parts:
        cells = [
            f"{r[part]['wall_s']:.3f} s, {r[part]['cpu_s']:.3f} CPU-s" for r in results.values()
        ]
        print(f"{part:<28}" + "".join(f"{cell:>24}" for cell in cells))
    rounded = {
        peer: {p: {k: round(float(v), 4) for k, v in t.items()} for p, t in found.items()}
        for peer, found in results.items()
    }
    facts = {"benchmark": "encoder_cpu", "encoder": parsed.encoder, "threads": parsed.threads}
    print(json.dumps({**facts, "results": rounded}))


if __name__ == "__main__":
    main()
