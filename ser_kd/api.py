"""The front door: what ``import ser_kd`` offers.

model = ser_kd.load()
model.predict("clip.wav").label
"""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import soxr

from ser_kd.audio.decoding import decode
from ser_kd.audio.full_scale import is_full_scale
from ser_kd.errors import UserError
from ser_kd.inference.predictor import Prediction, Predictor, default_model, find_model
from ser_kd.registry import load_object
from ser_kd.speaker.adaptation import MIN_SPEECH_SHARE, learn_speech
from ser_kd.speaker.statistics import VoiceStatistics
from ser_kd.speaker.voice import Voice

if TYPE_CHECKING:
    from ser_kd.encoder.model import SpeechEncoder

__all__ = ["Model", "Prediction", "Voice", "load", "load_encoder"]

_LOWEST_HZ, _HIGHEST_HZ = 1_000.0, 1_000_000.0

Samples = npt.ArrayLike
"""One channel: floats in -1..1, or int16."""


class Model:
    """A speech emotion classifier, ready for audio of any length and rate.

    Made by ``ser_kd.load``. May be used from several threads.

    Attributes:
        labels: Class names, in the order of the probabilities.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.labels = predictor.labels

    @property
    def sample_rate_hz(self) -> int:
        """The rate that the model works at; samples of another one are resampled."""
        return self._predictor.frontend.sample_rate_hz

    def probabilities(
        self, samples: Samples, rate_hz: float = 16_000, voice: Voice | None = None
    ) -> npt.NDArray[np.float32]:
        """Class probabilities of a clip.

        A clip of more than a window's length (3 s of the bundled model) is cut into windows; their
        probabilities are averaged.

        Args:
            samples: ``[samples]``, one channel: floats in -1..1, or int16. Floats up to
                8 are clipped, beyond that they are an error.
            rate_hz: Of the samples, 1,000 to 1,000,000 Hz. Resampling is soxr's HQ.
            voice: What is known of who speaks.

        Returns:
            float32 ``[classes]``, in the order of ``labels``.

        Raises:
            ValueError: No samples, more than one channel, other integers than int16, numbers that
                are not finite, a rate out of range, or a voice of another front end.

        Example:
            >>> import numpy as np, ser_kd
            >>> ser_kd.load().probabilities(np.zeros(16_000)).shape
            (6,)
        """
        return self._for(voice).predict_waveform(self._waveform(samples, rate_hz))

    def predict(
        self, clip: str | Path | Samples, rate_hz: float = 16_000, voice: Voice | None = None
    ) -> Prediction:
        """The prediction for an audio file, or for samples.

        Args:
            clip: A file (WAV, FLAC, Ogg or MP3, M4A where ffmpeg is installed; any rate and number
                of channels, whose mean is taken), or samples as ``probabilities`` takes them.
            rate_hz: Of the samples; a file has its own.
            voice: What is known of who speaks.

        Raises:
            ValueError: The file cannot be read, or as ``probabilities``.
        """
        return self._for(voice).predict(self._clip(clip, rate_hz))

    def voice(
        self, clips: str | Path | Iterable[str | Path | Samples], rate_hz: float = 16_000
    ) -> Voice:
        """What is known of a voice, from unlabelled clips of one person's speech.

        Where there are few clips, it stays close to the training corpus; eight count as much as
        the corpus does. Parts of a clip that hold little speech are left out.

        Args:
            clips: Files, or samples as ``probabilities`` takes them.
            rate_hz: Of the samples; files have their own.

        Returns:
            For ``probabilities`` and ``predict``; ``voice.save(path)`` keeps it.

        Raises:
            ValueError: No clip, none with speech, one that cannot be used, or a model that cannot
                be adapted to a voice (an older export).
        """
        adaptation, frontend = self._predictor.adaptation_or_error(), self._predictor.frontend
        given: Any = clips
        one = isinstance(given, str | Path) or (isinstance(given, np.ndarray) and given.ndim == 1)
        items = [given] if one else list(given)
        known = VoiceStatistics()
        for item in items:
            known = learn_speech(known, self._clip(item, rate_hz), adaptation, frontend)
        if not known.clips:
            raise UserError(
                f"{len(items)} clips, none of which is speech for {MIN_SPEECH_SHARE:.0%} of its "
                "time: give a few clips in which one person speaks"
            )
        return Voice(known, frontend.mel_bands)

    def __repr__(self) -> str:
        return f"<ser_kd.Model {', '.join(self.labels)}>"

    def _for(self, voice: Voice | None) -> Predictor:
        return self._predictor if voice is None else self._predictor.for_voice(voice)

    def _clip(self, clip: str | Path | Samples, rate_hz: float) -> npt.NDArray[np.float32]:
        if isinstance(clip, str | Path):
            return decode(clip, self.sample_rate_hz)
        return self._waveform(clip, rate_hz)

    def _waveform(self, samples: Samples, rate_hz: float) -> npt.NDArray[np.float32]:
        """Checked samples as float32 at the model's rate."""
        _check_rate(rate_hz)
        waveform = _as_float(samples)
        if rate_hz != self.sample_rate_hz:
            waveform = soxr.resample(waveform, rate_hz, self.sample_rate_hz, quality="HQ")
            if not waveform.size:
                raise UserError(
                    f"{np.size(samples)} samples are too few to resample from {rate_hz:g} to "
                    f"{self.sample_rate_hz} Hz: give a longer clip"
                )
        return np.ascontiguousarray(waveform, dtype=np.float32)


