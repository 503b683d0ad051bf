"""Ratings of clips: ranges, scaling, missing ones, bad ones; concordance as a loss meets them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ser_kd.config import CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.corpora.clip import Clip
from ser_kd.corpora.ratings import dimensions_of, read_ratings, to_own_scale
from ser_kd.corpora.reader import Dimension
from ser_kd.errors import UserError

VALENCE, AROUSAL = Dimension("valence", 1.0, 7.0), Dimension("arousal", 1.0, 5.0)


def clip_of(clip_id: str = "a", **attributes: Any) -> Clip:
    return Clip(clip_id, Path(f"{clip_id}.wav"), "s", "ANG", attributes)


def test_the_corpora_that_have_ratings() -> None:
    assert dimensions_of("msp_podcast") == (
        VALENCE, Dimension("arousal", 1.0, 7.0), Dimension("dominance", 1.0, 7.0),
    )  # fmt: skip
    assert {(d.low, d.high) for d in dimensions_of("iemocap")} == {(1.0, 5.0)}
    assert [d.name for d in dimensions_of("crema_d")] == [
        "anger", "disgust", "fear", "happiness", "neutral", "sadness",
    ]  # fmt: skip


def test_some_of_a_corpus_or_columns_of_ones_own() -> None:
    assert dimensions_of("iemocap", {"arousal": (1.0, 5.0)}) == (AROUSAL,)
    chosen = dimensions_of("folder", {"pain": (0.0, 10.0), "valence": (1.0, 7.0)})
    assert chosen == (Dimension("pain", 0.0, 10.0), VALENCE)


@pytest.mark.parametrize(
    ("corpus", "ranges", "message"),
    [
        (
            "folder",
            {},
            r"corpus 'folder' has no dimensions of its own .*such as valence = \[1, 7\]",
        ),
        ("emodb", None, "there are some in crema_d, iemocap, msp_podcast, demo"),
        (
            "iemocap",
            {"valense": (1, 5)},
            r"'iemocap' has no dimension 'valense' \(did you mean 'valence'\?\); it has valence, a",
        ),
        (
            "iemocap",
            {"pain": (0, 1)},
            "corpus 'iemocap' has no dimension 'pain'; it has valence, arousal, dominance",
        ),
        ("folder", {"pain": (10, 0)}, "'pain' cannot run from 10 to 0"),
        ("folder", {"pain": (1, 1)}, "'pain' cannot run from 1 to 1"),
        ("folder", {"pain": (0, math.inf)}, "'pain' cannot run from 0 to inf"),
        ("folder", {"pain": (math.nan, 1)}, "'pain' cannot run from nan to 1"),
    ],
)
def test_bad_dimensions_are_one_line(corpus: str, ranges: Any, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        dimensions_of(corpus, ranges)
    assert "\n" not in str(error.value)


def test_every_range_becomes_minus_one_to_one_and_back() -> None:
    clips = [
        clip_of(valence=v, arousal=a) for v, a in (("1", "5"), ("7", "1"), ("4", "3"), ("2.5", "2"))
    ]
    values = read_ratings(clips, (VALENCE, AROUSAL))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[-1, 1], [1, -1], [0, 0], [-0.5, -0.5]], atol=1e-7)
    np.testing.assert_allclose(
        to_own_scale(values, (VALENCE, AROUSAL)), [[1, 5], [7, 1], [4, 3], [2.5, 2]], atol=1e-6
    )


def test_what_is_not_rated_is_nan() -> None:
    clips = [
        clip_of(valence="4", arousal=""),
        clip_of(arousal=" NA "),
        clip_of(ratings={"arousal": 5.0}, valence="7"),  # a reader's ratings are all there are
        clip_of(valence="nan", arousal="1,5"),  # as spreadsheets with semicolons have it
    ]
    nan = math.nan
    np.testing.assert_allclose(
        read_ratings(clips, (VALENCE, AROUSAL)),
        [[0.0, nan], [nan, nan], [nan, 1.0], [nan, -0.75]],
        atol=1e-7,
    )


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("7.01", r"clip 'b': Valence = 7.01 is out of range: it runs from 1 to 7; mend the rating"),
        ("0", "clip 'b': Valence = 0 is out of range"),
        ("inf", "clip 'b': Valence = inf is out of range"),
        ("high", "clip 'b': Valence = 'high' is no number"),
    ],
)
def test_bad_ratings_are_one_line(value: str, message: str) -> None:
    clips = [clip_of("a", valence="3"), clip_of("b", valence=value)]
    with pytest.raises(UserError, match=message) as error:
        read_ratings(clips, (Dimension("Valence", 1.0, 7.0),))
    assert "\n" not in str(error.value)


def test_a_dimension_that_nobody_rated() -> None:
    with pytest.raises(UserError, match="none of 2 clips has a rating of 'arousal'"):
        read_ratings([clip_of(valence="3"), clip_of(valence="4")], (VALENCE, AROUSAL))


def test_columns_of_a_csv(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "clips.csv").write_text(
        "path;emotion;speaker;Valence;Pain\na.wav;joy;x;6,5;0\nb.wav;rage;y;2;\nc.wav;joy;y;;10\n"
    )
    corpus = load_corpus(CorpusConfig(name="folder", data_dir=str(tmp_path)))
    chosen = dimensions_of("folder", {"Pain": (0.0, 10.0), "valence": (1.0, 7.0)})
    np.testing.assert_allclose(
        read_ratings(corpus.clips, chosen),
        [[-1.0, 5.5 / 3 - 1], [math.nan, -2 / 3], [1.0, math.nan]],
        atol=1e-6,
    )


COLUMNS = ("A", "D", "F", "H", "N", "S")
MEANS = ("Anger", "Disgust", "Fear", "Happy", "Neutral", "Sad")


def write_votes(folder: Path, rows: dict[str, tuple[str, str]]) -> None:
    """Row id and clip -> votes and mean intensities, as in the official tabulatedVotes.csv."""
    lines = [",".join(["", *COLUMNS, "fileName", *(f"mean{name}Resp" for name in MEANS)])]
    for key, (votes, means) in rows.items():
        row_id, clip = key.split()
        lines.append(f"{row_id},{votes},{clip},{means}")
    (folder / "tabulatedVotes.csv").write_text("\n".join(lines) + "\n")


def test_the_intensities_that_crema_ds_crowd_heard(tmp_path: Path) -> None:
    """The first row is that of the official table."""
    for name in ("1001_IEO_NEU_XX", "1001_IEO_HAP_HI", "1002_IEO_SAD_LO"):
        (tmp_path / f"{name}.wav").touch()
    write_votes(
        tmp_path,
        {
            "100001 1001_IEO_NEU_XX": ("0,0,0,1,10,0", "-1,-1,-1,98,69.1,-1"),
            "200001 1001_IEO_NEU_XX": ("9,0,0,0,0,0", "99,-1,-1,-1,-1,-1"),  # by the face
            "100004 1001_IEO_HAP_HI": ("2,0,0,6,2,0", "82.5,-1,-1,63.5,15,-1"),
        },
    )
    clips = load_corpus(CorpusConfig(name="crema_d", data_dir=str(tmp_path))).clips
    by_id = {clip.id: clip for clip in clips}
    heard = by_id["1001_IEO_NEU_XX"].attributes["ratings"]
    assert heard == pytest.approx(
        {"anger": 0, "disgust": 0, "fear": 0, "happiness": 98 / 11, "neutral": 691 / 11,
         "sadness": 0}
    )  # fmt: skip
    assert sum(heard.values()) == pytest.approx(71.7272727272727)  # the table's meanEmoResp
    values = read_ratings(clips, dimensions_of("crema_d"))
    assert clips[0].id == "1001_IEO_HAP_HI"
    expected = np.array([16.5, 0, 0, 38.1, 3, 0]) / 50 - 1
    np.testing.assert_allclose(values[0], expected, atol=1e-6)
    assert np.isnan(values[2]).all()  # nobody's voice rating is known


def test_crema_d_without_its_table_has_none(tmp_path: Path) -> None:
    for name in ("1001_IEO_NEU_XX", "1001_IEO_HAP_HI"):
        (tmp_path / f"{name}.wav").touch()
    clips = load_corpus(CorpusConfig(name="crema_d", data_dir=str(tmp_path))).clips
    with pytest.raises(UserError, match=r"none of 2 clips has a rating of 'anger': .* table"):
        read_ratings(clips, dimensions_of("crema_d"))
