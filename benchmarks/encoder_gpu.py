"""The encoder on a GPU: precisions, gradient checkpointing, and the difference from float32.

    python benchmarks/encoder_gpu.py [--sizes base,large] [--batch 16]

Runs on Keras' JAX backend, since the layers are written in ``keras.ops`` and a machine may have JAX
for its GPU but no TensorFlow. Random weights, clips of 3 s, forward + backward in training mode;
each configuration in a process of its own, for its peak memory. The last line is JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "jax"
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
sys.path.insert(0, str(Path(__file__).parent.parent))

LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")


def child(size: str, policy: str, recompute: bool, batch: int) -> dict[str, float]:
    """Time, memory and error of one configuration, in this process."""
    import jax
    import keras
    import numpy as np

    from ser_kd.encoder.architecture import architecture
    from ser_kd.encoder.model import SpeechEncoder

    def encoder(precision: str) -> SpeechEncoder:
        keras.config.set_dtype_policy(precision)
        keras.utils.set_random_seed(0)
        sizes = {} if size == "base" else LARGE
        model = SpeechEncoder(architecture("wavlm", **sizes), gradient_checkpointing=recompute)
        model.build()
        model.feature_encoder.trainable = False
        return model

    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch, 48_000)).astype(np.float32)
    mask = (np.arange(48_000) < rng.integers(24_000, 48_001, (batch, 1))).astype(np.int32)
    model = encoder(policy)

    def loss(trained: Any, fixed: Any, x: Any, mask: Any) -> Any:
        states, fixed = model.stateless_call(trained, fixed, x, mask=mask, training=True)
        return keras.ops.mean(keras.ops.square(keras.ops.cast(states, "float32"))), fixed

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))
    trained = [variable.value for variable in model.trainable_variables]
    fixed = [variable.value for variable in model.non_trainable_variables]
    times = []
    for _ in range(8):
        start = time.perf_counter()
        (_, fixed), gradients = step(trained, fixed, x, mask)
        jax.block_until_ready(gradients)
        times.append(time.perf_counter() - start)
    stats = jax.local_devices()[0].memory_stats() or {}
    finite = all(bool(keras.ops.all(keras.ops.isfinite(g))) for g in gradients)
    result = {
        "step_ms": 1e3 * float(np.median(times[3:])),
        "peak_gb": stats.get("peak_bytes_in_use", 0) / 1e9,
        "gradients_finite": float(finite),
    }
    ours = model(x[:4], mask=mask[:4])
    exact = encoder("float32")
    exact.set_weights(model.get_weights())
    difference = keras.ops.cast(ours, "float32") - exact(x[:4], mask=mask[:4])
    return {**result, "largest_difference": float(keras.ops.max(keras.ops.abs(difference)))}


def main() -> None:
    """Prints a row per configuration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="base,large")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.child:
        size, policy, recompute = parsed.child
        print(json.dumps(child(size, policy, recompute == "1", parsed.batch)))
        return
    results = {}
    for size in parsed.sizes.split(","):
        for policy in POLICIES:
            for recompute in ("0", "1"):
                command = [sys.executable, __file__, "--batch", str(parsed.batch)]
                command += ["--child", size, policy, recompute]
                done = subprocess.run(command, capture_output=True, text=True)
                name = f"{size}, {policy}{', recomputed' if recompute == '1' else ''}"
                if done.returncode:
                    print(f"{name}: {done.stderr.strip().splitlines()[-1]}", flush=True)
                    continue
                found = json.loads(done.stdout.strip().splitlines()[-1])
                results[name] = found
                print(
                    f"{name:<36}{found['step_ms']:>8.0f} ms{found['peak_gb']:>8.1f} GB"
                    f"   difference {found['largest_difference']:.1e}"
                    f"   gradients {'finite' if found['gradients_finite'] else 'NOT FINITE'}",
                    flush=True,
                )
    print(json.dumps({"benchmark": "encoder_gpu", "batch": parsed.batch, "results": results}))


if __name__ == "__main__":
    main()
