"""What a corpus reader yields."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ser_kd.corpora.listing import AUDIO_SUFFIXES, printable

LABEL_ORDER = ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
"""CREMA-D's classes; a corpus's labels come in this order, others behind them by name."""

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
        notes: Sentences on how the folder was read, where that may not be what was meant.
    """

    name: str
    clips: tuple[Clip, ...]
    labels: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    dropped: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False
    folder: Path = Path()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a reader found, still under the corpus's own labels.

    Attributes:
        clips: In any order; ``emotion`` is the corpus's own label.
        flawed: Clip id -> reason, for known bad clips that take part in the official splits.
        dropped: File name relative to ``folder`` -> reason.
        folder: Where the files lie.
        notes: Sentences on how the folder was read, where that may not be what was meant.
    """

    clips: tuple[Clip, ...]
    dropped: Mapping[str, str]
    folder: Path
    flawed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


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
            name = file_name(kept[clip.id].path, folder)
            dropped[file_name(clip.path, folder)] = f"same clip as {name}"
        else:
            kept[clip.id] = clip
    return kept


def file_name(path: Path, folder: Path) -> str:
    """A file's name in lists: relative to ``folder`` where it lies there, always printable."""
    inside = path.relative_to(folder) if path.is_relative_to(folder) else path
    return printable(inside.as_posix())
