"""Random tables and WAV headers: no traceback, no hang, and nothing lost in silence.

python tests/fuzz/tables_and_wav.py --minutes 10

The tests beside it run a few examples of each, always the same ones.
"""

import csv
import io
import struct
import tempfile
import time
from pathlib import Path

import numpy as np
from frame import HANGS_SECONDS, Checks, adds_to, main, tried
from hypothesis import strategies as st

from ser_kd.audio.decoding import decode
from ser_kd.config import CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.corpora.table import Table, read_table
from ser_kd.data.targets import read_targets

COLUMNS = ("path", "emotion")
LABELS = ("ANG", "SAD")

# Texts as cells have them: no surrogates, which no UTF-8 holds, and no NUL.
_signs = st.characters(blacklist_categories=("Cs",), blacklist_characters="\0")
_text = st.text(st.one_of(st.sampled_from("\",;|\t'\n\r =\u2028äé"), _signs), max_size=12)
_word = st.text(st.sampled_from("abcäß,;|' "), max_size=8)
_delimiter = st.sampled_from(",;\t|")
_damage = st.tuples(st.integers(0, 2_000), st.sampled_from(['"', '""', "\n", ";", "\0", "\ufeff"]))


CHECKS: Checks = {}
check = adds_to(CHECKS)


def _written(rows: list[list[str]], delimiter: str, quoting: int = csv.QUOTE_MINIMAL) -> str:
    """As csv writes it, every cell with a separator in quotes."""
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=quoting).writerows(  # type: ignore[arg-type]
        [["path", "emotion", "text"], *rows]
    )
    return stream.getvalue()


def _read(folder: Path, content: bytes) -> Table | None:
    """The table, or None where it is refused as it should be: in one line that names the file."""
    path = folder / "t.csv"
    path.write_bytes(content)
    table, message = tried(lambda: read_table(path, COLUMNS))
    assert table is not None or message.startswith(str(path)), message
    return table


@check(
    texts=st.lists(_text, min_size=1, max_size=8),
    delimiter=_delimiter,
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    all_in_quotes=st.booleans(),
)
def whole_tables_are_read_whole(
    texts: list[str], delimiter: str, encoding: str, all_in_quotes: bool
) -> None:
    """What a spreadsheet wrote is read as it was, or refused."""
    rows = [[f"r{number}.wav", "joy", text.strip()] for number, text in enumerate(texts)]
    quoting = csv.QUOTE_ALL if all_in_quotes else csv.QUOTE_MINIMAL
    text = _written(rows, delimiter, quoting)
    with tempfile.TemporaryDirectory() as folder:
        table = _read(Path(folder), text.encode(encoding))
    if table is not None:
        assert [list(row.values()) for _, row in table.rows] == rows


@check(
    words=st.lists(_word, min_size=2, max_size=8),
    delimiter=_delimiter,
    places=st.lists(st.integers(0, 2_000), min_size=1, max_size=3),
)
def quotes_lose_no_row(words: list[str], delimiter: str, places: list[int]) -> None:
    """Double quotes that slipped in anywhere: every row is there, or the table is refused."""
    rows = [[f"r{number}.wav", "joy", word] for number, word in enumerate(words)]
    text = _written(rows, delimiter)
    start = text.index("\n") + 1
    for place in places:
        at = start + place % (len(text) - start)
        text = text[:at] + '"' + text[at:]
    with tempfile.TemporaryDirectory() as folder:
        table = _read(Path(folder), text.encode())
    assert table is None or len(table.rows) == len(rows), text


