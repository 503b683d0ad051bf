"""The demo corpus: CREMA-D's twelve sentences spoken by espeak-ng, so that nothing is downloaded.

**Synthetic.** It shows that the pipeline runs and learns; a figure measured on it says nothing
about human emotion and is labelled synthetic wherever it is shown.

The files are 16 kHz WAVs in ``AudioWAV/`` under CREMA-D's own names, from speakers 2001 on (CREMA-D
ends at 1091), so they take exactly the path that real data takes. An emotion is a row of prosody
(``EMOTION_PROSODY``). A speaker exaggerates or understates every cue of every emotion in a personal
way, a clip mixes in a second emotion, varies in intensity and is recorded in a room with noise:
the classes overlap, and no single cue such as loudness or duration gives them away.
"""

import ctypes
import importlib
import itertools
import os
import shutil
import tempfile
import wave
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_kd.corpora.clip import Clip, Found
from ser_kd.corpora.crema_d import SENTENCES, read_same_layout
from ser_kd.errors import UserError
from ser_kd.files import atomic, read_json, write_json

CORPUS_VERSION = 1
"""Raise it with every change that alters the bytes of a clip."""

SAMPLE_RATE_HZ = 16_000
FIRST_SPEAKER = 2001
MAX_SPEAKERS = 999
MIN_CLIP_SECONDS = 1.0
MAX_CLIP_SECONDS = 4.0

_README = """SYNTHETIC SPEECH

These clips were spoken by espeak-ng and altered by ser_kd.corpora.demo. Nobody felt anything.
They carry CREMA-D's file names so that they take the same path through the program; they are not
part of CREMA-D, and a figure measured on them says nothing about human emotion.
Delete the folder whenever you like: it is made again.
"""

Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Prosody:
    """How an utterance differs from the same speaker's neutral voice.

    Attributes:
        pitch_semitones: Shift of the mean pitch.
        range_log2: Pitch range, log2 of the ratio.
        rate_log2: Speaking rate, log2 of the ratio.
        level_db: Loudness.
        tilt_db_per_octave: Spectral slope about 1 kHz; positive is bright (pressed voice).
        contour_semitones: Pitch at the end minus pitch at the start.
        pause: Share of a full hesitation (0.4 s), spent between words; negative counts as none.
        breath: Aspiration noise, 1 = about 10 dB below the voice; negative counts as none.
        tremor: Depth of a 4 to 8 Hz waver of pitch and loudness; negative counts as none.
        roughness: Depth of a 25 to 75 Hz modulation (creak, harshness); negative counts as none.
    """

    pitch_semitones: float
    range_log2: float
    rate_log2: float
    level_db: float
    tilt_db_per_octave: float
    contour_semitones: float
    pause: float
    breath: float
    tremor: float
    roughness: float

    def vector(self) -> Samples:
        return np.array([getattr(self, field.name) for field in fields(self)], dtype=np.float64)


# Directions after the reviews of Juslin & Laukka 2003 (Psychological Bulletin 129), Scherer 2003
# (Speech Communication 40) and, for breath, tremor and creak, Gobl & Ni Chasaide 2003 (ibid.).
# Sizes, and happiness's airy voice, are ours: chosen for the difficulty that the demo should have
# (70 to 90 % UA for the student on unseen voices), not measured on people.
#              pitch range rate level tilt contour pause breath tremor rough
EMOTION_PROSODY = {
    "ANG": Prosody(2.0, 0.70, 0.22, 3.0, 3.4, -1.5, 0.00, 0.0, 0.00, 1.00),
    "DIS": Prosody(-2.0, 0.00, -0.20, -0.5, -0.8, -4.5, 0.35, 0.1, 0.00, 1.00),
    "FEA": Prosody(5.5, -0.70, 0.20, -0.5, 0.8, 0.6, 0.20, 1.0, 1.30, 0.00),
    "HAP": Prosody(6.5, 1.30, 0.10, 2.0, 1.8, 6.0, 0.00, 0.5, 0.05, 0.00),
    "NEU": Prosody(0.0, 0.00, 0.00, 0.0, 0.0, -0.4, 0.00, 0.0, 0.00, 0.00),
    "SAD": Prosody(-2.5, -0.80, -0.24, -3.0, -3.2, -1.0, 0.60, 0.6, 0.20, 0.00),
}
"""What the emotions have in common over speakers, before style, mixture and chance."""

_SPEAKER_SPREAD = Prosody(0.0, 0.15, 0.08, 2.0, 0.4, 0.3, 0.05, 0.10, 0.05, 0.05)
"""Standard deviation between speakers' neutral voices (their pitch is their espeak voice's)."""

_CLIP_SPREAD = Prosody(0.7, 0.16, 0.09, 2.0, 0.35, 0.5, 0.12, 0.10, 0.08, 0.08)
"""Standard deviation between clips of one speaker and emotion."""

