"""Readers: file names and CSVs -> clips."""

import gzip
from pathlib import Path

import pytest
from corpus_maker import touch

from ser_kd.config import CorpusConfig
from ser_kd.corpora import CORPORA, emodb, find_reader, load_corpus, ravdess
from ser_kd.corpora.clip import Clip, Corpus, Found
from ser_kd.corpora.ratings import dimensions_of, read_ratings
from ser_kd.corpora.reader import Dimension, Reader
from ser_kd.corpora.splits import split_corpus
from ser_kd.errors import UserError

# Readers look at names only, so the files may be empty.
CREMA_D = (
    "1001_DFA_ANG_XX.wav",
    "1001_IEO_HAP_HI.ogg",
    "1002_IEO_SAD_LO.flac",
    "1003_TIE_NEU_XX.mp3",
)


def load(name: str, folder: Path, **settings: object) -> Corpus:
    return load_corpus(CorpusConfig(name=name, data_dir=str(folder), **settings))  # type: ignore[arg-type]


def by_id(corpus: Corpus) -> dict[str, Clip]:
    return {clip.id: clip for clip in corpus.clips}


def test_the_corpora() -> None:
    assert set(CORPORA) == {
        "crema_d", "ravdess", "emodb", "iemocap", "msp_podcast", "folder", "demo",
    }  # fmt: skip


@pytest.mark.parametrize("name", CORPORA)
def test_every_row_has_a_reader(name: str) -> None:
    reader = find_reader(name)
    assert reader.name_example
    assert set(reader.to_crema_d or ()) == (
        set(reader.label_map or ()) if reader.to_crema_d else set()
    )
    assert reader.facts.licence


def read_toy(folder: Path, metadata_dir: Path | None) -> Found:
    assert metadata_dir is None
    clips = [
        Clip(f"{who}{number}", folder / "x.wav", who, label, {"ratings": {"effort": 5.0 * number}})
        for who in "abcd"
        for number, label in enumerate(("glad", "mad", "dull"))
    ]
    return Found(tuple(clips), {}, folder)


def split_toy(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    assert (corpus.name, config.fold) == ("toy", 0)
    return frozenset("ab"), frozenset("c")


TOY = Reader(
    read_toy,
    "x.wav",
    {"glad": "HAP", "mad": "ANG", "dull": ""},
    split=split_toy,
    dimensions=(Dimension("effort", 0.0, 10.0),),
)


def test_a_new_corpus_is_a_reader_and_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CORPORA, "toy", f"{__name__}:TOY")
    corpus = load("toy", tmp_path)
    assert corpus.labels == ("ANG", "HAP")
    splits = split_corpus(corpus, CorpusConfig(name="toy"))
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 2, 2]
    ratings = read_ratings(splits.test, dimensions_of("toy"))
    assert ratings.tolist() == [[-1.0], [0.0]]


def test_unknown_corpus_names_the_nearest() -> None:
    with pytest.raises(UserError, match=r"unknown corpus 'cremad': did you mean 'crema_d'\?"):
        load("cremad", Path())
    with pytest.raises(UserError, match="did you mean 'crema_d'"):
        load("CREMA-D", Path())


