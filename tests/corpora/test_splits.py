"""Speaker-disjoint splits."""

from pathlib import Path

import pytest

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.crema_d import EXCLUDED, SPEAKERS
from ser_kd.corpora.download import load_manifest
from ser_kd.corpora.loading import load_corpus
from ser_kd.corpora.splits import (
    Splits,
    class_gaps,
    clip_folds,
    speaker_folds,
    split_corpus,
    tfds_speakers_split,
)
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


def test_clips_are_dealt_evenly_by_class_whoever_speaks() -> None:
    clips = tuple(
        Clip(f"{emotion}{number}", Path("x.wav"), "one", emotion)
        for emotion, count in {"ANG": 10, "SAD": 6, "FEA": 3}.items()
        for number in range(count)
    )
    folds = clip_folds(clips, 3, seed=0)
    assert folds == clip_folds(clips[::-1], 3, seed=0)
    assert folds != clip_folds(clips, 3, seed=1)
    assert sorted(clip_id for fold in folds for clip_id in fold) == sorted(c.id for c in clips)
    for label, count in {"ANG": 10, "SAD": 6, "FEA": 3}.items():
        sizes = [sum(clip_id.startswith(label) for clip_id in fold) for fold in folds]
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1
    for number in (1, 20):
        with pytest.raises(UserError, match=f"folds = {number}: 19 clips make 2 to 19"):
            clip_folds(clips, number, seed=0)


@pytest.mark.parametrize("folds", [3, 4, 5])
@pytest.mark.parametrize(
    ("counts", "message"),
    [({"a": 5, "b": 5}, r"2 speakers \(a, b\)"), ({"a": 9}, r"1 speaker \(a\)")],
)
def test_too_few_speakers_is_one_message_with_the_ways_out(
    folds: int, counts: dict[str, int], message: str
) -> None:
    corpus = corpus_of("folder", counts)
    with pytest.raises(UserError, match=message) as error:
        split_corpus(corpus, CorpusConfig("folder", folds=folds))
    for way in ("clips of others", 'corpus.split_by = "clip"', "corpus.cross_validation = true"):
        assert way in str(error.value)
    splits = split_corpus(corpus, CorpusConfig("folder", folds=folds, cross_validation=True))
    assert len(splits.training) == len(corpus.clips)


def test_as_many_folds_as_there_are_speakers_are_named() -> None:
    corpus = corpus_of("folder", dict.fromkeys("abcd", 3))
    with pytest.raises(UserError, match=r"only 4 speakers: set corpus\.folds = 4"):
        split_corpus(corpus, CorpusConfig("folder"))
    assert split_corpus(corpus, CorpusConfig("folder", folds=4)).test


def test_a_split_by_clip(tmp_path: Path) -> None:
    for emotion in ("joy", "rage"):
        for number in range(10):
            path = tmp_path / emotion / "ann" / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
    config = CorpusConfig("folder", str(tmp_path), split_by="clip")
    corpus = load_corpus(config)
    assert "of new voices the scores tell nothing" in " ".join(corpus.notes)
    splits = split_corpus(corpus, config)
    parts = [splits.train, splits.validation, splits.test]
    assert [len(part) for part in parts] == [12, 4, 4]
    assert all(sum(clip.emotion == "joy" for clip in part) == len(part) // 2 for part in parts)
    assert not any(clip.speaker_known for part in parts for clip in part)


def test_classes_that_a_part_lacks_are_named() -> None:
    parts = {"train": ["joy"], "validation": ["joy", "rage"], "test": []}
    assert class_gaps(parts, ("joy", "rage")) == [
        "no training clip of rage: they cannot be learned, and their recall counts as 0"
    ]
    assert class_gaps({"train": ["joy"], "test": ["joy"]}, ("joy", "rage"))[1] == (
        "no test clip of rage: UA is over the other classes"
    )
