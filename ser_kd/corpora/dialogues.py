"""Who says what before and after a clip, in corpora that have dialogues.

A clip has a place in a dialogue if its attributes name both ``dialogue`` and ``turn`` (a number);
the ``folder`` corpus takes them from columns of its CSV. ``turn_speaker`` may name who speaks where
``speaker`` stands for everybody in the dialogue.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ser_kd.corpora.clip import Clip
from ser_kd.errors import UserError


@dataclass(frozen=True)
class Neighbour:
    """Another clip of the same dialogue.

    Attributes:
        id: Its clip id.
        same_speaker: Whether it has the same speaker.
    """

    id: str
    same_speaker: bool


def neighbours(
    clips: Sequence[Clip], group_of: Mapping[str, object], count: int
) -> dict[str, tuple[Neighbour | None, ...]]:
    """The ``count`` clips before and the ``count`` after each clip, in order of their turns.

    A clip's neighbours are those of its own group (fold, or part of the corpus): a fold's networks
    must not train on held-out speakers, not even as context of another clip. The place of a clip of
    another group, or of one that takes no part, stays empty.

    Args:
        clips: All clips.
        group_of: Clip id -> its group; clips that are absent here take no part.
        count: At least 1.

    Returns:
        Clip id -> ``2 * count`` neighbours, None where there is none; every clip of ``group_of``
        that has a place in a dialogue.

    Raises:
        UserError: A turn is no number; there are no dialogues; folds cut all of them to pieces.
    """
    dialogues: dict[str, list[tuple[float, str]]] = defaultdict(list)
    talker = {}
    for clip in clips:
        dialogue, turn = clip.attributes.get("dialogue"), clip.attributes.get("turn")
        if dialogue in (None, "") or turn in (None, ""):
            continue
        dialogues[str(dialogue)].append((_turn(clip, turn), clip.id))
        talker[clip.id] = clip.attributes.get("turn_speaker") or clip.speaker
    if not dialogues:
        raise UserError(
            "context_clips needs dialogues, but no clip of the corpus has attributes 'dialogue' "
            "and 'turn' (columns of a folder corpus's CSV): set context_clips = 0"
        )
    found: dict[str, tuple[Neighbour | None, ...]] = {}
    offsets = [*range(-count, 0), *range(1, count + 1)]
    for turns in dialogues.values():
        ids = [clip_id for _, clip_id in sorted(turns)]
        for place, clip_id in enumerate(ids):
            if clip_id not in group_of:
                continue
            around = [
                ids[place + offset] if 0 <= place + offset < len(ids) else None
                for offset in offsets
            ]
            found[clip_id] = tuple(
                Neighbour(other, talker[other] == talker[clip_id])
                if other is not None and group_of.get(other) == group_of[clip_id]
                else None
                for other in around
            )
    if not any(any(around) for around in found.values()):
        raise UserError(
            "context_clips finds no neighbour: the folds divide every dialogue's speakers; let the "
            "column 'speaker' name the dialogue's group of speakers, and 'turn_speaker' who speaks"
        )
    return found


def _turn(clip: Clip, turn: object) -> float:
    try:
        return float(str(turn))
    except ValueError:
        raise UserError(f"{clip.id}: turn {turn!r} is not a number") from None
