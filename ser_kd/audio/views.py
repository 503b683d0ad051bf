"""Views: a clip as another microphone, distance or speaker's pace would have it.

The same view is predicted by the teachers and shown to the student, so it has to be the same
whenever and wherever it is made.
"""

import hashlib
import json

import numpy as np
import soxr

from ser_kd.audio import codecs, decoding
from ser_kd.audio.decoding import Waveform
from ser_kd.config import ViewsConfig
from ser_kd.errors import UserError

_FRAME_SAMPLES = 320
_PEAK = 32_767 / 32_768
# Below this share of the highest frequency (100 Hz of 8 kHz) noise of any colour is flat: what
# lies there is inaudible, and it would take all of the power.
_LEVEL_BELOW = 1 / 80
_TELEPHONES = 0.25


def make_view(
    waveform: Waveform,
    config: ViewsConfig,
    seed: int,
    clip_id: str,
    view: int,
    rate_hz: int = 16_000,
) -> Waveform:
    """One view of a clip: another speed, then noise, then gain, then a codec.

    A pure function: the draws depend on ``(seed, clip_id, view)`` and on nothing else.

    Args:
        waveform: float32 ``[samples]``, full scale is -1 to 1.
        config: How far the changes go.
        seed: Of the run.
        clip_id: Of the clip.
        view: Number of the view, at least 0. View 0 is the clip itself.
        rate_hz: Of the waveform.

    Returns:
        float32 ``[samples]``; with another speed, another number of samples. Its peak is within
        full scale: where the gain would go beyond that, it is less. A silent clip stays as it is.

    Raises:
        UserError: A codec is asked for that cannot be had on this machine.
    """
    if view == 0 or decoding.is_silent(waveform):
        return waveform
    key = hashlib.sha256(json.dumps([seed, clip_id, view]).encode()).digest()
    rng = np.random.default_rng(int.from_bytes(key, "little"))
    # All draws come first and in one order: one strength does not change what another one does.
    speed = 1.0 + rng.uniform(-1.0, 1.0) * config.speed
    gain_db = rng.uniform(-1.0, 1.0) * config.gain_db
    is_noisy = rng.uniform() < config.noise_probability
    snr_db = rng.uniform(*config.noise_snr_db)
    colour = rng.uniform(0.0, 2.0)  # power falls with this exponent of the frequency
    coding = rng.spawn(1)[0]
    is_coded = coding.uniform() < config.codec_probability
    is_telephone = coding.uniform() < _TELEPHONES
    bits_per_second = float(np.exp(coding.uniform(*np.log(config.opus_bits_per_second))))
    changed = _resample(waveform, speed)
    if is_noisy:
        power = speech_power(changed) / 10.0 ** (snr_db / 10.0)
        changed = changed + np.sqrt(power) * _noise(len(changed), colour, rng)
    gain = 10.0 ** (gain_db / 20.0)
    peak = float(np.abs(changed).max())
    gain = min(gain, _PEAK / peak) if peak > 0 else gain
    changed = (gain * changed).astype(np.float32)
    if not is_coded:
        return changed
    return _coded(changed, rate_hz, None if is_telephone else bits_per_second)


def _coded(waveform: Waveform, rate_hz: int, bits_per_second: float | None) -> Waveform:
    """Through Opus with so many bits, or through a telephone."""
    if bits_per_second is None:
        return codecs.telephone(waveform, rate_hz)
    try:
        return np.clip(codecs.opus(waveform, rate_hz, bits_per_second), -1.0, _PEAK)
    except codecs.UnavailableError as error:
        raise UserError(
            f"views.codec_probability needs the Opus codec, which cannot be had here: {error}; "
            "make it 0"
        ) from None


def speech_power(waveform: Waveform) -> float:
    """Mean square of the louder half of the waveform's frames: of the speech, not the pauses.

    Args:
        waveform: float32 ``[samples]``, at least one.
    """
    power = np.square(waveform, dtype=np.float64)
    whole = len(power) // _FRAME_SAMPLES * _FRAME_SAMPLES
    if not whole:
        return float(power.mean())
    frames = np.sort(power[:whole].reshape(-1, _FRAME_SAMPLES).mean(axis=1))
    return float(frames[len(frames) // 2 :].mean())


def _resample(waveform: Waveform, speed: float) -> Waveform:
    """``speed`` times as fast, and as much higher."""
    if speed == 1.0 or len(waveform) < 2:
        return waveform
    changed: Waveform = soxr.resample(waveform, speed, 1.0, quality="HQ")
    return changed if changed.size else waveform


def _noise(samples: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian noise ``[samples]`` of mean square 1; ``colour`` 0 is white, 1 pink, 2 brown."""
    size = 1 << (samples - 1).bit_length()  # a power of 2: the transform is quick
    spectrum = np.fft.rfft(rng.standard_normal(size))
    frequency = np.linspace(0.0, 1.0, len(spectrum))  # of the highest
    spectrum *= np.maximum(frequency, _LEVEL_BELOW) ** (-colour / 2.0)
    noise = np.fft.irfft(spectrum, size)[:samples]
    shaped: np.ndarray = noise / np.sqrt(np.mean(np.square(noise)))
    return shaped
