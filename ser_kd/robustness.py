"""What becomes of a model's answers when the sound is changed, and published limits for that.

Noise depends on the clip's id and a seed (babble: on the other clips, too), and on nothing else:
the order of the clips does not matter, and the same evaluation gives the same figures.

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

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import signal

from ser_kd import metrics
from ser_kd.audio import Waveform

GATES_SOURCE = (
    "audEERING's tests of speech emotion models (arXiv 2312.06270, github.com/audeering/ser-tests, "
    "test/emotion): published for noise at 20 dB; noise, babble and phone are stand-ins for theirs"
)
SNRS_DB = (20.0, 10.0, 5.0)
_PUBLISHED_SNR_DB = 20.0

_PEAK = 32_767 / 32_768
_TELEPHONE_HZ = (300.0, 3_400.0)
_TELEPHONE_RATE_HZ = 8_000
_TELEPHONE_ORDER = 4
_MU = 255.0
# Below it nobody hears, no microphone of a phone hears, and 1/f has no end.
_PINK_FROM_HZ = 20.0
_TALKERS = (4, 7)
# What libsndfile makes of the compression levels 1 and 0 for one channel of Opus.
_OPUS_BITS_PER_SECOND = (6_000.0, 256_000.0)


class UnavailableError(Exception):
    """A change cannot be made on this machine; the message says why."""


# Changes of one waveform.


def with_gain(waveform: Waveform, gain_db: float) -> Waveform:
    """The waveform louder or softer; what leaves full scale is clipped, as a converter does.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        gain_db: Of the amplitude, in dB.
    """
    louder: Waveform = np.clip(waveform * np.float32(10.0 ** (gain_db / 20.0)), -1.0, _PEAK)
    return louder


def clipped(waveform: Waveform, share: float) -> Waveform:
    """The loudest samples cut down to the level of the next.

    Args:
        waveform: float32 ``[samples]``.
        share: How many of the samples, 0 to 1: the level is the ``1 - share`` quantile of the
            magnitudes.
    """
    level = np.float32(np.quantile(np.abs(waveform), 1.0 - share))
    cut: Waveform = np.clip(waveform, -level, level)
    return cut


def cropped(waveform: Waveform, first_samples: int = 0, last_samples: int = 0) -> Waveform:
    """The waveform without its first and last samples; at least one sample stays."""
    first = min(first_samples, len(waveform) - 1)
    return waveform[first : max(first + 1, len(waveform) - last_samples)]


def padded(waveform: Waveform, before_samples: int = 0, after_samples: int = 0) -> Waveform:
    """The waveform with digital silence before and after it."""
    return np.pad(waveform, (before_samples, after_samples))


def with_noise(waveform: Waveform, noise: np.ndarray, snr_db: float) -> Waveform:
    """The waveform and noise together.

    The ratio is one of root mean squares over the whole clip, pauses included, as in the published
    tests; over the speech alone it is a little better. Where the sum leaves full scale, both are
    turned down: noise is what is asked about here, and not clipping.

    Args:
        waveform: float32 ``[samples]``; one of zeros stays as it is.
        noise: ``[samples]`` at any level; zeros leave the waveform as it is.
        snr_db: Level of the waveform above that of the noise, in dB.
    """
    level = rms(noise)
    if level == 0.0:
        return waveform
    mixed = waveform + rms(waveform) / level * 10.0 ** (-snr_db / 20.0) * noise
    return (mixed / max(1.0, float(np.abs(mixed).max()) / _PEAK)).astype(np.float32)


def rms(values: np.ndarray) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def telephone(waveform: Waveform, rate_hz: int) -> Waveform:
    """The waveform as a fixed-line telephone of the last century would hand it on.

    8 kHz, a Butterworth band-pass from 300 to 3400 Hz, then mu-law in 8 bits by its formula (ITU-T
    G.711, mu = 255; the standard's own tables replace the curve by 16 straight pieces), and back.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        rate_hz: Its sample rate, more than 6800; the result has the same.
    """
    narrow = resampled(waveform, rate_hz, _TELEPHONE_RATE_HZ)
    sections = signal.butter(
        _TELEPHONE_ORDER, _TELEPHONE_HZ, "bandpass", fs=_TELEPHONE_RATE_HZ, output="sos"
    )
    heard = mu_law_decoded(mu_law_encoded(signal.sosfilt(sections, narrow)))
    back = resampled(heard.astype(np.float32), _TELEPHONE_RATE_HZ, rate_hz)[: len(waveform)]
    return np.pad(back, (0, len(waveform) - len(back)))


def mu_law_encoded(samples: np.ndarray) -> np.ndarray:
    """Samples in -1..1 -> uint8; what lies beyond is clipped."""
    limited = np.clip(samples, -1.0, 1.0)
    bent = np.sign(limited) * np.log1p(_MU * np.abs(limited)) / np.log1p(_MU)
    codes: np.ndarray = np.round((bent + 1.0) / 2.0 * _MU).astype(np.uint8)
    return codes


def mu_law_decoded(codes: np.ndarray) -> np.ndarray:
    """uint8 -> float64 samples in -1..1; the inverse of ``mu_law_encoded`` but for the rounding."""
    bent = 2.0 * codes.astype(np.float64) / _MU - 1.0
    samples: np.ndarray = np.sign(bent) * np.expm1(np.abs(bent) * np.log1p(_MU)) / _MU
    return samples


def resampled(waveform: Waveform, rate_hz: int, to_hz: int) -> Waveform:
    """The waveform at another rate, by a polyphase filter."""
    ratio = Fraction(to_hz, rate_hz)
    if ratio == 1:
        return waveform
    other: Waveform = signal.resample_poly(waveform, ratio.numerator, ratio.denominator)
    return other.astype(np.float32)


def opus(waveform: Waveform, rate_hz: int, bits_per_second: float) -> Waveform:
    """The waveform through the Opus codec (RFC 6716), in an Ogg file in memory.

    Args:
        waveform: float32 ``[samples]`` in -1..1.
        rate_hz: 8000, 12000, 16000, 24000 or 48000.
        bits_per_second: 6000 to 256000; the encoder's goal, without the Ogg container's share.

    Raises:
        UnavailableError: The installed soundfile or libsndfile cannot do that, or not at this rate.
    """
    import soundfile

    low, high = _OPUS_BITS_PER_SECOND
    level = (high - bits_per_second) / (high - low)
    file = io.BytesIO()
    try:
        soundfile.write(
            file, waveform, rate_hz, format="OGG", subtype="OPUS", compression_level=level
        )
        file.seek(0)
        decoded, _ = soundfile.read(file, dtype="float32")
    except TypeError:  # compression_level is unknown
        raise UnavailableError("soundfile 0.13 or newer is needed") from None
    except (RuntimeError, ValueError) as error:  # LibsndfileError is a RuntimeError
        raise UnavailableError(" ".join(str(error).split())) from None
    return np.pad(decoded[: len(waveform)], (0, max(0, len(waveform) - len(decoded))))


# Noise.


def white_noise(samples: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise, the same power at all frequencies, ``[samples]`` at level 1."""
    return rng.standard_normal(samples)


def pink_noise(samples: int, rate_hz: int, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise with a power of 1/f from 20 Hz on (3 dB less with every octave).

    Args:
        samples: How many.
        rate_hz: Their rate.
        rng: Where it comes from.

    Returns:
        float64 ``[samples]`` at any level.
    """
    size = 1 << (max(samples, rate_hz) - 1).bit_length()  # a power of 2: the transform is quick
    hz = np.fft.rfftfreq(size, 1.0 / rate_hz)
    heard = hz >= _PINK_FROM_HZ
    spectrum = np.fft.rfft(rng.standard_normal(size))
    spectrum[~heard] = 0.0
    spectrum[heard] /= np.sqrt(hz[heard])
    return np.fft.irfft(spectrum, size)[:samples]


@dataclass(frozen=True)
class Babble:
    """Four to seven other people who talk at once.

    Attributes:
        speakers: Who speaks in each clip, ``[clips]``.
        waveform: The clip at a place; clips that are silent say nothing.
    """

    speakers: Sequence[str]
    waveform: Callable[[int], Waveform]

    @property
    def possible(self) -> bool:
        """Whether there are two speakers."""
        return len(set(self.speakers)) > 1

    def make(self, speaker: str, samples: int, rng: np.random.Generator) -> np.ndarray:
        """The sum of clips of other speakers, all equally loud, each from a place of its own.

        Args:
            speaker: Who is not heard in it.
            samples: Its length; shorter clips are repeated.
            rng: Which clips, and where they begin.

        Returns:
            float64 ``[samples]`` at any level.
        """
        others = np.flatnonzero(np.asarray(self.speakers) != speaker)
        talkers = min(int(rng.integers(_TALKERS[0], _TALKERS[1] + 1)), len(others))
        total = np.zeros(samples)
        for index in rng.choice(others, talkers, replace=False):
            voice = self.waveform(int(index))
            start = int(rng.integers(len(voice)))
            if level := rms(voice):
                total += np.resize(np.roll(voice, -start), samples) / level
        return total


# Conditions.


@dataclass(frozen=True)
class Condition:
    """One change.

    Attributes:
        name: For people.
        kind: ``small``, ``level``, ``crop``, ``noise``, ``phone`` or ``codec``.
        change: (waveform, place of the clip) -> waveform.
        gate: Which gates it is held against; none if empty.
    """

    name: str
    kind: str
    change: Callable[[Waveform, int], Waveform]
    gate: str = ""


def conditions(
    rate_hz: int,
    ids: Sequence[str],
    speakers: Sequence[str],
    waveform: Callable[[int], Waveform],
    seed: int = 0,
) -> list[Condition]:
    """All changes.

    Args:
        rate_hz: Of the waveforms.
        ids: Clip ids ``[clips]``: the noise of a clip depends on its id and the seed.
        speakers: Who speaks, ``[clips]``.
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
                _noise_gate(snr_db),
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
    """What a model makes of changed clips.

    Args:
        condition: The change.
        waveforms: The clips, unchanged.
        predict: Waveforms -> probabilities ``[clips, classes]``.
        truth: Class indices ``[clips]``.
        clean: What the model said of the unchanged clips, class indices ``[clips]``.

    Returns:
        ``name``, ``kind``, ``gate``; ``ua``; ``ua_drop``, how much lower that is than of the
        unchanged clips; ``unchanged``, the share of the clips whose label is what it was.

    Raises:
        UnavailableError: The change cannot be made here.
    """
    said = predict(condition.change(clip, index) for index, clip in enumerate(waveforms)).argmax(1)
    ua = metrics.scores(truth, said)["ua"]
    return {
        "name": condition.name,
        "kind": condition.kind,
        "gate": condition.gate,
        "ua": ua,
        "ua_drop": metrics.scores(truth, clean)["ua"] - ua,
        "unchanged": float(np.mean(said == clean)),
    }


# Gates.


def _noise_gate(snr_db: float) -> str:
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
        said = "drop of UA" if self.figure == "ua_drop" else "labels that stay"
        return f"{self.on}: {said}"


_GATES = (
    *(
        _Gate(_noise_gate(snr_db), figure, limit, snr_db == _PUBLISHED_SNR_DB)
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
