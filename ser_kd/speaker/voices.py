"""Training that shows one student both cases: the speaker is a stranger, the speaker is known.

A student that only ever saw frames standardised with the corpus's statistics gains less from its
owner's, and one that only saw each speaker's own is lost without them. So each time a clip is
drawn, so is how much is known of its speaker: nothing, or the statistics of 1, 3, ... or all clips
of theirs (``ser_kd.speaker.statistics``), labels unseen.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.speaker.statistics import VoiceStatistics

KNOWN_CLIPS = (1, 3, 5, 10, 20, None)
"""How many clips of the speaker may be known; None: all."""
_PRIOR_CLIPS = 2.0
"""Less than in use (``owner.PRIOR_CLIPS``): training shows what lies further off, too."""


def drawn_voices(
    arrays: ClipArrays,
    speakers: Sequence[str],
    mean_db: np.ndarray,
    deviation_db: np.ndarray,
    draws: int,
    seed: int,
) -> np.ndarray:
    """What may be known of the speaker of every clip.

    Args:
        arrays: Log-mel frames.
        speakers: Who speaks, ``[clips]``; clips of nobody known (an empty name) stand alone.
        mean_db: Of the corpus, ``[mels]``.
        deviation_db: The same.
        draws: How many per clip.
        seed: Of the draws.

    Returns:
        float32 ``[clips, draws, 2, mels]``: factor and summand that move a clip's frames to the
        corpus's mean and deviation, had that much been known.
    """
    rng = np.random.default_rng(seed)
    rows_of = defaultdict(list)
    for row, speaker in enumerate(speakers):
        rows_of[speaker or f"clip {row}"].append(row)
    sums = [VoiceStatistics().after(arrays.clip(row)) for row in range(len(arrays))]
    result = np.empty((len(arrays), draws, 2, len(mean_db)), np.float32)
    for rows in rows_of.values():
        for row in rows:
            for draw in range(draws):
                count = KNOWN_CLIPS[rng.integers(len(KNOWN_CLIPS))]
                known = rng.permutation(rows)[:count]
                mean, deviation = _together([sums[k] for k in known]).voice(
                    mean_db, deviation_db, _PRIOR_CLIPS
                )
                factor = deviation_db / deviation
                result[row, draw] = factor, mean_db - factor * mean
    return result


def _together(parts: Sequence[VoiceStatistics]) -> VoiceStatistics:
    return VoiceStatistics(
        sum(part.clips for part in parts),
        sum(part.frames for part in parts),
        np.sum([part.total for part in parts], axis=0),
        np.sum([part.squares for part in parts], axis=0),
    )
