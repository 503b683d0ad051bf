"""Made-up voices, and a model that tells loud from soft."""

import numpy as np
from scipy.signal import lfilter

RATE_HZ = 16_000


LABELS = ("loud", "soft")


def voice(seconds: float = 3.0, rate_hz: int = RATE_HZ, seed: int = 0) -> np.ndarray:
    """Syllables: a falling and rising buzz through formants that change, with gaps between."""
    rng = np.random.default_rng(seed)
    syllables = []
    total = 0
    while total < seconds * rate_hz:
        count = round(rng.uniform(0.15, 0.3) * rate_hz)
        pitch_hz = rng.uniform(100, 200) * np.linspace(1, rng.uniform(0.8, 1.2), count)
        pulses = np.diff(np.floor(np.cumsum(pitch_hz) / rate_hz), prepend=0.0)
        for formant_hz in rng.uniform((300, 900, 2_200), (800, 2_000, 3_000)):
            radius = np.exp(-np.pi * 90 / rate_hz)
            angle = 2 * np.pi * formant_hz / rate_hz
            pulses = lfilter([1 - radius], [1, -2 * radius * np.cos(angle), radius**2], pulses)
        syllables += [pulses * np.hanning(count), np.zeros(round(rng.uniform(0, 0.1) * rate_hz))]
        total += len(syllables[-2]) + len(syllables[-1])
    return at(-20, np.concatenate(syllables)[: round(seconds * rate_hz)])


def at(level_dbfs: float, samples: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(samples.astype(np.float64) ** 2))
    return (samples * 10 ** (level_dbfs / 20) / rms).clip(-1, 1).astype(np.float32)


def loudness(windows: np.ndarray) -> np.ndarray:
    """A model that says how loud a window is."""
    level = np.abs(windows).mean(axis=1, keepdims=True)
    return np.concatenate([level, 1 - level], axis=1).astype(np.float32)


def speech(samples: int = 16_000, seed: int = 0) -> np.ndarray:
    """Noise with a tone, 60 dB of dynamics, and digital silence at the end."""
    rng = np.random.default_rng(seed)
    times = np.arange(samples) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * 220 * times) + 0.05 * rng.normal(size=samples)
    wave *= 10.0 ** (-3.0 * np.abs(np.sin(3 * times)))
    wave[-samples // 8 :] = 0.0
    return wave.astype(np.float32)
