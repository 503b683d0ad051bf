"""Scores of predictions: NumPy in, numbers out.

``classification`` (WA, UA, macro-F1), ``concordance`` (CCC) and their ``bootstrap`` over speakers
are offered here by name; ``calibration`` has the reliability diagram and ECE, and ``svg`` writes
matplotlib figures that follow the reader's light or dark theme.
"""

from ser_kd.metrics.bootstrap import (
    MIN_SPEAKERS,
    interval,
    reported_interval,
    resampled_confusions,
)
from ser_kd.metrics.classification import (
    collapsed_class,
    confusion,
    full_scores,
    negative_log_likelihood,
    scores,
    scores_of_confusions,
    speaker_intervals,
)
from ser_kd.metrics.concordance import concordance, concordance_intervals

__all__ = [
    "MIN_SPEAKERS",
    "collapsed_class",
    "concordance",
    "concordance_intervals",
    "confusion",
    "full_scores",
    "interval",
    "negative_log_likelihood",
    "reported_interval",
    "resampled_confusions",
    "scores",
    "scores_of_confusions",
    "speaker_intervals",
]
