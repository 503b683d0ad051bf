"""Predicting many clips with one fold's networks: in shards, so that a killed run can go on."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.data.clip_arrays import ClipArrays, ClipView
from ser_kd.progress import Progress, say

Predictor = Callable[[ClipArrays], tuple[np.ndarray, ...]]
"""Clips -> probabilities ``[clips, classes]``, embedding ``[clips, size]`` and, of a teacher that
predicts them, dimensions ``[clips, dimensions]``."""
_ARRAYS = ("probs", "embedding", "dimensions")

SHARD_VIEWS = 512
"""Views of clips per shard: what a killed run predicts again at most."""


def predict_in_shards(
    views: Sequence[ClipView],
    seconds: Sequence[float],
    arrays: Callable[[Sequence[ClipView]], ClipArrays],
    load: Callable[[], Predictor],
    networks: Sequence[Path],
    path: Path,
    what: str,
) -> None:
    """Predicts views of clips and writes them to ``path``, or goes on where that was interrupted.

    Clips of like length stand together, so that they make up batches of one length. Each shard is
    written into a folder beside ``path`` as soon as it is done; at the end they are joined there.
    A shard that was made for other clips, or by networks that were trained again since, does not
    count.

    Args:
        views: What to predict.
        seconds: How long each of them is, about.
        arrays: Gives the samples or log-mel frames of some views.
        load: Loads the networks; not called if no shard is missing.
        networks: Their files.
        path: Receives ``ids``, ``view``, ``probs``, ``embedding`` and, where the networks
            predict them, ``dimensions``, one row per view.
        what: For the reader's eyes.
    """
    plan = sorted(range(len(views)), key=lambda row: (seconds[row], views[row]))
    shards = [plan[first : first + SHARD_VIEWS] for first in range(0, len(plan), SHARD_VIEWS)]
    paths = [_shards_dir(path) / f"shard_{number:04d}.npz" for number in range(len(shards))]
    missing = [
        number
        for number, rows in enumerate(shards)
        if not _is_there(paths[number], [views[row] for row in rows], networks)
    ]
    if len(missing) < len(shards):
        say(f"  {what}: {len(shards) - len(missing)} of {len(shards)} parts are predicted already")
    predict = load() if missing else None
    total = sum(len(shards[number]) for number in missing)
    progress = Progress(f"{what}: predicted", total, "clips")
    for number in missing:
        chosen = [views[row] for row in shards[number]]
        assert predict is not None
        predicted = predict(arrays(chosen))
        ids, view = zip(*chosen, strict=True)
        files.write_npz(
            paths[number],
            ids=np.array(ids),
            view=np.array(view, np.int32),
            **dict(zip(_ARRAYS, predicted, strict=False)),
        )
        progress.add(len(chosen), sum(seconds[row] for row in shards[number]))
    progress.end()
    files.write_npz(path, **_joined(paths))
    forget_shards(path)


def forget_shards(path: Path) -> None:
    """Removes the shards of predictions that are whole."""
    shutil.rmtree(_shards_dir(path), ignore_errors=True)


def _shards_dir(path: Path) -> Path:
    return path.with_suffix("")


def _is_there(path: Path, views: Sequence[ClipView], networks: Sequence[Path]) -> bool:
    if not files.is_current(path, networks):
        return False
    with np.load(path) as stored:
        return list(zip(stored["ids"].tolist(), stored["view"].tolist(), strict=True)) == [*views]


def _joined(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for path in paths:
        with np.load(path) as stored:
            for name in stored.files:
                parts.setdefault(name, []).append(stored[name])
    return {name: np.concatenate(arrays) for name, arrays in parts.items()}
