"""espeak-ng with the voices of the demo corpus's speakers, through its C library."""

import ctypes
import os
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from ser_kd.corpora.demo.voices import DemoSpeaker, Samples
from ser_kd.errors import UserError
from ser_kd.registry import load_object


def _places() -> tuple[Path, str]:
    """espeak-ng's data folder and its library."""
    try:
        data_path = load_object("espeakng_loader:get_data_path")
        library_path = load_object("espeakng_loader:get_library_path")
    except (ImportError, UserError) as error:
        raise UserError(
            "the demo corpus is spoken by espeak-ng, and the package espeakng-loader is missing: "
            "pip install 'ser-kd[demo]', or pass a real corpus with --data-dir"
        ) from error
    return Path(data_path()), str(library_path())


def _variant_text(shipped: str, formant_scale: float) -> str:
    """A voice file like ``shipped`` with scaled formants and without anything that has a memory.

    espeak-ng keeps the phases of flutter, roughness and echo from one utterance to the next, so
    with them a clip would depend on the clips before it, and an interrupted corpus would resume
    with other bytes. Our own jitter and roughness take their place.
    """
    formants = {number: ["100", "100", "100"] for number in range(9)}
    kept = []
    for words in map(str.split, shipped.splitlines()):
        if words[:1] == ["formant"]:
            formants[int(words[1])] = words[2:]
        elif words and words[0] not in ("flutter", "roughness", "echo"):
            kept.append(" ".join(words))
    for number, (frequency, *rest) in formants.items():
        scaled = round(float(frequency) * formant_scale)
        kept.append(" ".join(["formant", str(number), str(scaled), *rest]))
    return "\n".join([*kept, "flutter 0", "roughness 0", ""])


class Espeak:
    """espeak-ng with our speakers' voices; one at a time, for its state is global.

    Use it as a context manager: it works on a temporary copy of the few data files that it needs.

    Args:
        speakers: Whose voices are wanted.

    Raises:
        UserError: If ``espeakng_loader`` is missing or its library does not start.
    """

    _SYNCHRONOUS = 2
    _DONT_EXIT = 0x8000
    _UTF8_SSML = 0x1 | 0x10
    _RATE, _VOLUME, _PITCH, _RANGE, _WORD_GAP = 1, 2, 3, 4, 7

    def __init__(self, speakers: list[DemoSpeaker]) -> None:
        data_path, library_path = _places()
        self._folder = tempfile.TemporaryDirectory(prefix="ser_kd_espeak_")
        self._copy_data(data_path, speakers)
        self._library = ctypes.CDLL(library_path)
        self._chunks: list[bytes] = []
        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
        self._callback = callback(self._collect)  # kept: ctypes does not hold a reference
        self.sample_rate_hz: int = self._library.espeak_Initialize(
            self._SYNCHRONOUS, 0, os.fsencode(self._folder.name), self._DONT_EXIT
        )
        if self.sample_rate_hz <= 0:
            self._folder.cleanup()
            raise UserError(
                "espeak-ng did not start: pip install --force-reinstall espeakng-loader"
            )
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_Info.restype = ctypes.c_char_p
        self.version: str = self._library.espeak_Info(None).decode()

    def _copy_data(self, shipped: Path, speakers: list[DemoSpeaker]) -> None:
        data = Path(self._folder.name, "espeak-ng-data")
        shutil.copytree(shipped / "lang" / "gmw", data / "lang" / "gmw")
        for name in ("en_dict", "phondata", "phonindex", "phontab", "intonations"):
            shutil.copy(shipped / name, data / name)
        variants = data / "voices" / "!v"
        variants.mkdir(parents=True)
        for speaker in speakers:
            text = (shipped / "voices" / "!v" / speaker.variant).read_text("utf-8")
            own = _variant_text(text, speaker.formant_scale)
            (variants / f"s{speaker.number}").write_text(own, "utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._library.espeak_Terminate()
        self._folder.cleanup()

    def _collect(self, samples: int | None, count: int, _: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(ctypes.string_at(samples, 2 * count))
        return 0

    def say(self, text: str, voice: str, pitch: int, pitch_range: int, rate_wpm: int) -> Samples:
        """Speaks ``text``; the same samples whatever was said before.

        Args:
            text: SSML without the outer element.
            voice: espeak-ng's voice name.
            pitch: 0 to 99; 50 is the voice's own, 0 and 100 are an octave below and above.
            pitch_range: 0 to 99; 50 is the voice's own.
            rate_wpm: Words per minute, 80 to 450; 175 is usual.

        Returns:
            Samples in [-1, 1] at ``sample_rate_hz``, shape [n], without the silence at both ends.
        """
        self._chunks.clear()
        self._library.espeak_ng_SetRandSeed(1)  # the breath noise of some voices
        self._require(self._library.espeak_SetVoiceByName(voice.encode()), f"voice {voice}")
        settings = {
            self._RATE: rate_wpm,
            self._VOLUME: 70,  # at 100 some voices clip
            self._PITCH: pitch,
            self._RANGE: pitch_range,
            self._WORD_GAP: 0,
        }
        for parameter, value in settings.items():
            done = self._library.espeak_SetParameter(parameter, value, 0)
            self._require(done, f"parameter {parameter}={value}")
        encoded = f"<speak>{text}</speak>".encode() + b"\0"
        done = self._library.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, self._UTF8_SSML, None, None
        )
        self._require(done, text)
        samples = np.frombuffer(b"".join(self._chunks), np.int16) / 32768.0
        loud = np.flatnonzero(np.abs(samples) > 0.003)
        if loud.size == 0:
            raise RuntimeError(f"espeak-ng spoke nothing for {text!r} with voice {voice}")
        return samples[loud[0] : loud[-1] + 1]

    @staticmethod
    def _require(status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError(f"espeak-ng refused {what} (status {status})")
