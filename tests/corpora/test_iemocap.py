"""IEMOCAP's reader, on a made tree of the corpus's shape."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.commands import data
from ser_kd.config import CorpusConfig
from ser_kd.corpora import iemocap, load_corpus
from ser_kd.corpora.clip import Clip, Corpus
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.splits import split_corpus
from ser_kd.errors import UserError

HEADER = "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n"
LABELS = ("neu", "ang", "sad", "exc", "hap", "xxx")


def evaluation(session: int) -> str:
    """One dialogue: six turns, F and M by turns, written out of order, with raters' opinions."""
    dialogue = f"Ses0{session}F_impro01"
    lines = [HEADER]
    for index in (1, 0, 2, 3, 4, 5):
        who = f"{'FM'[index % 2]}{index // 2:03d}"
        start = 6.29 + 3 * index
        lines.append(
            f"[{start:.4f} - {start + 2:.4f}]\t{dialogue}_{who}\t{LABELS[index]}\t"
            f"[{1 + 0.5 * index:.4f}, 2.5000, {5 - 0.5 * index:.4f}]\n"
            "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t(curious [sic])\n\n"
        )
    return "".join(lines)


def write_tree(
    root: Path, sessions: tuple[int, ...] = (1, 2, 3, 4, 5), audio: bool = False
) -> Path:
    for session in sessions:
        home, dialogue = root / f"Session{session}", f"Ses0{session}F_impro01"
        labels = home / "dialog" / "EmoEvaluation"
        wavs = home / "sentences" / "wav" / dialogue
        for folder in (labels / "Categorical", wavs, home / "dialog" / "wav"):
            folder.mkdir(parents=True)
        (labels / f"{dialogue}.txt").write_text(evaluation(session))
        (labels / f"._{dialogue}.txt").write_bytes(b"\x00\x05\x16\x07\n[\n")
        (labels / "Categorical" / f"{dialogue}_e2_cat.txt").write_text("[no table]\n")
        (home / "dialog" / "wav" / f"{dialogue}.wav").touch()  # the whole dialogue is no clip
        for index in range(6):
            path = wavs / f"{dialogue}_{'FM'[index % 2]}{index // 2:03d}.wav"
            path.touch()
            if audio:
                noise = np.random.default_rng([session, index]).uniform(-0.3, 0.3, 3_200)
                soundfile.write(path, noise, 16_000)
    return root


def load(folder: Path, **settings: object) -> Corpus:
    return load_corpus(CorpusConfig(name="iemocap", data_dir=str(folder), **settings))  # type: ignore[arg-type]


def by_id(corpus: Corpus) -> dict[str, Clip]:
    return {clip.id: clip for clip in corpus.clips}


def test_turns_labels_speakers_and_ratings(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path))
    assert corpus.labels == ("ANG", "HAP", "NEU", "SAD")
    assert len(corpus.clips) == 25
    clips = by_id(corpus)
    found = {name: clip.emotion for name, clip in clips.items() if name.startswith("Ses03")}
    assert found == {
        "Ses03F_impro01_F000": "NEU",
        "Ses03F_impro01_M000": "ANG",
        "Ses03F_impro01_F001": "SAD",
        "Ses03F_impro01_M001": "HAP",  # excitement
        "Ses03F_impro01_F002": "HAP",
    }
    clip = clips["Ses03F_impro01_M000"]
    assert clip.speaker == "Ses03M"
    assert clip.path == tmp_path / "Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_M000.wav"
    assert clip.attributes == {
        "session": 3,
        "dialogue": "Ses03F_impro01",
        "turn": 1,
        "start_seconds": 9.29,
        "end_seconds": 11.29,
        "improvised": True,
        "sex": "Male",
        "ratings": {"valence": 1.5, "arousal": 2.5, "dominance": 4.5},
    }
    assert corpus.dropped["Session3/sentences/wav/Ses03F_impro01/Ses03F_impro01_M002.wav"] == (
        "label 'no_agreement' is mapped to nothing"
    )
    assert {clip.speaker for clip in corpus.clips} == {
        f"Ses0{session}{letter}" for session in range(1, 6) for letter in "FM"
    }


def test_the_turn_is_the_place_in_the_dialogue(tmp_path: Path) -> None:
    clips = by_id(load(write_tree(tmp_path, (1,))))
    turns = {clip.attributes["turn"]: name[-4:] for name, clip in clips.items()}
    assert turns == {0: "F000", 1: "M000", 2: "F001", 3: "M001", 4: "F002"}


def test_ratings_are_scaled(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, (1,)))
    values = read_ratings(corpus.clips, dimensions_of("iemocap"))
    order = [clip.id[-4:] for clip in corpus.clips]
    assert order == ["F000", "F001", "F002", "M000", "M001"]
    np.testing.assert_allclose(values[:, 0], [-1.0, -0.5, 0.0, -0.75, -0.25])
    np.testing.assert_allclose(values[:, 1], -0.25)
    np.testing.assert_allclose(values[:, 2], [1.0, 0.5, 0.0, 0.75, 0.25])


