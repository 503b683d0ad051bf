"""The emotions that labels stand for: in words, and under the names that other corpora use."""

import unicodedata
from collections.abc import Sequence

_WORDS = {
    "ANG": "anger",
    "DIS": "disgust",
    "FEA": "fear",
    "HAP": "happiness",
    "NEU": "neutral",
    "SAD": "sadness",
}
# Folder and column names of published corpora: English, German, Italian, Spanish, Portuguese,
# French, Polish, Turkish. "calm" and "boredom" are classes of their own where they occur.
_SYNONYMS = {
    "ANG": "ang angry anger wut ärger wütend zorn rabbia enojo ira enfado raiva colère gniew złość "
    "öfke kizgin ofke",
    "DIS": "dis disgust disgusted ekel disgusto asco nojo dégoût degout wstręt iğrenme",
    "FEA": "fea fear fearful afraid scared angst furcht paura miedo medo peur strach korku",
    "HAP": "hap happy happiness joy joyful freude fröhlich glücklich gioia felicità felicidad "
    "alegría alegria felicidade joie radość mutlu mutluluk",
    "NEU": "neu neutral neutrality neutrale neutralny neutro neutralità neutre nötr notr",
    "SAD": "sad sadness trauer traurig traurigkeit tristezza triste tristeza tristesse smutek "
    "üzgün uzgun üzüntü",
}


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold().strip()


_CODES = {_folded(word): code for code, words in _SYNONYMS.items() for word in words.split()}


def emotion(label: str) -> str:
    """``ANG`` -> ``ANG anger``; labels of other corpora stay as they are."""
    return f"{label} {_WORDS[label]}" if label in _WORDS else label


def emotion_code(name: str) -> str | None:
    """The class among ANG DIS FEA HAP NEU SAD that a label of any corpus names: ``joy`` -> ``HAP``.

    Case, surrounding spaces and the Unicode form do not matter. None: it is none of the six, as
    ``boredom``, ``calm`` or ``surprise``.
    """
    return _CODES.get(_folded(name))


def matched_labels(labels: Sequence[str], theirs: Sequence[str]) -> dict[str, str]:
    """Label -> the label of another model that stands for the same emotion, where there is one."""
    by_code = {emotion_code(label) or label: label for label in theirs}
    keys = {label: emotion_code(label) or label for label in labels}
    known = {label: by_code[key] for label, key in keys.items() if key in by_code}
    return known | {label: label for label in labels if label in theirs}
