"""Who is trained on and who is scored: speakers that no finished student's validation wears out."""

import dataclasses
from collections.abc import Sequence

from ser_kd.corpora.splits import Splits
from ser_kd.errors import UserError


def development_splits(splits: Splits, development_speakers: Sequence[str]) -> Splits:
    """Moves some train speakers to validation, and takes the test speakers away.

    Differences of a point do not show on nine actors. Everything downstream (teachers' folds,
    statistics, views) follows from the train part, so that none of it hears who is scored.

    Args:
        splits: Of the corpus.
        development_speakers: Train speakers that are scored beside those of validation.

    Returns:
        The rest of train; validation and the development speakers, in order of id; no test.

    Raises:
        UserError: One of them is no train speaker, or none is left to train on.
    """
    train_speakers = {clip.speaker for clip in splits.train}
    for speaker in development_speakers:
        if speaker not in train_speakers:
            raise UserError(
                f"development_speakers names {speaker!r}, who is no train speaker of this corpus: "
                "add their clips, or name another one"
            )
    moved = {*development_speakers}
    if not train_speakers - moved:
        raise UserError("development_speakers names every train speaker: leave some to train on")
    scored = [*splits.validation, *(clip for clip in splits.train if clip.speaker in moved)]
    return dataclasses.replace(
        splits,
        train=tuple(clip for clip in splits.train if clip.speaker not in moved),
        validation=tuple(sorted(scored, key=lambda clip: clip.id)),
        test=(),
    )
