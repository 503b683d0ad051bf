"""A teacher's predictions by clip id and view: stored once, used by every student."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ser_kd import files
from ser_kd.corpora.table import TABLE_SUFFIXES, read_table
from ser_kd.errors import UserError

ALL_FOLDS = -1
"""The fold of a clip that no fold trained on: its prediction is the mean of all folds."""
IN_FOLD = -2
"""The fold of a clip whose prediction comes from a network that was trained on it."""
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Targets:
    """Predictions of one teacher, one row for each view of each clip.

    Attributes:
        ids: Clip ids ``[rows]``; a clip has one row for each of its views.
        logits: float32 ``[rows, classes]``, in the order of the corpus's labels.
        embedding: float32 ``[rows, size]``, pooled over the clip; size 0 where the teacher gives
            none. NaN where ``fold`` is ``ALL_FOLDS``: embeddings of different folds' networks have
            nothing in common, so their mean would mean nothing.
        fold: int ``[rows]``: which fold's network predicted the clip, never trained on its
            speaker; ``ALL_FOLDS`` for the mean, ``IN_FOLD`` where the clip was trained on.
        view: int ``[rows]``: the view of the clip (``ser_kd.audio.views``); 0 is the clip as it is.
        dimensions: float32 ``[rows, dimensions]``, -1..1, in the order of the run's dimensions; of
            a teacher that predicts them, else None.
    """

    ids: tuple[str, ...]
    logits: np.ndarray
    embedding: np.ndarray
    fold: np.ndarray
    view: np.ndarray
    dimensions: np.ndarray | None = None

    def rows_of(
        self, ids: Sequence[str], teacher: str, view: int | Sequence[int] = 0
    ) -> np.ndarray:
        """Where the predictions of some clips are, int ``[len(ids)]``.

        Args:
            ids: Clip ids; one may occur several times.
            teacher: Its name, for messages.
            view: Of all of them, or of each.

        Raises:
            UserError: The teacher did not predict some of them.
        """
        row = {key: index for index, key in enumerate(_keys(self.ids, self.view))}
        wanted = _keys(ids, np.broadcast_to(view, len(ids)))
        missing = [key for key in wanted if key not in row]
        if missing:
            raise UserError(_what_is_missing(teacher, wanted, missing))
        return np.array([row[key] for key in wanted], np.int64)

    def logits_of(
        self, ids: Sequence[str], teacher: str, view: int | Sequence[int] = 0
    ) -> np.ndarray:
        """Logits ``[len(ids), classes]`` in the order of ``ids``; see ``rows_of``."""
        return self.logits[self.rows_of(ids, teacher, view)]


def _keys(ids: Sequence[str], view: np.ndarray) -> list[tuple[str, int]]:
    return list(zip(ids, view.tolist(), strict=True))


def _what_is_missing(
    teacher: str, wanted: Sequence[tuple[str, int]], missing: Sequence[tuple[str, int]]
) -> str:
    clips = {clip_id for clip_id, view in missing if view == 0}
    if clips:
        total = len({clip_id for clip_id, _ in wanted})
        first = next(clip_id for clip_id, view in missing if view == 0)
        return (
            f"teacher {teacher!r} has no prediction for {len(clips)} of {total} clips, the first "
            f"is {first!r}; add them to its file, or train on fewer clips"
        )
    clip_id, view = missing[0]
    return (
        f"teacher {teacher!r} has no prediction for {len(missing)} views of clips, the first is "
        f"view {view} of {clip_id!r}; the run asks for {max(v for _, v in wanted)} views of every "
        "training clip beside the clip itself: add them to its file (with a column or array "
        "'view'; audio.views makes them), or set views.teachers_hear = 'clip', or views.count = 0"
    )


def write_targets(path: Path, targets: Targets) -> None:
    """Writes an .npz with ``ids``, ``logits``, ``embedding``, ``fold``, ``view``, ``dimensions``.

    The last where there are some.
    """
    further = {}
    if targets.dimensions is not None:
        further["dimensions"] = targets.dimensions.astype(np.float32)
    files.write_npz(
        path,
        ids=np.array(targets.ids),
        logits=targets.logits.astype(np.float32),
        embedding=targets.embedding.astype(np.float32),
        fold=targets.fold.astype(np.int32),
        view=targets.view.astype(np.int32),
        **further,
    )


def read_targets(path: Path, labels: Sequence[str], dimensions: int = 0) -> Targets:
    """Reads predictions made here or elsewhere.

    Args:
        path: An .npz with ``ids`` and ``logits`` (``embedding``, ``fold``, ``view`` and
            ``dimensions`` are optional), or a CSV with a column ``id`` and one column of logits per
            label; a column ``view`` and columns ``embedding_0`` ... are optional. Without views
            every row is of the clip itself. For probabilities give their logarithms.
        labels: The corpus's labels in order. An .npz may carry its own order as ``labels``.
        dimensions: How many the run has; of a run without any an array ``dimensions`` is not read.

    Raises:
        UserError: Unreadable, wrong shape, unknown or missing label, not finite, or a row that
            occurs twice; another number of dimensions, or they leave -1..1.
    """
    if not path.is_file():
        raise UserError(f"no predictions file {str(path)!r}")
    try:
        if path.suffix.lower() in TABLE_SUFFIXES:
            targets = _read_csv(path, labels)
        else:
            targets = _read_npz(path, labels, with_dimensions=dimensions > 0)
    except UserError:
        raise
    except Exception as error:  # zip, zlib, NumPy and csv each have their own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{path} holds no predictions: {reason}") from None
    clips = len(targets.ids)
    if targets.logits.shape != (clips, len(labels)):
        raise UserError(
            f"{path}: logits have shape {targets.logits.shape}, but there are {clips} ids and "
            f"{len(labels)} labels ({', '.join(labels)})"
        )
    for name in ("embedding", "fold", "view"):
        shape = getattr(targets, name).shape
        if shape[:1] != (clips,) or len(shape) != (2 if name == "embedding" else 1):
            raise UserError(f"{path}: {name} has shape {shape}, but there are {clips} ids")
    if targets.dimensions is not None:
        _check_dimensions(targets.dimensions, targets.ids, dimensions, path)
    if targets.view.min(initial=0) < 0:
        raise UserError(f"{path}: view {targets.view.min()} is none; views count from 0")
    counted = Counter(_keys(targets.ids, targets.view)).most_common(1)
    if counted and counted[0][1] > 1:
        (clip_id, view), _ = counted[0]
        raise UserError(
            f"{path}: some clip ids occur twice in one view, such as {clip_id!r} in view {view}"
        )
    if not np.isfinite(targets.logits).all():
        worst = targets.ids[int(np.argmin(np.isfinite(targets.logits).all(1)))]
        raise UserError(f"{path}: the logits of {worst!r} are not finite")
    return targets


def _check_dimensions(values: np.ndarray, ids: Sequence[str], count: int, path: Path) -> None:
    if values.shape != (len(ids), count):
        raise UserError(
            f"{path}: dimensions have shape {values.shape}, but there are {len(ids)} ids and the "
            f"run has {count} dimensions"
        )
    beyond = ~(np.abs(values) <= 1.0 + _ROUNDING).all(axis=1)
    if beyond.any():
        raise UserError(
            f"{path}: the dimensions of {ids[int(np.argmax(beyond))]!r} are not within -1 to 1, "
            "the ends of the raters' scale: scale and cut them off accordingly"
        )


def _read_npz(path: Path, labels: Sequence[str], with_dimensions: bool) -> Targets:
    # Opened here: NumPy leaves a damaged file open.
    with path.open("rb") as file:
        stored = np.load(file, allow_pickle=False)
        if not isinstance(stored, Mapping):
            raise ValueError("it is one array; an .npz with ids and logits is needed")
        ids = tuple(map(str, stored["ids"].astype(str)))  # bytes, too
        logits = np.asarray(stored["logits"], np.float32)
        zeros = np.zeros(len(ids), np.int32)
        embedding = stored.get("embedding", np.zeros((len(ids), 0)))
        fold, view = stored.get("fold", zeros + ALL_FOLDS), stored.get("view", zeros)
        dimensions = None
        if with_dimensions and "dimensions" in stored:
            dimensions = np.asarray(stored["dimensions"], np.float32)
        if "labels" in stored:
            logits = logits[:, _order(list(stored["labels"].astype(str)), labels, path)]
    whole_view = np.asarray(view).astype(np.int32)
    if not np.array_equal(whole_view, view):
        raise ValueError("some views are not whole numbers")
    embedding = np.asarray(embedding, np.float32)
    return Targets(ids, logits, embedding, fold, whole_view, dimensions)


def _read_csv(path: Path, labels: Sequence[str]) -> Targets:
    table = read_table(path, ("id", *labels), ("view",))
    rows = [row for _, row in table.rows]
    size = sum(name.startswith("embedding_") for name in table.columns)
    ids = tuple(row["id"] for row in rows)
    if "" in ids:
        raise UserError(f"{path}, row {table.rows[ids.index('')][0]}: the id is empty")
    logits = np.array([[float(row[name]) for name in labels] for row in rows], np.float32)
    embedding = np.array(
        [[float(row[f"embedding_{i}"]) for i in range(size)] for row in rows], np.float32
    )
    view = np.array([int(row.get("view", "0")) for row in rows], np.int32)
    fold = np.full(len(ids), ALL_FOLDS, np.int32)
    return Targets(
        ids,
        logits.reshape(len(ids), len(labels)),
        embedding.reshape(len(ids), size),
        fold,
        view,
    )


def _order(names: Sequence[str], labels: Sequence[str], path: Path) -> list[int]:
    missing = [label for label in labels if label not in names]
    if missing:
        raise UserError(f"{path} has no predictions for the label {missing[0]!r}")
    return [list(names).index(label) for label in labels]


def mix_teachers(
    teachers: Mapping[str, Targets],
    weights: Mapping[str, float],
    ids: Sequence[str],
    temperature: float,
    view: int | Sequence[int] = 0,
) -> np.ndarray:
    """One set of logits for several teachers: the weighted mean of their softened predictions.

    The gradient of ``KL(mixture || student)`` is the weighted mean of the teachers' own gradients,
    so learning from the mixture is learning from all of them.

    Args:
        teachers: Targets by name.
        weights: Shares by name; empty = equal shares.
        ids: Clips.
        temperature: The distillation temperature.
        view: Of all clips, or of each.

    Returns:
        Logits ``[len(ids), classes]``; softened at ``temperature`` they are the mixture.
    """
    if len(teachers) == 1:
        (name, targets), *_ = teachers.items()
        return targets.logits_of(ids, name, view)
    shares = {name: weights.get(name, 0.0) if weights else 1.0 for name in teachers}
    total = sum(shares.values())
    mixture = sum(
        share / total * softmax(teachers[name].logits_of(ids, name, view) / temperature)
        for name, share in shares.items()
        if share > 0
    )
    return (temperature * np.log(mixture + 1e-12)).astype(np.float32)


def mean_dimensions(
    teachers: Mapping[str, Targets], ids: Sequence[str], view: int | Sequence[int] = 0
) -> np.ndarray:
    """The mean of all teachers that predict dimensions, float32 ``[len(ids), dimensions]``.

    Args:
        teachers: Targets by name; at least one has dimensions.
        ids: Clips.
        view: Of all clips, or of each.

    Raises:
        UserError: One of these lacks a clip.
    """
    predicted = [
        teacher.dimensions[teacher.rows_of(ids, name, view)]
        for name, teacher in teachers.items()
        if teacher.dimensions is not None
    ]
    return np.asarray(np.mean(predicted, axis=0), np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs: np.ndarray = shifted / shifted.sum(axis=-1, keepdims=True)
    return probs
