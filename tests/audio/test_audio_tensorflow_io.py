"""Decoding through tensorflow-io, compared with soundfile. Runs in the classic environment."""

import importlib.metadata
import importlib.util
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.audio.decoding import AudioError, decode
from ser_kd.config import AudioConfig
from ser_kd.corpora.clip import Clip
from ser_kd.data import clip_arrays
from ser_kd.errors import UserError

RATE_HZ = 16_000

# No further question is asked: in the classic environment these tests say whether it works.
needs_tensorflow_io = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_io") is None
    or not importlib.metadata.version("tensorflow").startswith("2.16."),
    reason="tensorflow-io works with TensorFlow 2.16 only: see constraints/test_classic.sh",
)


def speech(channels: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """float64 [samples, channels]: tones under noise, 0.5 s."""
    times = np.arange(rate_hz // 2) / rate_hz
    tones = [0.3 * np.sin(2 * np.pi * 200 * (1 + channel) * times) for channel in range(channels)]
    noise = np.random.default_rng(0).normal(size=(len(times), channels))
    return np.stack(tones, axis=1) + 0.03 * noise


@needs_tensorflow_io
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
    ("file_format", "subtype", "tolerance"),
    [
        ("wav", "PCM_U8", 2**-7),
        ("wav", "PCM_16", 2**-15),
        ("wav", "PCM_24", 2**-23),
        ("wav", "PCM_32", 2**-23),  # the precision of float32
        ("wav", "FLOAT", 2**-23),
        ("wavex", "PCM_16", 2**-15),
        ("wavex", "PCM_32", 2**-23),
        ("wavex", "FLOAT", 2**-23),
        ("flac", "PCM_S8", 2**-7),
        ("flac", "PCM_16", 2**-15),
        ("flac", "PCM_24", 2**-23),
        ("ogg", "VORBIS", 1e-5),
        ("mp3", "MPEG_LAYER_III", 1e-5),
    ],
)
def test_samples_are_those_of_soundfile(
    tmp_path: Path, file_format: str, subtype: str, tolerance: float, channels: int
) -> None:
    path = tmp_path / f"clip.{file_format}"
    soundfile.write(path, speech(channels), RATE_HZ, format=file_format.upper(), subtype=subtype)
    decoded = decode(path, RATE_HZ, "tensorflow_io")
    assert decoded.dtype == np.float32
    np.testing.assert_allclose(decoded, decode(path, RATE_HZ), rtol=0, atol=tolerance)


@needs_tensorflow_io
def test_full_scale_is_one(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, 16384, -32768], np.int16), RATE_HZ)
    decoded = decode(tmp_path / "a.wav", RATE_HZ, "tensorflow_io")
    np.testing.assert_array_equal(decoded, [0.0, 0.5, -1.0])


@needs_tensorflow_io
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_the_files_own_rate_is_known(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a clip ü.{suffix}"  # a name that is not ASCII, too
    soundfile.write(path, speech(1, 44_100), 44_100)
    np.testing.assert_allclose(
        decode(path, RATE_HZ, "tensorflow_io"), decode(path, RATE_HZ), atol=1e-4
    )


@needs_tensorflow_io
def test_a_chunk_before_the_format_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(1), RATE_HZ, subtype="PCM_32")
    content = path.read_bytes()
    path.write_bytes(content[:12] + b"JUNK" + struct.pack("<I", 28) + bytes(28) + content[12:])
    np.testing.assert_allclose(decode(path, RATE_HZ, "tensorflow_io"), speech(1)[:, 0], atol=1e-6)


@needs_tensorflow_io
@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_files_that_cannot_be_decoded_are_a_one_line_error(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip.{suffix}"
    soundfile.write(path, speech(1), RATE_HZ)
    content = path.read_bytes()
    for bad in (
        b"this is no audio at all" * 50,
        bytes(5_000),
        *(content[: int(len(content) * share)] for share in (0.01, 0.1, 0.5, 0.9)),
    ):
        path.write_bytes(bad)
        with pytest.raises(AudioError, match=r"not readable as audio|no samples") as error:
            decode(path, RATE_HZ, "tensorflow_io")
        message = str(error.value)
        assert message.startswith(str(path))
        assert not set("\n{[") & set(message)  # the reason without TensorFlow's own names


@needs_tensorflow_io
def test_wav_that_tensorflow_io_does_not_know_is_refused(tmp_path: Path) -> None:
    for subtype in ("DOUBLE", "ULAW", "IMA_ADPCM"):
        soundfile.write(tmp_path / "a.wav", speech(1), RATE_HZ, subtype=subtype)
        with pytest.raises(AudioError, match="not readable as audio"):
            decode(tmp_path / "a.wav", RATE_HZ, "tensorflow_io")


@needs_tensorflow_io
@pytest.mark.parametrize(
    ("start", "stop", "message"), [(24, 28, "0 Hz"), (32, 34, "blocks of 0 bytes")]
)
def test_headers_that_crash_or_mislead_tensorflow_io(
    tmp_path: Path, start: int, stop: int, message: str
) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, speech(1), RATE_HZ)
    content = path.read_bytes()
    path.write_bytes(content[:start] + bytes(stop - start) + content[stop:])
    with pytest.raises(AudioError, match=message):
        decode(path, RATE_HZ, "tensorflow_io")


@needs_tensorflow_io
def test_clips_are_decoded_by_it_in_threads(tmp_path: Path) -> None:
    clips = []
    for number in range(20):
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.04 * number * speech(1), RATE_HZ)
        clips.append(Clip(str(number), path, "speaker", "angry"))
    (tmp_path / "3.wav").write_bytes(b"no audio")
    by_decoder = {
        name: clip_arrays.load_waveforms(clips, AudioConfig(decoder=name), tmp_path / name)
        for name in ("soundfile", "tensorflow_io")
    }
    (expected, _), (arrays, skipped) = by_decoder.values()
    assert list(skipped) == ["3"]
    assert arrays.ids == expected.ids
    np.testing.assert_array_equal(arrays.values, expected.values)


def test_without_tensorflow_io_the_mend_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    soundfile.write(tmp_path / "a.wav", speech(1), RATE_HZ)
    with pytest.raises(UserError, match=r"constraints/classic\.txt.*'soundfile'") as error:
        decode(tmp_path / "a.wav", RATE_HZ, "tensorflow_io")
    assert not isinstance(error.value, AudioError)  # a fault of the set-up, not of the clip