_EXPRESSIVITY_SPREAD = 0.15
"""Standard deviation between speakers of the factor on all cues."""

_STYLE_SPREAD = 0.20
"""Standard deviation between speakers of the factor on one cue of one emotion."""

_MAX_MIXTURE = 0.35
"""Largest share of a second emotion in a clip; the mean is a quarter of it."""

_MISSED = 0.10
"""Share of clips whose second emotion is the stronger one.

Actors miss, too: who only hears CREMA-D's clips chooses the intended emotion in 40 %. Such clips
are why a teacher's opinion can say more than the label does.
"""

_ACCENTS = ("en-us", "en", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc", "en-gb-x-gbclan")
# fmt: off
_FEMALE_VARIANTS = (
    "f1", "f2", "f3", "f4", "f5", "Alicia", "Andrea", "Annie", "anika", "aunty", "belinda",
    "grandma", "linda", "shelby", "steph", "steph2",
)
_MALE_VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "Alex", "Andy", "Denis", "Diogo", "Gene",
    "Henrique", "Hugo", "Michael", "Mike", "Nguyen", "max", "michel", "miguel", "norbert",
    "pablo", "pedro", "quincy", "robert", "gustave", "sandro", "marcelo", "travis", "victor",
    "boris",
)
# fmt: on


@dataclass(frozen=True)
class DemoSpeaker:
    """One synthetic actor.

    Attributes:
        number: The speaker's number in the file names.
        variant: espeak-ng's voice variant.
        accent: espeak-ng's language.
        formant_scale: Ratio of all formant frequencies to the variant's (vocal tract length).
        pitch_semitones: Own neutral pitch relative to the variant's.
        neutral: Own neutral voice, in the order of ``Prosody``'s fields.
        style: Factor on every cue (column) of every emotion (row).
        gain_db: Recording level.
        noise_dbfs: Level of the noise floor.
        noise_slope_db_per_octave: Colour of the noise floor.
        bass_cut_hz: Corner of the microphone's high-pass.
        mic_db_per_octave: Slope of the microphone's response.
        reverb_seconds: Time in which the room's reverberation falls by 60 dB.
        reverb_db: Level of the reverberation relative to the direct sound.
    """

    number: int
    variant: str
    accent: str
    formant_scale: float
    pitch_semitones: float
    neutral: Samples
    style: Samples
    gain_db: float
    noise_dbfs: float
    noise_slope_db_per_octave: float
    bass_cut_hz: float
    mic_db_per_octave: float
    reverb_seconds: float
    reverb_db: float

    @property
    def voice(self) -> str:
        """espeak-ng's name of this voice, once ``Espeak`` has written it."""
        return f"{self.accent}+s{self.number}"


def draw_speaker(number: int, seed: int) -> DemoSpeaker:
    """Speaker ``number`` of the corpus with this seed; independent of all other speakers."""
    rng = np.random.default_rng((seed, number))
    # Voices in turn rather than at random: forty speakers then have (nearly) forty voices.
    turn, male = divmod(number - FIRST_SPEAKER, 2)
    variants = _MALE_VARIANTS if male else _FEMALE_VARIANTS
    cues = len(fields(Prosody))
    expressivity = rng.normal(1.0, _EXPRESSIVITY_SPREAD)
    style = expressivity * (1 + _STYLE_SPREAD * rng.normal(size=(len(EMOTION_PROSODY), cues)))
    return DemoSpeaker(
        number=number,
        variant=variants[turn % len(variants)],
        accent=_ACCENTS[turn % len(_ACCENTS)],
        formant_scale=float(rng.uniform(0.95, 1.05)),
        pitch_semitones=float(np.clip(rng.normal(0.0, 1.2), -3.0, 3.0)),
        neutral=_SPEAKER_SPREAD.vector() * rng.normal(size=cues),
        style=np.clip(style, 0.0, 2.0),
        gain_db=float(rng.uniform(-3.0, 3.0)),
        noise_dbfs=float(rng.uniform(-72.0, -56.0)),
        noise_slope_db_per_octave=float(rng.uniform(-6.0, 0.0)),
        bass_cut_hz=float(rng.uniform(40.0, 160.0)),
        mic_db_per_octave=float(rng.normal(0.0, 0.5)),
        reverb_seconds=float(rng.uniform(0.1, 0.4)),
        reverb_db=float(rng.uniform(-26.0, -12.0)),
    )