@pytest.mark.parametrize("name", ["crema_d", "ravdess", "emodb", "folder"])
def test_missing_and_empty_folders(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere does not exist"):
        load(name, tmp_path / "nowhere")
    with pytest.raises(UserError, match="no audio file in"):
        load(name, tmp_path)
    with pytest.raises(UserError, match="needs a folder"):
        load_corpus(CorpusConfig(name=name))


@pytest.mark.parametrize("name", ["crema_d", "ravdess", "emodb", "folder"])
def test_no_labelled_file_shows_what_a_name_looks_like(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "song.wav")
    with pytest.raises(UserError, match="no labelled file") as error:
        load(name, tmp_path)
    assert find_reader(name).name_example in str(error.value)
    assert "song.wav" in str(error.value)
    assert "\n" not in str(error.value)


def test_one_class_only(tmp_path: Path) -> None:
    touch(tmp_path, "1001_DFA_ANG_XX.wav", "1002_DFA_ANG_XX.wav")
    with pytest.raises(UserError, match=r"only one class \(ANG\)"):
        load("crema_d", tmp_path)


def test_crema_d_names(tmp_path: Path) -> None:
    touch(tmp_path, *CREMA_D, "notes.wav", "9999_DFA_ANG_XX.wav", "._1001_DFA_ANG_XX.wav")
    corpus = load("crema_d", tmp_path)
    assert corpus.labels == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    assert [clip.id for clip in corpus.clips] == sorted(Path(name).stem for name in CREMA_D)
    clip = by_id(corpus)["1002_IEO_SAD_LO"]
    assert (clip.speaker, clip.emotion) == ("1002", "SAD")
    assert clip.attributes == {
        "sentence": "IEO",
        "intensity": "LO",
        "text": "It's eleven o'clock",
    }
    assert set(corpus.dropped) == {"notes.wav", "9999_DFA_ANG_XX.wav"}
    assert not corpus.synthetic


def test_crema_d_known_bad_files(tmp_path: Path) -> None:
    excluded = ("1040_ITH_SAD_X", "1006_TIE_NEU_XX", "1013_WSI_DIS_XX", "1017_IWW_FEA_XX")
    flawed = ("1076_MTI_SAD_XX", "1006_TIE_HAP_XX", "1013_WSI_SAD_XX", "1017_IWW_ANG_XX")
    touch(tmp_path, *CREMA_D, *(f"{name}.wav" for name in excluded + flawed))
    corpus = load("crema_d", tmp_path)
    assert set(corpus.dropped) == {f"{name}.wav" for name in excluded}
    assert set(corpus.left_out) == set(flawed)
    assert set(flawed) < set(by_id(corpus))
    assert load("crema_d", tmp_path, keep_flawed=True).left_out == {}


def test_the_same_crema_d_clip_in_two_formats_counts_once(tmp_path: Path) -> None:
    touch(tmp_path, *CREMA_D, "1001_DFA_ANG_XX.ogg")
    corpus = load("crema_d", tmp_path)
    assert by_id(corpus)["1001_DFA_ANG_XX"].path.suffix == ".wav"
    assert corpus.dropped == {"1001_DFA_ANG_XX.ogg": "same clip as 1001_DFA_ANG_XX.wav"}


def write_crema_d_tables(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "VideoDemographics.csv").write_text(
        '"ActorID","Age","Sex","Race","Ethnicity"\n1001,51,"Male","Caucasian","Not Hispanic"\n'
    )
    (folder / "summaryTable.csv").write_text(
        '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote",'
        '"MultiModalLevel"\n"1","1001_DFA_ANG_XX","N","69.1","A:D","92.22","A","64.78"\n'
    )
    header = '"","A","D","F","H","N","S","fileName","numResponses"\n'
    rows = (
        '"100001",1,0,0,2,7,0,"1001_DFA_ANG_XX",10\n"200001",4,4,0,0,1,0,"1001_DFA_ANG_XX",9\n'
        '"300001",8,0,0,0,0,1,"1001_DFA_ANG_XX",9\n'
    )
    with gzip.open(folder / "tabulatedVotes.csv.gz", "wt") as stream:
        stream.write(header + rows)


@pytest.mark.parametrize(
    "place", ["AudioWAV", "", "metadata", "processedResults", "AudioWAV/metadata"]
)
def test_crema_d_tables_are_found(place: str, tmp_path: Path) -> None:
    touch(tmp_path / "AudioWAV", *CREMA_D)
    write_crema_d_tables(tmp_path / place)
    for folder in (tmp_path, tmp_path / "AudioWAV"):  # the checkout, and the WAV folder itself
        attributes = by_id(load("crema_d", folder))["1001_DFA_ANG_XX"].attributes
        assert attributes["age"] == 51
        assert attributes["sex"] == "Male"
        assert attributes["race"] == "Caucasian"
        assert attributes["ethnicity"] == "Not Hispanic"
        assert attributes["crowd_labels"]["face"] == ("ANG", "DIS")
        assert attributes["votes"]["voice"]["NEU"] == 7
        assert attributes["votes"]["face"]["DIS"] == 4
        assert attributes["votes"]["multimodal"] == {
            "ANG": 8, "DIS": 0, "FEA": 0, "HAP": 0, "NEU": 0, "SAD": 1,
        }  # fmt: skip


def test_crema_d_metadata_dir(tmp_path: Path) -> None:
    audio = touch(tmp_path / "deep" / "audio", *CREMA_D)
    write_crema_d_tables(tmp_path / "tables")
    assert "age" not in load("crema_d", audio).clips[0].attributes
    corpus = load("crema_d", audio, metadata_dir=str(tmp_path / "tables"))
    assert corpus.clips[0].attributes["age"] == 51
    with pytest.raises(UserError, match=r"holds none of VideoDemographics\.csv"):
        load("crema_d", audio, metadata_dir=str(audio))
    with pytest.raises(UserError, match=r"metadata folder .* does not exist"):
        load("crema_d", audio, metadata_dir=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("VideoDemographics.csv", "ActorID,Age\n1001,51\n", "no column 'Sex', 'Race', 'Ethnicity'"),
        ("VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,old,a,b,c\n", "'old'"),
        ("VideoDemographics.csv", "ActorID,Age,Sex,Race,Ethnicity\n1001,51\n", "row 2, is cut"),
        ("tabulatedVotes.csv", ",A,D,F,H,N,S,fileName\n7,1,1,1,1,1,1,x\n", "id '7'"),
        ("tabulatedVotes.csv.gz", "not gzip", "cannot be read"),
    ],
)
def test_bad_crema_d_table(name: str, content: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, *CREMA_D)
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        load("crema_d", tmp_path)
    assert str(tmp_path / name) in str(error.value)


