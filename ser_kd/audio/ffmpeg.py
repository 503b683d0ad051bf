"""Reading what libsndfile does not: AAC and other formats of phones, through the program ffmpeg."""

import shutil
import subprocess
from pathlib import Path

AUDIO_SUFFIXES = (".m4a", ".aac", ".3gp", ".amr", ".wma")
SUFFIXES = (*AUDIO_SUFFIXES, ".mp4", ".mov", ".webm")


class FFmpegError(Exception):
    """ffmpeg is not installed, or cannot read a file; the message says which."""


def write_wav(path: Path, wav: Path) -> None:
    """Writes the first audio stream of a file as float32 WAV, at its own rate and channels.

    Raises:
        FFmpegError: ffmpeg is not installed, or the file holds no audio that it can read.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise FFmpegError(
            f"{path.suffix} files are read through the package av or the program ffmpeg, which is "
            "not installed: install one of them (pip install 'ser-kd[aac]'), or convert the file "
            "to WAV"
        )
    source = str(path.resolve())
    command = [program, "-nostdin", "-v", "error", "-y", "-i", source, "-map", "0:a:0"]
    done = subprocess.run(
        [*command, "-c:a", "pcm_f32le", str(wav)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
    )
    if done.returncode or not wav.is_file():
        said = " ".join(done.stderr.split()).replace(source, path.name)
        raise FFmpegError(f"ffmpeg: {said[-200:] or f'status {done.returncode}'}")
