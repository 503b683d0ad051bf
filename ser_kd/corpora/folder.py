"""The user's own data: one folder per emotion, or a table.

Folders: ``<root>/<emotion>/x.wav`` (speaker unknown) or ``<root>/<emotion>/<speaker>/x.wav``.

Table (``.csv``, ``.tsv`` or ``.jsonl``): columns ``path`` (relative to the table), ``emotion``
and, where known, ``speaker`` and ``id``, or what other software calls them (``ALIASES``); any other
column becomes a clip attribute; a column of numbers, such as ``valence``, can be a continuous
target (``ser_kd.corpora.ratings``), and a column ``text`` holds the transcripts that a teacher of
kind ``linguistic`` reads (in double quotes where they hold commas). Give the table itself as the
data folder, or the folder that holds it.
"""

import dataclasses
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from ser_kd.corpora.clip import Clip, Found, file_name
from ser_kd.corpora.listing import existing_folder, list_audio, printable
from ser_kd.corpora.reader import Reader
from ser_kd.corpora.table import TABLE_SUFFIXES, column_names, folded_name, listed, read_table
from ser_kd.errors import UserError

NAME_EXAMPLE = "<emotion>/x.wav or <emotion>/<speaker>/x.wav"
ALIASES = {
    "path": "file_name filename file filepath file_path audio audio_path audio_file wav wav_path",
    "emotion": "label labels class emotion_label category",
    "speaker": "speaker_id speakerid spk spk_id spkr spkrid actor actor_id subject subject_id",
    "text": "transcript transcription",
    "id": "clip_id utterance_id utt_id",
}
"""Column -> its names in other software, such as Hugging Face's ``audiofolder``."""
_PARTS = ("train", "training", "test", "testing", "validation", "valid", "val", "dev", "eval")


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads ``folder``, by its table where it has one that names files and emotions.

    Clip ids are the paths relative to the root, with suffix, or the table's ``id`` column. Labels
    and speakers whose names differ in case or Unicode form alone count as one.

    Raises:
        UserError: missing or empty folder, several tables, a table that names emotions and no
            files, a bad one, an id or file that stands twice, folders that are no emotions.
    """
    del metadata_dir  # other columns of the table are the metadata
    if folder.is_file() and folder.suffix.lower() in TABLE_SUFFIXES:
        return _one_spelling(_read_table(folder, _columns(folder)))
    existing_folder(folder)
    columns_of = {path: _columns(path) for path in _tables(folder)}
    tables = [path for path, columns in columns_of.items() if {"path", "emotion"} <= set(columns)]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise UserError(f"{folder} holds several tables ({names}): give one of them as the folder")
    if tables:
        found = _read_table(tables[0], columns_of[tables[0]])
        unnamed = _not_in_table(folder, found, tables[0].name)
        return _one_spelling(dataclasses.replace(found, dropped={**unnamed, **found.dropped}))
    for path, columns in columns_of.items():
        if "emotion" in columns:
            raise UserError(
                f"{path} names emotions, but no files (its columns are "
                f"{listed(columns.values())}): call the column with the files path, or take "
                "the table out of the folder"
            )
    found = _read_tree(folder)
    others = {
        printable(path.name): "no table of clips: its columns are "
        f"{listed(columns.values())}; labels are the folders' names"
        for path, columns in columns_of.items()
    }
    return _one_spelling(dataclasses.replace(found, dropped={**found.dropped, **others}))


def _tables(folder: Path) -> list[Path]:
    """Of macOS "._x.csv" is a resource fork, of an open spreadsheet "~$x.csv" a lock."""
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in TABLE_SUFFIXES
        and not path.name.startswith((".", "~$"))
        and path.is_file()
    ]


def _columns(table: Path) -> dict[str, str]:
    """Our name of each column -> its name in the table.

    Raises:
        UserError: Two columns can be meant.
    """
    names = [name for name in column_names(table) if name]
    there = {folded_name(name): name for name in names}
    ours: dict[str, str] = {}
    for column, others in ALIASES.items():
        found = [there[name] for name in others.split() if name in there]
        if column in there:
            ours[column] = there[column]
        elif len(found) > 1:
            raise UserError(
                f"{table}: the columns {' and '.join(found)} can both be the {column}; call the "
                f"right one {column}"
            )
        elif found:
            ours[column] = found[0]
    rest = {name: name for name in there.values() if name not in ours.values()}
    return ours | rest


def _read_tree(folder: Path) -> Found:
    listing = list_audio(folder)
    clips, dropped = [], listing.unused
    for path in listing.files:
        parts = [printable(part) for part in path.relative_to(folder).parts]
        name = "/".join(parts)
        if len(parts) == 1:
            dropped[name] = "not in the folder of an emotion"
        elif len(parts) > 3:
            dropped[name] = "deeper than <emotion>/<speaker>/"
        else:
            clips.append(Clip(name, path, parts[1] if len(parts) == 3 else "", parts[0]))
    labels = {clip.emotion for clip in clips}
    if labels and all(label.lower() in _PARTS for label in labels):
        tables = [path for label in sorted(labels) for path in _tables(folder / label)]
        there = f" (there is {file_name(tables[0], folder)})" if tables else ""
        raise UserError(
            f"the folders {', '.join(sorted(labels))} in {folder} are no emotions: give one of "
            f"them, or a table with the columns path and emotion{there}"
        )
    return Found(tuple(clips), dropped, folder)


def _read_table(table: Path, columns: Mapping[str, str]) -> Found:
    missing = [name for name in ("path", "emotion") if name not in columns]
    if missing:
        raise UserError(
            f"{table} has no column {' or '.join(missing)}: its first line must name the columns "
            "path, emotion and, where known, speaker; its columns are "
            f"{listed(columns.values())}"
        )
    required = [columns["path"], columns["emotion"]]
    rows = read_table(table, required, list(columns.values())).rows
    if not rows:
        raise UserError(f"{table} has no rows, only the names of its columns")
    clips: list[Clip] = []
    dropped: dict[str, str] = {}
    row_of_id: dict[str, int] = {}
    row_of_path: dict[Path, int] = {}
    for number, row in rows:
        cells = {ours.lower(): row[theirs] for ours, theirs in columns.items()}
        name = cells.pop("path")
        if not name:
            raise UserError(f"{table}, row {number}: the path is empty")
        emotion, speaker = cells.pop("emotion"), cells.pop("speaker", "")
        clip_id = cells.pop("id", "") or name
        if clip_id in row_of_id:
            raise UserError(
                f"{table}: rows {row_of_id[clip_id]} and {number} both have the id {clip_id!r}; "
                "every clip needs its own"
            )
        row_of_id[clip_id] = number
        path = _file(table.parent, name)
        place = path.resolve()
        if place in row_of_path:
            raise UserError(
                f"{table}: rows {row_of_path[place]} and {number} both name the file {name}; a "
                "clip has one label and one row"
            )
        row_of_path[place] = number
        if not path.is_file():
            dropped[name] = f"row {number} of {table.name}: no such file"
        elif not emotion:
            dropped[name] = f"row {number} of {table.name}: no emotion"
        else:
            clips.append(Clip(clip_id, path, speaker, emotion, cells))
    return Found(tuple(clips), dropped, table.parent)


def _not_in_table(folder: Path, found: Found, table: str) -> dict[str, str]:
    """The audio files of the folder that its table does not name, and why not."""
    try:
        listing = list_audio(folder)
    except UserError:  # all lie elsewhere
        return {}
    named = {clip.path.resolve() for clip in found.clips}
    named |= {_file(folder, name).resolve() for name in found.dropped}
    others = [path for path in listing.files if path.resolve() not in named]
    return listing.unused | {file_name(path, folder): f"not in {table}" for path in others}


def _file(folder: Path, name: str) -> Path:
    """The file that a cell names: also with Windows' separators, or in another Unicode form."""
    spellings = [name, name.replace("\\", "/")]
    spellings += [unicodedata.normalize(form, spellings[1]) for form in ("NFC", "NFD")]
    paths = [folder / _expanded(spelling) for spelling in spellings]
    return next((path for path in paths if path.is_file()), paths[0])


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # "~somebody" who is unknown here
        return Path(name)