def load(path: str | Path | None = None) -> Model:
    """Loads a student; a .tflite file takes no TensorFlow.

    Args:
        path: A .tflite or .keras file with ``labels.txt`` and ``frontend.json`` beside it (a
            waveform .tflite file brings its own), the folder of a run or of an export, or None for
            the bundled student.

    Raises:
        ValueError: There is no model, it is damaged, does not fit its front end, or a package that
            it needs is not installed.

    Example:
        >>> import ser_kd
        >>> ser_kd.load().labels
        ('ANG', 'DIS', 'FEA', 'HAP', 'NEU', 'SAD')
    """
    return Model(Predictor.load(default_model() if path is None else find_model(Path(path))))


def load_encoder(name_or_folder: str | Path, **options: Any) -> "SpeechEncoder":
    """A published Wav2Vec2, HuBERT, WavLM or Whisper encoder.

    For the options see ``ser_kd.encoder.checkpoint.load_encoder``.

    Raises:
        ValueError: It is not found, cannot be built, or ``ser-kd[train]`` is not installed.

    Example:
        >>> encoder = load_encoder("facebook/wav2vec2-base")  # doctest: +SKIP
        >>> encoder(encoder.preprocess(waveforms)).shape  # doctest: +SKIP
        TensorShape([4, 149, 768])
    """
    encoder: SpeechEncoder = load_object("ser_kd.encoder.checkpoint:load_encoder")(
        name_or_folder, **options
    )
    return encoder


def _check_rate(rate_hz: float) -> None:
    number = isinstance(rate_hz, int | float | np.number) and not isinstance(rate_hz, bool)
    if not (number and math.isfinite(rate_hz) and _LOWEST_HZ <= rate_hz <= _HIGHEST_HZ):
        raise UserError(
            f"rate_hz = {rate_hz!r}: a sample rate in Hz is needed, {_LOWEST_HZ:g} to "
            f"{_HIGHEST_HZ:g}, such as 16000 or 44100"
        )


def _as_float(samples: Samples) -> npt.NDArray[np.float32]:
    """Samples as float32 ``[samples]``, -1..1.

    Raises:
        UserError: They are not one channel of floats or int16, or not finite, or there are none.
    """
    try:
        array = np.asarray(samples)
    except ValueError as error:  # lists of different lengths
        raise UserError(f"samples are no array ({error}): give numbers [samples]") from None
    if array.ndim != 1:
        raise UserError(
            f"samples have the shape {list(array.shape)}: one channel [samples] is needed; take "
            "one, or the mean over the channels' axis"
        )
    if not array.size:
        raise UserError("samples are empty (0 samples): give at least one")
    if array.dtype == np.int16:
        return np.divide(array, np.float32(32_768), dtype=np.float32)
    if array.dtype.kind in "iu":
        raise UserError(
            f"samples are {array.dtype} ({array.min()} to {array.max()}): int16, or floats in "
            "-1..1 are needed; divide by full scale, such as samples / 2**31 of 32 bits"
        )
    if array.dtype.kind != "f":
        raise UserError(f"samples are {array.dtype}: int16, or floats in -1..1 are needed")
    if not np.isfinite(array).all():
        place = int(np.flatnonzero(~np.isfinite(array))[0])
        raise UserError(
            f"samples[{place}] is {array[place]}: finite numbers are needed; repair the recording, "
            "or numpy.nan_to_num(samples)"
        )
    if not is_full_scale(array):
        raise UserError(
            f"samples reach {np.abs(array).max():.4g}: floats in -1..1 are needed; divide by full "
            "scale, such as samples / 32768 of 16 bits"
        )
    return array.astype(np.float32)
