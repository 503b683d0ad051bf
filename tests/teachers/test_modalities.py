"""Modalities of a clip: where they come from, how they are masked, who speaks before and after."""

import dataclasses

import numpy as np
import pytest

from ser_kd.config import CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.corpora.clip import Clip
from ser_kd.corpora.dialogues import neighbours
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, Targets
from ser_kd.errors import UserError
from ser_kd.teachers.modalities import (
    file_modality,
    kept_modalities,
    teacher_modality,
    votes_modality,
)
from ser_kd.teachers.settings import MaskingConfig

AUDIO = (False, True, False, False)  # of four modalities
DRAWS = 20_000


def masking(**probabilities: float) -> MaskingConfig:
    nothing = dict.fromkeys(("all_present", "audio_only", "audio_and_one", "random_subset"), 0.0)
    return MaskingConfig(**{**nothing, **probabilities})


def draw(present: np.ndarray, probabilities: MaskingConfig, seed: int = 1) -> np.ndarray:
    return np.asarray(kept_modalities(present, AUDIO, probabilities, (seed, 2)))


def everything(clips: int = DRAWS) -> np.ndarray:
    return np.ones((clips, 4), bool)


@pytest.mark.parametrize("seed", [0, 1])
def test_scenarios_come_as_often_as_configured(seed):
    probabilities = MaskingConfig(0.1, 0.4, 0.2, 0.3)
    kept = draw(everything(), probabilities, seed)
    assert kept[:, 1].all()  # the audio
    others = kept[:, [0, 2, 3]].sum(1)
    # A random subset of 3 keeps 0, 1, 2, 3 of them with 1/8, 3/8, 3/8, 1/8.
    shares = np.array([0.4 + 0.3 / 8, 0.2 + 0.9 / 8, 0.9 / 8, 0.1 + 0.3 / 8])
    counts = np.bincount(others, minlength=4)
    chi_square = ((counts - DRAWS * shares) ** 2 / (DRAWS * shares)).sum()
    assert chi_square < 21.1  # 3 degrees of freedom: 1 in 10,000


def test_each_scenario_leaves_what_its_name_says():
    assert draw(everything(), masking(all_present=1)).all()
    np.testing.assert_array_equal(
        draw(everything(), masking(audio_only=1)), np.broadcast_to(AUDIO, (DRAWS, 4))
    )
    one = draw(everything(), masking(audio_and_one=1))
    np.testing.assert_array_equal(one.sum(1), 2)
    subset = draw(everything(), masking(random_subset=1))
    for kept, share in ((one, 1 / 3), (subset, 1 / 2)):
        spread = np.sqrt(share * (1 - share) / DRAWS)
        assert kept[:, 1].all()
        assert np.abs(kept[:, [0, 2, 3]].mean(0) - share).max() < 4 * spread
    # Independent: all three of them are kept as often as three fair coins agree.
    assert abs(subset.all(1).mean() - 1 / 8) < 4 * np.sqrt(7 / 64 / DRAWS)


def test_what_a_clip_lacks_is_never_drawn():
    present = everything(900)
    present[:300, [0, 2]] = False  # has the last one beside the audio
    present[300:600, [0, 2, 3]] = False  # has nothing beside the audio
    for scenario in ("all_present", "audio_only", "audio_and_one", "random_subset"):
        kept = draw(present, masking(**{scenario: 1}))
        assert not (kept & ~present).any()
        assert kept[:, 1].all()
    one = draw(present, masking(audio_and_one=1)).sum(1)
    np.testing.assert_array_equal(one, [2] * 300 + [1] * 300 + [2] * 300)


