"""The program that runs on the phone: which processor it is for, and where it is published."""

import os
import shutil
import struct
import urllib.error
import urllib.request
from pathlib import Path

from ser_kd.android_bench.adb import hash_file
from ser_kd.android_bench.errors import BenchError

# e_machine of an ELF header -> Android's names for it.
_MACHINES = {
    3: ("x86",),
    40: ("armeabi-v7a", "armeabi"),
    62: ("x86_64",),
    183: ("arm64-v8a",),
    243: ("riscv64",),
}
NIGHTLY = (
    "https://storage.googleapis.com/tensorflow-nightly-public/prod/tensorflow/release/lite/tools/"
    "nightly/latest/{abi}_benchmark_model"
)
"""TensorFlow Lite's tool; it knows --use_xnnpack, --use_gpu and --use_nnapi."""
LITERT = "https://storage.googleapis.com/litert/binaries/{version}/{abi}/benchmark_model"
"""LiteRT's tool (CompiledModel); it knows --use_cpu, --use_gpu and --use_npu."""
_NIGHTLY_NAMES = {"arm64-v8a": "android_aarch64", "armeabi-v7a": "android_arm"}
_LITERT_NAMES = {"arm64-v8a": "android_arm64", "x86_64": "android_x86_64"}


def abis(binary: Path) -> tuple[str, ...]:
    """Android's names for the processor that a program is for.

    Raises:
        BenchError: It cannot be read, or is no program for Android's processors.
    """
    try:
        with binary.open("rb") as file:
            header = file.read(20)
    except OSError as error:
        raise BenchError(f"{binary}: cannot be read ({error.strerror})") from None
    if header[:4] != b"\x7fELF" or len(header) < 20:
        raise BenchError(f"{binary}: is no program for Android (no ELF header)")
    machine = struct.unpack_from("<H" if header[5] == 1 else ">H", header, 18)[0]
    if machine not in _MACHINES:
        raise BenchError(f"{binary}: is for a processor that no Android has (ELF {machine})")
    return _MACHINES[machine]


def check_abi(binary: Path, accepted: tuple[str, ...]) -> str:
    """The ABI under which a device with these ABIs runs the program.

    Raises:
        BenchError: It cannot run there.
    """
    mine = abis(binary)
    for abi in accepted:
        if abi in mine:
            return abi
    raise BenchError(
        f"{binary} is for {mine[0]}, the device runs {', '.join(accepted)}: get the other one, "
        "for example with --fetch-binary"
    )


def published_url(source: str, abi: str) -> str:
    """Where a binary is published.

    Args:
        source: ``nightly`` (TensorFlow Lite's), ``litert-VERSION`` such as ``litert-2.1.6`` or
            ``litert-latest``, or a URL, in which ``{abi}`` is replaced.
        abi: Android's name, such as ``arm64-v8a``.

    Raises:
        BenchError: There is none for this ABI, or no such source.
    """
    if "://" in source:
        return source.replace("{abi}", _NIGHTLY_NAMES.get(abi, abi))
    names = _NIGHTLY_NAMES if source == "nightly" else _LITERT_NAMES
    if source != "nightly" and not source.startswith("litert-"):
        raise BenchError(f"--fetch-binary {source}: say nightly, litert-VERSION or a URL")
    if abi not in names:
        raise BenchError(
            f"no {source} binary is published for {abi}, only for {', '.join(names)}: build one "
            "and name it with --binary (docs/phone.md)"
        )
    template = NIGHTLY if source == "nightly" else LITERT
    return template.format(abi=names[abi], version=source.removeprefix("litert-"))


def fetch(source: str, abi: str, folder: Path, timeout: float = 60) -> tuple[Path, str]:
    """Downloads a published binary.

    Nobody publishes hashes for them and most of them change daily: the hash is there to be written
    down, so that two results can be known to come from the same program.

    Args:
        source: As for ``published_url``.
        abi: Android's name.
        folder: Where it goes, under a name that holds its hash.
        timeout: Seconds of silence after which it is given up.

    Returns:
        The file and its sha256.

    Raises:
        BenchError: It cannot be had, or what came is no program for that ABI.
    """
    url = published_url(source, abi)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".partial-{os.getpid()}-benchmark_model"
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, partial.open("wb") as file:
            shutil.copyfileobj(answer, file)
            wanted = answer.headers.get("Content-Length")
        size = partial.stat().st_size
        if wanted and int(wanted) != size:
            raise BenchError(f"{url}: cut off after {size:,} of {int(wanted):,} bytes; try again")
        check_abi(partial, (abi,))
        sha256 = hash_file(partial)
        path = folder / f"benchmark_model-{abi}-{sha256[:12]}"
        partial.replace(path)
    except urllib.error.HTTPError as error:
        raise BenchError(f"{url}: the server says {error.code} {error.reason}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise BenchError(f"{url}: cannot be fetched ({reason})") from None
    finally:
        partial.unlink(missing_ok=True)
    return path, sha256
