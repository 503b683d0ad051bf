"""How a voice sounds, every 10 ms: melody, loudness, timbre and steadiness.

What librosa has is librosa's (pYIN, mel spectrum, MFCC, deltas); jitter, shimmer, the
harmonics-to-noise ratio, spectral slope and flux are short formulas of ours, each with its source
beside it. The choice of descriptors follows eGeMAPS (Eyben et al. 2016, IEEE Transactions on
Affective Computing 7(2)), which ``egemaps`` has openSMILE compute, where that is installed.
"""

from ser_kd.audio.prosody.columns import DESCRIPTORS, EGEMAPS, Descriptor
from ser_kd.audio.prosody.extraction import MIN_SAMPLE_RATE_HZ, descriptors
from ser_kd.audio.prosody.feature_sets import APART, FEATURES, VERSION, compute, require
from ser_kd.audio.prosody.framing import HOP_SECONDS, hop_samples
from ser_kd.audio.prosody.opensmile import egemaps

__all__ = [
    "APART",
    "DESCRIPTORS",
    "EGEMAPS",
    "FEATURES",
    "HOP_SECONDS",
    "MIN_SAMPLE_RATE_HZ",
    "VERSION",
    "Descriptor",
    "compute",
    "descriptors",
    "egemaps",
    "hop_samples",
    "require",
]