def test_ravdess_reads_speech_and_drops_the_rest(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "Actor_12/03-01-06-01-02-01-12.wav",  # fearful, speech
        "Actor_12/01-01-06-01-02-01-12.wav",  # the same, cut out of the film
        "Actor_12/03-02-06-01-02-01-12.wav",  # song
        "Actor_12/02-01-03-01-01-01-12.wav",  # video only
        "03-01-02-02-01-02-07.wav",  # calm, flat layout
        "01-01-08-01-01-01-24.wav",  # surprised, film only
        "03-01-09-01-01-01-24.wav",  # there is no emotion 09
    )
    corpus = load("ravdess", tmp_path)
    clips = by_id(corpus)
    assert corpus.labels == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD", "CAL", "SUR")
    assert {clip.path.stem: clip.emotion for clip in corpus.clips} == {
        "03-01-06-01-02-01-12": "FEA",
        "03-01-02-02-01-02-07": "CAL",
        "01-01-08-01-01-01-24": "SUR",
    }
    assert clips["01-06-01-02-01-12"].speaker == "12"
    assert clips["01-06-01-02-01-12"].attributes["sex"] == "Female"
    calm = clips["01-02-02-01-02-07"].attributes
    assert (calm["sex"], calm["intensity"], calm["sentence"]) == ("Male", "strong", "kids")
    assert calm["repetition"] == 2
    assert set(corpus.dropped) == {
        "Actor_12/01-01-06-01-02-01-12.wav",
        "Actor_12/03-02-06-01-02-01-12.wav",
        "Actor_12/02-01-03-01-01-01-12.wav",
        "03-01-09-01-01-01-24.wav",
    }


def test_ravdess_onto_crema_d_classes(tmp_path: Path) -> None:
    names = [f"03-01-0{emotion}-01-01-01-01.wav" for emotion in range(1, 9)]
    corpus = load("ravdess", touch(tmp_path, *names), label_map=ravdess.TO_CREMA_D)
    assert corpus.labels == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD")
    assert by_id(corpus)["01-02-01-01-01-01"].emotion == "NEU"
    assert corpus.dropped == {names[7]: "label 'surprised' is mapped to nothing"}


def test_emodb(tmp_path: Path) -> None:
    touch(tmp_path, "03a01Fa.wav", "08b10Lc.wav", "16a02Wb.wav", "99a01Fa.wav")
    corpus = load("emodb", tmp_path)
    clips = by_id(corpus)
    assert corpus.labels == ("ANG", "DIS", "FEA", "HAP", "NEU", "SAD", "BOR")
    assert {clip.id: clip.emotion for clip in corpus.clips} == {
        "03a01Fa": "HAP",
        "08b10Lc": "BOR",
        "16a02Wb": "ANG",
    }
    assert clips["08b10Lc"].attributes == {
        "sentence": "b10", "version": "c", "sex": "Female", "age": 34,
    }  # fmt: skip
    assert set(corpus.dropped) == {"99a01Fa.wav"}
    assert "BOR" not in load("emodb", tmp_path, label_map=emodb.TO_CREMA_D).labels


def test_label_map_changes_only_what_it_names(tmp_path: Path) -> None:
    touch(tmp_path, *CREMA_D)
    corpus = load("crema_d", tmp_path, label_map={"ANG": "bad", "SAD": "bad", "DIS": ""})
    assert corpus.labels == ("FEA", "HAP", "NEU", "bad")
    assert by_id(corpus)["1002_IEO_SAD_LO"].emotion == "bad"
    with pytest.raises(UserError, match="has no label 'calmm': did you mean 'calm'"):
        load("ravdess", touch(tmp_path / "r", "03-01-01-01-01-01-01.wav"), label_map={"calmm": ""})
    with pytest.raises(UserError, match="only one class"):
        load("crema_d", tmp_path, label_map={"ANG": "", "SAD": "", "NEU": ""})
    with pytest.raises(UserError, match="no clip is left"):
        load("crema_d", tmp_path, label_map=dict.fromkeys(("ANG", "SAD", "NEU", "HAP"), ""))


