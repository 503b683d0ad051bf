"""Decoding by tensorflow-io, in the classic environment only (constraints/classic.txt)."""

import re
import struct
import threading
import warnings
from pathlib import Path

import numpy as np
import tensorflow as tf

from ser_kd.audio.channels import ChannelPowers, mixed
from ser_kd.audio.decoding import AudioError, Waveform
from ser_kd.errors import UserError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tensorflow_io as tfio

# All of tensorflow-io's readers are one and the same: a file that another thread opens between
# opening and reading takes the first one's place.
_LOCK = threading.Lock()


def decode_tensorflow_io(path: Path) -> tuple[Waveform, int]:
    """Mono samples float32 ``[samples]`` at the file's own rate, and that rate in Hz.

    Raises:
        AudioError: The file cannot be read.
        UserError: TensorFlow is not the one that tensorflow-io was built for.
    """
    wav_bits, wav_block_bytes, wav_is_integer = _wav_format(path)
    if wav_bits and not wav_block_bytes:  # tensorflow-io divides by it, which ends the process
        raise AudioError(f"{path}: not readable as audio (its header names blocks of 0 bytes)")
    try:
        with _LOCK:
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
    powers = ChannelPowers()
    powers.add(samples)
    return mixed(samples, powers.chosen()), rate_hz


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
