"""Scores of several models on the same clips: the core of ``eval.json``.

``eval.json`` has one schema, whether it tells of a run (``run.evaluate_run``) or of one model
(``model.evaluate_model``):

* ``format``; ``labels``; ``synthetic``: whether the corpus is synthetic speech; ``corpus``: its
  name;
* ``model``: the file that is looked at in detail: name, input, runtime, window, bytes, SHA-256;
* ``parts``: part of the corpus -> what ``score_part`` gives, and beside it ``file``
  (``exported_file.evaluate_file``), ``clips_of_training_speakers`` (None: not known),
  ``unreadable`` (clip -> reason); of a cross-validation one part, ``out-of-fold``, with ``folds``
  and ``by_speaker``;
* ``teachers_out_of_fold``: teacher -> WA, UA and macro-F1 of its targets on the training clips,
  each predicted by the fold that did not train on its speaker (None: not known);
* ``cross_corpus``: scores on other corpora; ``history``: of every epoch of the training;
* ``settings``: seeds, sources and machine; ``notes``: sentences on what was not measured.

Size, time and memory stand in ``resources.json`` beside it, by the same names: unlike these scores
they differ each time that they are measured.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from ser_kd import metrics

FORMAT = 2
RESAMPLES, SEED = 1000, 0
TEACHER, STUDENT = "teacher", "student"
OUT_OF_FOLD = "out-of-fold"
"""The part of a cross-validation: all clips, each predicted by a student that did not learn it."""


@dataclass(frozen=True)
class Predictions:
    """What one model predicts.

    Attributes:
        name: For tables.
        role: ``TEACHER`` or ``STUDENT``.
        ids: The clips that it predicted, each once.
        probs: Probabilities ``[ids, classes]``.
    """

    name: str
    role: str
    ids: Sequence[str]
    probs: np.ndarray

    def of(self, ids: Sequence[str]) -> np.ndarray:
        """Probabilities ``[ids, classes]`` of clips that it predicted."""
        row = {clip_id: number for number, clip_id in enumerate(self.ids)}
        probs: np.ndarray = self.probs[[row[clip_id] for clip_id in ids]]
        return probs


def teacher_row(teacher: str) -> str:
    """What tables call a teacher; no other model's name begins like that."""
    return f"teacher {teacher}"


def score_part(
    ids: Sequence[str],
    truth: np.ndarray,
    speakers: Sequence[str],
    labels: Sequence[str],
    predictions: Sequence[Predictions],
    untrained: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores and agreement of models on the clips of one part of a corpus.

    Args:
        ids: Of the clips.
        truth: Class indices ``[ids]``.
        speakers: The speaker of each clip, ``[ids]``.
        labels: Class names.
        predictions: Of every model, teachers first.
        untrained: Classes without a training clip. A model has not learned them, whatever it says
            by chance: a clip that it gives such a label counts for its likeliest other one.

    Returns:
        ``clips``, ``speakers``; ``models``: name -> ``role`` and what ``scores_of`` gives, of those
        that predicted all clips; ``agreement``: name -> student after it -> share 0..1 of the clips
        that both predicted for which they predict the same label.
    """
    learned = np.array([label not in untrained for label in labels], np.float32)
    whole = [item for item in predictions if set(ids) <= set(item.ids)]
    return {
        "clips": len(ids),
        "speakers": len(set(speakers)),
        "models": {
            item.name: {
                "role": item.role,
                **scores_of(item.of(ids) * learned, truth, speakers, labels),
            }
            for item in whole
        },
        "agreement": _agreement(ids, predictions),
    }


def scores_of(
    probs: np.ndarray, truth: np.ndarray, speakers: Sequence[str], labels: Sequence[str]
) -> dict[str, Any]:
    """``metrics.full_scores`` and the negative log-likelihood ``nll`` of one model.

    Args:
        probs: ``[clips, classes]``.
        truth: Class indices ``[clips]``.
        speakers: The speaker of each clip, ``[clips]``.
        labels: Class names.
    """
    return {
        **metrics.full_scores(truth, probs.argmax(1), speakers, labels, RESAMPLES, SEED),
        "nll": metrics.negative_log_likelihood(probs, truth),
    }


def _agreement(
    ids: Sequence[str], predictions: Sequence[Predictions]
) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for one, other in combinations(predictions, 2):
        both = set(one.ids) & set(other.ids)
        common = [clip_id for clip_id in ids if clip_id in both]
        if other.role == STUDENT and common:
            same = one.of(common).argmax(1) == other.of(common).argmax(1)
            found.setdefault(one.name, {})[other.name] = float(np.mean(same))
    return found
