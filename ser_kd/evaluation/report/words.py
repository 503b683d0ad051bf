"""Numbers as people read them; ``-`` where a number is not known."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

NOT_KNOWN = "-"
EMOTIONS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
UA, WA = "mean over emotions (UA)", "share of clips (WA)"
CORPORA = {
    "crema_d": "CREMA-D: acted English speech, recorded in a studio",
    "emodb": "EmoDB, the Berlin Database of Emotional Speech: acted German speech, recorded in a "
    "studio",
    "ravdess": "RAVDESS, the Ryerson Audio-Visual Database of Emotional Speech and Song: acted "
    "English speech, recorded in a studio",
    "iemocap": "IEMOCAP, the Interactive Emotional Dyadic Motion Capture Database: English "
    "dialogues of actors",
    "msp_podcast": "MSP-Podcast: English speech from podcasts, not acted",
    "demo": "clips from a speech synthesiser",
}
"""What stands behind a corpus's name, where that is known."""
_UNITS = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"))


def known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def percent(value: float | None, digits: int = 1) -> str:
    """0.669 -> ``66.9 %``."""
    if value is None or not known(value):
        return NOT_KNOWN
    return f"{100 * value:.{digits}f} %"


def points(value: float | None) -> str:
    """A difference of two shares, 0.05 -> ``5.0 points``."""
    if value is None or not known(value):
        return NOT_KNOWN
    return f"{100 * value:.1f} points"


def interval(low_high: Sequence[float] | None) -> str:
    """In per cent, ``63-71``."""
    if not low_high or not all(known(end) for end in low_high):
        return NOT_KNOWN
    low, high = low_high
    return f"{100 * low:.0f}-{100 * high:.0f}"


def with_interval(value: float | None, low_high: Sequence[float] | None) -> str:
    """``67 % (63-71)``; without an interval ``67 %``."""
    ends = interval(low_high)
    return percent(value, 0) if ends == NOT_KNOWN else f"{percent(value, 0)} ({ends})"


def milliseconds(value: float | None) -> str:
    """Three digits that count: ``0.365 ms``, ``21.6 ms``, ``1,234 ms``."""
    if value is None or not known(value):
        return NOT_KNOWN
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:,.{digits}f} ms"


def size(value: float | None) -> str:
    """Bytes as kB, MB or GB (powers of 1,000)."""
    if value is None or not known(value):
        return NOT_KNOWN
    unit, name = next((pair for pair in _UNITS if value >= pair[0]), _UNITS[-1])
    digits = 0 if unit == 1e3 or value >= 100 * unit else 1
    return f"{value / unit:,.{digits}f} {name}"


def megabytes(value: float | None) -> str:
    return NOT_KNOWN if value is None or not known(value) else f"{value:,.0f} MB"


def count(number: int, one: str, many: str = "") -> str:
    """``1 clip``, ``2 clips``."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def emotion(label: str) -> str:
    """``ANG`` -> ``ANG anger``; other labels stay as they are."""
    return f"{label} {EMOTIONS[label]}" if label in EMOTIONS else label


def listed(items: Sequence[str]) -> str:
    """``a, b and c``."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def counted(things: Mapping[str, int]) -> str:
    """``boredom 81, surprise 3``."""
    return ", ".join(f"{name} {number:,}" for name, number in things.items())


def first_upper(sentence: str) -> str:
    """Unlike ``capitalize``, leaves the other letters as they are."""
    return sentence[:1].upper() + sentence[1:]


def limit_name(limit: Mapping[str, Any]) -> str:
    """Older files say "labels that stay" for what stands elsewhere as "unchanged"."""
    return str(limit["name"]).replace("labels that stay", "labels unchanged")


def window(evaluation: Mapping[str, Any]) -> str:
    """``one window (3 s of sound)``."""
    seconds = evaluation["model"].get("window_seconds")
    return f"one window ({seconds:g} s of sound)" if known(seconds) else "one window of sound"


def machine(evaluation: Mapping[str, Any]) -> str:
    """Where times were measured."""
    name = (evaluation.get("settings") or {}).get("machine")
    return f"one CPU thread of a computer{f' with {name}' if name else ''}, not a phone"
