"""IEMOCAP: 5 sessions of two actors each, improvised and scripted dialogues (Busso et al. 2008).

Licensed users have ``Session1`` to ``Session5``. Of each are read

    dialog/EmoEvaluation/Ses01F_impro01.txt          labels and ratings, a line for each turn:
        [6.2901 - 8.2357]   Ses01F_impro01_F000   neu   [2.5000, 2.5000, 2.5000]
    dialog/transcriptions/Ses01F_impro01.txt         what was said, if the file is there:
        Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.
    sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav

as the corpus's documentation and much public code describe them. **Not tried on the licensed
data**, which we do not have. Not known to us: whether every transcript is UTF-8 (what is not is
replaced), and whether all turns are named as above.
"""

import re
from pathlib import Path
from typing import Any

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import Clip, Corpus, Found, file_name
from ser_kd.corpora.listing import existing_folder, list_audio
from ser_kd.corpora.reader import CorpusFacts, Reader, valence_arousal_dominance
from ser_kd.corpora.splits import speakers_with
from ser_kd.errors import UserError

EMOTIONS = {
    "ang": "anger",
    "hap": "happiness",
    "exc": "excitement",
    "sad": "sadness",
    "neu": "neutral",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "other",
    "xxx": "no_agreement",
}
# By default the usual four classes (5,531 turns), excitement counted as happiness. An empty class
# drops the label.
LABEL_MAP = {
    "anger": "ANG",
    "happiness": "HAP",
    "excitement": "HAP",
    "sadness": "SAD",
    "neutral": "NEU",
    "frustration": "",
    "fear": "",
    "surprise": "",
    "disgust": "",
    "other": "",
    "no_agreement": "",
}
# As ``label_map``: the six classes of work on emotion in conversations.
SIX_CLASSES = LABEL_MAP | {"excitement": "EXC", "frustration": "FRU"}
# Likewise: those of CREMA-D. There are about 40 turns of fear and 2 of disgust.
TO_CREMA_D = LABEL_MAP | {"fear": "FEA", "disgust": "DIS"}

