"""Statistics of a voice: sums against NumPy, shrinking by hand."""

import numpy as np
import pytest

from ser_kd.speaker.statistics import MAX_CLIPS, VoiceStatistics, to_corpus

MELS = 5
CORPUS = np.linspace(-50, -30, MELS), np.linspace(8, 12, MELS)


@pytest.fixture
def clips(rng):
    return [rng.normal(-40, 9, (frames, MELS)) for frames in (30, 80, 55)]


def heard(clips) -> VoiceStatistics:
    known = VoiceStatistics()
    for clip in clips:
        known = known.after(clip)
    return known


def test_without_a_prior_they_are_those_of_all_frames(clips):
    mean, deviation = heard(clips).voice(*CORPUS, prior_clips=0.0)
    together = np.concatenate(clips)
    np.testing.assert_allclose(mean, together.mean(0), rtol=1e-6)
    np.testing.assert_allclose(deviation, together.std(0) + 1e-3, rtol=1e-5)


def test_an_unheard_voice_is_the_corpus():
    mean, deviation = VoiceStatistics().voice(*CORPUS)
    np.testing.assert_allclose(mean, CORPUS[0])
    np.testing.assert_allclose(deviation, CORPUS[1])


def test_the_corpus_counts_as_eight_clips(clips):
    known = heard(clips[:1])
    own, _ = known.voice(*CORPUS, prior_clips=0.0)
    mean, _ = known.voice(*CORPUS)
    np.testing.assert_allclose(mean, (own + 8 * CORPUS[0]) / 9, rtol=1e-6)


def test_old_clips_fade(rng):
    known = heard(rng.normal(-60, 5, (MAX_CLIPS, 20, MELS)))
    assert known.clips == MAX_CLIPS
    for _ in range(3 * MAX_CLIPS):
        known = known.after(rng.normal(-20, 5, (20, MELS)))
    assert known.clips == pytest.approx(MAX_CLIPS)
    # 0.995 to the power of 600: a twentieth of what was known is left.
    mean, _ = known.voice(*CORPUS, prior_clips=0.0)
    np.testing.assert_allclose(mean, -20 - 40 * (1 - 1 / MAX_CLIPS) ** (3 * MAX_CLIPS), atol=0.5)


def test_a_voice_is_moved_to_the_corpus_and_silence_stays(clips):
    voice = heard(clips).voice(*CORPUS, prior_clips=0.0)
    padded = np.concatenate([*clips, np.full((4, MELS), -80.0)])
    moved = to_corpus(padded, voice, CORPUS, -80.0)
    np.testing.assert_allclose(moved[:-4].mean(0), CORPUS[0], atol=1e-3)
    np.testing.assert_allclose(moved[:-4].std(0), CORPUS[1], rtol=1e-3)
    assert (moved[-4:] == -80.0).all()
    assert moved.dtype == np.float32


def test_other_mel_bands_are_refused(clips):
    known = heard(clips)
    with pytest.raises(ValueError, match=r"\[3, 4\]: \[frames, 5\] needed"):
        known.after(np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"4 mel bands, the voice has 5"):
        known.voice(np.zeros(4), np.ones(4))
    with pytest.raises(ValueError, match=r"not finite"):
        known.after(np.full((3, MELS), np.nan))
