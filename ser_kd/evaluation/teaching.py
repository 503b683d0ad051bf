"""What the students of a run took from each of its teachers: NumPy in, counts and shares out.

All of it is association, seen in one run. A clip on which the distilled student says what a teacher
says may have come right without that teacher: through another one, or by the chance that lets two
trainings of one student differ. Proof is the same training without that teacher.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.config import DistillConfig
from ser_kd.data.targets import Targets, mix_teachers, softmax

# As ``resources.student_files`` names them.
ALONE, DISTILLED = "student, labels alone", "student, distilled"
MIX = "teachers, mixed"


def weights(distill: DistillConfig, teachers: Sequence[str]) -> dict[str, Any]:
    """How much each teacher had to say in the distilled student's loss.

    Args:
        distill: The settings of that loss.
        teachers: Names of the run's teachers.

    Returns:
        ``shares``: row name -> share of the mixture that was learnt, 0..1; 0 for a teacher that
        is not in it, and for all where no predictions were learnt (``logit_weight`` = 0).
        ``embedding_weights``: row name -> weight, of those whose embedding was learnt.
    """
    given = distill.teachers or dict.fromkeys(teachers, 1.0)
    total = sum(given.get(name, 0.0) for name in teachers) or 1.0
    learnt = distill.logit_weight > 0
    return {
        "shares": {
            row_name(name): given.get(name, 0.0) / total if learnt else 0.0 for name in teachers
        },
        "embedding_weights": {
            row_name(name): weight
            for name, weight in distill.embedding_weights.items()
            if weight > 0
        },
    }


def row_name(teacher: str) -> str:
    """What tables call a teacher; no other model's name begins like that."""
    return f"teacher {teacher}"


def mixture(
    distill: DistillConfig, targets: Mapping[str, Targets], ids: Sequence[str]
) -> np.ndarray | None:
    """What a student would say that has learnt the teachers' mixture perfectly.

    Args:
        distill: Shares and temperature.
        targets: Of all teachers, by name.
        ids: Clips.

    Returns:
        Probabilities ``[clips, classes]``, at temperature 1; None where the mixture is not of
        several teachers, or one of them does not know all clips.
    """
    shares = weights(distill, list(targets))["shares"]
    chosen = {name: found for name, found in targets.items() if shares[row_name(name)] > 0}
    if len(chosen) < 2 or not all(knows(found, ids) for found in chosen.values()):
        return None
    return softmax(mix_teachers(chosen, distill.teachers, ids, distill.temperature))


def knows(targets: Targets, ids: Sequence[str]) -> bool:
    """Whether a teacher predicted all these clips themselves (view 0)."""
    rows = zip(targets.ids, targets.view.tolist(), strict=True)
    return set(ids) <= {clip_id for clip_id, view in rows if view == 0}


def compare(
    teachers: Mapping[str, np.ndarray],
    mix: np.ndarray | None,
    students: Mapping[str, np.ndarray],
    truth: np.ndarray,
    speakers: Sequence[str],
) -> dict[str, Any]:
    """Agreement of students with teachers and of teachers with each other; clips won and lost.

    Args:
        teachers: Row name -> probabilities ``[clips, classes]``.
        mix: The same of the mixture that was learnt, where there is one.
        students: The same of the students, by the names that the run's tables show.
        truth: Class indices ``[clips]``.
        speakers: Who speaks, ``[clips]``; intervals are bootstrapped over them.

    Returns:
        ``clips``, ``speakers``; ``agreement``: for each teacher and the mixture (``with``) and each
        of ``students``, ``same_label`` (share of the clips on which both choose the same) with its
        ``interval`` and ``kl``, KL(teacher || student) in nats, mean over the clips; ``between``:
        see ``between_teachers``; ``help``: see ``helped``, None without both float students.
        Intervals are 95 %, None where there is but one speaker.
    """
    sources = {**teachers, **({} if mix is None else {MIX: mix})}
    labels = {name: probs.argmax(1) for name, probs in sources.items()}
    of_students = {name: probs.argmax(1) for name, probs in students.items()}
    several = len(set(speakers)) > 1

    def agreement(source: str, student: str) -> dict[str, Any]:
        one, other = labels[source], of_students[student]
        classes = sources[source].shape[1]
        # The share of the same labels is the accuracy (WA) with the teacher in the truth's place.
        ends = metrics.speaker_intervals(one, other, speakers, classes)["wa"] if several else None
        return {
            "same_label": float(np.mean(one == other)),
            "interval": ends,
            "kl": divergence(sources[source], students[student]),
        }

    both = ALONE in students and DISTILLED in students
    return {
        "clips": len(truth),
        "speakers": len(set(speakers)),
        "agreement": [
            {"with": source, "students": {name: agreement(source, name) for name in students}}
            for source in sources
        ],
        "between": between_teachers({name: labels[name] for name in teachers}, truth),
        "help": helped(labels, of_students[ALONE], of_students[DISTILLED], truth, speakers)
        if both
        else None,
    }


