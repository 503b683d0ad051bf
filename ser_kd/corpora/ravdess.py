"""RAVDESS: speech of 24 actors, 2 sentences, 8 emotions (Livingstone and Russo 2018).

File names are seven numbers, such as ``03-01-06-01-02-01-12.wav``: modality, vocal channel,
emotion, intensity, statement, repetition, actor. In ``Actor_XX/`` folders or all in one.
"""

import re
from pathlib import Path

from ser_kd.corpora.clip import Clip, Found, file_name, keep_one_per_id
from ser_kd.corpora.listing import list_audio
from ser_kd.corpora.reader import CorpusFacts, Reader

EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fearful",
    "07": "disgust",
    "08": "surprised",
}
# By default calm and surprised stay classes of their own.
LABEL_MAP = {
    "angry": "ANG",
    "disgust": "DIS",
    "fearful": "FEA",
    "happy": "HAP",
    "neutral": "NEU",
    "sad": "SAD",
    "calm": "CAL",
    "surprised": "SUR",
}
# As ``label_map``: the six classes of CREMA-D. An empty class drops the label.
TO_CREMA_D = LABEL_MAP | {"calm": "NEU", "surprised": ""}

NAME_EXAMPLE = "03-01-06-01-02-01-12.wav"
_NAME = re.compile(r"(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])")
_MODALITIES = {"01": "audio and video", "02": "video only", "03": "audio only"}


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads the speech clips; songs are dropped.

    Of a clip that is there both as audio only (03) and as the sound of the film (01), audio only
    stays. The id is the file name without the modality, so that both have the same id.

    Clip attributes: ``sentence`` (kids or dogs), ``intensity`` (normal or strong), ``repetition``,
    ``sex``.

    Raises:
        UserError: missing or empty folder.
    """
    del metadata_dir  # everything stands in the file names
    listing = list_audio(folder)
    clips, dropped = [], listing.unused
    audio_only = set()
    for path in listing.files:
        name = file_name(path, folder)
        match = _NAME.fullmatch(path.stem)
        if match is None:
            dropped[name] = f"not a RAVDESS name (such as {NAME_EXAMPLE})"
            continue
        modality, channel, emotion, intensity, statement, repetition, actor = match.groups()
        if channel == "02":
            dropped[name] = "song, not speech"
            continue
        if modality == "02":
            dropped[name] = f"modality 02 ({_MODALITIES[modality]})"
            continue
        clip_id = path.stem[3:]
        if modality == "03":
            audio_only.add(clip_id)
        attributes = {
            "sentence": {"01": "kids", "02": "dogs"}[statement],
            "intensity": {"01": "normal", "02": "strong"}[intensity],
            "repetition": int(repetition),
            "sex": "Male" if int(actor) % 2 else "Female",
            "modality": _MODALITIES[modality],
        }
        clips.append(Clip(clip_id, path, actor, EMOTIONS[emotion], attributes))
    chosen = []
    for clip in clips:
        if clip.id in audio_only and not clip.path.stem.startswith("03"):
            dropped[file_name(clip.path, folder)] = f"same clip as 03-{clip.id}"
        else:
            chosen.append(clip)
    kept = keep_one_per_id(chosen, dropped, folder)
    return Found(tuple(kept.values()), dropped, folder)


READER = Reader(
    read,
    NAME_EXAMPLE,
    LABEL_MAP,
    TO_CREMA_D,
    facts=CorpusFacts(
        "RAVDESS (Livingstone and Russo, 2018)",
        "en",
        "24 actors speak two sentences of North American English, acted, in a studio.",
        "RAVDESS is under CC BY-NC-SA 4.0: not for commercial use.",
    ),
)
