"""What a run is trained on, clip by clip: where any of it has changed, its models are of the past.

Labels, speakers, the audio itself, and what else teachers and student learn from. Where the files
lie does not count: a corpus may be moved.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ser_kd import files
from ser_kd.config import Config
from ser_kd.corpora import Clip
from ser_kd.errors import UserError

FILE = "clips.json"
_DIVIDED_BY = ("part", "session")  # what official splits go by, beside speakers
_AUDIO, _SEEN = "audio", "seen"


def require_same_clips(
    directory: Path, config: Config, clips: Sequence[Clip], unlabelled: Sequence[Clip] = ()
) -> None:
    """Compares the clips with those that the run in ``directory`` began with, or notes them.

    Audio is compared by content. A file with the path, size and times that it had before is not
    read again.

    Args:
        directory: Of the run; ``clips.json`` is written where it is missing or a file was moved.
        config: Of the run.
        clips: The labelled corpus.
        unlabelled: Speech beside it.

    Raises:
        UserError: Says what is not as it was.
    """
    path = directory / FILE
    before: dict[str, dict[str, Any]] = files.read_json(path) if path.exists() else {}
    names = _attributes(config)
    now = {clip.id: _facts(clip, names, before.get(clip.id, {})) for clip in clips}
    now |= {clip.id: _facts(clip, (), before.get(clip.id, {})) for clip in unlabelled}
    if before and (changes := _changes(before, now)):
        raise UserError(
            f"the clips are not those that {directory} began with: {'; '.join(changes)}. Give "
            "another --run-dir, or delete the folder; or put back what was there"
        )
    if now != before:
        files.write_json(path, now)


def _attributes(config: Config) -> tuple[str, ...]:
    """The attributes of clips that this run is divided by or learns from."""
    ratings = ("ratings", *config.dimensions.ranges) if config.dimensions.weight else ()
    taught = (name for teacher in config.teachers.values() for name in teacher.clip_attributes)
    return tuple(dict.fromkeys([*_DIVIDED_BY, *ratings, *taught]))


def _facts(clip: Clip, attributes: Sequence[str], before: Mapping[str, Any]) -> dict[str, Any]:
    facts: dict[str, Any] = {"label": clip.emotion, "speaker": clip.speaker}
    for name in attributes:
        if (value := clip.attributes.get(name.lower())) not in (None, ""):
            text = json.dumps(value, sort_keys=True, default=str)
            facts[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    try:
        stat = clip.path.stat()
        seen = [str(clip.path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
        facts[_AUDIO] = before[_AUDIO] if before.get(_SEEN) == seen else _digest(clip.path)
    except OSError:  # decoding says so
        seen, facts[_AUDIO] = [str(clip.path)], ""
    return {**facts, _SEEN: seen}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:32]


def _changes(
    before: Mapping[str, Mapping[str, Any]], now: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """What differs, a phrase for each kind: how many clips, and one of them."""
    found: dict[str, list[str]] = {
        "are gone": [clip_id for clip_id in before if clip_id not in now],
        "are new": [clip_id for clip_id in now if clip_id not in before],
    }
    for clip_id in before.keys() & now.keys():
        one, other = before[clip_id], now[clip_id]
        for name in (one.keys() | other.keys()) - {_SEEN}:
            if one.get(name) != other.get(name):
                found.setdefault(f"have another {name}", []).append(clip_id)
    return [
        f"{len(ids):,} {what}, such as {min(ids)!r}" for what, ids in sorted(found.items()) if ids
    ]
