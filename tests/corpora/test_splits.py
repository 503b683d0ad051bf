"""Speaker-disjoint splits."""

from pathlib import Path

import pytest

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.crema_d import EXCLUDED, SPEAKERS
from ser_kd.corpora.download import load_manifest
from ser_kd.corpora.splits import Splits, speaker_folds, split_corpus, tfds_speakers_split
from ser_kd.errors import UserError

TEST_ACTORS = (
    "1010 1013 1022 1026 1037 1038 1040 1045 1047 1048 1059 1065 1066 1068 1071 1073 1084 1086 1088"
)


def clips_of(counts: dict[str, int]) -> tuple[Clip, ...]:
    return tuple(
        Clip(f"{speaker}_{index}", Path(f"{speaker}_{index}.wav"), speaker, "ANG")
        for speaker, count in counts.items()
        for index in range(count)
    )


def corpus_of(name: str, counts: dict[str, int], left_out: dict[str, str] | None = None) -> Corpus:
    return Corpus(name, clips_of(counts), ("ANG", "SAD"), left_out or {})


def speakers_of(clips: tuple[Clip, ...]) -> set[str]:
    return {clip.speaker for clip in clips}


def test_tfds_split_of_crema_d_is_the_published_one() -> None:
    train, validation, test = tfds_speakers_split(reversed(SPEAKERS))
    assert test == frozenset(TEST_ACTORS.split())
    assert (len(train), len(validation), len(test)) == (63, 9, 19)
    clips = [name[:-4] for name in load_manifest() if name[:-4] not in EXCLUDED]
    assert len(clips) == 7_438
    counts = [sum(clip[:4] in part for clip in clips) for part in (train, validation, test)]
    assert counts == [5_144, 738, 1_556]


def test_crema_d_split_does_not_depend_on_who_is_on_disk() -> None:
    train, validation, _ = tfds_speakers_split(SPEAKERS)
    whole = split_corpus(corpus_of("crema_d", dict.fromkeys(SPEAKERS, 1)), CorpusConfig())
    some = {speaker: 1 for speaker in SPEAKERS if int(speaker) % 3 == 0}
    partial = split_corpus(corpus_of("crema_d", some), CorpusConfig())
    assert speakers_of(whole.train) == train
    assert speakers_of(partial.train) == train & set(some)
    assert speakers_of(partial.validation) == validation & set(some)


def test_absent_part_is_empty_and_require_says_so() -> None:
    actor = TEST_ACTORS[:4]
    splits = split_corpus(corpus_of("crema_d", {actor: 2}), CorpusConfig())
    assert (len(splits.train), len(splits.test)) == (0, 2)
    splits.require("test")
    with pytest.raises(UserError, match="the train split is empty"):
        splits.require("test", "train")


def test_left_out_clips_are_counted_but_not_trained_on() -> None:
    train, validation, _ = tfds_speakers_split(SPEAKERS)
    counts = {min(train): 3, min(validation): 2}
    left_out = {f"{min(train)}_1": "silent", f"{min(validation)}_0": "silent"}
    splits = split_corpus(corpus_of("crema_d", counts, left_out), CorpusConfig())
    assert (len(splits.train), len(splits.validation)) == (3, 2)
    assert [clip.id for clip in splits.training] == [f"{min(train)}_0", f"{min(train)}_2"]


def test_demo_is_split_by_its_own_speakers() -> None:
    counts = {str(2001 + index): 2 for index in range(30)}
    splits = split_corpus(corpus_of("demo", counts), CorpusConfig())
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [42, 6, 12]
    with pytest.raises(UserError, match="too few"):
        split_corpus(corpus_of("demo", {"2001": 3, "2002": 3}), CorpusConfig())


def test_ten_speakers_have_one_for_validation() -> None:
    sizes = [len(part) for part in tfds_speakers_split(str(index) for index in range(10))]
    assert sizes == [7, 1, 2]


def test_k_fold_is_speaker_disjoint_and_tests_everybody_once() -> None:
    counts = {f"s{index}": 3 + index for index in range(11)}
    corpus = corpus_of("emodb", counts)
    tested: list[str] = []
    for fold in range(4):
        splits = split_corpus(corpus, CorpusConfig(name="emodb", folds=4, fold=fold))
        parts = (splits.train, splits.validation, splits.test)
        assert all(parts)
        assert sum(map(len, parts)) == len(corpus.clips)
        assert not speakers_of(splits.train) & speakers_of(splits.validation)
        assert not speakers_of(splits.train + splits.validation) & speakers_of(splits.test)
        following = split_corpus(corpus, CorpusConfig(name="emodb", folds=4, fold=(fold + 1) % 4))
        assert splits.validation == following.test
        tested += [clip.id for clip in splits.test]
    assert sorted(tested) == sorted(clip.id for clip in corpus.clips)


def test_folds_are_balanced_by_clips_and_independent_of_order() -> None:
    counts = {f"s{index:02}": 10 for index in range(20)} | {"big": 100}
    clips = clips_of(counts)
    folds = speaker_folds(clips, 3, seed=0)
    assert folds == speaker_folds(clips[::-1], 3, seed=0)
    assert sorted(sum(counts[speaker] for speaker in fold) for fold in folds) == [100, 100, 100]
    assert sorted(speaker for fold in folds for speaker in fold) == sorted(counts)
    assert folds != speaker_folds(clips, 3, seed=1)


def test_fold_errors_name_the_value() -> None:
    clips = clips_of({"a": 5, "b": 5})
    with pytest.raises(UserError, match="only 2 speakers"):
        speaker_folds(clips, 3, seed=0)
    with pytest.raises(UserError, match="folds = 1"):
        speaker_folds(clips, 1, seed=0)
    corpus = corpus_of("emodb", {str(index): 1 for index in range(10)})
    with pytest.raises(UserError, match=r"fold = 5: use 0 to 4"):
        split_corpus(corpus, CorpusConfig(name="emodb", fold=5))
    with pytest.raises(UserError, match="folds = 2"):
        split_corpus(corpus, CorpusConfig(name="emodb", folds=2))


def test_unknown_speakers_are_an_error() -> None:
    corpus = corpus_of("folder", {"": 4, "a": 2, "b": 2, "c": 2})
    with pytest.raises(UserError, match=r"4 of 10 clips have no speaker.*allow_unknown_speakers"):
        split_corpus(corpus, CorpusConfig(name="folder", folds=3))
    with pytest.raises(UserError, match="no speaker"):
        speaker_folds(corpus.clips, 2, seed=0)


def test_splits_compare_by_value() -> None:
    clip = clips_of({"a": 1})
    assert Splits(clip, (), ()) == Splits(clip, (), ())
