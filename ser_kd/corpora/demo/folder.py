"""The demo corpus's folder: made, finished after an interruption, or found, and read.

The files are 16 kHz WAVs in ``AudioWAV/`` under CREMA-D's own names, from speakers 2001 on (CREMA-D
ends at 1091), so they take exactly the path that real data takes.
"""

import itertools
import wave
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ser_kd.config import CorpusConfig
from ser_kd.corpora import crema_d
from ser_kd.corpora.clip import Clip, Corpus, Found
from ser_kd.corpora.crema_d import SENTENCES
from ser_kd.corpora.demo.espeak import Espeak
from ser_kd.corpora.demo.rendering import SAMPLE_RATE_HZ, render_clip
from ser_kd.corpora.demo.voices import (
    EMOTION_PROSODY,
    FIRST_SPEAKER,
    MAX_SPEAKERS,
    DemoSpeaker,
    draw_clip,
    draw_speaker,
)
from ser_kd.corpora.reader import CorpusFacts, Dimension, Reader
from ser_kd.corpora.splits import tfds_speakers_split
from ser_kd.errors import UserError
from ser_kd.files import atomic, read_json, write_json

CORPUS_VERSION = 1
"""Raise it with every change that alters the bytes of a clip."""

DEMO_DIR = Path("runs/demo_corpus")

_README = """SYNTHETIC SPEECH

These clips were spoken by espeak-ng and altered by ser_kd.corpora.demo. Nobody felt anything.
They carry CREMA-D's file names so that they take the same path through the program; they are not
part of CREMA-D, and a figure measured on them says nothing about human emotion.
Delete the folder whenever you like: it is made again.
"""

_RECORD = "demo_corpus.json"
_STARTED = "demo_corpus.started.json"


