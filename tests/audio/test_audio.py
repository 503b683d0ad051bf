"""Decoding and windowing."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.audio.decoding import AudioError, decode, is_silent
from ser_kd.audio.windows import Windowing, window_starts
from ser_kd.errors import UserError

RATE_HZ = 16_000


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz)).astype(
        np.float32
    )


def test_decodes_16_bit_wav_to_the_samples_that_were_written(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0, 16384, -32768], np.int16), RATE_HZ)
    decoded = decode(tmp_path / "a.wav", RATE_HZ)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, [0.0, 0.5, -1.0])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("rate_hz", [8_000, 44_100])
def test_any_format_and_rate_gives_the_same_tone(tmp_path: Path, suffix: str, rate_hz: int) -> None:
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(1.0, rate_hz), rate_hz)
    decoded = decode(path, RATE_HZ)
    assert len(decoded) == pytest.approx(RATE_HZ, abs=0.06 * RATE_HZ)  # MP3 pads its frames
    middle = decoded[4_000:12_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert np.argmax(spectrum) * RATE_HZ / len(middle) == pytest.approx(440.0, abs=2.1)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


def test_resampling_removes_what_the_lower_rate_cannot_hold(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "high.wav", tone(0.5, 48_000, hz=15_000.0), 48_000)
    assert np.max(np.abs(decode(tmp_path / "high.wav", RATE_HZ)[1_000:-1_000])) < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    stereo = np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE_HZ, subtype="FLOAT")
    np.testing.assert_allclose(decode(tmp_path / "a.wav", RATE_HZ), np.full(100, 0.125))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_corrupt_file_is_a_one_line_error_with_its_path(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"broken.{suffix}"
    path.write_bytes(b"this is no audio at all" * 50)
    with pytest.raises(AudioError, match="not readable as audio") as error:
        decode(path, RATE_HZ)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_bad_files_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "pointer.wav").write_text("version https://git-lfs.github.com/spec/v1\noid x\n")
    soundfile.write(tmp_path / "none.wav", np.zeros(0), RATE_HZ)
    nan = np.array([0.0, np.nan], np.float32)
    soundfile.write(tmp_path / "nan.wav", nan, RATE_HZ, subtype="FLOAT")
    for name, reason in {
        "missing.wav": "no such file",
        "empty.wav": "is empty",
        "pointer.wav": "git lfs pull",
        "none.wav": "no samples",
        "nan.wav": "not finite",
    }.items():
        with pytest.raises(AudioError, match=reason):
            decode(tmp_path / name, RATE_HZ)


def test_truncated_files_never_raise_anything_but_audio_error(tmp_path: Path) -> None:
    for suffix in ("wav", "flac", "ogg", "mp3"):
        whole = tmp_path / f"whole.{suffix}"
        soundfile.write(whole, tone(0.5, RATE_HZ), RATE_HZ)
        content = whole.read_bytes()
        for share in (0.01, 0.1, 0.5, 0.9):
            cut = tmp_path / f"cut.{suffix}"
            cut.write_bytes(content[: int(len(content) * share)])
            try:
                decoded = decode(cut, RATE_HZ)
            except AudioError:
                continue
            assert 0 < len(decoded) <= RATE_HZ


def test_very_short_and_very_long_clips(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", tone(0.02, 48_000), 48_000)
    short = decode(tmp_path / "short.wav", RATE_HZ)
    assert len(short) == 320
    assert Windowing(48_000, 16_000, 1).cut(short).shape == (1, 48_000)

    ten_minutes = np.zeros(600 * 8_000, np.int16)
    soundfile.write(tmp_path / "long.flac", ten_minutes, 8_000)
    long = decode(tmp_path / "long.flac", RATE_HZ)
    assert len(long) == 600 * RATE_HZ
    assert Windowing(48_000, 16_000, 320).cut(long).shape == (598, 48_000)


def test_unknown_decoder_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(0.1, RATE_HZ), RATE_HZ)
    with pytest.raises(UserError, match="unknown decoder 'ffmpeg'"):
        decode(tmp_path / "a.wav", RATE_HZ, decoder="ffmpeg")  # type: ignore[arg-type]


def test_silence_is_what_has_no_signal() -> None:
    noise = np.random.default_rng(0).normal(size=RATE_HZ).astype(np.float32)
    assert is_silent(np.zeros(RATE_HZ, np.float32))
    assert is_silent(np.full(RATE_HZ, 0.3, np.float32))  # an offset is no sound
    assert is_silent(np.zeros(0, np.float32))
    assert not is_silent(1e-3 * noise)
    click = np.zeros(RATE_HZ, np.float32)
    click[5_000] = 0.01
    assert not is_silent(click)


def test_shorter_clip_is_followed_by_zeros() -> None:
    np.testing.assert_array_equal(
        Windowing(5, 2, 1).cut(np.array([1, 2, 3], np.float32)), [[1, 2, 3, 0, 0]]
    )


def test_longer_clip_is_cut_every_hop_and_the_last_window_ends_with_it() -> None:
    clip = np.arange(1, 9, dtype=np.float32)
    np.testing.assert_array_equal(
        Windowing(5, 2, 1).cut(clip), [[1, 2, 3, 4, 5], [3, 4, 5, 6, 7], [4, 5, 6, 7, 8]]
    )
    assert window_starts(5, 5, 2).tolist() == [0]
    assert window_starts(9, 5, 2).tolist() == [0, 2, 4]  # no window twice


def test_starts_lie_on_the_grid_and_zeros_follow_the_last_window() -> None:
    assert window_starts(11, 6, 4, grid_samples=4).tolist() == [0, 4, 8]
    assert Windowing(6, 4, 4).cut(np.ones(11, np.float32))[-1].tolist() == [1, 1, 1, 0, 0, 0]
    assert window_starts(30, 10, 7, grid_samples=5).tolist() == [0, 5, 10, 20]


def test_every_sample_is_in_a_window_and_every_start_on_the_grid() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        grid = int(rng.integers(1, 9))
        hop = grid * int(rng.integers(1, 6))
        window = hop + int(rng.integers(0, 40))
        samples = int(rng.integers(0, 400))
        starts = window_starts(samples, window, hop, grid)
        covered = np.zeros(samples + window + grid, bool)
        for start in starts:
            covered[start : start + window] = True
        assert covered[:samples].all()
        assert (starts % grid == 0).all()
        assert (np.diff(starts) > 0).all()
        assert starts[-1] + window < max(samples, window) + grid


@pytest.mark.parametrize(("window", "hop", "grid"), [(5, 0, 1), (5, 6, 1), (5, 2, 3), (5, 2, 0)])
def test_impossible_windows_are_refused(window: int, hop: int, grid: int) -> None:
    with pytest.raises(ValueError, match="1 <= grid <= hop <= window"):
        window_starts(10, window, hop, grid)


def unsized(content: bytes, size: int, riff_size: int | None = None) -> bytes:
    """A WAV's content with another data size."""
    order = ">I" if content[:4] == b"RIFX" else "<I"
    at = content.index(b"data") + 4
    content = content[:at] + struct.pack(order, size) + content[at + 4 :]
    riff = content[4:8] if riff_size is None else struct.pack(order, riff_size)
    return content[:4] + riff + content[8:]


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize(("size", "riff_size"), [(0, None), (0, 0), (1, 36), (2**32 - 1, 0)])
@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RIFX"])
def test_sound_behind_a_data_size_that_was_never_written(
    tmp_path: Path, subtype: str, size: int, riff_size: int | None, form: str
) -> None:
    path = tmp_path / "a.wav"
    options = {"format": "WAV", "endian": "BIG"} if form == "RIFX" else {"format": form}
    soundfile.write(path, np.stack([tone(0.2, RATE_HZ)] * 2, 1), RATE_HZ, subtype, **options)
    expected = decode(path, RATE_HZ)
    path.write_bytes(unsized(path.read_bytes(), size, riff_size))
    np.testing.assert_array_equal(decode(path, RATE_HZ)[: len(expected)], expected)


def test_an_unsized_rf64_file_and_chunks_before_the_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(0.2, RATE_HZ), RATE_HZ, "PCM_16", format="RF64")
    expected, content = decode(path, RATE_HZ), path.read_bytes()
    at = content.index(b"ds64") + 8
    path.write_bytes(content[:at] + bytes(24) + content[at + 24 :])
    np.testing.assert_array_equal(decode(path, RATE_HZ), expected)
    soundfile.write(path, tone(0.2, RATE_HZ), RATE_HZ, "PCM_16")
    content = path.read_bytes()
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOa\0"
    path.write_bytes(unsized(content[:12] + odd + content[12:], 0))
    np.testing.assert_array_equal(decode(path, RATE_HZ), expected)


def test_other_chunks_behind_an_empty_recording_are_no_sound(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), RATE_HZ)
    empty = path.read_bytes()
    for behind in (b"", b"LIST" + struct.pack("<I", 4) + b"INFO"):
        path.write_bytes(empty + behind)
        with pytest.raises(AudioError, match="holds no samples"):
            decode(path, RATE_HZ)


def test_a_folder_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="a folder; name the audio files in it"):
        decode(tmp_path, RATE_HZ)
