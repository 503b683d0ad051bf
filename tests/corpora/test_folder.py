"""One's own clips as folders and tables really are."""

import json
import os
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_maker import touch

from ser_kd import files
from ser_kd.audio.decoding import AudioError, decode
from ser_kd.config import CorpusConfig
from ser_kd.corpora import Corpus, load_corpus
from ser_kd.errors import UserError


def load(folder: Path, name: str = "folder") -> Corpus:
    return load_corpus(CorpusConfig(name, str(folder)))


def labels_of(corpus: Corpus) -> dict[str, str]:
    return {clip.id: clip.emotion for clip in corpus.clips}


CLIPS = ("train/1.wav", "train/2.wav", "test/3.wav")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metadata.csv", "file_name,label,speaker_id\n{0},joy,ann\n{1},rage,ben\n{2},joy,ben\n"),
        ("Labels.CSV", "sep=;\npath;speaker;emotion\n{0};ann;joy\n{1};ben;rage\n{2};ben;joy\n"),
        ("t.tsv", "Filename\tLabel\tSpeaker\n{0}\tann\tjoy\n".replace("ann\tjoy", "joy\tann")
         + "{1}\trage\tben\n{2}\tjoy\tben\n"),
        ("t.csv", "emotion|path|SPK\njoy|{0}|ann\nrage|{1}|ben\njoy|{2}|ben\n"),
        ("metadata.jsonl", '{{"file_name": "{0}", "label": "joy", "speaker_id": "ann"}}\n\n'
         '{{"Label": " rage ", "file_name": "{1}", "speaker_id": "ben", "n": [1, null]}}\r\n'
         '{{"file_name": "{2}", "label": "joy", "speaker_id": "ben"}}'),
    ],
)  # fmt: skip
def test_tables_of_other_software(name: str, content: str, tmp_path: Path) -> None:
    touch(tmp_path, *CLIPS, "._labels.csv", "~$t.csv")
    (tmp_path / name).write_text(content.format(*CLIPS))
    corpus = load(tmp_path)
    assert labels_of(corpus) == dict(zip(CLIPS, ("joy", "rage", "joy"), strict=True))
    assert [clip.speaker for clip in corpus.clips] == ["ben", "ann", "ben"]
    assert not corpus.dropped


def test_our_own_name_of_a_column_is_preferred(tmp_path: Path) -> None:
    touch(tmp_path, *CLIPS)
    table = tmp_path / "t.csv"
    table.write_text(f"path,file,emotion,label\n{CLIPS[0]},x,joy,1\n{CLIPS[1]},y,rage,2\n")
    clip = load(table).clips[0]
    assert (clip.emotion, clip.attributes) == ("joy", {"file": "x", "label": "1"})
    table.write_text(f"path,label,class\n{CLIPS[0]},joy,1\n")
    with pytest.raises(UserError, match="columns label and class can both be the emotion"):
        load(table)


@pytest.mark.parametrize("content", [b"Name;Gr\xf6\xdfe\nx;1\n", b"\x00\x01", b"", b'"\n'])
def test_a_table_of_something_else_is_named_and_not_read(content: bytes, tmp_path: Path) -> None:
    touch(tmp_path, "joy/a/1.wav", "rage/a/2.wav")
    (tmp_path / "notes.csv").write_bytes(content)
    corpus = load(tmp_path)
    assert set(labels_of(corpus).values()) == {"joy", "rage"}
    assert "no table of clips" in corpus.dropped["notes.csv"]