RATED = {
    "pitch": ("pitch_semitones", 16.0),
    "rate": ("rate_log2", 1.0),
    "brightness": ("tilt_db_per_octave", 8.0),
}
"""Dimension -> what of a clip's prosody it is, and the end of its scale on either side of 0."""


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads the folder as CREMA-D's, with continuous ratings: how each clip was told to be spoken.

    Nobody rated them: ``ratings`` holds what the synthesiser was set to, relative to the speaker's
    voice (``RATED``). A folder that does not say which seed it was made with has none.
    """
    found = crema_d.read_same_layout(folder, metadata_dir)
    try:
        seed = int(read_json(folder / _RECORD)["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return found
    cast = {clip.speaker: draw_speaker(int(clip.speaker), seed) for clip in found.clips}
    clips = tuple(
        replace(clip, attributes={**clip.attributes, "ratings": _ratings(cast, clip, seed)})
        for clip in found.clips
    )
    return replace(found, clips=clips)


def _ratings(cast: Mapping[str, DemoSpeaker], clip: Clip, seed: int) -> dict[str, float]:
    sentence = clip.id.split("_")[1]
    prosody, _ = draw_clip(cast[clip.speaker], sentence, clip.emotion, seed)
    return {name: min(max(getattr(prosody, cue), -end), end) for name, (cue, end) in RATED.items()}


def _write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    with atomic(path) as partial, wave.open(str(partial), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes(samples.astype("<i2").tobytes())


def _check_arguments(speakers: int, sentences: int, seed: int) -> None:
    if seed < 0:
        raise UserError(f"the demo corpus's seed is 0 or more, not {seed}")
    for name, value, most in (
        ("speakers", speakers, MAX_SPEAKERS),
        ("sentences", sentences, len(SENTENCES)),
    ):
        if not 1 <= value <= most:
            raise UserError(f"the demo corpus takes 1 to {most} {name}, not {value}")


def _recorded(directory: Path, settings: Mapping[str, int]) -> bool:
    """Whether ``directory`` says that it is finished.

    Raises:
        UserError: If the folder holds something else: other settings, or other recordings.
    """
    records = [path for name in (_RECORD, _STARTED) if (path := directory / name).exists()]
    if not records:
        if directory.exists() and any(directory.iterdir()):
            raise UserError(
                f"{directory} is not empty and holds no demo corpus ({_RECORD} is missing): "
                "name another folder for it"
            )
        return False
    try:
        found = read_json(records[0])
        differing = {name: found[name] for name in settings if found[name] != settings[name]}
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{records[0]} cannot be read: delete {directory}") from error
    if differing:
        wanted = {name: settings[name] for name in differing}
        raise UserError(
            f"{directory} holds a demo corpus with {differing}, wanted is {wanted}: "
            "delete the folder or name another one"
        )
    return records[0].name == _RECORD


def _missing_clips(audio: Path, speakers: int, sentences: int) -> list[tuple[int, str, str, Path]]:
    """Speaker, sentence, emotion and path of every clip that is not there yet."""
    there = {path.name for path in audio.glob("*.wav")}
    wanted = itertools.product(
        range(FIRST_SPEAKER, FIRST_SPEAKER + speakers), list(SENTENCES)[:sentences], EMOTION_PROSODY
    )
    named = ((n, code, emotion, f"{n}_{code}_{emotion}_XX.wav") for n, code, emotion in wanted)
    return [
        (n, code, emotion, audio / name) for n, code, emotion, name in named if name not in there
    ]


def ensure_demo_corpus(
    directory: Path,
    speakers: int = 40,
    sentences: int = len(SENTENCES),
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Makes the demo corpus in ``directory``, or finishes it, or finds it there.

    The same settings with the same espeak-ng give the same bytes, interrupted or not. The files
    are ``AudioWAV/<speaker>_<sentence>_<emotion>_XX.wav``, 16 kHz, mono, 16 bits.

    Args:
        directory: The corpus's own folder.
        speakers: Number of speakers, 2001 on.
        sentences: Number of sentences, the first of ``SENTENCES``; each in six emotions.
        seed: Another seed gives other speakers under the same numbers.
        progress: Called with (clips done, clips in all) after each clip that was made.

    Returns:
        ``directory``.

    Raises:
        UserError: If a count or the seed is out of range, the folder holds something else or was
            made with other settings, or espeak-ng is missing.

    Example:
        >>> ensure_demo_corpus(Path("data/demo"))  # doctest: +SKIP
        PosixPath('data/demo')
    """
    _check_arguments(speakers, sentences, seed)
    settings = {
        "version": CORPUS_VERSION,
        "seed": seed,
        "speakers": speakers,
        "sentences": sentences,
    }
    finished = _recorded(directory, settings)
    audio = directory / "AudioWAV"
    missing = _missing_clips(audio, speakers, sentences)
    if finished and not missing:
        return directory
    total = speakers * sentences * len(EMOTION_PROSODY)
    cast = {number: draw_speaker(number, seed) for number in {number for number, *_ in missing}}
    with Espeak(list(cast.values())) as espeak:
        audio.mkdir(parents=True, exist_ok=True)
        write_json(directory / _STARTED, settings)
        with atomic(directory / "README.txt") as partial:
            partial.write_text(_README, encoding="utf-8")
        for done, (number, sentence, emotion, path) in enumerate(missing, 1 + total - len(missing)):
            samples = render_clip(espeak, cast[number], sentence, emotion, seed)
            _write_wav(path, samples)
            if progress is not None:
                progress(done, total)
        record = {**settings, "clips": total, "synthetic": True, "espeak_ng": espeak.version}
    write_json(directory / _RECORD, record)
    (directory / _STARTED).unlink(missing_ok=True)
    return directory


def _prepare(config: CorpusConfig, progress: Callable[[int, int], None] | None) -> Path:
    """The folder, made or finished if need be.

    A folder with clips that is given by name is taken as it is, unless its making was interrupted.
    """
    given = Path(config.data_dir).expanduser() if config.data_dir else None
    if given is not None:
        is_unfinished = (given / _STARTED).exists()
        if not is_unfinished and any(crema_d.audio_folder(given).glob("*_*_*_*.*")):
            return given
    return ensure_demo_corpus(given or DEMO_DIR, progress=progress)


def _split(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    """CREMA-D's algorithm on the speakers that are there."""
    del config
    train, validation, _ = tfds_speakers_split(clip.speaker for clip in corpus.clips)
    if not validation:
        raise UserError(
            f"{corpus.folder} holds {len(train) + 1} speakers: too few for train, validation "
            "and test; use at least 10"
        )
    return train, validation


READER = Reader(
    read,
    crema_d.NAME_EXAMPLE,
    crema_d.LABEL_MAP,
    split=_split,
    # What the synthesiser was set to (``RATED``): semitones, log2, dB per octave.
    dimensions=tuple(Dimension(name, -end, end) for name, (_, end) in RATED.items()),
    facts=CorpusFacts(
        "synthetic speech (espeak-ng)",
        "en",
        "It was trained on synthetic voices and knows nothing about people.",
        "The speech is synthetic, nobody's rights are in it.",
    ),
    prepare=_prepare,
    synthetic=True,
)
