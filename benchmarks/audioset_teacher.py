"""The bundled student's teacher: YAMNet's features and stored predictions, out of fold.

    python benchmarks/audioset_teacher.py yamnet.tflite --data-dir $CREMA_D_DIR

YAMNet (Apache-2.0; see ser_kd/students/yamnet.py) is not trained. The outputs of its blocks 6 to 11
are averaged over time and bands; mean and maximum over the clip's patches of 0.975 s are its
vector. Two ridge regressions predict the emotion: one from the vectors, one from the vectors
standardised per speaker (no labels needed). A weighted sum with stored log-probabilities, weights
of maximum likelihood, is the teacher. Everything is out of fold, in the folds of the stored
predictions. The last line is JSON.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

sys.path.insert(0, str(Path(__file__).parent.parent))

import ser_kd
from ser_kd import files, metrics
from ser_kd.audio import decoding
from ser_kd.config import CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.data.targets import read_targets
from ser_kd.progress import say, track

TARGETS = Path(ser_kd.__file__).parent / "recipes" / "targets"
PATCH, HOP = 15_600, 7_800
BLOCKS = range(6, 12)
PENALTY = 1.0


def features(model: Path, waveforms: Sequence[np.ndarray]) -> np.ndarray:
    """Mean and maximum over each clip's patches, float64 ``[clips, 2 * channels]``.

    Args:
        model: YAMNet for TensorFlow Lite.
        waveforms: float32 ``[samples]`` at 16 kHz.
    """
    from ai_edge_litert.interpreter import Interpreter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that inner tensors are kept is for debugging only
        interpreter = Interpreter(str(model), experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    pcm = interpreter.get_input_details()[0]["index"]
    outputs = [
        (tensor["index"], *tensor["quantization"])
        for block in BLOCKS
        for tensor in interpreter.get_tensor_details()
        if tensor["name"].startswith(f"tower0/network/layer{2 * block + 1}/conv/Relu6")
        and tensor["dtype"] == np.int8
    ]
    if len(outputs) != len(BLOCKS):
        sys.exit(f"error: {model} is not YAMNet for TensorFlow Lite ")
    found = []
    for waveform in track(waveforms, len(waveforms), "YAMNet"):
        patches = 1 + max(0, -(-(len(waveform) - PATCH) // HOP))
        padded = np.zeros((patches - 1) * HOP + PATCH, np.float32)
        padded[: len(waveform)] = waveform[: len(padded)]
        seen = []
        for start in range(0, patches * HOP, HOP):
            interpreter.set_tensor(pcm, padded[start : start + PATCH])
            interpreter.invoke()
            values = [(interpreter.get_tensor(i), scale, zero) for i, scale, zero in outputs]
            seen.append([scale * (v.mean((0, 1, 2)) - zero) for v, scale, zero in values])
        patch_vectors = np.array([np.concatenate(patch) for patch in seen])
        found.append(np.concatenate([patch_vectors.mean(0), patch_vectors.max(0)]))
    return np.array(found)


def relative_to_speaker(vectors: np.ndarray, speakers: np.ndarray) -> np.ndarray:
    """The vectors with each speaker's mean 0 and deviation 1, ``[clips, size]``."""
    relative = vectors.copy()
    for speaker in np.unique(speakers):
        own = vectors[speakers == speaker]
        relative[speakers == speaker] = (own - own.mean(0)) / (own.std(0) + 1e-3)
    return relative


def out_of_fold(vectors: np.ndarray, truth: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """A ridge regression's prediction of each clip, ``[clips, classes]``.

    A clip without a fold (-1) gets the mean of all folds.
    """
    wanted = np.eye(truth.max() + 1)[truth]
    predicted = np.zeros(wanted.shape)
    for number in range(fold.max() + 1):
        training = (fold >= 0) & (fold != number)
        scaler = StandardScaler().fit(vectors[training])
        scaled = scaler.transform(vectors) / np.sqrt(vectors.shape[1])
        answer = Ridge(PENALTY).fit(scaled[training], wanted[training]).predict(scaled)
        predicted[fold == number] = answer[fold == number]
        predicted[fold < 0] += answer[fold < 0] / (fold.max() + 1)
    return predicted


def main() -> None:
    """Writes the targets and prints UA of each part."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, help="yamnet.tflite")
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--metadata-dir", default="")
    parser.add_argument("--stored", type=Path, default=TARGETS / "crema_d_students.npz")
    parser.add_argument("--targets", type=Path, default=TARGETS / "crema_d_yamnet.npz")
    parsed = parser.parse_args()
    corpus = load_corpus(
        CorpusConfig(name="crema_d", data_dir=parsed.data_dir, metadata_dir=parsed.metadata_dir)
    )
    stored = read_targets(parsed.stored, corpus.labels)
    clips = {clip.id: clip for clip in corpus.clips}
    missing = [clip_id for clip_id in stored.ids if clip_id not in clips]
    if missing:
        sys.exit(f"error: {len(missing)} clips of {parsed.stored} are not there: {missing[0]}, ...")
    found = [clips[clip_id] for clip_id in stored.ids]
    truth = np.array([corpus.labels.index(clip.emotion) for clip in found])
    speakers = np.array([clip.speaker for clip in found])
    vectors = features(parsed.model, [decoding.decode(clip.path, 16_000) for clip in found])
    say("ridge regressions ...")
    parts = {
        "stored": log_softmax(stored.logits, axis=1),
        "YAMNet": out_of_fold(vectors, truth, stored.fold),
        "YAMNet, relative to the speaker": out_of_fold(
            relative_to_speaker(vectors, speakers), truth, stored.fold
        ),
    }
    training = stored.fold >= 0

    def score(logits: np.ndarray, part: np.ndarray) -> dict[str, float]:
        probs, of_part = softmax(logits[part], axis=1), truth[part]
        nll = metrics.negative_log_likelihood(probs, of_part)
        return {"ua": metrics.scores(of_part, probs.argmax(1))["ua"], "nll": nll}

    def combined(weights: np.ndarray) -> np.ndarray:
        return sum(w * part for w, part in zip(weights, parts.values(), strict=True))

    # Three numbers for five thousand clips: it does not matter that they have seen these labels.
    weights = minimize(
        lambda weights: score(combined(weights), training)["nll"],
        np.array([0.6, 0.0, 4.0]),
        method="Nelder-Mead",
    ).x
    logits = log_softmax(combined(weights), axis=1).astype(np.float32)
    with files.atomic(parsed.targets) as partial, partial.open("wb") as file:
        ids, fold = np.array(stored.ids), stored.fold.astype(np.int8)
        np.savez_compressed(file, ids=ids, logits=logits.astype(np.float16), fold=fold)
    of_parts = {"out_of_fold": training, "validation": ~training}
    result = {
        name: {part: score(values, rows) for part, rows in of_parts.items()}
        for name, values in {**parts, "teacher": logits}.items()
    }
    for name, scores in result.items():
        text = ", ".join(f"{part} UA {100 * s['ua']:.1f}" for part, s in scores.items())
        say(f"{name}: {text}")
    print(json.dumps({"benchmark": "audioset_teacher", "weights": weights.tolist(), **result}))


if __name__ == "__main__":
    main()
