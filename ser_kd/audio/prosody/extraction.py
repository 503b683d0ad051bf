"""All descriptors of a recording."""

import numpy as np

from ser_kd.audio.prosody.columns import DESCRIPTORS
from ser_kd.audio.prosody.framing import hop_samples
from ser_kd.audio.prosody.periods import jitter_and_shimmer
from ser_kd.audio.prosody.pitch import harmonics_to_noise_db, pitch, semitones
from ser_kd.audio.prosody.spectrum import cepstrum, flux, slope_db_per_khz, spectrum

MIN_SAMPLE_RATE_HZ = 8_000
# The residue of a codec is no voice, however periodic (as in ser_kd.audio.decoding.is_silent).
_SILENCE_DB = -80.0


def descriptors(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """All ``DESCRIPTORS`` of a recording; no value is ever NaN or infinite.

    Args:
        waveform: float32 ``[samples]`` in -1..1, of any length.
        sample_rate_hz: 8000 or more.

    Returns:
        float32 ``[frames, len(DESCRIPTORS)]``, one frame per ``hop_samples`` begun: frame t is
        centred on sample ``t * hop_samples``. What lies beyond the ends counts as silence.
    """
    hop = hop_samples(sample_rate_hz)
    frames = max(1, -(-len(waveform) // hop))
    padded = np.zeros(frames * hop, np.float64)
    if len(waveform):  # without the microphone's offset
        padded[: len(waveform)] = waveform - np.mean(waveform, dtype=np.float64)
    level_db, decibel, magnitudes = spectrum(padded, sample_rate_hz, frames)
    f0_hz, probability = pitch(padded, sample_rate_hz, frames)
    f0_hz[level_db <= _SILENCE_DB] = 0.0
    voiced = f0_hz > 0
    jitter, shimmer = jitter_and_shimmer(padded, f0_hz, sample_rate_hz)
    columns = {
        "voiced": voiced,
        "voicing_probability": np.where(level_db <= _SILENCE_DB, 0.0, probability),
        "f0_semitones": semitones(f0_hz),
        "jitter_ratio": jitter,
        "shimmer_ratio": shimmer,
        "hnr_db": harmonics_to_noise_db(padded, f0_hz, sample_rate_hz),
        "level_db": level_db,
        "slope_to_500_hz": slope_db_per_khz(decibel, sample_rate_hz, 0.0, 500.0),
        "slope_500_to_1500_hz": slope_db_per_khz(decibel, sample_rate_hz, 500.0, 1_500.0),
        "flux": flux(magnitudes),
        **cepstrum(magnitudes, sample_rate_hz),
    }
    return np.stack([columns[d.name] for d in DESCRIPTORS], axis=1).astype(np.float32)