SESSIONS = (1, 2, 3, 4, 5)
NAME_EXAMPLE = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"
_NUMBER = r"-?\d+(?:\.\d+)?"
_TURN = re.compile(
    rf"\[({_NUMBER})\s*-\s*({_NUMBER})\]\s+(\S+)\s+([a-z]{{3}})\s+"
    rf"\[({_NUMBER}),\s*({_NUMBER}),\s*({_NUMBER})\]"
)
# Session, dialogue, who speaks. The F or M behind the session tells who wears the markers.
_NAME = re.compile(r"(Ses0([1-5])[FM]_(?:impro|script)\w+?)_([FM])\w{3}")
_TRANSCRIPT = re.compile(r"(\S+)\s+\[[^\]]*\]:\s*(.*)")
_SEX = {"F": "Female", "M": "Male"}
# A few means lie half a step beyond the raters' scale of 1 to 5 (public code on the corpus takes
# them back to its ends, as is done here). Anything else outside stays, and is an error.
_BEYOND = {0.5: 1.0, 5.5: 5.0}


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads ``Session1`` to ``Session5``, or the folder ``IEMOCAP_full_release`` that holds them.

    Both actors of a session talk to each other, so each session is a fold:
    ``corpus.fold = 0`` tests on session 1 and validates on session 2.

    Clip attributes: ``session`` (1 to 5), ``dialogue`` (such as ``Ses01F_impro01``), ``turn``
    (place in the dialogue by start time, both speakers counted, from 0), ``start_seconds`` and
    ``end_seconds`` in the dialogue, ``improvised`` (bool), ``sex``, ``ratings`` (``valence``,
    ``arousal``, ``dominance``, 1 to 5: means over raters) and, where there is a transcript,
    ``text``. Speakers are ``Ses01F`` to ``Ses05M``.

    Raises:
        UserError: no session there, a line of an evaluation that does not parse, an unknown code.
    """
    del metadata_dir  # everything lies in the sessions
    existing_folder(folder)
    if not _sessions(folder):
        folder = folder / "IEMOCAP_full_release"
    sessions = _sessions(folder)
    if not sessions:
        raise UserError(
            f"no audio file in {folder.parent} for IEMOCAP: give the folder that holds Session1 to "
            f"Session5 (names in it look like {NAME_EXAMPLE})"
        )
    clips: list[Clip] = []
    dropped: dict[str, str] = {}
    for session in sessions:
        clips += _read_session(session, folder, dropped)
    return Found(tuple(clips), dropped, folder)


def _sessions(folder: Path) -> list[Path]:
    places = [folder / f"Session{number}" for number in SESSIONS]
    return [place for place in places if (place / "sentences" / "wav").is_dir()]


def _read_session(session: Path, folder: Path, dropped: dict[str, str]) -> list[Clip]:
    place = session / "sentences" / "wav"
    listing = list_audio(place)
    inside = place.relative_to(folder).as_posix()
    dropped |= {f"{inside}/{name}": reason for name, reason in listing.unused.items()}
    paths = {path.stem: path for path in listing.files}
    clips = []
    for table in _text_files(session / "dialog" / "EmoEvaluation"):
        text = _transcripts(session / "dialog" / "transcriptions" / table.name)
        for turn, (name, emotion, attributes) in enumerate(_turns(table)):
            if name in text:
                attributes["text"] = text[name]
            match = _NAME.fullmatch(name)
            if match is None:
                dropped[name] = f"in {table.name}: not an IEMOCAP name"
            elif name not in paths:
                dropped[name] = f"in {table.name}: no such file"
            else:
                dialogue, number, letter = match.groups()
                attributes |= {
                    "session": int(number),
                    "dialogue": dialogue,
                    "turn": turn,
                    "improvised": "_impro" in dialogue,
                    "sex": _SEX[letter],
                }
                speaker = f"Ses0{number}{letter}"
                clips.append(Clip(name, paths.pop(name), speaker, emotion, attributes))
    for path in paths.values():
        dropped[file_name(path, folder)] = "in no evaluation"
    return clips


def _text_files(folder: Path) -> list[Path]:
    # "._x.txt" of macOS is a resource fork; the folders inside are single raters' forms.
    return [path for path in sorted(folder.glob("*.txt")) if not path.name.startswith(".")]


def _turns(table: Path) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, label and attributes of a dialogue's turns, in order of their start."""
    turns = []
    for number, line in enumerate(_lines(table), start=1):
        if not line.startswith("["):
            continue  # the header, and each rater's own opinion
        match = _TURN.fullmatch(line)
        if match is None:
            raise UserError(
                f"{table}, line {number}: {line!r} is not [START - END] TURN EMOTION [V, A, D]"
            )
        start, end, name, code, *vad = match.groups()
        if code not in EMOTIONS:
            raise UserError(
                f"{table}, line {number}: emotion {code!r} is none of {' '.join(EMOTIONS)}"
            )
        ratings = [_BEYOND.get(value, value) for value in map(float, vad)]
        attributes: dict[str, Any] = {
            "start_seconds": float(start),
            "end_seconds": float(end),
            "ratings": dict(zip(("valence", "arousal", "dominance"), ratings, strict=True)),
        }
        turns.append((name, EMOTIONS[code], attributes))
    return sorted(turns, key=lambda turn: (turn[2]["start_seconds"], turn[0]))


def _transcripts(path: Path) -> dict[str, str]:
    """Turn -> what was said; lines that name no turn are passed over."""
    if not path.is_file():
        return {}
    matches = (_TRANSCRIPT.fullmatch(line) for line in _lines(path))
    return {match[1]: match[2] for match in matches if match}


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror})") from None
    return [line.strip() for line in text.splitlines()]


def _session_split(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    """Two who talk to each other are never in different parts."""
    if config.folds != len(SESSIONS):
        raise UserError(
            f"folds = {config.folds}: iemocap has a fold for each session, {len(SESSIONS)}"
        )
    if not 0 <= config.fold < config.folds:
        raise UserError(f"fold = {config.fold}: use 0 to {config.folds - 1}")
    test, validation = SESSIONS[config.fold], SESSIONS[(config.fold + 1) % config.folds]
    train = [session for session in SESSIONS if session not in (test, validation)]
    return speakers_with(corpus, "session", *train), speakers_with(corpus, "session", validation)


READER = Reader(
    read,
    NAME_EXAMPLE,
    LABEL_MAP,
    split=_session_split,
    dimensions=valence_arousal_dominance(1.0, 5.0),  # five manikins (Busso et al. 2008)
    facts=CorpusFacts(
        "IEMOCAP (Busso et al., 2008)",
        "en",
        "Ten actors hold improvised and scripted dialogues in English, in a studio.",
        "IEMOCAP is for research, under the licence that its users sign.",
    ),
)
