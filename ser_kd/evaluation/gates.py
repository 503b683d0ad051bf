"""Published limits for how far a model's answers may change, and what is held against them.

The gates are those of audEERING's tests of speech emotion models (Derington, Wierstorf, Özkil,
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

GATES_SOURCE = (
    "audEERING's tests of speech emotion models (arXiv 2312.06270, github.com/audeering/ser-tests, "
    "test/emotion): published for noise at 20 dB; noise, babble and phone are stand-ins for theirs"
)
SNRS_DB = (20.0, 10.0, 5.0)
_PUBLISHED_SNR_DB = 20.0


def noise_gate(snr_db: float) -> str:
    """The gate that noise at this level is held against."""
    return f"noise at {snr_db:.0f} dB"


@dataclass(frozen=True)
class _Gate:
    """A limit on the worst of some conditions; ``published`` where these are the published ones."""

    on: str
    figure: str
    limit: float
    published: bool = True

    @property
    def at_most(self) -> bool:
        return self.figure == "ua_drop"

    @property
    def name(self) -> str:
        said = "drop of UA" if self.figure == "ua_drop" else "labels unchanged"
        return f"{self.on}: {said}"


_GATES = (
    *(
        _Gate(noise_gate(snr_db), figure, limit, snr_db == _PUBLISHED_SNR_DB)
        for snr_db in SNRS_DB
        for figure, limit in (("ua_drop", 0.05), ("unchanged", 0.9))
    ),
    _Gate("telephone", "ua_drop", 0.05),
    _Gate("telephone", "unchanged", 0.5),
    _Gate("small changes", "unchanged", 0.95),
)
_MAX_UA_DIFFERENCE_OF_SEXES = 0.075


def gates(measured: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The gates of ``measure``'s results; those for which nothing was measured are not there.

    Returns:
        For each ``name``; ``limit``; ``bound``, whether figures are to be ``at most`` or ``at
        least`` that; ``worst``, the figure furthest on the wrong side, of ``condition``; ``met``;
        ``published``, whether the limit was published for these conditions.
    """
    found = []
    for gate in _GATES:
        of_gate = [item for item in measured if item["gate"] == gate.on]
        if of_gate:
            choose = max if gate.at_most else min
            worst = choose(of_gate, key=lambda item: item[gate.figure])
            found.append(
                _judged(
                    gate.name,
                    gate.limit,
                    gate.at_most,
                    worst[gate.figure],
                    worst["name"],
                    gate.published,
                )
            )
    return found


def sex_gates(ua: float, ua_of_sex: dict[str, float]) -> list[dict[str, Any]]:
    """The gates on the sexes, as ``gates`` has them: each against all clips, and one another.

    Args:
        ua: Of all clips.
        ua_of_sex: Of each sex; fewer than two give no gates.
    """
    if len(ua_of_sex) < 2:
        return []
    furthest = max(ua_of_sex, key=lambda sex: abs(ua_of_sex[sex] - ua))
    ordered = sorted(ua_of_sex, key=ua_of_sex.__getitem__)
    worst, best = ordered[0], ordered[-1]
    limit = _MAX_UA_DIFFERENCE_OF_SEXES
    return [
        _judged(
            "sexes: UA away from that of all",
            limit,
            True,
            abs(ua_of_sex[furthest] - ua),
            furthest,
            True,
        ),
        _judged(
            "sexes: UA away from each other",
            limit,
            True,
            ua_of_sex[best] - ua_of_sex[worst],
            f"{worst} below {best}",
            False,
        ),
    ]


def _judged(
    name: str, limit: float, at_most: bool, worst: float, condition: str, published: bool
) -> dict[str, Any]:
    return {
        "name": name,
        "limit": limit,
        "bound": "at most" if at_most else "at least",
        "worst": worst,
        "condition": condition,
        "met": bool(worst <= limit if at_most else worst >= limit),
        "published": published,
    }
