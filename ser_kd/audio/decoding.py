"""Decoding, resampling, 16-bit samples and digital silence: the only definition of each."""

import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from ser_kd.audio import ffmpeg, wav_header
from ser_kd.audio.channels import ChannelPowers, mixed
from ser_kd.audio.full_scale import at_full_scale
from ser_kd.errors import UserError
from ser_kd.registry import MissingPackageError, load_object

Waveform = npt.NDArray[np.float32]

_BLOCK_FRAMES = 1 << 18
_INT16 = np.float32(32_768)
# -80 dB below full scale: three steps of 16-bit audio, the residue of a codec, but no recording.
_SILENCE_PEAK = 1e-4
_GIT_LFS_POINTER = b"version https://git-lfs"
_READ_WITH_PYAV, _PYAV_ERROR = "ser_kd.audio.pyav:read_channels", "ser_kd.audio.pyav:PyAVError"
_DECODE_TENSORFLOW_IO = "ser_kd.audio.tensorflow_io:decode_tensorflow_io"


class AudioError(UserError):
    """A file that cannot be used; the message is one line and begins with its path."""


def to_int16(waveform: Waveform) -> npt.NDArray[np.int16]:
    """float32 in -1..1 -> int16 samples, as they are stored; what lies beyond is clipped."""
    return np.clip(np.round(waveform * _INT16), -_INT16, _INT16 - 1).astype(np.int16)


def to_float(samples: npt.NDArray[np.int16]) -> Waveform:
    """int16 samples -> float32 in -1..1."""
    waveform: Waveform = np.divide(samples, _INT16, dtype=np.float32)
    return waveform


def decode(
    path: Path | str,
    sample_rate_hz: int,
    decoder: Literal["soundfile", "tensorflow_io"] = "soundfile",
) -> Waveform:
    """Reads an audio file as mono at ``sample_rate_hz``.

    Args:
        path: WAV, FLAC, Ogg or MP3, any rate, any number of channels (their mean is taken); M4A
            and others of ``ser_kd.audio.ffmpeg`` where PyAV (extra aac) or ffmpeg is installed. Of
            a WAV whose data size was never written (0 or -1), all that follows is sound. Which
            channels make the mean: ``ser_kd.audio.channels``; integers stored as floats:
            ``full_scale``.
        sample_rate_hz: Of the result. Resampling is soxr's HQ, librosa's default.
        decoder: ``soundfile``; ``tensorflow_io`` is for the classic environment only, and reads
            less: no 64-bit, companded or compressed WAV, no Opus, and no file that is cut off.

    Returns:
        float32 [samples], full scale is -1 to 1.

    Raises:
        AudioError: missing, empty, corrupt, without samples, or with samples that are not finite.
        UserError: the decoder is unknown or not installed.
    """
    path = Path(path)
    if path.is_dir():
        raise AudioError(f"{path}: a folder; name the audio files in it")
    if not path.is_file():
        raise AudioError(f"{path}: no such file")
    try:
        if path.stat().st_size == 0:
            raise AudioError(f"{path}: the file is empty")
        with path.open("rb") as stream:
            if stream.read(len(_GIT_LFS_POINTER)) == _GIT_LFS_POINTER:
                raise AudioError(f"{path}: a Git LFS pointer, not audio; run 'git lfs pull'")
    except OSError as error:
        raise AudioError(f"{path}: cannot be read ({error.strerror})") from None
    if decoder == "soundfile":
        of_phones = path.suffix.lower() in ffmpeg.SUFFIXES
        waveform, rate_hz = (_decode_phone_format if of_phones else _decode_soundfile)(path)
    elif decoder == "tensorflow_io":
        waveform, rate_hz = _tensorflow_io()(path)
    else:
        raise UserError(f"unknown decoder {decoder!r}: use 'soundfile' or 'tensorflow_io'")
    if not waveform.size:
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
    try:
        waveform = at_full_scale(waveform, str(path))
    except ValueError as error:
        raise AudioError(f"{path}: {error}") from None
    if rate_hz != sample_rate_hz:
        waveform = soxr.resample(waveform, rate_hz, sample_rate_hz, quality="HQ")
        if not waveform.size:
            raise AudioError(f"{path}: too short to resample from {rate_hz} to {sample_rate_hz} Hz")
    return np.ascontiguousarray(waveform, dtype=np.float32)


