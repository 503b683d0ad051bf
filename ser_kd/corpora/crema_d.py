"""CREMA-D: 7,442 clips of 91 actors, 12 sentences, 6 emotions (Cao et al. 2014).

File names are ``<actor>_<sentence>_<emotion>_<intensity>``, such as ``1001_IEO_ANG_HI.wav``.
"""

import re
from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import (
    LABEL_ORDER,
    Clip,
    Corpus,
    Found,
    file_name,
    keep_one_per_id,
)
from ser_kd.corpora.crema_d_tables import EMOTION_OF_DIMENSION, Tables
from ser_kd.corpora.listing import existing_folder, list_audio
from ser_kd.corpora.reader import CorpusFacts, Dimension, Reader
from ser_kd.corpora.splits import tfds_speakers_split

LABELS = LABEL_ORDER
LABEL_MAP = {label: label for label in LABELS}

# The official split is a function of this list and not of what happens to be on disk.
SPEAKERS = tuple(str(speaker) for speaker in range(1001, 1092))

NAME_EXAMPLE = "1001_IEO_ANG_HI.wav"
# One official file has only one X: 1040_ITH_SAD_X.wav.
_NAME = re.compile(r"(\d{4})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(XX?|LO|MD|HI)")

SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}
"""Code -> sentence. Each is spoken in every emotion: the words carry none of it."""

# Left out by the TFDS split (crema_d 1.0.0).
EXCLUDED = {
    "1040_ITH_SAD_XX": "left out of the TFDS split",
    "1006_TIE_NEU_XX": "left out of the TFDS split; same audio as 1006_TIE_HAP_XX",
    "1013_WSI_DIS_XX": "left out of the TFDS split; same audio as 1013_WSI_SAD_XX",
    "1017_IWW_FEA_XX": "left out of the TFDS split; same audio as 1017_IWW_ANG_XX",
}
# Bad, but counted by the TFDS split.
FLAWED = {
    "1076_MTI_SAD_XX": "digital silence",
    "1006_TIE_HAP_XX": "labelled twice: same audio as 1006_TIE_NEU_XX",
    "1013_WSI_SAD_XX": "labelled twice: same audio as 1013_WSI_DIS_XX",
    "1017_IWW_ANG_XX": "labelled twice: same audio as 1017_IWW_FEA_XX",
}


def is_name(stem: str) -> bool:
    """Whether a file's name, without suffix, is that of a clip of CREMA-D."""
    return _NAME.fullmatch(stem) is not None


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads CREMA-D from its WAV folder, or from the checkout that holds ``AudioWAV/``.

    The three CSVs are optional. They are looked for in ``metadata_dir`` if given, then in the
    audio folder, its parent, and the folders ``metadata`` and ``processedResults`` of both.

    Clip attributes: ``sentence`` and ``intensity`` (codes of the file name), ``text`` (what is
    said, which carries no emotion here: ``SENTENCES``); with the CSVs also
    ``age`` (years), ``sex``, ``race``, ``ethnicity``; ``crowd_labels``: what most of the crowd
    perceived, channel -> emotions (several where tied); ``votes``: channel -> emotion -> count;
    ``vote_intensities``: channel -> emotion -> how strong it seemed to those who chose it, 0 to
    100 on average (only emotions that somebody chose; absent where the table has no such columns).
    Channels are ``voice``, ``face`` and ``multimodal``. ``ratings``
    (``crema_d_tables.crowd_intensities``) are what a student learns as continuous targets.

    Raises:
        UserError: missing or empty folder, ``metadata_dir`` without any of the CSVs, bad CSV.
    """
    found = _read_names(folder, metadata_dir)
    clips, dropped = [], dict(found.dropped)
    for clip in found.clips:
        name = file_name(clip.path, found.folder)
        if clip.speaker not in SPEAKERS:
            dropped[name] = f"speaker {clip.speaker} is not one of CREMA-D's 1001 to 1091"
        elif clip.id in EXCLUDED:
            dropped[name] = EXCLUDED[clip.id]
        else:
            clips.append(clip)
    present = {clip.id for clip in clips}
    flawed = {clip_id: reason for clip_id, reason in FLAWED.items() if clip_id in present}
    return Found(tuple(clips), dropped, found.folder, flawed)


def read_same_layout(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads a corpus with CREMA-D's names and other speakers: nothing is known to be flawed."""
    return _read_names(folder, metadata_dir)


def audio_folder(folder: Path) -> Path:
    """The folder with the audio files: ``AudioWAV/`` inside ``folder``, or ``folder``."""
    inner = folder / "AudioWAV"
    return inner if inner.is_dir() else folder


def _read_names(folder: Path, metadata_dir: Path | None) -> Found:
    folder = audio_folder(existing_folder(folder))
    listing = list_audio(folder)
    metadata = Tables(folder, metadata_dir)
    clips, dropped = [], listing.unused
    for path in listing.files:
        match = _NAME.fullmatch(path.stem)
        if match is None:
            name = file_name(path, folder)
            dropped[name] = f"not a CREMA-D name (such as {NAME_EXAMPLE})"
            continue
        speaker, sentence, emotion, intensity = match.groups()
        intensity = "XX" if intensity == "X" else intensity
        clip_id = f"{speaker}_{sentence}_{emotion}_{intensity}"
        attributes = {
            "sentence": sentence,
            "intensity": intensity,
            **({"text": SENTENCES[sentence]} if sentence in SENTENCES else {}),
            **metadata.of_speaker.get(speaker, {}),
            **metadata.of_clip.get(clip_id, {}),
        }
        clips.append(Clip(clip_id, path, speaker, emotion, attributes))
    kept = keep_one_per_id(clips, dropped, folder)
    return Found(tuple(kept.values()), dropped, folder)


def _official_split(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    """The TFDS split of the 91 actors, whoever of them is on disk."""
    del corpus, config
    train, validation, _ = tfds_speakers_split(SPEAKERS)
    return train, validation


READER = Reader(
    read,
    NAME_EXAMPLE,
    LABEL_MAP,
    split=_official_split,
    has_fixed_split=True,
    dimensions=tuple(Dimension(name, 0.0, 100.0) for name in EMOTION_OF_DIMENSION),
    facts=CorpusFacts(
        "CREMA-D (Cao et al., 2014)",
        "en",
        "91 actors of 20 to 74 years speak 12 sentences of North American English in six acted "
        "emotions, in a studio: nobody felt what was said, and everyday speech is less clear.",
        "CREMA-D is under the Open Database License 1.0 and its contents under the Database "
        "Contents License 1.0: name it, and share databases that you derive from it alike.",
    ),
    download="ser_kd.corpora.download:download_crema_d",
)
