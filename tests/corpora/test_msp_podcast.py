"""MSP-Podcast's reader, on a made tree of the corpus's shape."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.commands import data
from ser_kd.config import CorpusConfig
from ser_kd.corpora import load_corpus
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.splits import speaker_folds, split_corpus
from ser_kd.errors import UserError

HEADER = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set"
ROWS = (
    "MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1",
    "MSP-PODCAST_0001_0009.wav,A,6.777778,1.555556,5.777778,39,Male,Test1",
    "MSP-PODCAST_0002_0001.wav,H,5.5,7.0,7.0,41,Female,Train",
    "MSP-PODCAST_0002_0002.wav,S,2.0,1.0,2.0,Unknown,Unknown,Train",
    "MSP-PODCAST_0002_0003_0001.wav,F,5.0,2.0,1.0,Unknown,Male,Train",
    "MSP-PODCAST_0003_0001.wav,D,4.0,2.0,4.0,Unknown,Female,Train",
    "MSP-PODCAST_0004_0001.wav,N,4.0,4.0,4.0,50,Female,Development",
    "MSP-PODCAST_0004_0002.wav,X,4.0,4.0,4.0,50,Female,Development",
    "MSP-PODCAST_0004_0003.wav,C,4.0,4.0,4.0,50,Female,Development",
    "MSP-PODCAST_0005_0001.wav,A,4.0,4.0,4.0,60,Female,Test2",
)


def write_tree(
    root: Path, *rows: str, table: str = "labels_consensus.csv", audio: bool = False
) -> Path:
    (root / "Labels").mkdir(parents=True, exist_ok=True)
    (root / "Audios").mkdir(exist_ok=True)
    (root / "Labels" / table).write_text("\n".join((HEADER, *rows)) + "\n")
    for index, row in enumerate(rows):
        path = root / "Audios" / row.split(",")[0]
        path.touch()
        if audio:
            noise = np.random.default_rng(index).uniform(-0.3, 0.3, 3_200)
            soundfile.write(path, noise, 16_000)
    return root


def load(folder: Path, **settings: object) -> Corpus:
    return load_corpus(CorpusConfig(name="msp_podcast", data_dir=str(folder), **settings))  # type: ignore[arg-type]


def by_id(corpus: Corpus) -> dict[str, Clip]:
    return {clip.id: clip for clip in corpus.clips}


def names(clips: tuple[Clip, ...]) -> set[str]:
    return {clip.id.removeprefix("MSP-PODCAST_") for clip in clips}


def test_labels_speakers_ratings_and_parts(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, *ROWS))
    assert corpus.labels == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    clips = by_id(corpus)
    assert {name[12:]: clip.emotion for name, clip in clips.items()} == {
        "0001_0008": "NEU",
        "0001_0009": "ANG",
        "0002_0001": "HAP",
        "0002_0002": "SAD",
        "0002_0003_0001": "FEA",
        "0003_0001": "DIS",
        "0004_0001": "NEU",
    }
    first = clips["MSP-PODCAST_0001_0008"]
    assert first.path == tmp_path / "Audios" / "MSP-PODCAST_0001_0008.wav"
    assert first.speaker == "30"
    assert first.attributes == {
        "part": "test",
        "ratings": {"valence": 4.0, "arousal": 2.2, "dominance": 2.6},
        "sex": "Male",
    }
    assert corpus.dropped == {
        "MSP-PODCAST_0004_0002.wav": "label 'no_agreement' is mapped to nothing",
        "MSP-PODCAST_0004_0003.wav": "label 'contempt' is mapped to nothing",
        "MSP-PODCAST_0005_0001.wav": "in Test2; the test set is Test1",
    }


def test_ratings_are_scaled_from_1_to_7(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, *ROWS))
    values = read_ratings(corpus.clips, dimensions_of("msp_podcast"))
    assert corpus.clips[0].id.endswith("0001_0008")
    np.testing.assert_allclose(values[0], [0.0, -0.6, -1.4 / 3], atol=1e-6)
    assert corpus.clips[2].id.endswith("0002_0001")
    np.testing.assert_allclose(values[2], [1.0, 0.5, 1.0], atol=1e-6)


def test_the_partition_is_the_official_one(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, *ROWS))
    splits = split_corpus(corpus, CorpusConfig(name="msp_podcast"))
    assert names(splits.train) == {"0002_0001", "0002_0002", "0002_0003_0001", "0003_0001"}
    assert names(splits.validation) == {"0004_0001"}
    assert names(splits.test) == {"0001_0008", "0001_0009"}


def test_the_names_of_older_releases(tmp_path: Path) -> None:
    rows = [row.replace("Development", "Validation").replace("Test1", "Test") for row in ROWS]
    corpus = load(write_tree(tmp_path, *rows, table="labels_concensus.csv"))
    splits = split_corpus(corpus, CorpusConfig(name="msp_podcast"))
    assert names(splits.validation) == {"0004_0001"}
    assert names(splits.test) == {"0001_0008", "0001_0009"}


def test_unknown_speakers_are_kept_together_by_podcast(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, *ROWS))
    speakers = {name[12:]: clip.speaker for name, clip in by_id(corpus).items()}
    assert speakers["0002_0002"] == speakers["0002_0003_0001"] == "unknown/podcast_0002"
    assert speakers["0003_0001"] == "unknown/podcast_0003"
    assert not by_id(corpus)["MSP-PODCAST_0003_0001"].speaker_known
    train = split_corpus(corpus, CorpusConfig(name="msp_podcast")).train
    assert len(speaker_folds(train, 3, 0)) == 3  # cross-fitting needs no further permission


def test_a_speaker_of_a_later_part_is_not_trained_on(tmp_path: Path) -> None:
    rows = (
        *ROWS,
        "MSP-PODCAST_0006_0001.wav,N,4,4,4,50,Female,Train",  # of Development
        "MSP-PODCAST_0006_0002.wav,N,4,4,4,30,Male,Development",  # of Test1
        "MSP-PODCAST_0006_0003.wav,N,4,4,4,60,Female,Train",  # of Test2, which is no part
    )
    corpus = load(write_tree(tmp_path, *rows))
    assert corpus.dropped["MSP-PODCAST_0006_0001.wav"] == (
        "speaker 50 is in the validation part as well"
    )
    assert corpus.dropped["MSP-PODCAST_0006_0002.wav"] == "speaker 30 is in the test part as well"
    splits = split_corpus(corpus, CorpusConfig(name="msp_podcast"))
    assert "0006_0003" in names(splits.train)
    assert names(splits.test) == {"0001_0008", "0001_0009"}


def test_files_and_rows_without_each_other_are_told(tmp_path: Path) -> None:
    write_tree(tmp_path, *ROWS)
    (tmp_path / "Audios" / "MSP-PODCAST_0003_0001.wav").unlink()
    (tmp_path / "Audios" / "MSP-PODCAST_test3_0001.wav").touch()
    removed = tmp_path / "Previous_releases_information" / "removed"
    removed.mkdir(parents=True)
    (removed / "MSP-PODCAST_0003_0001.wav").touch()  # is not looked for
    corpus = load(tmp_path)
    assert (
        corpus.dropped["MSP-PODCAST_0003_0001.wav"] == "row 7 of labels_consensus.csv: no such file"
    )
    assert corpus.dropped["MSP-PODCAST_test3_0001.wav"] == "not in labels_consensus.csv"


def test_the_table_elsewhere(tmp_path: Path) -> None:
    write_tree(tmp_path / "audio", *ROWS)
    labels = tmp_path / "audio" / "Labels"
    assert len(load(tmp_path / "audio" / "Audios").clips) == 7  # beside the folder that was given
    labels.rename(tmp_path / "tables")
    with pytest.raises(UserError, match=r"no labels_consensus\.csv in .*--metadata-dir"):
        load(tmp_path / "audio")
    assert len(load(tmp_path / "audio", metadata_dir=str(tmp_path / "tables")).clips) == 7


def test_empty_ratings_are_none(tmp_path: Path) -> None:
    row = "MSP-PODCAST_0009_0001.wav,N,,4.0,,70,Male,Train"
    corpus = load(write_tree(tmp_path, *ROWS, row))
    ratings = by_id(corpus)["MSP-PODCAST_0009_0001"].attributes["ratings"]
    assert ratings == {"valence": 4.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.wav,Q,4,4,4,1,Male,Train", "row 12: EmoClass 'Q' is none of A S H U F D C N O X"),
        ("a.wav,N,4,4,4,1,Male,Dev", "row 12: Split_Set 'Dev' is none of Train, Development"),
        ("a.wav,N,4,good,4,1,Male,Train", "row 12: could not convert string to float: 'good'"),
        ("a.wav,N,4", "row 12, is cut short"),
        ("MSP-PODCAST_0001_0008.wav,N,4,4,4,1,Male,Train", "rows 2 and 12 both name MSP-"),
    ],
)
def test_bad_rows_are_named(row: str, message: str, tmp_path: Path) -> None:
    write_tree(tmp_path, *ROWS, row)
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path)
    assert str(tmp_path / "Labels" / "labels_consensus.csv") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rating_out_of_range_is_named(tmp_path: Path) -> None:
    row = "MSP-PODCAST_0009_0001.wav,N,7.5,4.0,4,70,Male,Train"
    corpus = load(write_tree(tmp_path, *ROWS, row))
    with pytest.raises(UserError, match=r"'MSP-PODCAST_0009_0001': arousal = 7\.5 is out of range"):
        read_ratings(corpus.clips, dimensions_of("msp_podcast"))


def test_a_table_without_a_column(tmp_path: Path) -> None:
    write_tree(tmp_path, *ROWS)
    table = tmp_path / "Labels" / "labels_consensus.csv"
    table.write_text(table.read_text().replace("SpkrID,Gender", "Speaker,Sex"))
    with pytest.raises(UserError, match="has no column 'SpkrID', 'Gender'"):
        load(tmp_path)


def test_the_data_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    bad = "MSP-PODCAST_0009_0001.wav,N,7.5,4.0,4,70,Male,Train"
    tree = write_tree(tmp_path, *ROWS, audio=True)
    assert data.run(parser.parse_args(["msp_podcast", str(tree)])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "speakers  4 (3 clips: unknown)" in lines
    assert "ratings   valence, arousal, dominance: 7 clips" in lines
    rows = {line.split()[0]: line.split()[1:3] for line in lines if line}
    assert (rows["train"], rows["validation"], rows["test"]) == (["4", "3"], ["1", "1"], ["2", "2"])
    write_tree(tmp_path, *ROWS, bad, audio=True)
    assert data.run(parser.parse_args(["msp_podcast", str(tree)])) == 0
    assert "arousal = 7.5 is out of range" in capsys.readouterr().out
