"""Formats of phones: through ffmpeg where it is installed, and one line where it is not."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_kd.audio.decoding import AudioError, decode


def test_without_ffmpeg_the_mend_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "clip.m4a"
    path.write_bytes(b"....ftypM4A ")
    with pytest.raises(AudioError, match=r"clip\.m4a: .*ffmpeg, which is not installed: install"):
        decode(path, 16_000)


@pytest.mark.skipif(sys.platform == "win32", reason="writes a shell script")
def test_what_ffmpeg_writes_is_decoded_and_what_it_says_is_passed_on(tmp_path, monkeypatch, sine):
    """A program in its place that copies its input, a WAV file, or fails."""
    program = tmp_path / "ffmpeg"
    program.write_text(
        '#!/bin/sh\nwhile [ $# -gt 1 ]; do [ "$1" = -i ] && in=$2; shift; done\n'
        'case "$in" in *bad*) echo "$in: no such stream" >&2; exit 1;; *) cp "$in" "$1";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    wave = sine()
    with (tmp_path / "clip.M4A").open("wb") as file:
        soundfile.write(file, np.stack([wave, 0 * wave], 1), 16_000, "FLOAT", format="WAV")
    np.testing.assert_allclose(decode(tmp_path / "clip.M4A", 16_000), wave / 2, atol=1e-7)
    (tmp_path / "bad.m4a").write_bytes(b"...")
    with pytest.raises(AudioError, match=r"bad\.m4a: not readable as audio \(ffmpeg: bad\.m4a: no"):
        decode(tmp_path / "bad.m4a", 16_000)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_m4a_file_is_read(tmp_path, sine):
    soundfile.write(tmp_path / "clip.wav", sine(), 44_100)
    convert = ["ffmpeg", "-v", "error", "-i", tmp_path / "clip.wav", tmp_path / "clip.m4a"]
    subprocess.run(convert, check=True)
    expected = decode(tmp_path / "clip.wav", 16_000)
    found = decode(tmp_path / "clip.m4a", 16_000)
    assert abs(len(found) - len(expected)) < 1_000
    rms = [np.sqrt(np.mean(np.square(samples[1_000:5_000]))) for samples in (found, expected)]
    assert rms[0] == pytest.approx(rms[1], rel=0.2)
