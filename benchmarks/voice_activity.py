"""What voice activity detection passes: clips of speech, and sounds that are none.

    python benchmarks/voice_activity.py FOLDER [FOLDER ...] [--clips 300]

FOLDERs hold speech (any format that ``predict`` reads). Each clip is set to -12 and to -30 dBFS
(RMS of its loud half), and is mixed with white and pink noise; other sounds are 200 windows of 3 s
at -70 to -6 dBFS, from one random generator. A clip passes if enough of it is speech. The last line
is JSON.
"""

import argparse
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from ser_kd.audio.decoding import decode
from ser_kd.audio.views import speech_power
from ser_kd.audio.voice_activity import VoiceActivityDetector
from ser_kd.corpora.listing import audio_files

RATE_HZ, SAMPLES, WINDOWS = 16_000, 48_000, 200


def coloured(samples: int, exponent: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of mean square 1 whose power falls with this exponent of the frequency."""
    spectrum = np.fft.rfft(rng.normal(size=samples))
    frequency = np.maximum(np.arange(len(spectrum)), samples * 20 / RATE_HZ)
    noise = np.fft.irfft(spectrum * frequency ** (-exponent / 2), samples)
    return noise / np.sqrt(np.mean(noise**2))


def noises(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One window of each kind, mean square about 1."""
    times = np.arange(SAMPLES) / RATE_HZ
    hum = sum(
        rng.uniform(0.1, 1) / k * np.sin(2 * np.pi * k * rng.choice([50, 60]) * times)
        for k in range(1, 8)
    )
    click = np.zeros(SAMPLES)
    click[rng.integers(SAMPLES)] = 30.0
    sine = np.sqrt(2) * np.sin(2 * np.pi * rng.uniform(80, 2_000) * times)
    white = rng.normal(size=SAMPLES)
    return {
        "white noise": white,
        "pink noise": coloured(SAMPLES, 1.0, rng),
        "brown noise": coloured(SAMPLES, 2.0, rng),
        "hum": hum,
        "steady tone": sine,
        "one click": click,
        "tone in noise": sine + white * 10 ** rng.uniform(-1.5, 0.5),
        "hum in noise": hum + white * 10 ** rng.uniform(-1.5, 0.5),
    }


def versions(clip: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """One clip as it may reach a microphone."""
    clip = clip / np.sqrt(speech_power(clip) + 1e-12)
    low, high = 10 ** (-30 / 20), 10 ** (-12 / 20)
    return {
        "-12 dBFS": high * clip,
        "-30 dBFS": low * clip,
        "white noise, 10 dB": low * (clip + 10**-0.5 * rng.normal(size=len(clip))),
        "pink noise, 10 dB": low * (clip + 10**-0.5 * coloured(len(clip), 1.0, rng)),
    }


def main() -> None:
    """Prints the share that passes of each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--clips", type=int, default=300)
    parsed = parser.parse_args()
    gate, rng = VoiceActivityDetector(), np.random.default_rng(0)

    def passes(samples: np.ndarray) -> bool:
        samples = np.clip(samples, -1, 1).astype(np.float32)
        return gate.speech_share(samples, RATE_HZ) >= gate.min_share

    results: dict[str, dict[str, float]] = {}
    for folder in parsed.folders:
        paths = audio_files(folder)
        chosen = rng.choice(len(paths), min(parsed.clips, len(paths)), replace=False)
        passed: dict[str, list[bool]] = {}
        for index in chosen:
            for name, samples in versions(decode(paths[index], RATE_HZ), rng).items():
                passed.setdefault(name, []).append(passes(samples))
        title = f"speech in {folder.parent.name}, {len(chosen)} clips"
        results[title] = {name: float(np.mean(found)) for name, found in passed.items()}
    passed = {"silence": [passes(np.zeros(SAMPLES))]}
    for _ in range(WINDOWS):
        level = 10 ** (rng.uniform(-70, -6) / 20)
        for name, noise in noises(rng).items():
            passed.setdefault(name, []).append(passes(level * noise))
    title = f"no speech, {WINDOWS} windows of 3 s"
    results[title] = {name: float(np.mean(found)) for name, found in passed.items()}
    window = coloured(SAMPLES, 1.0, rng).astype(np.float32)
    start = time.perf_counter()
    for _ in range(20):
        gate.speech_share(0.1 * window, RATE_HZ)
    milliseconds = 1e3 * (time.perf_counter() - start) / 20
    for title, rows in results.items():
        print(f"{title}: passed")
        for name, share in rows.items():
            print(f"  {name:<22}{share:>8.1%}")
    print(f"{milliseconds:.1f} ms for a window of 3 s")
    print(json.dumps({"benchmark": "voice_activity", "passed": results, "window_ms": milliseconds}))


if __name__ == "__main__":
    main()
