"""A model's predictions of clips of any length, and their table ``predictions.csv``."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import files
from ser_kd.audio.decoding import Waveform, to_float, to_int16
from ser_kd.corpora import Clip
from ser_kd.inference.predictor import Predictor

_BATCH = 64


def predict_waveforms(predictor: Predictor, waveforms: Iterable[Waveform]) -> np.ndarray:
    """``Predictor.predict_waveform`` of each, with windows of several clips in a batch.

    Args:
        predictor: The model.
        waveforms: float32 ``[samples]`` each, in -1..1 at the model's sample rate.

    Returns:
        float32 ``[clips, classes]``.
    """
    frontend = predictor.frontend
    totals: list[np.ndarray] = []
    counts: list[int] = []
    waiting: list[tuple[int, np.ndarray]] = []

    def predict(batch: list[tuple[int, np.ndarray]]) -> None:
        probs = predictor.predict_windows(np.stack([window for _, window in batch]))
        for (clip, _), row in zip(batch, probs, strict=True):
            totals[clip] += row

    for clip, waveform in enumerate(waveforms):
        windows = frontend.windowing.cut(to_float(to_int16(waveform)))
        totals.append(np.zeros(len(predictor.labels)))
        counts.append(len(windows))
        waiting += [(clip, window) for window in windows]
        while len(waiting) >= _BATCH:
            predict(waiting[:_BATCH])
            del waiting[:_BATCH]
    if waiting:
        predict(waiting)
    means: np.ndarray = (np.array(totals) / np.array(counts)[:, np.newaxis]).astype(np.float32)
    return means


def prediction_rows(
    part: str, clips: Sequence[Clip], probs: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The rows of ``predictions.csv``.

    Args:
        part: Of the corpus.
        clips: The clips.
        probs: ``[clips, classes]``.
        labels: Class names.
    """
    return [
        {
            "part": part,
            "id": clip.id,
            "speaker": clip.speaker,
            "truth": clip.emotion,
            "predicted": labels[int(row.argmax())],
            **{f"p_{label}": f"{p:.6f}" for label, p in zip(labels, row, strict=True)},
        }
        for clip, row in zip(clips, probs, strict=True)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows, at least one, all with the same keys, atomically."""
    with files.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
