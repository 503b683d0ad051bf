"""What is known of a clip beside its sound: one vector per clip and modality, where there is one.

A fusion teacher (``ser_kd.teachers.fusion``) and a dimensional one
(``ser_kd.teachers.dimensional``) learn from several of them, the student from none. Where they come
from, as a recipe spells it:

* ``votes:face``, ``votes:voice``, ``votes:multimodal``: the votes of CREMA-D's raters, who had the
  picture alone, the sound alone, or both (Cao et al. 2014).
* ``teacher:<name>``: what another teacher of the run predicts, out of fold. With ``:embedding``
  its embedding as well, of a teacher of kind ``file``.
* ``file:<path>.npz``: arrays ``ids`` and ``values``, made anywhere.

To a fusion teacher a clip that lacks a modality is no error; its place is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd.corpora.clip import Clip
from ser_kd.data.clip_arrays import ClipView
from ser_kd.data.targets import IN_FOLD, Targets, softmax
from ser_kd.errors import UserError
from ser_kd.teachers.settings import MaskingConfig
from ser_kd.teachers.sources import ModalitySource

# Below this probability a teacher's logarithms are those of rounding errors.
_LEAST_PROBABILITY = 1e-4
_FULL_INTENSITY = 100.0


@dataclass(frozen=True)
class Modality:
    """One vector for each clip that has it.

    Attributes:
        values: float32 ``[rows, size]``.
        rows: Where a clip's vector is: view -> row where views differ, else clip id -> row.
    """

    values: np.ndarray
    rows: Mapping[ClipView, int] | Mapping[str, int]

    @property
    def size(self) -> int:
        """Components of a vector."""
        return int(self.values.shape[1])

    def of(self, views: Sequence[ClipView | None]) -> tuple[np.ndarray, np.ndarray]:
        """Vectors of some views of clips, and which there are.

        Args:
            views: None = no clip at all, which has nothing.

        Returns:
            float32 ``[len(views), size]``, zeros where there is none; bool ``[len(views)]``.
        """
        rows: Mapping[Any, int] = self.rows
        found = [-1 if view is None else rows.get(view, rows.get(view[0], -1)) for view in views]
        place = np.array(found, np.int64)
        present = place >= 0
        values = np.zeros((len(views), self.size), np.float32)
        values[present] = self.values[place[present]]
        return values, present


def stored_modality(source: ModalitySource, clips: Sequence[Clip]) -> Modality:
    """Of a source that is no teacher: votes, or a file.

    Args:
        source: Of kind ``votes`` or ``file``.
        clips: All of the corpus.

    Raises:
        UserError: See ``file_modality``.
    """
    if source.kind == "votes":
        return votes_modality(clips, source.name)
    return file_modality(Path(source.name).expanduser())


def require_all(modality: Modality, views: Sequence[ClipView], where: str) -> None:
    """For a network that masks nothing.

    Args:
        modality: Of which nothing may be missing.
        views: Of all clips that there are.
        where: The setting that names it, for messages.

    Raises:
        UserError: Some clips, or all, lack it.
    """
    lacking = [
        clip_id for (clip_id, _), has in zip(views, modality.of(views)[1], strict=True) if not has
    ]
    if not lacking:
        return
    clips, without = len({clip_id for clip_id, _ in views}), len(set(lacking))
    if without == clips:
        raise UserError(
            f"{where} is absent for all {clips} clips: its ids have to be clip ids, such as "
            f"{lacking[0]!r} (votes: tabulatedVotes.csv has to be there)"
        )
    raise UserError(
        f"{where} is absent for {without} of {clips} clips, the first is {lacking[0]!r}; every "
        "clip needs it, test clips and speech without labels included"
    )


def votes_modality(clips: Sequence[Clip], channel: str) -> Modality:
    """The raters' votes: shares of the emotions and their mean intensities, 0 to 1.

    The emotions are CREMA-D's own, whatever the run's labels are. Intensities are the means over
    those who chose the emotion, 0 where nobody did; they are left out where the corpus has none.

    Args:
        clips: Of any corpus; clips without ``attributes["votes"][channel]`` lack the modality.
        channel: ``voice``, ``face`` or ``multimodal``.
    """
    rated = [clip for clip in clips if sum(_votes(clip, "votes", channel).values()) > 0]
    emotions = sorted({emotion for clip in rated for emotion in _votes(clip, "votes", channel)})
    with_intensity = any(_votes(clip, "vote_intensities", channel) for clip in rated)
    values = np.zeros((len(rated), (1 + with_intensity) * len(emotions)), np.float32)
    for row, clip in enumerate(rated):
        votes = _votes(clip, "votes", channel)
        shares = [votes.get(emotion, 0) / sum(votes.values()) for emotion in emotions]
        strength = _votes(clip, "vote_intensities", channel)
        seemed = [strength.get(emotion, 0.0) / _FULL_INTENSITY for emotion in emotions]
        values[row] = shares + seemed if with_intensity else shares
    return Modality(values, {clip.id: row for row, clip in enumerate(rated)})


def _votes(clip: Clip, attribute: str, channel: str) -> Mapping[str, float]:
    votes: Mapping[str, float] = clip.attributes.get(attribute, {}).get(channel, {})
    return votes


def file_modality(path: Path) -> Modality:
    """Vectors that were made elsewhere, of whole clips: every view of a clip has the same.

    Args:
        path: An .npz with ``ids`` ``[n]`` and ``values`` ``[n, size]``.

    Raises:
        UserError: No such file, not these arrays, vectors of two sizes, not finite, an id twice.
    """
    if not path.is_file():
        raise UserError(f"no modality file {str(path)!r}")
    try:
        with path.open("rb") as file:  # NumPy leaves a damaged file open
            stored = np.load(file, allow_pickle=False)
            ids = tuple(map(str, stored["ids"].astype(str)))
            values = stored["values"]
    except Exception as error:  # zip, zlib and NumPy each have their own
        reason = " ".join(str(error).split()) or type(error).__name__
        if "Object arrays" in reason:
            raise UserError(
                f"{path}: its rows are of two sizes or no numbers; every clip's vector has the "
                "same size: write values as one float array [clips, size]"
            ) from None
        raise UserError(
            f"{path} holds no modality, an .npz with ids and values: {reason}"
        ) from None
    if values.ndim != 2 or len(values) != len(ids) or not values.shape[1]:
        raise UserError(f"{path}: values have shape {values.shape}, but there are {len(ids)} ids")
    rows = {clip_id: row for row, clip_id in enumerate(ids)}
    if len(rows) < len(ids):
        twice = next(clip_id for row, clip_id in enumerate(ids) if rows[clip_id] != row)
        raise UserError(f"{path}: the id {twice!r} occurs twice; a clip has one vector")
    values = _finite(values.astype(np.float32), ids, str(path))
    return Modality(values, rows)


def teacher_modality(
    targets: Targets,
    teacher: str,
    views: Sequence[ClipView],
    fold_of: Mapping[str, int],
    embedding: bool = False,
) -> Modality:
    """Another teacher's predictions: logarithms of probabilities, embedding after them.

    Args:
        targets: Of that teacher.
        teacher: Its name, for messages.
        views: What it has to have predicted.
        fold_of: Training clip id -> the fold whose network is kept from its speaker.
        embedding: Whether the embedding is wanted too.

    Raises:
        UserError: It did not predict them all; it was trained on the clip, or has other folds; it
            has no embedding, or one per fold.
    """
    ids = [clip_id for clip_id, _ in views]
    rows = targets.rows_of(ids, teacher, [view for _, view in views])
    for clip_id, fold in zip(ids, targets.fold[rows].tolist(), strict=True):
        own = fold_of.get(clip_id)
        if fold == IN_FOLD:
            raise UserError(
                f"teacher {teacher!r} was trained on {clip_id!r}, which it predicts: a fusion "
                "learns from predictions out of fold only (in_fold = false)"
            )
        # A file need not have folds: who made it is responsible for it.
        if own is not None and fold >= 0 and fold != own:
            raise UserError(
                f"teacher {teacher!r} predicts {clip_id!r} with fold {fold}, here it is in fold "
                f"{own}: give both teachers the same folds, and both runs the same seed and corpus"
            )
    log_probs = np.log(np.maximum(softmax(targets.logits[rows]), _LEAST_PROBABILITY))
    values = log_probs.astype(np.float32)
    if embedding:
        if not targets.embedding.shape[1]:
            raise UserError(f"teacher {teacher!r} has no embedding: write 'teacher:{teacher}'")
        if (targets.fold[rows] >= 0).any():
            raise UserError(
                f"the embeddings of teacher {teacher!r} are of several folds' networks, which have "
                f"nothing in common: write 'teacher:{teacher}', its logits alone"
            )
        values = np.concatenate([values, targets.embedding[rows]], axis=1)
    values = _finite(values, ids, f"teacher {teacher!r}")
    return Modality(values, {view: row for row, view in enumerate(views)})


def _finite(values: np.ndarray, ids: Sequence[str], what: str) -> np.ndarray:
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise UserError(
            f"{what}: the vector of {ids[int(np.argmin(finite))]!r} is not finite; leave out what "
            "is not known"
        )
    return values


def kept_modalities(present: Any, audio: Sequence[bool], masking: MaskingConfig, seed: Any) -> Any:
    """Draws one of the four scenarios for each clip, and what it leaves of its modalities.

    In the graph and stateless: the same seed gives the same draws (as ModDrop, arXiv 1501.00102,
    drops whole modalities; the scenarios are those of Muaz, Paull & Malagavalli).

    Args:
        present: bool ``[batch, modalities]``: what each clip has.
        audio: Which of the modalities are audio; they are always left.
        masking: Probabilities of the scenarios.
        seed: int ``[2]``.

    Returns:
        bool ``[batch, modalities]``, never true where ``present`` is not.
    """
    probabilities = [
        masking.all_present,
        masking.audio_only,
        masking.audio_and_one,
        masking.random_subset,
    ]
    edges = np.cumsum(probabilities) / np.sum(probabilities)
    seeds = tf.random.experimental.stateless_split(seed, 3)
    shape = tf.shape(present)
    drawn = tf.random.stateless_uniform(shape[:1], seeds[0])
    scenario = tf.searchsorted(tf.constant(edges, tf.float32), drawn, side="right")[:, tf.newaxis]
    other = present & ~tf.constant(list(audio))
    score = tf.where(other, tf.random.stateless_uniform(shape, seeds[1]), -1.0)
    one = tf.one_hot(tf.argmax(score, axis=1), shape[1], on_value=True, off_value=False)
    subset = tf.random.stateless_uniform(shape, seeds[2]) < 0.5
    kept = (
        (scenario == 0)
        | ((scenario == 2) & one)
        | ((scenario == 3) & subset)
        | tf.constant(list(audio))
    )
    return kept & present
