"""A small corpus as a new user has it: 150 clips of made-up voices with three emotions."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

RATE_HZ = 16_000
# Factor on the speaker's pitch, dB on the speaker's level, syllables per second.
EMOTIONS = {"happy": (1.5, 6.0, 6.0), "neutral": (1.0, 0.0, 4.0), "sad": (0.85, -6.0, 2.5)}
SPEAKERS, TAKES = 10, 5


def write_emotions(folder: Path) -> Path:
    """``<emotion>/<speaker>/<take>.wav``, 1 s; speakers differ in pitch, level, formants."""
    rng = np.random.default_rng(0)
    for number in range(SPEAKERS):
        speaker = rng.uniform(90, 220), rng.uniform(-26, -18), rng.uniform(0.85, 1.2)
        for emotion in EMOTIONS:
            for take in range(TAKES):
                path = folder / emotion / f"s{number}" / f"{take}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, _voice(*speaker, *EMOTIONS[emotion], rng), RATE_HZ)
    return folder


def _voice(
    pitch_hz: float,
    level_db: float,
    tract: float,
    pitch_factor: float,
    gain_db: float,
    syllables_hz: float,
    rng: np.random.Generator,
) -> np.ndarray:
    times = np.arange(RATE_HZ) / RATE_HZ
    intonation = np.sin(2 * np.pi * rng.uniform(1, 3) * times + rng.uniform(0, 6))
    pitch = pitch_hz * pitch_factor * rng.uniform(0.85, 1.15) * (1 + 0.15 * intonation)
    wave = np.diff(np.floor(np.cumsum(pitch) / RATE_HZ), prepend=0.0)
    for formant_hz in tract * rng.uniform((350, 900, 2_200), (800, 1_900, 2_900)):
        radius = np.exp(-np.pi * 90 / RATE_HZ)
        angle = 2 * np.pi * formant_hz / RATE_HZ
        wave = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], wave)
    syllables = np.sin(np.pi * syllables_hz * rng.uniform(0.85, 1.15) * times + rng.uniform(0, 3))
    wave *= 0.02 + np.maximum(0.0, syllables)
    level = 10 ** ((level_db + gain_db + rng.normal(0, 3)) / 20)
    wave *= level / np.sqrt(np.mean(wave**2))
    return (wave + 0.003 * rng.normal(size=RATE_HZ)).clip(-1.0, 1.0)