def divergence(teacher: np.ndarray, student: np.ndarray) -> float:
    """KL(teacher || student) in nats, the mean over clips; 0 where both say the same.

    Args:
        teacher: Probabilities ``[clips, classes]``.
        student: The same.
    """
    p, q = (np.maximum(probs.astype(np.float64), 1e-12) for probs in (teacher, student))
    return float((p * (np.log(p) - np.log(q))).sum(axis=1).mean())


def between_teachers(teachers: Mapping[str, np.ndarray], truth: np.ndarray) -> list[dict[str, Any]]:
    """Whether teachers know different things, pair by pair.

    Args:
        teachers: Name -> class indices ``[clips]``.
        truth: Class indices ``[clips]``.

    Returns:
        For each pair ``teachers`` (their names), ``same_label`` (share of the clips), and numbers
        of clips: ``both_right``; ``first_right``, ``second_right``: that one alone; ``neither``.
    """
    return [
        {
            "teachers": [one, other],
            "same_label": float(np.mean(teachers[one] == teachers[other])),
            "both_right": _count(first & second),
            "first_right": _count(first & ~second),
            "second_right": _count(second & ~first),
            "neither": _count(~first & ~second),
        }
        for one, other in combinations(teachers, 2)
        for first, second in [(teachers[one] == truth, teachers[other] == truth)]
    ]


def helped(
    teachers: Mapping[str, np.ndarray],
    alone: np.ndarray,
    distilled: np.ndarray,
    truth: np.ndarray,
    speakers: Sequence[str],
) -> dict[str, Any]:
    """Clips won and lost between the student from labels alone and the distilled one.

    ``net`` = ``won`` - ``lost`` of a teacher is large for any good teacher, also for one that
    nobody learnt from: it is the number of clips that it knows among those on which just one
    student is right, less all that the distilled student lost. ``nearer`` has no such favourites:
    two trainings that differ by chance alone come nearer to a teacher as often as they go away, and
    0 is expected. A teacher that was followed has ``nearer`` above 0 where it is right (what it
    gave, or what made the student better otherwise) and where it is wrong (its mistakes taken
    over). Teachers that agree share their counts; nothing here tells them apart.

    Args:
        teachers: Name -> class indices ``[clips]``; the mixture may be among them.
        alone: Of the student from labels alone, ``[clips]``.
        distilled: Of the distilled student, ``[clips]``.
        truth: ``[clips]``.
        speakers: Who speaks, ``[clips]``; intervals are bootstrapped over them.

    Returns:
        Numbers of clips. ``won``: alone wrong, distilled right; ``lost``: the reverse.
        ``teachers``, for each (``with``): ``differs`` (it and alone choose different labels),
        ``moved`` (of these, distilled chooses the teacher's), ``moved_right`` (of these, rightly);
        ``won`` (it was right, too: the same clips as ``moved_right``), ``lost`` (it was wrong,
        too), ``net`` with ``net_interval``; ``nearer``: ``right`` and ``wrong``, how many clips
        more have the teacher's label with distilled than with alone, among those on which the
        teacher is right or wrong, with ``right_interval`` and ``wrong_interval``. Intervals are
        95 %, None where there is but one speaker.
    """
    won = (alone != truth) & (distilled == truth)
    lost = (alone == truth) & (distilled != truth)
    rows = []
    for name, labels in teachers.items():
        right = labels == truth
        differs = labels != alone
        moved = differs & (distilled == labels)
        net = _steps(won & right, lost & ~right)
        nearer = _steps(moved, ~differs & (distilled != labels))
        rows.append(
            {
                "with": name,
                "differs": _count(differs),
                "moved": _count(moved),
                "moved_right": _count(moved & right),
                "won": _count(won & right),
                "lost": _count(lost & ~right),
                "net": int(net.sum()),
                "net_interval": _interval(net, speakers),
                "nearer": {
                    "right": int(nearer[right].sum()),
                    "right_interval": _interval(nearer * right, speakers),
                    "wrong": int(nearer[~right].sum()),
                    "wrong_interval": _interval(nearer * ~right, speakers),
                },
            }
        )
    return {"won": _count(won), "lost": _count(lost), "teachers": rows}


def _steps(up: np.ndarray, down: np.ndarray) -> np.ndarray:
    """1 for a clip that counts for, -1 for one that counts against, int ``[clips]``."""
    return up.astype(np.int64) - down.astype(np.int64)


def _interval(steps: np.ndarray, speakers: Sequence[str]) -> tuple[float, float] | None:
    """Of the sum of ``steps``, had other speakers spoken; in clips, of as many speakers."""
    if len(set(speakers)) < 2:
        return None
    # Steps as classes 0, 1, 2: what is drawn again is how many clips have which.
    tables = metrics.resampled_confusions(np.zeros_like(steps), steps + 1, speakers, 3)
    return metrics.interval(tables[:, 0, 2] - tables[:, 0, 0])


def _count(where: np.ndarray) -> int:
    return int(np.count_nonzero(where))
