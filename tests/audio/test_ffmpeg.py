"""Formats of phones: through PyAV or ffmpeg where installed, and one line where neither is."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from ser_kd.audio.decoding import AudioError, decode


@pytest.fixture
def no_pyav(monkeypatch):
    """As if the extra aac was not installed."""
    monkeypatch.delitem(sys.modules, "ser_kd.audio.pyav", raising=False)
    monkeypatch.setitem(sys.modules, "av", None)


def test_without_either_the_mend_is_named(tmp_path, monkeypatch, no_pyav):
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "clip.m4a"
    path.write_bytes(b"....ftypM4A ")
    with pytest.raises(AudioError, match=r"clip\.m4a: .*ffmpeg, which is not installed: .*\[aac\]"):
        decode(path, 16_000)


@pytest.mark.skipif(sys.platform == "win32", reason="writes a shell script")
def test_what_ffmpeg_writes_is_decoded_and_what_it_says_is_passed_on(
    tmp_path, monkeypatch, sine, no_pyav
):
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
    np.testing.assert_allclose(decode(tmp_path / "clip.M4A", 16_000), wave, atol=1e-7)
    (tmp_path / "bad.m4a").write_bytes(b"...")
    with pytest.raises(AudioError, match=r"bad\.m4a: not readable as audio \(ffmpeg: bad\.m4a: no"):
        decode(tmp_path / "bad.m4a", 16_000)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_m4a_file_is_read(tmp_path, sine, no_pyav):
    soundfile.write(tmp_path / "clip.wav", sine(), 44_100)
    convert = ["ffmpeg", "-v", "error", "-i", tmp_path / "clip.wav", tmp_path / "clip.m4a"]
    subprocess.run(convert, check=True)
    expected = decode(tmp_path / "clip.wav", 16_000)
    found = decode(tmp_path / "clip.m4a", 16_000)
    assert abs(len(found) - len(expected)) < 1_000
    rms = [np.sqrt(np.mean(np.square(samples[1_000:5_000]))) for samples in (found, expected)]
    assert rms[0] == pytest.approx(rms[1], rel=0.2)


def test_pyav_reads_what_it_wrote(tmp_path, sine):
    av = pytest.importorskip("av")
    wave = 0.5 * sine()
    path = tmp_path / "clip.M4A"
    with av.open(str(path), "w", format="ipod") as container:
        stream = container.add_stream("aac", rate=16_000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]), format="fltp", layout="stereo")
        frame.sample_rate = 16_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    found = decode(path, 16_000)
    # The encoder begins 1,024 samples early and ends with a whole block.
    assert 0 <= len(found) - len(wave) < 3_000
    middle = [np.sqrt(np.mean(np.square(samples[3_000:6_000]))) for samples in (found, wave)]
    assert middle[0] == pytest.approx(middle[1], rel=0.02)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(AudioError, match=r"clip\.M4A: not readable as audio"):
        decode(path, 16_000)
    path.write_bytes(b"....ftypM4A " + bytes(1_000))
    with pytest.raises(AudioError, match=r"clip\.M4A: not readable as audio"):
        decode(path, 16_000)