def test_half_a_step_beyond_the_scale_is_taken_back_and_no_more(tmp_path: Path) -> None:
    write_tree(tmp_path, (1,))
    table = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    table.write_text(table.read_text().replace("[1.0000, 2.5000, 5.0000]", "[5.5000, 0.5000, 3]"))
    first = by_id(load(tmp_path))["Ses01F_impro01_F000"]
    assert first.attributes["ratings"] == {"valence": 5.0, "arousal": 1.0, "dominance": 3.0}
    table.write_text(table.read_text().replace("[5.5000, 0.5000, 3]", "[5.6, 1, 3]"))
    with pytest.raises(UserError, match=r"'Ses01F_impro01_F000': valence = 5\.6 is out of range"):
        read_ratings(load(tmp_path).clips, dimensions_of("iemocap"))


def test_transcripts_where_there_are_any(tmp_path: Path) -> None:
    write_tree(tmp_path, (1, 2))
    folder = tmp_path / "Session1" / "dialog" / "transcriptions"
    folder.mkdir()
    (folder / "Ses01F_impro01.txt").write_bytes(
        b"Ses01F_impro01_F000 [006.2901-008.2357]: Excuse me.\n"
        b"M: [BREATHING]\n"
        b"Ses01F_impro01_M000 [009.2900-011.2900]: Is it caf\xe9: yes?\n"
    )
    clips = by_id(load(tmp_path))
    assert clips["Ses01F_impro01_F000"].attributes["text"] == "Excuse me."
    assert clips["Ses01F_impro01_M000"].attributes["text"] == "Is it caf\ufffd: yes?"
    assert "text" not in clips["Ses01F_impro01_F001"].attributes
    assert "text" not in clips["Ses02F_impro01_F000"].attributes


def test_scripted_dialogues_and_the_release_folder(tmp_path: Path) -> None:
    write_tree(tmp_path / "IEMOCAP_full_release", (5,))
    home = tmp_path / "IEMOCAP_full_release" / "Session5"
    name = "Ses05M_script03_2"
    (home / "sentences" / "wav" / name).mkdir()
    (home / "sentences" / "wav" / name / f"{name}_F028.wav").touch()
    (home / "dialog" / "EmoEvaluation" / f"{name}.txt").write_text(
        f"{HEADER}[1.0 - 2.5]\t{name}_F028\tfru\t[2, 4, 4]\n"
    )
    corpus = load(tmp_path, label_map=iemocap.SIX_CLASSES)
    assert corpus.labels == ("ANG", "HAP", "NEU", "SAD", "EXC", "FRU")
    clip = by_id(corpus)[f"{name}_F028"]
    assert (clip.speaker, clip.emotion) == ("Ses05F", "FRU")
    assert (clip.attributes["dialogue"], clip.attributes["improvised"]) == (name, False)


def test_files_and_lines_without_each_other_are_told(tmp_path: Path) -> None:
    write_tree(tmp_path, (1,))
    wavs = tmp_path / "Session1" / "sentences" / "wav" / "Ses01F_impro01"
    (wavs / "Ses01F_impro01_F000.wav").unlink()
    (wavs / "Ses01F_impro01_F009.wav").touch()
    corpus = load(tmp_path)
    assert corpus.dropped["Ses01F_impro01_F000"] == "in Ses01F_impro01.txt: no such file"
    extra = "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F009.wav"
    assert corpus.dropped[extra] == "in no evaluation"


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_is_a_session(tmp_path: Path, fold: int) -> None:
    corpus = load(write_tree(tmp_path))
    splits = split_corpus(corpus, CorpusConfig(name="iemocap", fold=fold))

    def sessions(clips: tuple[Clip, ...]) -> set[int]:
        return {clip.attributes["session"] for clip in clips}

    assert sessions(splits.test) == {fold + 1}
    assert sessions(splits.validation) == {(fold + 1) % 5 + 1}
    assert len(sessions(splits.train)) == 3
    assert len(splits.train) + len(splits.validation) + len(splits.test) == len(corpus.clips)


def test_there_are_five_folds(tmp_path: Path) -> None:
    corpus = load(write_tree(tmp_path, (1,)))
    with pytest.raises(UserError, match="folds = 10: iemocap has a fold for each session, 5"):
        split_corpus(corpus, CorpusConfig(name="iemocap", folds=10))
    with pytest.raises(UserError, match="fold = 5: use 0 to 4"):
        split_corpus(corpus, CorpusConfig(name="iemocap", fold=5))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "[1.0 - 2.0]\tSes01F_impro01_F000\tjoy\t[2, 2, 2]",
            "line 1: emotion 'joy' is none of ang",
        ),
        ("[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[2, 2]", r"line 1: .* is not \[START - END\]"),
        ("[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[2, x, 2]", r"line 1: .* is not \[START - END\]"),
    ],
)
def test_bad_lines_are_named(line: str, message: str, tmp_path: Path) -> None:
    write_tree(tmp_path, (1,))
    table = tmp_path / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    table.write_text(f"{line}\n")
    with pytest.raises(UserError, match=message) as error:
        load(tmp_path)
    assert str(table) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_that_is_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"no audio file in .* Session1 to Session5"):
        load(tmp_path)


def test_the_data_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    data.add_arguments(parser)
    tree = write_tree(tmp_path, audio=True)
    assert data.run(parser.parse_args(["iemocap", str(tree), "--fold", "4"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "speakers  10" in lines
    assert "labels    ANG 5, HAP 10, NEU 5, SAD 5" in lines
    assert "ratings   valence, arousal, dominance: 25 clips" in lines
    rows = {line.split()[0]: line.split()[1:3] for line in lines if line}
    assert (rows["train"], rows["validation"], rows["test"]) == (
        ["15", "6"],
        ["5", "2"],
        ["5", "2"],
    )
