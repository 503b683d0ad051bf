"""Who speaks in the demo corpus, and how each emotion is spoken: all that is drawn at random.

An emotion is a row of prosody (``EMOTION_PROSODY``). A speaker exaggerates or understates every cue
of every emotion in a personal way; a clip mixes in a second emotion, varies in intensity and is
recorded in a room with noise: the classes overlap, and no single cue such as loudness or duration
gives them away.
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ser_kd.corpora.crema_d import SENTENCES

FIRST_SPEAKER = 2001
MAX_SPEAKERS = 999

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
        """The fields in order, ``[10]``."""
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

Actors miss, too: from the voice alone people recognise the intended emotion of 40 % of CREMA-D's
clips. On such clips a teacher's prediction can say more than the label does.
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
