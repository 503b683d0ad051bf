"""The user's own data: one folder per emotion, or a CSV.

Folders: ``<root>/<emotion>/x.wav`` (speaker unknown) or ``<root>/<emotion>/<speaker>/x.wav``.

CSV: columns ``path`` (relative to the CSV), ``emotion`` and, where known, ``speaker`` and ``id``;
any other column becomes a clip attribute; a column of numbers, such as ``valence``, can be a
continuous target (``ser_kd.corpora.ratings``), and a column ``text`` holds the transcripts that a
teacher of kind ``linguistic`` reads (in double quotes where they hold commas). Give the CSV itself
as the data folder, or the folder that holds it.
"""

import csv
from pathlib import Path

from ser_kd.corpora.clip import Clip, Found, audio_files, existing_folder
from ser_kd.corpora.reader import Reader
from ser_kd.errors import UserError

NAME_EXAMPLE = "<emotion>/x.wav or <emotion>/<speaker>/x.wav"
_REQUIRED = ("path", "emotion")


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads ``folder``, by its CSV where it has one with columns path and emotion.

    Clip ids are the paths relative to the root, with suffix, or the CSV's ``id`` column.

    Raises:
        UserError: missing or empty folder, several CSVs, bad CSV, an id or file that stands twice.
    """
    del metadata_dir  # other columns of the CSV are the metadata
    if folder.is_file() and folder.suffix.lower() == ".csv":
        return _read_csv(folder)
    existing_folder(folder)
    tables = [path for path in sorted(folder.glob("*.csv")) if _has_columns(path)]
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise UserError(f"{folder} holds several tables ({names}): give one of them as the folder")
    return _read_csv(tables[0]) if tables else _read_tree(folder)


def _read_tree(folder: Path) -> Found:
    clips, dropped = [], {}
    for path in audio_files(folder):
        relative = path.relative_to(folder)
        name, parts = relative.as_posix(), relative.parts
        if len(parts) == 1:
            dropped[name] = "not in the folder of an emotion"
        elif len(parts) > 3:
            dropped[name] = "deeper than <emotion>/<speaker>/"
        else:
            speaker = parts[1] if len(parts) == 3 else ""
            clips.append(Clip(name, path, speaker, parts[0]))
    return Found(tuple(clips), dropped, folder)


def _open_csv(path: Path) -> "csv.DictReader[str]":
    try:
        # With their ends: a transcript in quotes may have several lines.
        lines = path.read_bytes().decode("utf-8-sig").splitlines(keepends=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path} as UTF-8 text ({error})") from None
    header = lines[0] if lines else ""
    # Spreadsheets of many countries write semicolons.
    delimiter = max(",;\t", key=header.count)
    reader = csv.DictReader(lines, delimiter=delimiter)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    return reader


def _has_columns(path: Path) -> bool:
    return set(_REQUIRED) <= set(_open_csv(path).fieldnames or ())


def _read_csv(table: Path) -> Found:
    reader = _open_csv(table)
    missing = [name for name in _REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(
            f"{table} has no column {' or '.join(missing)}: its first line must name the columns "
            "path, emotion and, where known, speaker"
        )
    clips: list[Clip] = []
    dropped: dict[str, str] = {}
    row_of_id: dict[str, int] = {}
    row_of_path: dict[Path, int] = {}
    for number, row in enumerate(reader, start=2):
        if any(cell.strip() for cell in row.pop(None, ())):
            raise UserError(
                f"{table}, row {number}, has more cells than there are columns: put a text that "
                "holds the separator into double quotes"
            )
        cells = {name: (value or "").strip() for name, value in row.items() if name}
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
        path = table.parent / Path(name).expanduser()
        if path in row_of_path:
            raise UserError(
                f"{table}: rows {row_of_path[path]} and {number} both name the file {name}; a clip "
                "has one label and one row"
            )
        row_of_path[path] = number
        if not path.is_file():
            dropped[name] = f"row {number} of {table.name}: no such file"
        elif not emotion:
            dropped[name] = f"row {number} of {table.name}: no emotion"
        else:
            clips.append(Clip(clip_id, path, speaker, emotion, cells))
    return Found(tuple(clips), dropped, table.parent)


READER = Reader(read, NAME_EXAMPLE)
