"""Where the time of a student's training step goes: data, forward, backward, optimizer.

    python benchmarks/training_step.py [--recipe crema_d_cpu] [--steps 100]
    python benchmarks/training_step.py --compare

On made-up clips of CREMA-D's lengths (speech is not needed to time it). The parts are timed in
turns, so that other load on the machine affects all of them; medians are shown. ``--compare`` times
the whole step with Keras' batch normalisation and with the fused one, each in processes of its own,
which take turns as well. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent.parent))

import keras
import numpy as np
import tensorflow as tf

from ser_kd.config import Config, load_config
from ser_kd.data import batching
from ser_kd.data.clip_arrays import ClipArrays, feature_statistics
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.distillation.distiller import Distiller
from ser_kd.distillation.terms import Batch, LabelTerm, LogitTerm
from ser_kd.students.architectures import build_student
from ser_kd.students.layers import FusedBatchNormalization

CREMA_D_TRAINING_CLIPS = 5_144
CLASSES = 6


def made_up_clips(config: Config, count: int) -> TrainingSet:
    """Log-mel noise with random targets; lengths as in CREMA-D (mean 2.54 s, at most 5 s)."""
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
    arrays = ClipArrays(ids, values, offsets, samples, hop, floor)
    return TrainingSet(arrays, labels, teacher_logits=logits)


def make_parts(config: Config, clips: int) -> dict[str, Callable[[], Any]]:
    """One call of each part: a batch of data; forward; forward + backward; the whole step."""
    training_set = made_up_clips(config, clips)
    window = config.logmel.frames(config.audio.window_samples)
    student = build_student(config.student, window, config.logmel.mels, CLASSES)
    mean, deviation = feature_statistics(training_set.arrays)
    student.get_layer("standardize").set_statistics(mean, deviation)
    distill = config.distill
    terms = [LabelTerm(distill.label_weight), LogitTerm(distill.logit_weight, distill.temperature)]
    model = Distiller(student, terms)
    fit_loop.compile_for_training(model, config.fit, clips // config.fit.batch_size)
    model.optimizer.build(model.trainable_variables)
    plan = batching.BatchPlan(
        window,
        batching.logmel_transform(config.augment, config.logmel, mean, distill.temperature),
        round(config.augment.shift_seconds / config.logmel.hop_seconds),
    )
    batches = batching.training_batches(
        training_set, plan, config.fit.batch_size, seed=0, epochs=range(1_000)
    )
    iterator = iter(batches)
    x, y = next(iterator)

    @tf.function
    def forward() -> Any:
        batch = Batch(x, y, student(x, training=True))
        return sum(tf.reduce_mean(term(batch).loss) for term in terms)

    @tf.function
    def forward_backward() -> Any:
        with tf.GradientTape() as tape:
            loss = forward()
        return tape.gradient(loss, student.trainable_weights)

    step = tf.function(model.train_step)
    return {
        "data": lambda: next(iterator),
        "forward": lambda: forward().numpy(),
        "forward_backward": lambda: [g.numpy() for g in forward_backward()[-1:]],
        "step": lambda: step((x, y))["loss"].numpy(),
    }


WAYS: dict[str, dict[str, str]] = {
    "keras' own batch normalisation": {"SER_KD_BENCHMARK_PLAIN": "1"},
    "fused batch normalisation (as it is)": {},
    "fused, one thread per operation": {
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "2",
    },
}
"""Ways to run a step, the slow one first: their environment variables."""


def compare(arguments: list[str], turns: int = 3) -> None:
    """Runs this script once per way and turn, and shows the median step of each."""
    steps: dict[str, list[float]] = {way: [] for way in WAYS}
    cpu: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(turns):
        for way, variables in WAYS.items():
            run = subprocess.run(
                [sys.executable, __file__, *arguments],
                env={**os.environ, **variables},
                capture_output=True,
                text=True,
            )
            if run.returncode:
                sys.exit(f"error: {way}: {run.stderr.strip()[-500:]}")
            result = json.loads(run.stdout.splitlines()[-1])
            steps[way].append(result["step_ms"])
            cpu[way].append(result["step_cpu_ms"])
    medians = {way: float(np.median(values)) for way, values in steps.items()}
    slowest = next(iter(medians.values()))
    print(f"{'way':<40}{'ms a step':>10}{'CPU ms':>8}{'times as fast':>15}")
    for way, ms in medians.items():
        print(f"{way:<40}{ms:>10.1f}{np.median(cpu[way]):>8.1f}{slowest / ms:>15.2f}")
    print(json.dumps({"benchmark": "training_step", "step_ms": medians}))


def main() -> None:
    """Prints the share of each part, or compares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="crema_d_cpu")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    parser.add_argument("--compare", action="store_true", help="before and after")
    parsed = parser.parse_args()
    if parsed.compare:
        arguments = [f"--recipe={parsed.recipe}", f"--steps={parsed.steps}"]
        compare([*arguments, *(f"--set={setting}" for setting in parsed.set)])
        return
    if os.environ.get("SER_KD_BENCHMARK_PLAIN"):
        plain = keras.layers.BatchNormalization.call
        FusedBatchNormalization.call = plain  # type: ignore[method-assign]
    config = load_config(parsed.recipe, parsed.set)
    config = replace(config, fit=config.fit.for_clips(CREMA_D_TRAINING_CLIPS))
    keras.utils.set_random_seed(0)
    parts = make_parts(config, clips=1_024)
    times: dict[str, list[float]] = {name: [] for name in parts}
    cpu_times: dict[str, list[float]] = {name: [] for name in parts}
    for number in range(parsed.steps + 10):
        for name, part in parts.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            part()
            if number >= 10:  # tracing and warm-up
                times[name].append(1e3 * (time.perf_counter() - start))
                cpu_times[name].append(1e3 * (time.process_time() - cpu_start))
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
    result = {
        **{f"{k}_ms": round(v, 2) for k, v in shares.items()},
        "step_ms": ms["step"],
        "step_cpu_ms": float(np.median(cpu_times["step"])),
        "epoch_seconds": epoch,
    }
    print(json.dumps({"benchmark": "training_step", "data_share": ms["data"] / total, **result}))


if __name__ == "__main__":
    main()
