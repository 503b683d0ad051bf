"""A corpus of tones and a recipe that trains on it within seconds."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from ser_kd.runs.lock import HOLDER, LOCK

HZ_OF = {"high": 900.0, "low": 150.0, "mid": 400.0}
SPEAKERS = tuple(f"s{number}" for number in range(10))
TAKES = 2


def write_corpus(folder: Path) -> Path:
    """``<emotion>/<speaker>/<take>.wav``: three emotions told apart by pitch, 60 short clips."""
    rng = np.random.default_rng(0)
    for emotion, hz in HZ_OF.items():
        for number, speaker in enumerate(SPEAKERS):
            for take in range(TAKES):
                seconds = rng.uniform(0.5, 1.2)
                times = np.arange(round(seconds * 16_000)) / 16_000
                tone = 0.2 * np.sin(2 * np.pi * hz * rng.uniform(0.9, 1.1) * times)
                # Speakers differ in loudness and noise, so that their mean spectra do.
                tone = (0.4 + 0.06 * number) * tone + 0.01 * (1 + number) * rng.normal(
                    size=len(times)
                )
                path = folder / emotion / speaker / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, tone, 16_000)
    return folder


def touch(folder: Path, *names: str) -> Path:
    """Empty files: what a reader makes of their names."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def write_unlabelled(folder: Path) -> Path:
    """Two recordings without label, 2.5 s and 1.2 s: three segments of 1 s, and a rest."""
    rng = np.random.default_rng(1)
    folder.mkdir(parents=True)
    for name, seconds in (("long.wav", 2.5), ("short.wav", 1.2)):
        times = np.arange(round(seconds * 16_000)) / 16_000
        tone = 0.1 * np.sin(2 * np.pi * 500 * times) + 0.02 * rng.normal(size=len(times))
        soundfile.write(folder / name, tone, 16_000)
    return folder


TINY_WAV2VEC2 = {
    "conv_dim": [8, 8, 8],
    "conv_kernel": [40, 4, 4],
    "conv_stride": [20, 4, 4],
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}


def settings(corpus: Path, /, **sections: Any) -> dict[str, Any]:
    """A config's table: a small ensemble as the only teacher, small student, two epochs.

    Args:
        corpus: The folder that ``write_corpus`` filled.
        sections: Replace whole sections.
    """
    network = {"kind": "cnn", "width": 0.25, "dropout": 0.1}
    fit = {"epochs": 2, "batch_size": 6, "warmup_epochs": 0.5, "learning_rate": 0.005}
    ensemble = {
        "kind": "logmel_ensemble",
        "folds": 3,
        "members": 1,
        "student": network,
        "fit": {**fit, "epochs": 1},
    }
    return {
        "name": "tiny",
        "corpus": {"name": "folder", "data_dir": str(corpus)},
        "audio": {"window_seconds": 1.0, "window_hop_seconds": 0.5},
        "logmel": {"mels": 16},
        "teachers": {"ensemble": ensemble},
        "student": network,
        "fit": fit,
        "augment": {"shift_seconds": 0.2},
        "export": {
            "representative_clips": 8,
            "min_agreement": 0.0,
            "max_ua_drop": 1.0,
            "min_kernel_agreement": 0.0,
        },
        **sections,
    }


def wav2vec2_teacher(folds: int = 2) -> dict[str, Any]:
    """A teacher's table: a random encoder of one layer, one epoch."""
    return {
        "kind": "wav2vec2",
        "folds": folds,
        "architecture": TINY_WAV2VEC2,
        "projection": 8,
        "fit": {"epochs": 1, "batch_size": 6, "warmup_epochs": 0.0},
    }


def write_recipe(path: Path, table: dict[str, Any]) -> Path:
    """Writes a table as TOML, one dotted key per line."""

    def lines(table: dict[str, Any], where: str) -> list[str]:
        found = []
        for key, value in table.items():
            if isinstance(value, dict):
                found += lines(value, f"{where}{key}.")
            else:
                found.append(f"{where}{key} = {json.dumps(value)}")
        return found

    path.write_text("\n".join(lines(table, "")) + "\n", encoding="utf-8")
    return path


def unmeasured(
    models: Sequence[Path | Sequence[Path]], examples: Sequence[Any] | None = None
) -> list[dict[str, Any]]:
    """In the place of ``measure_all``, whose processes take seconds to start TensorFlow."""
    files = [path for model in models for path in ([model] if isinstance(model, Path) else model)]
    assert files
    assert all(path.is_file() for path in files)
    figures = dict.fromkeys(("latency_ms", "latency_p95_ms", "peak_memory_mb"), 1.0)
    return [{**figures, "runtime": "none"} for _ in models]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Time of writing and content of every file but those of the lock."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in (LOCK, HOLDER)
    }