def test_folder_tree(tmp_path: Path) -> None:
    touch(tmp_path, "joy/anna/1.wav", "joy/2.MP3", "rage/anna/1.wav", "x.wav", "a/b/c/d.wav")
    corpus = load("folder", tmp_path)
    assert corpus.labels == ("joy", "rage")
    assert [(clip.id, clip.speaker, clip.emotion) for clip in corpus.clips] == [
        ("joy/2.MP3", "", "joy"),
        ("joy/anna/1.wav", "anna", "joy"),
        ("rage/anna/1.wav", "anna", "rage"),
    ]
    assert set(corpus.dropped) == {"x.wav", "a/b/c/d.wav"}


def test_unknown_speakers_when_allowed_count_one_each(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{emotion}/{index}.wav" for emotion in "ab" for index in range(6)))
    config = CorpusConfig(name="folder", data_dir=str(tmp_path), folds=3)
    with pytest.raises(UserError, match="12 of 12 clips have no speaker"):
        split_corpus(load_corpus(config), config)
    config = CorpusConfig(
        name="folder", data_dir=str(tmp_path), folds=3, allow_unknown_speakers=True
    )
    corpus = load_corpus(config)
    assert not any(clip.speaker_known for clip in corpus.clips)
    splits = split_corpus(corpus, config)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 4, 4]


def test_folder_csv(tmp_path: Path) -> None:
    touch(tmp_path / "audio", "1.wav", "2.wav", "3.wav")
    table = tmp_path / "clips.csv"
    table.write_text(
        "\ufeffPath;Emotion;Speaker;ID;room\naudio/1.wav;joy;anna;one;hall\n"
        "audio/2.wav;rage;ben;;\naudio/3.wav;;ben;;\naudio/4.wav;joy;ben;;\n",
        encoding="utf-8",
    )
    for folder in (tmp_path, table):
        corpus = load("folder", folder)
        clips = by_id(corpus)
        assert set(clips) == {"one", "audio/2.wav"}
        assert clips["one"].speaker == "anna"
        assert clips["one"].attributes == {"room": "hall"}
        assert clips["one"].path == tmp_path / "audio" / "1.wav"
        assert set(corpus.dropped) == {"audio/3.wav", "audio/4.wav"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path,speaker\na.wav,x\n", "no column emotion"),
        ("path,emotion,id\na.wav,joy,1\nb.wav,rage,1\n", r"rows 2 and 3 both have the id '1'"),
        ("path,emotion,id\na.wav,joy,1\na.wav,rage,2\n", r"rows 2 and 3 both name the file a.wav"),
        ("path,emotion\n,joy\n", "row 2: the path is empty"),
        ("path,emotion\nc.wav,joy\n", "no such file"),
        ("", "no column path or emotion"),
    ],
)
def test_bad_folder_csv(content: str, message: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.wav", "b.wav")
    table = tmp_path / "clips.csv"
    table.write_text(content)
    with pytest.raises(UserError, match=message):
        load("folder", table)


def test_two_tables_are_ambiguous(tmp_path: Path) -> None:
    touch(tmp_path, "joy/a.wav", "rage/b.wav")
    (tmp_path / "other.csv").write_text("name,size\n")
    assert len(load("folder", tmp_path).clips) == 2  # a table of something else
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("path,emotion\njoy/a.wav,joy\n")
    with pytest.raises(UserError, match="several tables"):
        load("folder", tmp_path)


def test_demo_folder_is_read_like_crema_d_and_marked(tmp_path: Path) -> None:
    touch(tmp_path / "AudioWAV", "2001_IEO_ANG_XX.wav", "2002_IEO_SAD_XX.wav")
    corpus = load("demo", tmp_path)
    assert corpus.synthetic
    assert [clip.speaker for clip in corpus.clips] == ["2001", "2002"]
    with pytest.raises(UserError, match="speaker 2001 is not one of CREMA-D's"):
        load("crema_d", tmp_path)


def test_audio_check_leaves_out_what_it_objects_to(tmp_path: Path) -> None:
    touch(tmp_path, *CREMA_D)
    corpus = load_corpus(
        CorpusConfig(name="crema_d", data_dir=str(tmp_path), keep_flawed=True),
        audio_check=lambda path: "unreadable" if path.suffix == ".ogg" else None,
    )
    assert corpus.left_out == {"1001_IEO_HAP_HI": "unreadable"}
    assert len(corpus.clips) == 4