def _one_spelling(found: Found) -> Found:
    """Labels and speakers, each under the most frequent of its spellings."""
    notes: list[str] = []
    emotions = _spellings((clip.emotion for clip in found.clips), "label", notes)
    speakers = _spellings((clip.speaker for clip in found.clips), "speaker", notes)
    clips = tuple(
        dataclasses.replace(clip, emotion=emotions[clip.emotion], speaker=speakers[clip.speaker])
        for clip in found.clips
    )
    return dataclasses.replace(found, clips=clips, notes=(*found.notes, *notes))


def _spellings(names: Iterable[str], what: str, notes: list[str]) -> dict[str, str]:
    """Name -> the spelling that stands for it and for all that differ in case or Unicode form."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name in names:
        counts[folded_name(name)][name] += 1
    chosen: dict[str, str] = {}
    for spelt in counts.values():
        best = max(sorted(spelt), key=spelt.__getitem__)
        shown = unicodedata.normalize("NFC", best).strip()
        chosen |= dict.fromkeys(spelt, shown)
        if len(spelt) > 1:
            forms = ", ".join(f"{name!r} ({count:,})" for name, count in sorted(spelt.items()))
            notes.append(f"{forms} count as one {what}, {shown!r}")
    return chosen


READER = Reader(read, NAME_EXAMPLE)
