"""CSV as people write it: read whole, or refused with the row; never shortened in silence."""

import gzip
from pathlib import Path

import pytest

from ser_kd.corpora.table import column_names, read_table
from ser_kd.errors import UserError

COLUMNS = ("path", "emotion")


def write(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows(path: Path) -> list[tuple[int, list[str]]]:
    return [(number, list(row.values())) for number, row in read_table(path, COLUMNS).rows]


@pytest.mark.parametrize(
    "content",
    [
        "path,emotion,text\na.wav,joy,oh\n",
        "path;emotion;text\na.wav;joy;oh",
        "path\temotion\ttext\r\na.wav\tjoy\toh\r\n",
        "Path | EMOTION|text \ra.wav| joy |oh\r",
        "\ufeffpath,emotion,text\na.wav,joy,oh\n",
        'path, "emotion", text\n"a.wav", "joy", "oh"\n',
    ],
)
def test_delimiters_marks_and_line_ends(content: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    assert read_table(path, COLUMNS).rows == (
        (2, {"path": "a.wav", "emotion": "joy", "text": "oh"}),
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    path = write(tmp_path, "path,emotion\nü.wav,fröhlich\n".encode(encoding))
    assert rows(path) == [(2, ["ü.wav", "fröhlich"])]
    packed = write(tmp_path, gzip.compress(path.read_bytes()), "t.csv.gz")
    assert rows(packed) == rows(path)


def test_lines_before_between_and_after_the_rows(tmp_path: Path) -> None:
    path = write(tmp_path, "\nsep=;\n\npath;emotion\n\na.wav;joy\n;\nb.wav;rage\n\n")
    assert rows(path) == [(6, ["a.wav", "joy"]), (8, ["b.wav", "rage"])]


def test_texts_of_several_lines_before_the_file_and_with_many_commas(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'text,path,emotion\n"oh\nno, no, and no,\nnever",a.wav,joy\nyes,b.wav,joy\n',
    )
    table = read_table(path, COLUMNS)
    assert [row["text"] for _, row in table.rows] == ["oh\nno, no, and no,\nnever", "yes"]


def test_quotes_that_are_meant(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        'path,emotion,text\na.wav,joy,"oh, ""yes""\nand no, never"\nb.wav,joy,5" nail\n'
        "c.wav,joy\nd.wav,joy,line\u2028separator\n",
    )
    assert rows(path) == [
        (2, ["a.wav", "joy", 'oh, "yes"\nand no, never']),
        (4, ["b.wav", "joy", '5" nail']),
        (5, ["c.wav", "joy", ""]),
        (6, ["d.wav", "joy", "line\u2028separator"]),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('path,emotion,text\na,joy,"oh\nb,joy,\nc,joy,x\n', "row 2: a double quote opens there"),
        ('path,emotion,text\na,joy,x\nb,joy,"oh\nc,joy,no"\n', "row 3: .*'c,joy,no\"?' would be"),
        ('path,text,emotion\na,"oh,joy\nb,no",joy\n', "row 2: .*'b,no\",joy'"),
        ('path,text,emotion\n"a,oh,joy\nb",no,joy\n', "row 2"),
        ('path,emotion,text\na,joy,"oh\nb,joy,"no\nc,joy,x\n', "text follows a closing"),
        ('path,emotion,text\na.wav,joy,",""\nb.wav,joy",\nc.wav,joy,\n', "row 2: .* 'b.wav,joy"),
        ('text,path,emotion\n"oh, ah,a.wav,joy\nno",b.wav,joy\n', "row 2: .* 'no\",b.wav,joy'"),
        ('path,emotion,text\na,joy,"oh" yes\n', "row 2: text follows a closing double quote"),
        ("path,emotion\na\n", "row 2, is cut short: it has 1 cells of 2"),
        ("path,emotion\na,joy,more\n", "row 2, has more cells than there are columns"),
        ("path,emotion,Path\na,joy,b\n", "has the column 'path' twice"),
        ("file;size\na;1\n", "no column 'path', 'emotion'; its columns are file, size"),
        ("", "no column 'path', 'emotion'; its columns are none"),
        ("sep=;\n", "its columns are none"),
        ("path,emotion\na,fr\xf6hlich\n".encode("latin-1"), "row 2, cannot be read as UTF-8"),
        ("path,emotion\na,joy\n".encode("utf-16-le"), "NUL"),
        (b"\xff\xfep", "cannot be read as UTF-16"),
        ("path,emotion\na," + "y" * 200_000 + "\n", "row 2: field larger"),
    ],
)
def test_what_would_lose_rows_is_refused(
    content: str | bytes, message: str, tmp_path: Path
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(UserError, match=message) as error:
        read_table(path, COLUMNS)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_only_names_in_their_spelling_are_known_by_it(tmp_path: Path) -> None:
    path = write(tmp_path, "FILENAME,meanangerresp,Room\na,1,hall\n")
    table = read_table(path, ("fileName",), ("meanAngerResp",))
    assert table.rows[0][1] == {"fileName": "a", "meanAngerResp": "1", "room": "hall"}


def test_names_of_columns_whatever_the_encoding(tmp_path: Path) -> None:
    assert column_names(write(tmp_path, "Größe;x\n\xff\n".encode("latin-1"))) == ("Größe", "x")
    assert column_names(write(tmp_path, '"open\n')) == ()
    assert column_names(tmp_path / "absent.csv") == ()
