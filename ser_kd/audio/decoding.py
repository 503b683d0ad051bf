"""Decoding, resampling, 16-bit samples and digital silence: the only definition of each."""

import re
import struct
import threading
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import soxr

from ser_kd.errors import UserError

Waveform = npt.NDArray[np.float32]

_BLOCK_FRAMES = 1 << 18
_INT16 = np.float32(32_768)
# -80 dB below full scale: three steps of 16-bit audio, the residue of a codec, but no recording.
_SILENCE_PEAK = 1e-4
_GIT_LFS_POINTER = b"version https://git-lfs"
# All of tensorflow-io's readers are one and the same: a file that another thread opens between
# opening and reading takes the first one's place.
_TENSORFLOW_IO_LOCK = threading.Lock()


class AudioError(UserError):
    """A file that cannot be used; the message is one line and begins with its path."""


def to_int16(waveform: Waveform) -> npt.NDArray[np.int16]:
    """float32 in -1..1 -> int16 samples, as training hears them; what lies beyond is clipped."""
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
        path: WAV, FLAC, Ogg or MP3, any rate, any number of channels (their mean is taken).
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
        waveform, rate_hz = _decode_soundfile(path)
    elif decoder == "tensorflow_io":
        waveform, rate_hz = _decode_tensorflow_io(path)
    else:
        raise UserError(f"unknown decoder {decoder!r}: use 'soundfile' or 'tensorflow_io'")
    if not waveform.size:
        raise AudioError(f"{path}: holds no samples")
    if not np.isfinite(waveform).all():
        raise AudioError(f"{path}: holds samples that are not finite numbers")
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


def _decode_soundfile(path: Path) -> tuple[Waveform, int]:
    import soundfile

    blocks: list[Waveform] = []
    try:
        with soundfile.SoundFile(path) as file:
            # In blocks: long many-channel files stay small in memory, and a damaged header that
            # promises 2^63 frames does no harm.
            while len(block := file.read(_BLOCK_FRAMES, dtype="float32", always_2d=True)):
                blocks.append(block.mean(axis=1, dtype=np.float32))
            rate_hz = int(file.samplerate)
    except soundfile.LibsndfileError as error:
        raise AudioError(f"{path}: not readable as audio ({error.error_string})") from None
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise AudioError(f"{path}: not readable as audio ({reason})") from None
    return np.concatenate(blocks) if blocks else np.zeros(0, np.float32), rate_hz


def _decode_tensorflow_io(path: Path) -> tuple[Waveform, int]:
    try:
        import tensorflow as tf

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import tensorflow_io as tfio
    except ImportError as error:
        raise UserError(
            f"audio.decoder = 'tensorflow_io' cannot be loaded ({error}): install the classic "
            "environment (constraints/classic.txt), or use 'soundfile'"
        ) from None
    wav_bits, wav_block_bytes, wav_is_integer = _wav_format(path)
    if wav_bits and not wav_block_bytes:  # tensorflow-io divides by it, which ends the process
        raise AudioError(f"{path}: not readable as audio (its header names blocks of 0 bytes)")
    try:
        with _TENSORFLOW_IO_LOCK:
            tensor = tfio.audio.AudioIOTensor(str(path))
            samples = tensor.to_tensor().numpy()  # [samples, channels]
            rate_hz = int(tensor.rate.numpy())
    except NotImplementedError:
        # tensorflow-io loads its kernels on first use; they exist for one TensorFlow only.
        raise UserError(
            "audio.decoder = 'tensorflow_io': its kernels do not load with TensorFlow "
            f"{tf.__version__}: install the classic environment (constraints/classic.txt), or use "
            "'soundfile'"
        ) from None
    except (tf.errors.OpError, ValueError) as error:
        # TensorFlow puts the name of its operation before and behind the reason.
        reason = re.sub(r"\{\{.*?\}\}|\[Op:.*", "", " ".join(str(error).split())).strip()
        raise AudioError(f"{path}: not readable as audio ({reason[:200]})") from None
    if rate_hz < 1:
        raise AudioError(f"{path}: not readable as audio (a sample rate of {rate_hz} Hz)")
    if samples.dtype == np.float32 and wav_bits == 32 and wav_is_integer:
        samples = samples.view(np.int32)  # tensorflow-io takes 32-bit integers for floats
    if samples.dtype == np.uint8:  # 8 bits have their zero at 128
        samples = (samples.astype(np.float32) - 128) / 128
    elif np.issubdtype(samples.dtype, np.integer):  # 24 bits arrive as the upper ones of 32
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return samples.mean(axis=1, dtype=np.float32), rate_hz


def _wav_format(path: Path) -> tuple[int, int, bool]:
    """What a WAV file's header says: bits a sample, bytes a block, whether they are integers.

    Zeros for anything but a WAV file with a format.
    """
    with path.open("rb") as stream:
        if stream.read(4) == b"RIFF":
            stream.seek(12)
            while len(head := stream.read(8)) == 8:
                size_bytes = int.from_bytes(head[4:], "little")
                if head[:4] == b"fmt ":
                    body = stream.read(26).ljust(26, b"\0")
                    tag, block_bytes, bits, extensible_tag = struct.unpack("<H10xHH8xH", body)
                    return bits, block_bytes, (extensible_tag if tag == 0xFFFE else tag) == 1
                stream.seek(size_bytes, 1)  # no padding of odd chunks: as tensorflow-io reads them
    return 0, 0, False
