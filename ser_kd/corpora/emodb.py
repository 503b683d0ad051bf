"""Berlin EmoDB: 535 clips of 10 actors, 10 sentences, 7 emotions, German (Burkhardt et al. 2005).

File names are speaker, sentence, emotion and version, such as ``03a01Fa.wav``.
"""

import re
from pathlib import Path

from ser_kd.corpora.clip import Clip, Found, file_name, keep_one_per_id
from ser_kd.corpora.listing import list_audio
from ser_kd.corpora.reader import CorpusFacts, Reader

# The letters are those of the German words (Wut, Langeweile, Ekel, Angst, Freude, Trauer).
EMOTIONS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
# By default boredom stays a class of its own.
LABEL_MAP = {
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "happiness": "HAP",
    "neutral": "NEU",
    "sadness": "SAD",
    "boredom": "BOR",
}
# As ``label_map``: the six classes of CREMA-D. An empty class drops the label.
TO_CREMA_D = LABEL_MAP | {"boredom": ""}

# Sex and age in years, as published with the corpus.
SPEAKERS = {
    "03": ("Male", 31),
    "08": ("Female", 34),
    "09": ("Female", 21),
    "10": ("Male", 32),
    "11": ("Male", 26),
    "12": ("Male", 30),
    "13": ("Female", 32),
    "14": ("Female", 35),
    "15": ("Male", 25),
    "16": ("Female", 31),
}

NAME_EXAMPLE = "03a01Fa.wav"
_NAME = re.compile(r"(\d{2})([ab]\d{2})([WLEAFTN])([a-z]?)")


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads EmoDB: its ``wav/`` folder, or the folder that holds it.

    Clip attributes: ``sentence`` (code), ``version``, ``sex``, ``age`` (years).

    Raises:
        UserError: missing or empty folder.
    """
    del metadata_dir  # everything stands in the file names
    listing = list_audio(folder)
    clips, dropped = [], listing.unused
    for path in listing.files:
        match = _NAME.fullmatch(path.stem)
        if match is None or match[1] not in SPEAKERS:
            name = file_name(path, folder)
            dropped[name] = f"not an EmoDB name (such as {NAME_EXAMPLE})"
            continue
        speaker, sentence, letter, version = match.groups()
        sex, age = SPEAKERS[speaker]
        attributes = {"sentence": sentence, "version": version, "sex": sex, "age": age}
        clips.append(Clip(path.stem, path, speaker, EMOTIONS[letter], attributes))
    kept = keep_one_per_id(clips, dropped, folder)
    return Found(tuple(kept.values()), dropped, folder)


READER = Reader(
    read,
    NAME_EXAMPLE,
    LABEL_MAP,
    TO_CREMA_D,
    facts=CorpusFacts(
        "EmoDB (Burkhardt et al., 2005)",
        "de",
        "Ten actors speak ten German sentences, acted, in a studio.",
        "EmoDB is free for research; ask its authors for anything else.",
    ),
)