def draw_prosody(speaker: DemoSpeaker, emotion: str, rng: np.random.Generator) -> Prosody:
    """How ``speaker`` says one clip: own style, a second emotion, intensity, chance."""
    emotions = list(EMOTION_PROSODY)
    cues = np.stack([EMOTION_PROSODY[name].vector() for name in emotions]) * speaker.style
    second = int(rng.integers(len(emotions)))
    share = _MAX_MIXTURE * rng.beta(1.0, 3.0)
    if rng.random() < _MISSED:
        share = 1.0 - share
    intensity = rng.uniform(0.75, 1.3)
    mixed = (1 - share) * cues[emotions.index(emotion)] + share * cues[second]
    chance = _CLIP_SPREAD.vector() * rng.normal(size=mixed.size)
    return Prosody(*(speaker.neutral + intensity * mixed + chance).tolist())


def draw_clip(
    speaker: DemoSpeaker, sentence: str, emotion: str, seed: int
) -> tuple[Prosody, np.random.Generator]:
    """How one clip is said, and the generator for all that is drawn after that."""
    place = (list(SENTENCES).index(sentence), list(EMOTION_PROSODY).index(emotion))
    rng = np.random.default_rng((seed, speaker.number, *place))
    return draw_prosody(speaker, emotion, rng), rng


# --- espeak-ng ------------------------------------------------------------------------------------


def _loader() -> ModuleType:
    try:
        return importlib.import_module("espeakng_loader")
    except ImportError as error:
        raise UserError(
            "the demo corpus is spoken by espeak-ng, and the package espeakng-loader is missing: "
            "pip install -e '.[demo]', or pass a real corpus with --data-dir"
        ) from error


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
        loader = _loader()
        self._folder = tempfile.TemporaryDirectory(prefix="ser_kd_espeak_")
        self._copy_data(Path(loader.get_data_path()), speakers)
        self._library = ctypes.CDLL(loader.get_library_path())
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


# --- one clip -------------------------------------------------------------------------------------


def _speak(
    espeak: Espeak, speaker: DemoSpeaker, text: str, prosody: Prosody, rng: np.random.Generator
) -> Samples:
    """The plain utterance: pitch, range, rate and pauses. Returns [n] at ``SAMPLE_RATE_HZ``."""
    semitones = speaker.pitch_semitones + prosody.pitch_semitones
    words = text.split()
    pauses = rng.multinomial(2, [1 / (len(words) - 1)] * (len(words) - 1))
    pause_ms = np.rint(200 * np.clip(prosody.pause, 0.0, 1.5) * pauses).astype(int)
    breaks = [f'<break time="{ms}ms"/>' if ms >= 20 else "" for ms in (*pause_ms, 0)]
    spoken = espeak.say(
        " ".join(f"{word}{pause}" for word, pause in zip(words, breaks, strict=True)),
        speaker.voice,
        pitch=int(np.clip(round(50 + 50 * semitones / 12), 0, 99)),
        pitch_range=int(np.clip(round(45 * 2**prosody.range_log2), 5, 99)),
        rate_wpm=int(np.clip(round(170 * 2**prosody.rate_log2), 110, 260)),
    )
    return np.asarray(soxr.resample(spoken, espeak.sample_rate_hz, SAMPLE_RATE_HZ), np.float64)


def _at(samples: Samples, positions: Samples) -> Samples:
    """Cubic (Catmull-Rom) interpolation of ``samples`` [n] at fractional ``positions`` [m]."""
    padded = np.pad(samples, 2)
    whole = np.floor(positions).astype(np.int64)
    t = positions - whole
    a, b, c, d = (padded[whole + offset] for offset in (1, 2, 3, 4))
    cubic = c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a))
    return np.asarray(b + 0.5 * t * cubic, np.float64)


def _waver(count: int, hz: float, rng: np.random.Generator) -> Samples:
    """A sine of about ``hz`` whose frequency wanders, shape [count], in [-1, 1]."""
    knots = 2 + count * 10 // SAMPLE_RATE_HZ
    wander = np.interp(np.linspace(0, knots - 1, count), np.arange(knots), rng.normal(size=knots))
    phase = np.cumsum(hz * (1 + 0.15 * wander)) / SAMPLE_RATE_HZ
    return np.asarray(np.sin(2 * np.pi * (phase + rng.uniform())))


def _bend_pitch(samples: Samples, prosody: Prosody, waver: Samples) -> Samples:
    """Contour and tremor of pitch, by reading the samples faster and slower. [n] -> [about n].

    Formants move along, by four semitones at most.
    """
    ramp = np.linspace(-0.5, 0.5, samples.size)
    contour = float(np.clip(prosody.contour_semitones, -7.0, 7.0))
    semitones = contour * ramp + 0.6 * np.clip(prosody.tremor, 0.0, 1.5) * waver
    positions = np.cumsum(np.exp2(semitones / 12))
    return _at(samples, positions[positions < samples.size - 1])


