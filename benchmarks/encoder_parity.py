"""The encoder against transformers' on random checkpoints of base and large size.

    python benchmarks/encoder_parity.py [--sizes base,large] [--families wav2vec2,hubert,wavlm]
    python benchmarks/encoder_parity.py --whisper FOLDER [CLIP ...]

Needs torch, which the project itself does not. Every parameter is random, scales and biases too. A
padded batch of two clips of 3 and 2 s; the largest difference in the last and in all hidden states.
Of a published Whisper, in FOLDER, the largest difference and value of every layer on 16 kHz clips
(noise where none is given), at their own length and padded to 30 s; transformers' encoder gets its
positions cut for the former. The last line is JSON.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np
import soundfile
import tensorflow as tf
import torch
import transformers
from safetensors.torch import save_file

from ser_kd import load_encoder

MODELS = {"wav2vec2": "Wav2Vec2Model", "hubert": "HubertModel", "wavlm": "WavLMModel"}
BASE: dict[str, Any] = {}
LARGE: dict[str, Any] = {
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "do_stable_layer_norm": True,
}
SECONDS = (3.0, 2.0)


def reference(family: str, size: str) -> torch.nn.Module:
    """A random model; its own initialisation has zero biases and unit scales, so those move."""
    model_class = getattr(transformers, MODELS[family])
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**(BASE if size == "base" else LARGE))).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def differences(model: torch.nn.Module) -> dict[str, float]:
    """Largest differences between the reference and the encoder with the same weights."""
    rng = np.random.default_rng(0)
    raw = [rng.normal(size=round(s * 16_000)).astype(np.float32) for s in SECONDS]
    batch = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)(
        raw, sampling_rate=16_000, padding=True, return_tensors="pt"
    )
    with torch.no_grad():
        theirs = model(**batch, output_hidden_states=True)
    with tempfile.TemporaryDirectory() as folder:
        model.config.save_pretrained(folder)
        state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        save_file(state, Path(folder, "model.safetensors"), metadata={"format": "pt"})
        encoder = load_encoder(folder)
    waveforms, mask = batch["input_values"].numpy(), batch["attention_mask"].numpy()
    ours = encoder.hidden_states(waveforms, mask=mask)
    last = encoder(waveforms, mask=mask)
    pairs = zip(ours, theirs.hidden_states, strict=True)
    return {
        "last": _largest(last, theirs.last_hidden_state),
        "all": max(_largest(one, other) for one, other in pairs),
        "largest_value": float(theirs.last_hidden_state.abs().max()),
        "parameters": float(encoder.count_params()),
    }


def whisper_differences(folder: str, clips: list[np.ndarray]) -> dict[str, Any]:
    """By length of the clips: largest differences and values of each hidden state."""
    ours = load_encoder(folder)
    theirs = transformers.WhisperModel.from_pretrained(folder).encoder.eval()
    extractor = transformers.WhisperFeatureExtractor.from_pretrained(folder)
    most, positions = theirs.config.max_source_positions, theirs.embed_positions.weight
    found: dict[str, Any] = {}
    for length in ("own", "padded"):
        pairs = []
        for clip in clips:
            samples = 320 * (len(clip) // 320 if length == "own" else most)
            waveform = np.pad(clip[:samples], (0, max(0, samples - len(clip))))
            batch = extractor(waveform, sampling_rate=16_000, padding=False, return_tensors="pt")
            theirs.config.max_source_positions = frames = samples // 320
            theirs.embed_positions = torch.nn.Embedding.from_pretrained(positions[:frames])
            with torch.no_grad():
                states = theirs(batch.input_features, output_hidden_states=True).hidden_states
            pairs.append(list(zip(ours.hidden_states(waveform[None]), states, strict=True)))
        found[length] = {
            "difference": np.max([[_largest(*pair) for pair in p] for p in pairs], axis=0).tolist(),
            "value": np.max([[float(s.abs().max()) for _, s in p] for p in pairs], axis=0).tolist(),
        }
    return found


def _largest(ours: tf.Tensor, theirs: torch.Tensor) -> float:
    return float(np.abs(ours.numpy() - theirs.numpy()).max())


def main() -> None:
    """Prints a row per family and size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="base,large")
    parser.add_argument("--families", default=",".join(MODELS))
    parser.add_argument("--whisper", nargs="+", metavar="FOLDER [CLIP]")
    parsed = parser.parse_args()
    if parsed.whisper:
        folder, *paths = parsed.whisper
        clips = [soundfile.read(path, dtype="float32")[0] for path in paths]
        noise = np.random.default_rng(0).normal(0.0, 0.1, 48_000).astype(np.float32)
        report = whisper_differences(folder, clips or [noise])
        for length, rows in report.items():
            print(f"{length:<8}layer{'difference':>14}{'largest':>10}")
            for layer, pair in enumerate(zip(rows["difference"], rows["value"], strict=True)):
                print(f"{layer:>13}{pair[0]:>14.1e}{pair[1]:>10.1f}")
        print(json.dumps({"benchmark": "encoder_parity", "whisper": report}))
        return
    results = {}
    print(f"{'model':<18}{'parameters':>12}{'last state':>12}{'all states':>12}{'largest':>9}")
    for size in parsed.sizes.split(","):
        for family in parsed.families.split(","):
            found = differences(reference(family, size))
            results[f"{family}_{size}"] = found
            print(
                f"{family + ' ' + size:<18}{found['parameters'] / 1e6:>10.1f} M"
                f"{found['last']:>12.1e}{found['all']:>12.1e}{found['largest_value']:>9.1f}",
                flush=True,
            )
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    print(json.dumps({"benchmark": "encoder_parity", "results": results, **versions}))


if __name__ == "__main__":
    main()