@check(
    words=st.lists(_text, max_size=6),
    delimiter=_delimiter,
    damage=st.lists(_damage, max_size=4),
    cut=st.integers(0, 3_000),
    noise=st.binary(max_size=6),
)
def damaged_tables_are_told_of(
    words: list[str], delimiter: str, damage: list[tuple[int, str]], cut: int, noise: bytes
) -> None:
    """Anything may come; only a ``UserError`` may follow, from every reader of tables."""
    text = _written([["a.wav", "joy", words[0] if words else ""], *([w] for w in words)], delimiter)
    for place, sign in damage:
        at = place % (len(text) + 1)
        text = text[:at] + sign + text[at:]
    content = text.encode()[: cut or None] + noise
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.wav").touch()
        _read(folder, content)
        for read in (
            lambda: load_corpus(CorpusConfig("folder", str(folder))),
            lambda: load_corpus(CorpusConfig("folder", str(folder / "t.csv"))),
            lambda: read_targets(folder / "t.csv", LABELS),
        ):
            tried(read)


_sizes = st.sampled_from([0, 1, 2, 16, 18, 40, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF])


@check(
    header=st.fixed_dictionaries(
        {
            "riff": st.sampled_from([b"RIFF", b"RIFX", b"RF64", b"riff"]),
            "riff_size": st.one_of(_sizes, st.integers(0, 0xFFFFFFFF)),
            "fmt_size": _sizes,
            "tag": st.sampled_from([0, 1, 2, 3, 6, 7, 17, 49, 85, 0xFFFE, 0xFFFF]),
            "channels": st.sampled_from([0, 1, 2, 3, 255, 1_024, 65_535]),
            "rate": st.sampled_from([0, 1, 8, 8_000, 44_100, 768_000, 0xFFFFFFFF]),
            "bits": st.sampled_from([0, 1, 4, 8, 12, 16, 24, 32, 64, 65_535]),
            "data_size": st.one_of(_sizes, st.integers(0, 4_000)),
        }
    ),
    sound=st.binary(max_size=2_000),
    before=st.sampled_from([b"", b"LIST\x04\x00\x00\x00abcd", b"LIST\xff\xff\xff\xffab", b"junk"]),
    flips=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), max_size=3),
)
def wav_headers_are_read_or_refused(
    header: dict[str, int | bytes],
    sound: bytes,
    before: bytes,
    flips: list[tuple[int, int]],
) -> None:
    """Finite samples, or a ``UserError``; soon."""
    channels, rate, bits = (int(header[key]) for key in ("channels", "rate", "bits"))
    frame = channels * max(1, int(bits) // 8)
    content = bytearray(
        struct.pack("<4sI4s", header["riff"], header["riff_size"], b"WAVE")
        + before
        + struct.pack("<4sIHH", b"fmt ", header["fmt_size"], header["tag"], channels)
        + struct.pack("<IIHH", rate, (rate * frame) % 2**32, frame % 2**16, bits)
        + struct.pack("<4sI", b"data", header["data_size"])
        + sound
    )
    for place, value in flips:
        content[place % len(content)] = value
    _decode(bytes(content))


@check(
    count=st.integers(400, 3_000),
    riff_size=st.one_of(_sizes, st.integers(0, 0xFFFFFFFF)),
    extra=st.one_of(st.integers(0, 10_000), st.just(0x7FFFF000)),
)
def wrong_sizes_lose_no_sound(count: int, riff_size: int, extra: int) -> None:
    """A recorder that was cut off promises more than there is: what is there is read."""
    samples = (1_000 * np.sin(np.arange(count) / 10)).astype("<i2").tobytes()
    content = (
        struct.pack("<4sI4s4sI", b"RIFF", riff_size, b"WAVE", b"fmt ", 16)
        + struct.pack("<HHIIHH", 1, 1, 16_000, 32_000, 2, 16)
        + struct.pack("<4sI", b"data", len(samples) + extra)
        + samples
    )
    found = _decode(content)
    assert found is not None
    assert len(found) == count


def _decode(content: bytes) -> np.ndarray | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.wav")
        path.write_bytes(content)
        start = time.monotonic()
        found, _ = tried(lambda: decode(path, 16_000))
        assert time.monotonic() - start < HANGS_SECONDS
    if found is not None:
        assert found.dtype == np.float32
        assert np.isfinite(found).all()
    return found


if __name__ == "__main__":
    main(CHECKS, __doc__)