def _voice_quality(
    samples: Samples, prosody: Prosody, waver: Samples, rng: np.random.Generator
) -> Samples:
    """Tremor of loudness, roughness and breath. [n] -> [n]."""
    tremor = 0.35 * float(np.clip(prosody.tremor, 0.0, 1.5))
    roughness = 0.6 * float(np.clip(prosody.roughness, 0.0, 1.5))
    rattle = _waver(samples.size, rng.uniform(25.0, 75.0), rng)
    voiced = samples * (1 + tremor * waver[: samples.size]) * (1 + roughness * rattle)
    width = SAMPLE_RATE_HZ // 50
    envelope = np.sqrt(np.convolve(voiced**2, np.full(width, 1 / width), mode="same"))
    hiss = np.diff(rng.normal(size=samples.size + 1)) / np.sqrt(2)  # +6 dB per octave
    breath = 0.32 * float(np.clip(prosody.breath, 0.0, 1.5))
    return np.asarray(voiced + breath * envelope * hiss, np.float64)


def _filter(samples: Samples, db_per_octave: float, bass_cut_hz: float) -> Samples:
    """Slope about 1 kHz (level from 125 Hz down) and a first-order high-pass. [n] -> [n]."""
    size = 1 << samples.size.bit_length()  # some lengths (primes) take the FFT ten times longer
    spectrum = np.fft.rfft(samples, size)
    hz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.maximum(hz, 125.0) / 1000.0)
    gain = 10 ** (db_per_octave * octaves / 20) * hz / np.sqrt(hz**2 + bass_cut_hz**2)
    return np.asarray(np.fft.irfft(spectrum * gain, size)[: samples.size], np.float64)


def _record(
    samples: Samples, speaker: DemoSpeaker, level_db: float, rng: np.random.Generator
) -> Samples:
    """Level, silence at both ends, room and noise floor. [n] -> [m]."""
    target = 10 ** ((np.clip(level_db, -8.0, 8.0) + speaker.gain_db - 33.0) / 20)
    samples = samples * target / np.sqrt(np.mean(samples**2))
    before, after = np.rint(rng.uniform(0.05, 0.45, size=2) * SAMPLE_RATE_HZ).astype(int)
    short = round(MIN_CLIP_SECONDS * SAMPLE_RATE_HZ) - (before + samples.size + after)
    dry = np.pad(samples, (before, after + max(short, 0)))
    dry = dry[: round(MAX_CLIP_SECONDS * SAMPLE_RATE_HZ)]
    tail = round(0.5 * speaker.reverb_seconds * SAMPLE_RATE_HZ)
    room = rng.normal(size=tail) * 10 ** (-1.5 * np.arange(tail) / tail)
    room *= 10 ** (speaker.reverb_db / 20) / np.linalg.norm(room)
    size = 1 << (dry.size + tail).bit_length()
    wet = np.fft.irfft(np.fft.rfft(dry, size) * np.fft.rfft(room, size), size)[: dry.size]
    noise = _filter(rng.normal(size=dry.size), speaker.noise_slope_db_per_octave, 30.0)
    floor = 10 ** ((speaker.noise_dbfs + rng.normal(0.0, 2.0)) / 20) / np.sqrt(np.mean(noise**2))
    return np.asarray(dry + wet + floor * noise)


def render_clip(
    espeak: Espeak, speaker: DemoSpeaker, sentence: str, emotion: str, seed: int
) -> NDArray[np.int16]:
    """One clip; it depends on the arguments alone, so clips can be made in any order.

    Args:
        espeak: A running espeak-ng that knows the speaker.
        speaker: Who speaks.
        sentence: Code, a key of ``SENTENCES``.
        emotion: Code, a key of ``EMOTION_PROSODY``.
        seed: The corpus's seed.

    Returns:
        16-bit samples at ``SAMPLE_RATE_HZ``, shape [n], 1 to 4 s.
    """
    prosody, rng = draw_clip(speaker, sentence, emotion, seed)
    samples = _speak(espeak, speaker, SENTENCES[sentence], prosody, rng)
    # Longer than the clip, for a contour may slow it down.
    waver = _waver(samples.size * 5 // 4, rng.uniform(4.0, 8.0), rng)
    samples = _bend_pitch(samples, prosody, waver[: samples.size])
    samples = _voice_quality(samples, prosody, waver, rng)
    slope = float(np.clip(prosody.tilt_db_per_octave, -5.0, 5.0)) + speaker.mic_db_per_octave
    samples = _filter(samples, slope, speaker.bass_cut_hz)
    samples = _record(samples, speaker, prosody.level_db, rng)
    samples = samples * min(1.0, 0.99 / np.abs(samples).max())  # rarely, a loud clip would clip
    return np.asarray(np.rint(samples * 32768.0), np.int16)


# --- the folder -----------------------------------------------------------------------------------

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

    They are what the synthesiser was set to, relative to the speaker's voice, so nobody's opinion:
    ``ratings`` holds ``RATED``. A folder that does not say which seed it was made with has none.
    """
    found = read_same_layout(folder, metadata_dir)
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
