"""What a corpus reader yields, and the file listing that every reader shares."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ser_kd.errors import UserError

LABEL_ORDER = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
"""CREMA-D's classes; a corpus's labels come in this order, others behind them by name."""
AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")

# Stands before the clip id where the speaker is unknown and the user allowed that: every such clip
# then counts as a speaker of its own.
UNKNOWN_SPEAKER_PREFIX = "unknown/"


@dataclass(frozen=True)
class Clip:
    """One labelled recording.

    Attributes:
        id: Unique within the corpus; targets and predictions are stored under it.
        path: The audio file.
        speaker: Who speaks; empty where the corpus does not say. ``unknown/<id>`` where it does
            not say and ``CorpusConfig.allow_unknown_speakers`` is set.
        emotion: The label, one of the corpus's ``labels``.
        attributes: Whatever else the corpus knows (sentence, intensity, sex, age, votes ...).
    """

    id: str
    path: Path
    speaker: str
    emotion: str
    attributes: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def speaker_known(self) -> bool:
        """Whether the corpus says who speaks."""
        return bool(self.speaker) and not self.speaker.startswith(UNKNOWN_SPEAKER_PREFIX)


@dataclass(frozen=True)
class Corpus:
    """The clips of one folder, in order of id.

    Attributes:
        name: The reader's name, such as ``crema_d``.
        clips: Every clip that takes part in the corpus's splits.
        labels: Class names in output order.
        left_out: Clip id -> reason, for clips of ``clips`` that stay in the splits' counts but
            are not trained on (silent, labelled twice, unreadable ...).
        dropped: File name -> reason, for files that are no clip of this corpus at all (left out
            of its official splits, unmapped label, name that does not parse ...).
        synthetic: True for the demo corpus; every figure from it is marked so.
        folder: Where the files lie; the names in ``dropped`` are relative to it.
    """

    name: str
    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    folder: Path = Path()


@dataclass(frozen=True)
class Found:
    """What a reader found, still under the corpus's own labels.

    Attributes:
        clips: In any order; ``emotion`` is the corpus's own label.
        flawed: Clip id -> reason, for known bad clips that take part in the official splits.
        dropped: File name relative to ``folder`` -> reason.
        folder: Where the files lie.
    """

    clips: tuple[Clip, ...]
    dropped: Mapping[str, str]
    folder: Path
    flawed: Mapping[str, str] = field(default_factory=dict)


def existing_folder(folder: Path) -> Path:
    """Returns ``folder`` itself.

    Raises:
        UserError: it is missing or no folder.
    """
    if not folder.exists():
        raise UserError(f"data folder {folder} does not exist: check the path")
    if not folder.is_dir():
        raise UserError(f"data folder {folder} is a file: give the folder that holds the clips")
    return folder


def audio_files(folder: Path) -> tuple[Path, ...]:
    """Every WAV, FLAC, Ogg or MP3 file below ``folder``, sorted; hidden ones are none.

    Raises:
        UserError: the folder is missing, no folder, or holds no audio file.
    """
    existing_folder(folder)
    files = []
    for parent, folders, names in os.walk(folder):
        # Hidden: "._x.wav" of macOS is a resource fork, not audio.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in AUDIO_SUFFIXES
        ]
    if not files:
        raise UserError(
            f"no audio file in {folder}: expected {', '.join(AUDIO_SUFFIXES)} files; check the path"
        )
    return tuple(sorted(files))


def keep_one_per_id(clips: list[Clip], dropped: dict[str, str], folder: Path) -> dict[str, Clip]:
    """Clips by id; of two files with one id the earlier format in ``AUDIO_SUFFIXES`` stays.

    The others go to ``dropped``, with the name of the file that stayed.
    """
    kept: dict[str, Clip] = {}
    order = sorted(
        clips, key=lambda clip: (AUDIO_SUFFIXES.index(clip.path.suffix.lower()), str(clip.path))
    )
    for clip in order:
        if clip.id in kept:
            name = kept[clip.id].path.relative_to(folder).as_posix()
            dropped[clip.path.relative_to(folder).as_posix()] = f"same clip as {name}"
        else:
            kept[clip.id] = clip
    return kept
