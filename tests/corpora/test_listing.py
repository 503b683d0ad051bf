"""Which files of a folder are audio: through links, in any case; what is not read is named."""

import os
import sys
from pathlib import Path

import pytest
from corpus_maker import touch

from ser_kd.corpora.listing import list_audio, printable
from ser_kd.errors import UserError


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_audio(folder).files]


def test_formats_and_what_is_not_read(tmp_path: Path) -> None:
    used = ["a/1.wav", "a/2.MP3", "a/3.Opus", "a/4.aiff", "a/5.M4A", "a/6.oga", "b.flac"]
    touch(tmp_path, *used, "a/film.MP4", "a/7.ape", "a/readme.txt", "a/._1.wav", ".git/8.wav")
    listing = list_audio(tmp_path)
    assert names(tmp_path) == sorted(used)
    assert listing.unused == {"a/7.ape": ".ape is not read", "a/film.MP4": ".mp4 is not read"}


@pytest.mark.skipif(sys.platform == "win32", reason="makes links")
def test_links_are_followed_and_circles_end(tmp_path: Path) -> None:
    other = touch(tmp_path / "disk", "s1/x.wav")
    root = touch(tmp_path / "clips", "sad/s1/x.wav", "sad/s2/y.wav")
    (root / "happy").symlink_to(other)
    (root / "again").symlink_to(root / "sad")
    (root / "sad" / "up").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "gone").symlink_to(tmp_path / "nowhere")
    (root / "sad" / "z.wav").symlink_to(other / "s1" / "x.wav")
    listing = list_audio(root)
    assert names(root) == ["happy/s1/x.wav", "sad/s1/x.wav", "sad/s2/y.wav", "sad/z.wav"]
    assert listing.unused == {
        "again": "a link to a folder that is read already",
        "gone": "a link that leads nowhere",
        "sad/up": "a link to a folder that is read already",
        "self": "a link that leads nowhere",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="makes links")
def test_many_links_across_take_no_time(tmp_path: Path) -> None:
    folders = [touch(tmp_path / f"f{number}", "x.wav") for number in range(20)]
    for folder in folders:
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    assert len(list_audio(tmp_path).files) == 20


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
def test_a_name_that_is_not_utf_8_is_printable(tmp_path: Path) -> None:
    place = os.path.join(os.fsencode(tmp_path), b"fr\xf6hlich.wav")  # noqa: PTH118
    with open(place, "wb"):  # noqa: PTH123
        pass
    (path,) = list_audio(tmp_path).files
    assert printable(path.name) == "fr\\xf6hlich.wav"
    assert path.is_file()


def test_no_audio_says_what_was_there(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mkv")
    with pytest.raises(UserError, match=r"no audio file in .* \(2 are there that are not read\)"):
        list_audio(tmp_path)
