"""Formulations of the front end in TensorFlow Lite, and a whole model against a peer.

    python benchmarks/front_end.py [--model student_waveform.tflite] [--peer yamnet.tflite]

Each is converted, then timed by ``android_bench --host``, one thread, in turns. ``--peer`` is any
model with one input of samples at 16 kHz; what counts is time per second of audio. The last line is
JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import tensorflow as tf

from ser_kd.android_bench.results import read, summary
from ser_kd.audio.mel import mel_filters
from ser_kd.config import LogMelConfig
from ser_kd.export import frontend
from ser_kd.export.convert import convert_module
from ser_kd.tflite.interpreters import load_interpreter

SECONDS = 3.0


class _Plain(frontend.FrontEnd):
    """The same frames and filters around another transform."""

    def _decibels(self, power: tf.Tensor, filters: np.ndarray) -> tf.Tensor:
        floor = 10.0 ** (self.config.floor_db / 10.0)
        decibels = (10.0 / np.log(10.0)) * tf.math.log(tf.maximum(tf.matmul(power, filters), floor))
        return tf.reshape(decibels, [1, self.frames, self.config.mels])


class Rfft(_Plain):
    """The FFT operator."""

    @tf.function
    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        """Samples ``[1, samples]`` -> log-mel ``[1, frames, mels]``."""
        spectrum = tf.signal.rfft(self._framed(pcm) * self.window)
        return self._decibels(tf.square(tf.abs(spectrum)), mel_filters(self.config))


class Dense(_Plain):
    """The whole transform as one product: window, cosines and sines in one matrix."""

    @tf.function
    def __call__(self, pcm: tf.Tensor) -> tf.Tensor:
        """Samples ``[1, samples]`` -> log-mel ``[1, frames, mels]``."""
        size = self.config.fft_samples
        filters = mel_filters(self.config)
        bins = np.flatnonzero(filters.sum(axis=1))
        angle = 2 * np.pi * np.outer(np.arange(size), bins) / size
        matrix = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * self.window[:, None]
        power = tf.square(tf.matmul(self._framed(pcm), matrix.astype(np.float32)))
        return self._decibels(power, np.concatenate([filters[bins], filters[bins]]))


def split_into(outer: int) -> Any:
    """The front end that ships, split at another place."""

    def make(config: LogMelConfig, samples: int) -> frontend.FrontEnd:
        original = frontend.split
        frontend.split = lambda samples: (outer, samples // outer)
        try:
            return frontend.FrontEnd(config, samples)
        finally:
            frontend.split = original

    return make


FORMULATIONS: dict[str, Any] = {
    "RFFT operator": Rfft,
    "one dense product": Dense,
    "split 16 x 32": split_into(16),
    "split 32 x 16 (ships)": split_into(32),
    "split 64 x 8": split_into(64),
    "split 128 x 4": split_into(128),
}


def measure(paths: dict[str, Path], folder: Path) -> dict[str, float]:
    """Median ms of an inference on one thread, by ``android_bench --host``: 10 turns of 30."""
    command = [sys.executable, "-m", "android_bench", *map(str, paths.values()), "--host"]
    command += ["--repetitions", "10", "--runs", "30", "--cooldown", "0", "--out", str(folder)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr or done.stdout)
    rows = summary(read(folder / "bench_host.json")["results"])
    found = {row["model"]: row["median_ms"] for row in rows}
    return {name: found[path.name] for name, path in paths.items()}


def main() -> None:
    """Converts, times, and prints a row per formulation."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--peer", type=Path)
    parser.add_argument("--hop-seconds", type=float, default=0.02)
    parsed = parser.parse_args()
    config = LogMelConfig(hop_seconds=parsed.hop_seconds)
    samples = round(SECONDS * config.sample_rate_hz)
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, Path] = {}
        for name, make in FORMULATIONS.items():
            signature = tf.TensorSpec((1, samples), tf.float32, name="pcm")
            paths[name] = Path(folder, f"front_end_{len(paths)}.tflite")
            paths[name].write_bytes(convert_module(make(config, samples), signature))
        for name, path in (("model", parsed.model), ("peer", parsed.peer)):
            if path is not None:
                paths[name] = path
        rows = {}
        for name, milliseconds in measure(paths, Path(folder)).items():
            (given,) = load_interpreter(paths[name]).get_input_details()
            seconds = float(np.prod(given["shape"])) / config.sample_rate_hz
            rows[name] = {
                "ms": round(milliseconds, 3),
                "ms_per_second": round(milliseconds / seconds, 4),
                "kB": round(paths[name].stat().st_size / 1e3, 1),
            }
            print(
                f"{name:<22}{rows[name]['ms']:>8.3f} ms for {seconds:g} s"
                f"{rows[name]['ms_per_second']:>9.4f} ms/s{rows[name]['kB']:>9.1f} kB"
            )
    if "model" in rows and "peer" in rows:
        ratio = rows["peer"]["ms_per_second"] / rows["model"]["ms_per_second"]
        print(f"the model takes 1/{ratio:.1f} of the peer's time per second of audio")
    print(json.dumps({"benchmark": "front_end", "hop_seconds": parsed.hop_seconds, "rows": rows}))


if __name__ == "__main__":
    main()
