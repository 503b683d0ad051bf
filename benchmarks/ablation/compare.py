"""What a variant gains over another: the same clips, seeds and resampled speakers."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.ablation.rows import Clips
from ser_kd import metrics

CONCLUSIVE_SEEDS = 3
"""With fewer a row is a screen, and supports no conclusion."""
_RESAMPLES = 2_000


@dataclass(frozen=True)
class Difference:
    """Of UA, in shares.

    Attributes:
        value: Mean over the seeds.
        low: Of the 95 % interval over speakers; the seeds are held fixed in it.
        high: The same.
        per_seed: Seed -> its own difference.
    """

    value: float
    low: float
    high: float
    per_seed: Mapping[int, float]

    @property
    def is_screen(self) -> bool:
        return len(self.per_seed) < CONCLUSIVE_SEEDS

    @property
    def verdict(self) -> str:
        """``screen``, ``better``, ``worse`` or ``not shown``.

        The interval over speakers says nothing of seeds: so every seed has to say the same.
        """
        if self.is_screen:
            return "screen"
        signs = {np.sign(value) for value in self.per_seed.values()}
        if len(signs) > 1 or self.low <= 0.0 <= self.high:
            return "not shown"
        return "better" if self.value > 0 else "worse"


def paired_difference(
    clips: Clips, ours: Mapping[int, np.ndarray], theirs: Mapping[int, np.ndarray]
) -> Difference | None:
    """UA of one variant minus that of another, over the seeds that both have.

    A bootstrap over speakers: every resample draws as many speakers as there are, and scores both
    variants on the clips of those. Speakers who are easy for both then do not count.

    Args:
        clips: What both were scored on.
        ours: Seed -> class indices ``[clips]``.
        theirs: The same, of the other one.

    Returns:
        The difference; None if no seed is common to both.
    """
    seeds = sorted(set(ours) & set(theirs))
    if not seeds:
        return None
    per_seed = {
        seed: metrics.scores(clips.truth, ours[seed])["ua"]
        - metrics.scores(clips.truth, theirs[seed])["ua"]
        for seed in seeds
    }
    drawn = [
        _resampled_ua(clips, ours[seed]) - _resampled_ua(clips, theirs[seed]) for seed in seeds
    ]
    low, high = metrics.interval(np.mean(drawn, axis=0))
    return Difference(float(np.mean(list(per_seed.values()))), low, high, per_seed)


def _resampled_ua(clips: Clips, predicted: np.ndarray) -> np.ndarray:
    """``[resamples]``; the n-th draws the same speakers whoever predicted."""
    tables = metrics.resampled_confusions(
        clips.truth, predicted, clips.speakers, len(clips.labels), _RESAMPLES
    )
    return metrics.scores_of_confusions(tables)["ua"]
