"""One clip of the demo corpus: spoken, bent in pitch, roughened, and recorded in a room."""

import numpy as np
import soxr
from numpy.typing import NDArray

from ser_kd.corpora.crema_d import SENTENCES
from ser_kd.corpora.demo.espeak import Espeak
from ser_kd.corpora.demo.voices import DemoSpeaker, Prosody, Samples, draw_clip

SAMPLE_RATE_HZ = 16_000
MIN_CLIP_SECONDS = 1.0
MAX_CLIP_SECONDS = 4.0


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
