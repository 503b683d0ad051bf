"""Tables of text as people and spreadsheets write them: the only reader of CSV and JSON Lines.

A table is read whole or not at all: what would lose rows in silence (a quote that is never closed,
a row that is cut short, bytes that are no text) is an error that names the file and the row.
"""

import csv
import gzip
import io
import json
import re
import unicodedata
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ser_kd.errors import UserError

_JSON_LINES = ".jsonl"
TABLE_SUFFIXES = (".csv", ".tsv", _JSON_LINES)
_DELIMITERS = ",;\t|"
_SEPARATOR_LINE = "sep="
_BYTE_ORDER_MARKS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
_SHOWN = 200
_LATIN_1 = "latin-1"  # reads any bytes
_LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True)
class Table:
    """A table with named columns.

    Attributes:
        path: The file.
        columns: In order; in the spelling that was asked for, others in small letters.
        rows: Row as spreadsheets number it (the line on which it begins) and its cells by column,
            without surrounding spaces; empty where the row ends before.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, dict[str, str]], ...]


def read_table(
    path: Path, required: Sequence[str], optional: Sequence[str] = (), mend: str = ""
) -> Table:
    """Reads a table of UTF-8 (or, by its byte order mark, UTF-16) text.

    The cells are divided by commas, semicolons, tabs or ``|``, whichever the first line has most
    of, or by what a line ``sep=;`` before it says; a ``.jsonl`` has an object per line instead.
    Case and Unicode form of the columns' names do not matter.

    Args:
        path: A ``.gz`` is unpacked.
        required: Columns that every row must have a cell for, which may be empty; the first names
            what the row is about.
        optional: Further columns to be found in this spelling.
        mend: Ends every message, such as ``mend it, or take it away``.

    Raises:
        UserError: It cannot be read, is no text, lacks a column or has one twice, a quote is not
            closed where it should be, or a row is too long or too short.
    """
    if path.suffix.lower() == _JSON_LINES:
        return _read_json_lines(path, required, optional, mend)
    lines = _Lines(path, mend)
    names = [folded_name(name) for name in lines.header]
    spelling = {folded_name(name): name for name in (*required, *optional)}
    columns = [spelling.get(name, name) for name in names]
    missing = [name for name in required if name not in columns]
    if missing:
        raise lines.error(
            f" has no column {', '.join(map(repr, missing))}; its columns are "
            f"{listed(lines.header)}"
        )
    twice = [name for name in columns if name and columns.count(name) > 1]
    if twice:
        raise lines.error(f" has the column {twice[0]!r} twice")
    needed = 1 + max((columns.index(name) for name in required), default=-1)
    found = list(lines.rows())
    looks_like_row = _row_test(found, columns, required, lines.delimiter)
    rows = []
    for number, cells, written in found:
        is_long = len(cells) > len(columns)
        if len(written) > 1 and (is_long or sum(map(looks_like_row, written)) > 1):
            raise lines.error(
                f", row {number}: a double quote opens there and closes rows later, so that "
                f"{written[1].strip()[:60]!r} would be lost; close it, or leave it out"
            )
        if len(cells) < needed:
            raise lines.error(
                f", row {number}, is cut short: it has {len(cells)} cells of {len(columns)}"
            )
        if any(cells[len(columns) :]):
            raise lines.error(
                f", row {number}, has more cells than there are columns: put a text that holds the "
                "separator into double quotes"
            )
        for name in required:
            if _LINE_END.search(cells[columns.index(name)]):
                raise lines.error(
                    f", row {number}: its {name!r} has several lines; is a double quote not closed?"
                )
        padded = [*cells[: len(columns)], *[""] * (len(columns) - len(cells))]
        rows.append((number, dict(zip(columns, padded, strict=True))))
    return Table(path, tuple(columns), tuple(rows))


def column_names(path: Path) -> tuple[str, ...]:
    """The names in a table's first line as they stand there; nothing where it is no table.

    Whatever the encoding is: which table is the one that is meant must not depend on it.
    """
    try:
        if path.suffix.lower() == _JSON_LINES:
            return tuple(next(_json_lines(path, ""), (0, {}))[1])
        return tuple(_Lines(path, "", any_encoding=True).header)
    except UserError:
        return ()


def _read_json_lines(
    path: Path, required: Sequence[str], optional: Sequence[str], mend: str
) -> Table:
    """``read_table`` of a file with a JSON object per line, such as ``metadata.jsonl``."""
    spelling = {folded_name(name): name for name in (*required, *optional)}
    rows = []
    for number, given in _json_lines(path, mend):
        names = {name: spelling.get(folded_name(name), folded_name(name)) for name in given}
        if missing := [name for name in required if name not in names.values()]:
            raise _fault(
                path, f", row {number}, has no {missing[0]!r}; it has {listed(given)}", mend
            )
        if len(set(names.values())) < len(names):
            raise _fault(path, f", row {number}, names a column twice: {listed(given)}", mend)
        rows.append((number, {names[name]: _cell(value) for name, value in given.items()}))
    columns = tuple(dict.fromkeys(name for _, row in rows for name in row))
    empty = dict.fromkeys(columns, "")
    return Table(path, columns, tuple((number, empty | row) for number, row in rows))


def _json_lines(path: Path, mend: str) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise _fault(path, f" cannot be read as UTF-8 text ({error})", mend) from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _fault(path, f", row {number}, is no JSON ({error})", mend) from None
        if not isinstance(row, dict):
            raise _fault(path, f", row {number}, is no JSON object, {{...}}", mend)
        yield number, row


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _fault(path: Path, what: str, mend: str) -> UserError:
    return UserError(f"{path}{what}" + (f": {mend}" if mend else ""))


class _Row(NamedTuple):
    number: int
    cells: list[str]
    written: list[str]
    """The lines that it takes: several where a text has several."""


def _row_test(
    rows: Sequence[_Row], columns: Sequence[str], required: Sequence[str], delimiter: str
) -> Callable[[str], bool]:
    """Whether a line is a row of its own, even within the quotes of a text.

    It is if one of its cells is a file's name; in a table that is not about files, if it has as
    many cells as there are columns.
    """
    place = columns.index(required[0]) if required else 0
    suffixes = {_suffix(row.cells[place]) for row in rows if place < len(row.cells)} - {""}

    def test(line: str) -> bool:
        cells = line.strip().replace('"', "").split(delimiter)
        if not suffixes:
            return 1 < len(columns) <= len(cells)
        return any(_suffix(cell) in suffixes for cell in cells)

    return test


def _suffix(name: str) -> str:
    return PurePath(name.strip()).suffix.lower()


class _Lines:
    """A file's text, its delimiter and header, and the rows behind it.

    Raises:
        UserError: It cannot be read, or is no text.
    """

    def __init__(self, path: Path, mend: str, any_encoding: bool = False) -> None:
        self._path, self._mend = path, mend
        text = self._text(any_encoding)
        # Not ``splitlines``: a cell may hold line separators of Unicode.
        self._stream = io.StringIO(text, newline="")
        self._before = self._line = 0
        first = self._next_filled_line()
        named = first.strip().strip('"')
        self.delimiter = ""
        if named.lower().startswith(_SEPARATOR_LINE) and len(named) <= len(_SEPARATOR_LINE) + 1:
            self.delimiter = named[len(_SEPARATOR_LINE) :] or "\t"
            first = self._next_filled_line()
        if not self.delimiter:
            self.delimiter = max(_DELIMITERS, key=_outside_quotes(first).count)
        self.header = next(self._reader([first]), []) if first else []

    def _reader(self, lines: Sequence[str]) -> Iterator[list[str]]:
        self._line = 0
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True, skipinitialspace=True)
        try:
            for cells in reader:
                self._line = reader.line_num
                yield [cell.strip() for cell in cells]
        except csv.Error as error:
            raise self.error(
                f", row {self._before + self._line + 1}: {_of_quotes(str(error))}"
            ) from None

    def rows(self) -> Iterator["_Row"]:
        """The rows behind the header; those without any text are passed over."""
        lines = list(self._stream)
        begins = 0
        for cells in self._reader(lines):
            if any(cells):
                yield _Row(self._before + begins + 1, cells, lines[begins : self._line])
            begins = self._line

    def _next_filled_line(self) -> str:
        for line in self._stream:
            self._before += 1
            if line.strip():
                return line
        return ""

    def _text(self, any_encoding: bool) -> str:
        try:
            packed = self._path.suffix.lower() == ".gz"
            with gzip.open(self._path) if packed else self._path.open("rb") as stream:
                content = stream.read()
        except (OSError, EOFError, zlib.error) as error:
            raise self.error(f" cannot be read ({error})") from None
        encoding = next((name for mark, name in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
        try:
            text = content.decode(encoding or "utf-8")
        except UnicodeDecodeError as error:
            if any_encoding:
                return content.decode(_LATIN_1)
            row = 1 + content[: error.start].count(b"\n")
            raise self.error(
                f", row {row}, cannot be read as {'UTF-16' if encoding == 'utf-16' else 'UTF-8'} "
                "text: save it as 'CSV UTF-8'"
            ) from None
        if "\0" in text:
            raise self.error(" cannot be read as text (it holds NUL): save it as 'CSV UTF-8'")
        return text

    def error(self, what: str) -> UserError:
        """``what`` follows the file's name."""
        return _fault(self._path, what, self._mend)


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _of_quotes(message: str) -> str:
    if "unexpected end of data" in message:
        return "a double quote opens there and is never closed; close it, or leave it out"
    if "expected after" in message:
        return (
            "text follows a closing double quote; a quote before it is not closed, or a double "
            'quote within a text is not doubled ("he said ""yes""")'
        )
    return message


def listed(names: Iterable[str]) -> str:
    """Names of columns for a message of one line."""
    text = " ".join((", ".join(name or "''" for name in names) or "none").split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."


def folded_name(name: str) -> str:
    """A name by which others are compared with it: neither case nor Unicode form matter."""
    return unicodedata.normalize("NFC", name).strip().casefold()
