"""Known voices in the waveform model: two pieces of float arithmetic, and their check.

``ser_kd.speaker.statistics`` says what they compute.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ser_kd import metrics
from ser_kd.audio.logmel import LogMel
from ser_kd.config import LogMelConfig
from ser_kd.export.reference import Logits, Reference, in_batches
from ser_kd.speaker.statistics import (
    AT_FLOOR_DB,
    CLASSIFY_OWNER,
    LISTEN_TO_OWNER,
    VoiceStatistics,
    sounding,
    to_corpus,
)
from ser_kd.students.frontend import Corpus
from ser_kd.tflite.interpreters import TFLiteModel

STATISTICS = "statistics"
"""Float32 ``[2, mels]``: mean and deviation of a voice in dB."""
SUMS = ("total", "squares", "frames")
"""What is added up over a voice's frames: float32 ``[mels]``, ``[mels]`` and ``[1]``."""


class MoveToCorpus(tf.Module):
    """Log-mel ``[1, frames, mels]`` and a voice ``[2, mels]`` -> log-mel, as ``owner.to_corpus``.

    Written as a change to the frames, so that with the corpus's own statistics every one of them
    stays what it is, to the bit.

    Args:
        corpus: That the student was trained on.
        floor_db: The front end's floor.
    """

    def __init__(self, corpus: Corpus, floor_db: float) -> None:
        super().__init__()
        self.corpus, self.floor_db = corpus, floor_db

    @tf.function
    def __call__(self, logmel: tf.Tensor, statistics: tf.Tensor) -> tf.Tensor:
        mean, deviation = statistics[0], statistics[1]
        factor = self.corpus.deviation_db / deviation
        summand = self.corpus.mean_db - factor * mean
        moved = logmel + (logmel * (factor - 1.0) + summand)
        return tf.where(logmel > self.floor_db + AT_FLOOR_DB, moved, logmel)


class SumFrames(tf.Module):
    """Log-mel ``[1, frames, mels]`` -> ``SUMS`` over the frames that ``owner.sounding`` keeps.

    Args:
        floor_db: The front end's floor.
    """

    def __init__(self, floor_db: float) -> None:
        super().__init__()
        self.floor_db = floor_db

    @tf.function
    def __call__(self, logmel: tf.Tensor) -> dict[str, tf.Tensor]:
        frames = logmel[0]  # [frames, mels]
        loudest = tf.reduce_max(frames, axis=1, keepdims=True)
        counts = tf.cast(loudest > self.floor_db + AT_FLOOR_DB, tf.float32)  # [frames, 1]
        sounding_frames = frames * counts
        values = (
            tf.reduce_sum(sounding_frames, axis=0),
            tf.reduce_sum(sounding_frames * frames, axis=0),
            tf.reduce_sum(counts, axis=0),
        )
        return dict(zip(SUMS, values, strict=True))


def compare_known_voices(
    path: Path, reference: Reference, logits: Logits, corpus: Corpus, config: LogMelConfig
) -> dict[str, Any]:
    """Compares what a waveform model does with known voices with NumPy and Keras.

    Each validation speaker's voice is learned from all of their windows, those that are then scored
    among them: a test of the file, not of how much a voice helps.

    Args:
        path: The waveform model.
        reference: Of the student that its int8 body comes from.
        logits: That student: log-mel windows -> logits.
        corpus: What it standardises its features with.
        config: Of its front end.

    Returns:
        ``agreement`` (share of clips with the label that Keras gives for frames moved by NumPy),
        ``ua`` and ``keras_ua`` of these; ``corpus_same_label`` and ``corpus_max_difference`` (of
        probabilities): ``classify_owner`` with the corpus's statistics against ``classify``;
        ``max_voice_difference_db``: the means and deviations that come of ``listen_to_owner``
        against those of the log-mel layer's frames.
    """
    model, logmel = TFLiteModel(path), LogMel(config)
    speakers = [reference.speakers[clip] for clip in reference.clips]
    found: defaultdict[str, VoiceStatistics] = defaultdict(VoiceStatistics)
    expected: defaultdict[str, VoiceStatistics] = defaultdict(VoiceStatistics)
    for speaker, pcm in zip(speakers, _rows(reference), strict=True):
        sums = model.run(LISTEN_TO_OWNER, pcm=pcm)
        total, squares, frames = (sums[name] for name in SUMS)
        found[speaker] = found[speaker].added(float(frames[0]), total, squares)
        sound = sounding(np.asarray(logmel(pcm)), config.floor_db)
        expected[speaker] = expected[speaker].after(sound)
    voices, their_voices = (
        {speaker: np.stack(_voice(known, corpus)) for speaker, known in statistics.items()}
        for statistics in (found, expected)
    )

    own = np.stack([corpus.mean_db, corpus.deviation_db]).astype(np.float32)
    probs: list[np.ndarray] = []
    unmoved: list[np.ndarray] = []
    plain: list[np.ndarray] = []
    for speaker, pcm in zip(speakers, _rows(reference), strict=True):
        for answers, voice in ((probs, voices[speaker]), (unmoved, own)):
            answers.append(model.run(CLASSIFY_OWNER, pcm=pcm, statistics=voice)["probabilities"])
        plain.append(model.predict(pcm))
    moved = np.empty_like(reference.windows)
    for row, speaker in enumerate(speakers):
        mean, deviation = their_voices[speaker]
        moved[row] = to_corpus(
            reference.windows[row],
            (mean, deviation),
            (corpus.mean_db, corpus.deviation_db),
            config.floor_db,
        )
    keras = in_batches(logits, moved)

    of_file = _labels(reference, np.log(np.maximum(np.concatenate(probs), 1e-9)), 1.0)
    of_keras = _labels(reference, keras, reference.temperature)
    differences = [np.abs(voices[speaker] - their_voices[speaker]).max() for speaker in voices]
    rows, others = np.concatenate(unmoved), np.concatenate(plain)
    return {
        "signature": CLASSIFY_OWNER,
        "agreement": float(np.mean(of_file == of_keras)),
        "ua": metrics.scores(reference.truth, of_file)["ua"],
        "keras_ua": metrics.scores(reference.truth, of_keras)["ua"],
        "corpus_same_label": float(np.mean(rows.argmax(1) == others.argmax(1))),
        "corpus_max_difference": float(np.abs(rows - others).max()),
        "max_voice_difference_db": float(max(differences)),
    }


def _rows(reference: Reference) -> Iterator[np.ndarray]:
    """Every window's samples, ``[1, samples]``."""
    for batch in reference.pcm():
        yield from batch[:, np.newaxis]


def _voice(known: VoiceStatistics, corpus: Corpus) -> tuple[np.ndarray, np.ndarray]:
    return known.voice(corpus.mean_db, corpus.deviation_db, corpus.prior_clips)


def _labels(reference: Reference, logits: np.ndarray, temperature: float) -> np.ndarray:
    """The label of each clip, ``[clips]``."""
    labels: np.ndarray = (
        dataclasses.replace(reference, temperature=temperature).average(logits).argmax(1)
    )
    return labels