def is_silent(waveform: Waveform) -> bool:
    """True if no sample is further than 1e-4 (-80 dB of full scale) from the mean.

    Args:
        waveform: float32 [samples]; an empty one is silent.
    """
    if not waveform.size:
        return True
    return bool(np.max(np.abs(waveform - np.mean(waveform, dtype=np.float64))) < _SILENCE_PEAK)


def _tensorflow_io() -> Callable[[Path], tuple[Waveform, int]]:
    try:
        decoder: Callable[[Path], tuple[Waveform, int]] = load_object(_DECODE_TENSORFLOW_IO)
    except (ImportError, UserError) as error:
        raise UserError(
            f"audio.decoder = 'tensorflow_io' cannot be loaded ({error}): install the classic "
            "environment (constraints/classic.txt), or use 'soundfile'"
        ) from None
    return decoder


def _decode_phone_format(path: Path) -> tuple[Waveform, int]:
    """What libsndfile does not read: with PyAV where it is installed, else the program ffmpeg."""
    try:
        read_channels: Callable[[Path], tuple[Waveform, int]] = load_object(_READ_WITH_PYAV)
    except MissingPackageError:
        return _decode_ffmpeg(path)
    try:
        samples, rate_hz = read_channels(path)
    except load_object(_PYAV_ERROR) as error:
        raise AudioError(f"{path}: not readable as audio ({error})") from None
    powers = ChannelPowers()
    powers.add(samples)
    return mixed(samples, powers.chosen()), rate_hz


def _decode_ffmpeg(path: Path) -> tuple[Waveform, int]:
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as folder:
        wav = Path(folder, "sound.wav")
        try:
            ffmpeg.write_wav(path, wav)
        except ffmpeg.FFmpegError as error:
            raise AudioError(f"{path}: not readable as audio ({error})") from None
        return _decode_soundfile(wav)


def _decode_soundfile(path: Path) -> tuple[Waveform, int]:
    waveform, rate_hz = _read_sound(path, path)
    if not waveform.size and (mended := wav_header.with_unsized_sound(path)) is not None:
        return _read_sound(io.BytesIO(mended), path)
    return waveform, rate_hz


def _read_sound(source: Path | BinaryIO, path: Path) -> tuple[Waveform, int]:
    """One channel; where the mean of all is not the sound (``channels``), it is read again."""
    powers = ChannelPowers()
    waveform, rate_hz = _read_channels(source, path, None, powers)
    chosen = powers.chosen()
    if chosen is not None:
        if not isinstance(source, Path):
            source.seek(0)
        waveform, _ = _read_channels(source, path, chosen)
    return waveform, rate_hz


def _read_channels(
    source: Path | bytes | BinaryIO,
    path: Path,
    chosen: npt.NDArray[np.intp] | None,
    powers: ChannelPowers | None = None,
) -> tuple[Waveform, int]:
    blocks: list[Waveform] = []
    try:
        # A path as bytes: a name that is not UTF-8 would be refused. Windows has none.
        if isinstance(source, Path) and os.name != "nt":
            source = os.fsencode(source)
        with soundfile.SoundFile(source) as file:
            # In blocks: long many-channel files stay small in memory, and a damaged header that
            # promises 2^63 frames does no harm.
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(mixed(block, chosen))
                if powers is not None and block.shape[1] > 1:
                    powers.add(block)
            rate_hz = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not readable as audio ({error.error_string})") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AudioError(f"{path}: not readable as audio ({reason})") from None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate_hz