def test_the_same_seed_draws_the_same():
    first, again, other = (draw(everything(500), MaskingConfig(), seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


VOTES = """"","A","D","F","H","N","S","fileName","meanAngerResp","meanDisgustResp","meanFearResp","meanHappyResp","meanNeutralResp","meanSadResp"
"100001",0,0,0,2,6,0,"1001_DFA_ANG_XX",-1,-1,-1,40,70,-1
"200001",3,0,0,0,1,0,"1001_DFA_ANG_XX",50.5,-1,-1,-1,20,-1
"200002",0,0,0,0,0,0,"1001_DFA_HAP_XX",-1,-1,-1,-1,-1,-1
"""  # noqa: E501


def crema_d(folder, table: str) -> tuple[Clip, ...]:
    for name in ("1001_DFA_ANG_XX", "1001_DFA_HAP_XX", "1002_DFA_SAD_XX"):
        (folder / f"{name}.wav").touch()
    (folder / "tabulatedVotes.csv").write_text(table)
    return load_corpus(CorpusConfig(name="crema_d", data_dir=str(folder))).clips


def test_votes_of_the_face_alone(tmp_path):
    clips = crema_d(tmp_path, VOTES)
    assert clips[0].attributes["vote_intensities"]["face"] == {"ANG": 50.5, "NEU": 20.0}
    face = votes_modality(clips, "face")
    values, present = face.of([(clip.id, 3) for clip in clips] + [None])
    # Nobody voted on the second, and the third is not in the table.
    np.testing.assert_array_equal(present, [True, False, False, False])
    np.testing.assert_allclose(
        values[0], [0.75, 0, 0, 0, 0.25, 0, 0.505, 0, 0, 0, 0.2, 0], rtol=1e-6
    )
    assert not values[1:].any()
    voice, _ = votes_modality(clips, "voice").of([(clips[0].id, 0)])
    np.testing.assert_allclose(voice[0], [0, 0, 0, 0.25, 0.75, 0, 0, 0, 0, 0.4, 0.7, 0], rtol=1e-6)


def test_votes_without_intensities(tmp_path):
    lines = [line.split(",")[:8] for line in VOTES.splitlines()]
    clips = crema_d(tmp_path, "\n".join(",".join(line) for line in lines))
    values, _ = votes_modality(clips, "face").of([(clips[0].id, 0)])
    np.testing.assert_allclose(values[0], [0.75, 0, 0, 0, 0.25, 0])
    assert not votes_modality(clips, "multimodal").of([(clips[0].id, 0)])[1].any()


def test_an_intensity_that_is_no_number(tmp_path):
    with pytest.raises(UserError, match=r"tabulatedVotes.csv, row 3: 'loud' is not a number"):
        crema_d(tmp_path, VOTES.replace("50.5", "loud"))


def test_a_file_of_vectors(tmp_path):
    path = tmp_path / "text.npz"
    np.savez(path, ids=["b", "a"], values=[[1, 2], [3, 4]])
    values, present = file_modality(path).of([("a", 0), ("x", 0), ("b", 2)])
    np.testing.assert_array_equal(values, [[3, 4], [0, 0], [1, 2]])
    np.testing.assert_array_equal(present, [True, False, True])
    assert values.dtype == np.float32


RAGGED = np.empty(2, object)
RAGGED[:] = [np.zeros(2), np.zeros(3)]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"ids": ["a", "b"], "values": RAGGED}, "rows are of two sizes"),
        ({"ids": ["a", "b"], "values": np.zeros((3, 2))}, r"shape \(3, 2\), but there are 2 ids"),
        ({"ids": ["a", "b"], "values": np.zeros(2)}, r"shape \(2,\), but there are 2 ids"),
        ({"ids": ["a", "a"], "values": np.zeros((2, 2))}, "the id 'a' occurs twice"),
        ({"ids": ["a", "b"], "values": [[0, 1], [np.nan, 0]]}, "vector of 'b' is not finite"),
        ({"names": ["a"], "values": np.zeros((1, 2))}, "holds no modality.*ids"),
        (None, "no modality file"),
    ],
)
def test_bad_files_of_vectors(arrays, message, tmp_path):
    path = tmp_path / "face.npz"
    if arrays is not None:
        np.savez(path, **arrays)
    with pytest.raises(UserError, match=message) as error:
        file_modality(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def some_targets(**changes) -> Targets:
    """Two training clips of folds 0 and 1, the first in two views, and one other clip."""
    probs = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8], [1.0, 0.0]])
    targets = Targets(
        ids=("a", "a", "b", "test"),
        logits=np.log(probs + 1e-12) + 3.0,  # logits may have any offset
        embedding=np.zeros((4, 0), np.float32),
        fold=np.array([0, 0, 1, ALL_FOLDS]),
        view=np.array([0, 1, 0, 0]),
    )
    return dataclasses.replace(targets, **changes)


ALL_VIEWS = [("b", 0), ("a", 0), ("a", 1), ("test", 0)]
FOLD_OF = {"a": 0, "b": 1}


