"""The emotions that labels stand for, in words."""

_WORDS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}


def emotion(label: str) -> str:
    """``ANG`` -> ``ANG anger``; labels of other corpora stay as they are."""
    return f"{label} {_WORDS[label]}" if label in _WORDS else label
