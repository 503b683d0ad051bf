"""Where the time of a student's training step goes: data, forward, backward, optimizer.

    python benchmarks/training_step.py [--recipe crema_d_cpu] [--steps 100]

On made-up clips of CREMA-D's lengths (speech is not needed to time it). The parts are timed in
turns, so that whatever else the machine does hits all alike; medians are shown. The last line is
JSON.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent))

import keras
import numpy as np
import tensorflow as tf

from ser_kd import data, fitting
from ser_kd.config import Config, load_config
from ser_kd.distiller import Distiller
from ser_kd.student import build_student

CREMA_D_TRAINING_CLIPS = 5_144
CLASSES = 6


def made_up_clips(config: Config, count: int) -> tuple[data.ClipArrays, dict[str, np.ndarray]]:
    """Log-mel noise; lengths as in CREMA-D (mean 2.54 s, at most 5 s)."""
    rng = np.random.default_rng(0)
    seconds = np.clip(rng.normal(2.54, 0.5, count), 1.2, 5.0)
    lengths = (seconds / config.logmel.hop_seconds).astype(int)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values = rng.normal(-45.0, 15.0, (offsets[-1], config.logmel.mels)).astype(np.float32)
    ids = tuple(map(str, range(count)))
    samples = lengths * config.logmel.hop_samples
    hop, floor = config.logmel.hop_samples, config.logmel.floor_db
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(CLASSES, size=count)]
    logits = rng.normal(size=(count, CLASSES)).astype(np.float32)
    arrays = data.ClipArrays(ids, values, offsets, samples, hop, floor)
    return arrays, {"labels": labels, "teacher_logits": logits}


def make_parts(config: Config, clips: int) -> dict[str, Callable[[], Any]]:
    """One call of each part: a batch of data; forward; forward + backward; the whole step."""
    arrays, targets = made_up_clips(config, clips)
    window = config.logmel.frames(config.audio.window_samples)
    student = build_student(config.student, window, config.logmel.mels, CLASSES)
    mean, deviation = data.feature_statistics(arrays)
    student.get_layer("standardize").set_statistics(mean, deviation)
    distill = config.distill
    model = Distiller(student, distill.label_weight, distill.logit_weight, distill.temperature)
    fitting.compile_for_training(model, config.fit, clips // config.fit.batch_size)
    model.optimizer.build(model.trainable_variables)
    batches = data.training_batches(
        arrays,
        targets,
        window,
        round(config.augment.shift_seconds / config.logmel.hop_seconds),
        data.logmel_transform(config.augment, config.logmel, mean, distill.temperature),
        config.fit.batch_size,
        0,
        range(1_000),
    )
    iterator = iter(batches)
    x, y = next(iterator)

    @tf.function
    def forward() -> Any:
        return model._parts(y, student(x, training=True), y["teacher_logits"], None)["loss"]

    @tf.function
    def forward_backward() -> Any:
        with tf.GradientTape() as tape:
            loss = model._parts(y, student(x, training=True), y["teacher_logits"], None)["loss"]
        return tape.gradient(loss, student.trainable_weights)

    step = tf.function(model.train_step)
    return {
        "data": lambda: next(iterator),
        "forward": lambda: forward().numpy(),
        "forward_backward": lambda: [g.numpy() for g in forward_backward()[-1:]],
        "step": lambda: step((x, y))["loss"].numpy(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="crema_d_cpu")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parsed = parser.parse_args()
    config = load_config(parsed.recipe, parsed.set)
    keras.utils.set_random_seed(0)
    parts = make_parts(config, clips=1_024)
    times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(parsed.steps + 10):
        for name, part in parts.items():
            start = time.perf_counter()
            part()
            if number >= 10:  # tracing and warm-up
                times[name].append(1e3 * (time.perf_counter() - start))
    ms = {name: float(np.median(values)) for name, values in times.items()}
    shares = {
        "data": ms["data"],
        "forward": ms["forward"],
        "backward": ms["forward_backward"] - ms["forward"],
        "optimizer and logs": ms["step"] - ms["forward_backward"],
    }
    total = ms["data"] + ms["step"]
    print(f"{config.fit.batch_size} clips a batch, {os.cpu_count()} cores")
    print(f"{'part':<20}{'ms':>8}{'share':>8}")
    for name, value in shares.items():
        print(f"{name:<20}{value:>8.1f}{value / total:>8.1%}")
    print(f"{'in all':<20}{total:>8.1f}")
    epoch = total * (CREMA_D_TRAINING_CLIPS // config.fit.batch_size) / 1e3
    print(f"an epoch of {CREMA_D_TRAINING_CLIPS:,} clips: {epoch:.1f} s without overlap")
    result = {**{f"{k}_ms": round(v, 2) for k, v in shares.items()}, "epoch_seconds": epoch}
    print(json.dumps({"benchmark": "training_step", "data_share": ms["data"] / total, **result}))


if __name__ == "__main__":
    main()
