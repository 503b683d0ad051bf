"""Published limits for how far degraded recordings may change a model's predictions.

The limits are those of audEERING's tests of speech emotion models (Derington, Wierstorf, Özkil,
Eyben, Burkhardt and Schuller, "Testing Correctness, Fairness, and Robustness of Speech Emotion
Recognition Models", arXiv 2312.06270; thresholds for categories in ``test/emotion/*.yaml`` of
github.com/audeering/ser-tests):

* background noise: UA falls by at most .05 and at least 90 % of the labels stay, at 20 dB;
* low quality phone: UA falls by at most .05 and at least 50 % of the labels stay;
* small changes: at least 95 % of the labels stay, for a gain of 1 or 2 dB, up to 1000 samples (at
  16 kHz) cut off or of silence added, up to 0.3 % of the samples clipped, white noise at 35 dB;
* sexes: the UA of each differs from that of all clips by at most .075.

What is not as it is there: their babble is MUSAN's, ours are the evaluated corpus's other speakers;
pink noise stands in for their recordings of noise and music; their phone is a compressor, AMR and
noise, ours a band-pass and mu-law; they draw a small change for each clip, we take the largest, and
leave out their soft tone and mild filters; their sexes are balanced to 1000 clips each. 10 and 5 dB
are harder than anything published; they are held against the same limits, and marked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LIMITS_SOURCE = (
    "audEERING's tests of speech emotion models (arXiv 2312.06270, github.com/audeering/ser-tests, "
    "test/emotion): published for noise at 20 dB; noise, babble and phone are stand-ins for theirs"
)
SNRS_DB = (20.0, 10.0, 5.0)
_PUBLISHED_SNR_DB = 20.0


def noise_limit(snr_db: float) -> str:
    """The limits that noise at this level is held against."""
    return f"noise at {snr_db:.0f} dB"


@dataclass(frozen=True)
class _Limit:
    """A limit on one figure; ``published`` where the limit was published for these conditions."""

    name: str
    limit: float
    at_most: bool
    published: bool = True

    def judge(self, worst: float, condition: str) -> dict[str, Any]:
        return {
            "name": self.name,
            "limit": self.limit,
            "bound": "at most" if self.at_most else "at least",
            "worst": worst,
            "condition": condition,
            "met": bool(worst <= self.limit if self.at_most else worst >= self.limit),
            "published": self.published,
        }


def _ua_drop(on: str, published: bool = True) -> tuple[str, str, _Limit]:
    return on, "ua_drop", _Limit(f"{on}: drop of UA", 0.05, True, published)


def _unchanged(on: str, limit: float, published: bool = True) -> tuple[str, str, _Limit]:
    return on, "unchanged", _Limit(f"{on}: labels unchanged", limit, False, published)


# Conditions with this limit, the figure of ``robustness.measure``, the limit.
_LIMITS = (
    *(
        row
        for snr_db in SNRS_DB
        for row in (
            _ua_drop(noise_limit(snr_db), snr_db == _PUBLISHED_SNR_DB),
            _unchanged(noise_limit(snr_db), 0.9, snr_db == _PUBLISHED_SNR_DB),
        )
    ),
    _ua_drop("telephone"),
    _unchanged("telephone", 0.5),
    _unchanged("small changes", 0.95),
)
_OF_ALL = _Limit("sexes: UA away from that of all", 0.075, True)
_OF_EACH_OTHER = _Limit("sexes: UA away from each other", 0.075, True, published=False)


def judged(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """``robustness.measure``'s results against the limits that they are held against.

    Returns:
        For each limit for which something was measured: ``name``; ``limit``; ``bound``, whether
        figures are to be ``at most`` or ``at least`` that; ``worst``, the figure furthest on the
        wrong side, of ``condition``; ``met``; ``published``, whether the limit was published for
        these conditions.
    """
    found = []
    for on, figure, limit in _LIMITS:
        conditions = [item for item in measured if item["limit"] == on]
        if conditions:
            choose = max if limit.at_most else min
            worst = choose(conditions, key=lambda item: float(item[figure]))
            found.append(limit.judge(worst[figure], worst["name"]))
    return found


def judged_sexes(ua: float, ua_of_sex: dict[str, float]) -> list[dict[str, Any]]:
    """The limits on the sexes, as ``judged`` has them: each against all clips, and one another.

    Args:
        ua: Of all clips.
        ua_of_sex: Of each sex; fewer than two give none.
    """
    if len(ua_of_sex) < 2:
        return []
    furthest = max(ua_of_sex, key=lambda sex: abs(ua_of_sex[sex] - ua))
    ordered = sorted(ua_of_sex, key=ua_of_sex.__getitem__)
    worst, best = ordered[0], ordered[-1]
    return [
        _OF_ALL.judge(abs(ua_of_sex[furthest] - ua), furthest),
        _OF_EACH_OTHER.judge(ua_of_sex[best] - ua_of_sex[worst], f"{worst} below {best}"),
    ]
