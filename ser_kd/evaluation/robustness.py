"""A model's predictions of degraded recordings, against those of the clean ones.

Noise depends on the clip's id and a seed (babble: on the other clips, too), and on nothing else:
the order of the clips does not matter, and the same evaluation gives the same figures.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ser_kd import metrics
from ser_kd.audio.codecs import opus, telephone
from ser_kd.audio.decoding import Waveform
from ser_kd.evaluation.degradations import (
    Babble,
    clipped,
    cropped,
    padded,
    pink_noise,
    white_noise,
    with_gain,
    with_noise,
)
from ser_kd.evaluation.limits import SNRS_DB, noise_limit


@dataclass(frozen=True)
class Condition:
    """One way of degrading a recording.

    Attributes:
        name: For people.
        kind: ``small``, ``level``, ``crop``, ``noise``, ``phone`` or ``codec``.
        change: (waveform, place of the clip) -> waveform.
        limit: The limits that it is held against (``limits``); none if empty.
    """

    name: str
    kind: str
    change: Callable[[Waveform, int], Waveform]
    limit: str = ""


def conditions(
    rate_hz: int,
    ids: Sequence[str],
    speakers: Sequence[str],
    waveform: Callable[[int], Waveform],
    seed: int = 0,
) -> list[Condition]:
    """All conditions.

    Args:
        rate_hz: Of the waveforms.
        ids: Clip ids ``[clips]``: the noise of a clip depends on its id and the seed.
        speakers: The speaker of each clip, ``[clips]``.
        waveform: The clip at a place, for babble.
        seed: Of the noise. A clip has the same noise at every level.

    Returns:
        The conditions; without babble if there is but one speaker.
    """

    def rng(colour: str, index: int) -> np.random.Generator:
        key = hashlib.sha256(json.dumps([seed, colour, ids[index]]).encode()).digest()
        return np.random.default_rng(int.from_bytes(key, "little"))

    babble = Babble(speakers, waveform)
    makers: dict[str, Callable[[int, int], np.ndarray]] = {
        "white": lambda samples, index: white_noise(samples, rng("white", index)),
        "pink": lambda samples, index: pink_noise(samples, rate_hz, rng("pink", index)),
    }
    if babble.possible:
        makers["babble"] = lambda samples, index: babble.make(
            speakers[index], samples, rng("babble", index)
        )

    def noise(colour: str, snr_db: float) -> Callable[[Waveform, int], Waveform]:
        make = makers[colour]
        return lambda clip, index: with_noise(clip, make(len(clip), index), snr_db)

    def plain(
        change: Callable[..., Waveform], *arguments: Any, **named: Any
    ) -> Callable[[Waveform, int], Waveform]:
        return lambda clip, _: change(clip, *arguments, **named)

    little = round(rate_hz * 1_000 / 16_000)
    quarter = rate_hz // 4
    small = [
        ("gain -2 dB", plain(with_gain, -2.0)),
        ("gain +2 dB", plain(with_gain, 2.0)),
        ("0.3 % of the samples clipped", plain(clipped, 0.003)),
        ("first 0.06 s cut off", plain(cropped, first_samples=little)),
        ("last 0.06 s cut off", plain(cropped, last_samples=little)),
        ("0.06 s of silence before", plain(padded, before_samples=little)),
        ("0.06 s of silence after", plain(padded, after_samples=little)),
        ("white noise, 35 dB", noise("white", 35.0)),
    ]
    level = [
        ("gain -12 dB", plain(with_gain, -12.0)),
        ("gain -6 dB", plain(with_gain, -6.0)),
        ("gain +6 dB", plain(with_gain, 6.0)),
        ("gain +20 dB, clipped", plain(with_gain, 20.0)),
        ("5 % of the samples clipped", plain(clipped, 0.05)),
    ]
    crop = [
        ("first 5 % cut off", lambda clip, _: cropped(clip, first_samples=len(clip) // 20)),
        ("last 5 % cut off", lambda clip, _: cropped(clip, last_samples=len(clip) // 20)),
        ("0.25 s of silence before", plain(padded, before_samples=quarter)),
        ("0.25 s of silence after", plain(padded, after_samples=quarter)),
    ]
    return [
        *(Condition(name, "small", change, "small changes") for name, change in small),
        *(Condition(name, "level", change) for name, change in level),
        *(Condition(name, "crop", change) for name, change in crop),
        *(
            Condition(
                f"{colour} noise, {snr_db:.0f} dB",
                "noise",
                noise(colour, snr_db),
                noise_limit(snr_db),
            )
            for colour in makers
            for snr_db in SNRS_DB
        ),
        Condition(
            "telephone: 300-3400 Hz, mu-law", "phone", plain(telephone, rate_hz), "telephone"
        ),
        *(
            Condition(f"Opus, {bits // 1_000} kbit/s", "codec", plain(opus, rate_hz, bits))
            for bits in (12_000, 6_000)
        ),
    ]


def measure(
    condition: Condition,
    waveforms: Iterable[Waveform],
    predict: Callable[[Iterable[Waveform]], np.ndarray],
    truth: np.ndarray,
    clean: np.ndarray,
) -> dict[str, Any]:
    """Scores of a model on degraded clips.

    Args:
        condition: The degradation.
        waveforms: The clean clips.
        predict: Waveforms -> probabilities ``[clips, classes]``.
        truth: Class indices ``[clips]``.
        clean: What the model predicts of the clean clips, class indices ``[clips]``.

    Returns:
        ``name``, ``kind``, ``limit``; ``ua``; ``ua_drop``, how much lower that is than on
        the clean clips; ``unchanged``, the share of clips whose label stays the same.

    Raises:
        UnavailableError: The degradation cannot be made here.
    """
    predicted = predict(
        condition.change(clip, index) for index, clip in enumerate(waveforms)
    ).argmax(1)
    ua = metrics.scores(truth, predicted)["ua"]
    return {
        "name": condition.name,
        "kind": condition.kind,
        "limit": condition.limit,
        "ua": ua,
        "ua_drop": metrics.scores(truth, clean)["ua"] - ua,
        "unchanged": float(np.mean(predicted == clean)),
    }