def test_a_latin_1_table_of_labels_is_not_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "wav/1.wav", "other/2.wav")
    (tmp_path / "t.csv").write_bytes("path,emotion\nwav/1.wav,fröhlich\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"t\.csv, row 2, cannot be read as UTF-8"):
        load(tmp_path)


def test_folders_of_parts_are_no_emotions(tmp_path: Path) -> None:
    touch(tmp_path, *CLIPS)
    with pytest.raises(UserError, match=r"the folders test, train in .* are no emotions"):
        load(tmp_path)
    (tmp_path / "train" / "metadata.csv").write_text("file_name,label\n1.wav,joy\n")
    with pytest.raises(UserError, match=r"there is train/metadata\.csv"):
        load(tmp_path)
    (tmp_path / "labels.csv").write_text("clip name,emotion\n1.wav,joy\n")
    with pytest.raises(UserError, match=r"labels\.csv names emotions, but no files .*clip name"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"file_name": "b.wav"}', "row 2, has no 'label'; it has file_name"),
        ('{"file_name": "b.wav", "label": "joy"', "row 2, is no JSON"),
        ('["b.wav", "joy"]', "row 2, is no JSON object"),
        ('{"file_name": "b.wav", "label": "joy", "Label": "rage"}', "names a column twice"),
        ("[" * 50_000, "row 2, is no JSON"),
    ],
)
def test_json_lines_lose_no_row(line: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    first = '{"file_name": "a.wav", "label": "joy"}'
    (tmp_path / "metadata.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(UserError, match=message):
        load(tmp_path)


def test_header_alone(tmp_path: Path) -> None:
    touch(tmp_path, *CLIPS)
    (tmp_path / "t.csv").write_text("path,emotion\n\n")
    with pytest.raises(UserError, match=r"t\.csv has no rows"):
        load(tmp_path)


def test_paths_of_windows_and_of_macs(tmp_path: Path) -> None:
    touch(tmp_path, "wav/1.wav", unicodedata.normalize("NFD", "wav/ü.wav"), "wav/more.wav")
    (tmp_path / "t.csv").write_text("path,emotion\nwav\\1.wav,joy\nwav/ü.wav,rage\n~x/1.wav,joy\n")
    corpus = load(tmp_path)
    assert labels_of(corpus) == {"wav\\1.wav": "joy", "wav/ü.wav": "rage"}
    assert all(clip.path.is_file() for clip in corpus.clips)
    assert corpus.dropped == {
        "~x/1.wav": "row 4 of t.csv: no such file",
        "wav/more.wav": "not in t.csv",
    }
    (tmp_path / "t.csv").write_text("path,emotion\nwav\\1.wav,joy\nwav/../wav/1.wav,rage\n")
    with pytest.raises(UserError, match="rows 2 and 3 both name the file"):
        load(tmp_path)


def test_spellings_of_one_name_count_as_one(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(form, "fröhlich") for form in ("NFC", "NFD"))
    touch(tmp_path, f"{composed}/Ann/1.wav", f"{apart}/ann/2.wav", f"{apart}/ann/3.wav")
    touch(tmp_path, "Sad/ann/4.wav", "sad /ann/5.wav", "sad/ben/6.wav", "sad/ben/7.wav")
    corpus = load(tmp_path)
    assert corpus.labels == (composed, "sad")
    assert {clip.speaker for clip in corpus.clips} == {"ann", "ben"}
    assert len(corpus.clips) == 7
    assert len(corpus.notes) == 3
    assert "count as one label, 'sad'" in " ".join(corpus.notes)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
def test_names_that_are_not_utf_8_are_read_and_can_be_written(tmp_path: Path) -> None:
    path = touch(tmp_path, "sad/a/1.wav") / os.fsdecode(b"fr\xf6h") / "a" / os.fsdecode(b"\xe4.wav")
    path.parent.mkdir(parents=True)
    tone = np.sin(np.arange(8_000)).astype(np.float32)
    with path.open("wb") as file:
        soundfile.write(file, tone, 16_000, "FLOAT", format="WAV")
    corpus = load(tmp_path)
    clip = corpus.clips[0]
    assert (clip.id, clip.emotion) == ("fr\\xf6h/a/\\xe4.wav", "fr\\xf6h")
    np.testing.assert_array_equal(decode(clip.path, 16_000), tone)
    path.write_bytes(b"RIFF")
    with pytest.raises(AudioError) as error:
        decode(clip.path, 16_000)
    files.write_json(tmp_path / "t.json", str(error.value))
    assert json.loads((tmp_path / "t.json").read_text("utf-8")) == str(error.value)


def test_own_clips_read_as_another_corpus_are_told_of_the_folder_reader(tmp_path: Path) -> None:
    touch(tmp_path, "joy/a/1.wav", "rage/a/2.wav")
    for name in ("crema_d", "emodb", "ravdess"):
        with pytest.raises(UserError, match=r"clips of your own .* ser-kd train DIR"):
            load(tmp_path, name)