def test_another_teachers_predictions_by_view():
    modality = teacher_modality(some_targets(), "ear", ALL_VIEWS, FOLD_OF)
    values, present = modality.of([("a", 1), ("test", 0), ("a", 0), None])
    np.testing.assert_array_equal(present, [True, True, True, False])
    expected = np.log([[0.9, 0.1], [1.0, 1e-4], [0.5, 0.5]])
    np.testing.assert_allclose(values[:3], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "embedding", "message"),
    [
        ({"ids": ("a", "a", "x", "test")}, False, "'ear' has no prediction for 1 of 3 clips.*'b'"),
        ({"view": np.array([0, 2, 0, 0])}, False, "no prediction for 1 views.*view 1 of 'a'"),
        ({"fold": np.array([IN_FOLD] * 4)}, False, "'ear' was trained on 'b'.*in_fold = false"),
        ({"fold": np.array([1, 1, 1, -1])}, False, "'a' with fold 1, here it is in fold 0"),
        ({}, True, "'ear' has no embedding: write 'teacher:ear'"),
        ({"embedding": np.ones((4, 3))}, True, "of several folds' networks"),
        (
            {"embedding": np.array([[1], [1], [np.nan], [1]]), "fold": np.array([-1] * 4)},
            True,
            "teacher 'ear': the vector of 'b' is not finite",
        ),
    ],
)
def test_predictions_that_cannot_be_learned_from(changes, embedding, message):
    with pytest.raises(UserError, match=message) as error:
        teacher_modality(some_targets(**changes), "ear", ALL_VIEWS, FOLD_OF, embedding)
    assert "\n" not in str(error.value)


def test_a_teachers_embedding_stands_behind_its_logits():
    targets = some_targets(embedding=np.arange(12).reshape(4, 3), fold=np.array([ALL_FOLDS] * 4))
    values, _ = teacher_modality(targets, "ear", ALL_VIEWS, FOLD_OF, embedding=True).of([("b", 0)])
    np.testing.assert_allclose(values[0], [*np.log([0.2, 0.8]), 6, 7, 8], atol=1e-6)


def spoken(turns: str, **attributes) -> list[Clip]:
    """``d1:2:a`` = turn 2 of dialogue d1, speaker a."""
    clips = []
    for text in turns.split():
        dialogue, turn, speaker = text.split(":")
        place = {"dialogue": dialogue, "turn": turn, **attributes}
        clips.append(Clip(f"{dialogue}{turn}", None, speaker, "x", place))
    return clips


def told(around: tuple) -> list:
    return [other and (other.id, other.same_speaker) for other in around]


def test_neighbours_in_order_of_their_turns():
    clips = [*spoken("d:10:a d:2:b d:3:a e:1:a"), Clip("alone", None, "a", "x", {})]
    group_of = dict.fromkeys((clip.id for clip in clips), 0)
    found = neighbours(clips, group_of, 2)
    assert set(found) == {"d10", "d2", "d3", "e1"}
    assert told(found["d2"]) == [None, None, ("d3", False), ("d10", False)]
    assert told(found["d3"]) == [None, ("d2", False), ("d10", True), None]
    assert told(found["d10"]) == [("d2", False), ("d3", True), None, None]
    assert told(found["e1"]) == [None] * 4


def test_neighbours_of_another_fold_leave_their_places_empty():
    clips = spoken("d:1:a d:2:b d:3:c d:4:a")
    group_of = {"d1": 0, "d2": 1, "d4": 0}  # the third takes no part
    found = neighbours(clips, group_of, 3)
    assert set(found) == {"d1", "d2", "d4"}
    assert told(found["d1"]) == [None] * 5 + [("d4", True)]
    assert told(found["d2"]) == [None] * 6


def test_a_group_of_speakers_and_who_of_them_speaks():
    clips = spoken("d:1:pair", turn_speaker="a") + spoken("d:2:pair", turn_speaker="b")
    assert told(neighbours(clips, {"d1": 0, "d2": 0}, 1)["d1"]) == [None, ("d2", False)]


@pytest.mark.parametrize(
    ("clips", "group_of", "message"),
    [
        ([Clip("a", None, "a", "x", {"dialogue": "d"})], {"a": 0}, "set context_clips = 0"),
        (spoken("d:first:a"), {"dfirst": 0}, "dfirst: turn 'first' is not a number"),
        (spoken("d:1:a d:2:b"), {"d1": 0, "d2": 1}, "folds divide every dialogue's speakers"),
    ],
)
def test_no_dialogues(clips, group_of, message):
    with pytest.raises(UserError, match=message):
        neighbours(clips, group_of, 1)
