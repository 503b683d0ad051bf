"""MSP-Podcast: speaking turns of podcasts, rated by crowds (Busso et al., arXiv 2509.09791).

Licensed users have ``Labels/labels_consensus.csv`` and ``Audios/MSP-PODCAST_0001_0008.wav`` ... .
What the table looks like is known from the corpus's readme (release 1.12) and from public code that
reads releases 1.6 to 2.0:

    FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set
    MSP-PODCAST_0001_0008.wav,N,2.2,4.0,2.6,30,Male,Test1

**Not tried on the licensed data**, which we do not have.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ser_kd.config import CorpusConfig
from ser_kd.corpora.clip import (
    UNKNOWN_SPEAKER_PREFIX,
    Clip,
    Corpus,
    Found,
    file_name,
)
from ser_kd.corpora.listing import existing_folder, list_audio
from ser_kd.corpora.reader import CorpusFacts, Reader, valence_arousal_dominance
from ser_kd.corpora.splits import speakers_with
from ser_kd.corpora.table import read_table
from ser_kd.errors import UserError

EMOTIONS = {
    "A": "anger",
    "S": "sadness",
    "H": "happiness",
    "U": "surprise",
    "F": "fear",
    "D": "disgust",
    "C": "contempt",
    "N": "neutral",
    "O": "other",
    "X": "no_agreement",
}
# The six classes of CREMA-D. An empty class drops the label.
LABEL_MAP = {
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "happiness": "HAP",
    "neutral": "NEU",
    "sadness": "SAD",
    "surprise": "",
    "contempt": "",
    "other": "",
    "no_agreement": "",
}

NAME_EXAMPLE = "MSP-PODCAST_0001_0008.wav"
# Releases before 1.11 spell it with a c.
TABLES = ("labels_consensus.csv", "labels_concensus.csv")
_COLUMNS = (
    "FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set",
)  # fmt: skip
_RATINGS = {"valence": "EmoVal", "arousal": "EmoAct", "dominance": "EmoDom"}
# Releases before 1.11 say Validation.
_PARTS = {
    "train": "train",
    "development": "validation",
    "validation": "validation",
    "test": "test",
    "test1": "test",
}


def read(folder: Path, metadata_dir: Path | None) -> Found:
    """Reads the corpus's folder, with ``Labels/`` and ``Audios/`` in it.

    The official partition is kept: attribute ``part`` is ``train``, ``validation`` or ``test``.
    The test set is Test1; Test2 shares speakers with it, and of
    Test3 the labels are secret: their clips are dropped. So are clips of train and validation whose
    speaker is in a later part as well (the partition says there are none).

    Many training clips have no speaker yet (``Unknown``). Each podcast's then count as one
    speaker, ``unknown/podcast_0001``, so that the teachers' folds do not cut a podcast in two.

    Clip attributes: ``part``, ``ratings`` (``valence``, ``arousal``, ``dominance``, 1 to 7: means
    over raters), ``sex``. The transcripts are not read: a file for each of 200,000 clips.

    Raises:
        UserError: missing or empty folder, no table, bad table.
    """
    existing_folder(folder)
    table = _find_table(folder, metadata_dir)
    audio_folder = _audio_folder(folder)
    listing = list_audio(audio_folder)
    paths = {path.name: path for path in listing.files}
    clips: list[Clip] = []
    dropped = listing.unused
    named: dict[str, int] = {}
    for number, row in read_table(table, _COLUMNS).rows:
        name = row["FileName"]
        if name in named:
            raise UserError(f"{table}: rows {named[name]} and {number} both name {name}")
        named[name] = number
        part, emotion = row["Split_Set"].lower(), EMOTIONS.get(row["EmoClass"].upper())
        if emotion is None:
            raise UserError(
                f"{table}, row {number}: EmoClass {row['EmoClass']!r} is none of "
                f"{' '.join(EMOTIONS)}"
            )
        if part not in _PARTS and not part.startswith("test"):
            raise UserError(
                f"{table}, row {number}: Split_Set {row['Split_Set']!r} is none of Train, "
                "Development, Test1, Test2, Test3"
            )
        if part not in _PARTS:
            dropped[name] = f"in {row['Split_Set']}; the test set is Test1"
        elif name not in paths:
            dropped[name] = f"row {number} of {table.name}: no such file"
        else:
            attributes = {
                "part": _PARTS[part],
                "ratings": _ratings(row, table, number),
                "sex": row["Gender"],
            }
            path = paths[name]
            clips.append(Clip(path.stem, path, _speaker(row), emotion, attributes))
    for name, path in paths.items():
        if name not in named:
            dropped[file_name(path, audio_folder)] = f"not in {table.name}"
    kept = tuple(_with_disjoint_speakers(clips, dropped))
    return Found(kept, dropped, audio_folder)


def _find_table(folder: Path, metadata_dir: Path | None) -> Path:
    if metadata_dir is not None:
        places = [metadata_dir, metadata_dir / "Labels"]
    else:
        places = [folder, folder / "Labels", folder.resolve().parent / "Labels"]
    for place in places:
        for name in TABLES:
            if (place / name).is_file():
                return place / name
    raise UserError(
        f"no {TABLES[0]} in {' or '.join(str(place) for place in places[:2])}: give the folder "
        "that holds Labels/ and Audios/, or --metadata-dir (corpus.metadata_dir)"
    )


def _audio_folder(folder: Path) -> Path:
    """Not the whole folder: files that were taken out of earlier releases lie in it, too."""
    for name in ("Audios", "Audio"):
        if (folder / name).is_dir():
            return folder / name
    return folder


def _ratings(row: Mapping[str, str], table: Path, number: int) -> dict[str, float]:
    try:
        return {name: float(row[column]) for name, column in _RATINGS.items() if row[column]}
    except ValueError as error:
        raise UserError(f"{table}, row {number}: {error}") from None


def _speaker(row: Mapping[str, str]) -> str:
    if row["SpkrID"] and row["SpkrID"].lower() != "unknown":
        return row["SpkrID"]
    # MSP-PODCAST_<podcast>_<segment>, in some names with a further number.
    podcast = row["FileName"].removeprefix("MSP-PODCAST_").split("_")[0]
    return f"{UNKNOWN_SPEAKER_PREFIX}podcast_{podcast}"


def _with_disjoint_speakers(clips: list[Clip], dropped: dict[str, str]) -> Iterator[Clip]:
    order = ("train", "validation", "test")
    last_part: dict[str, int] = {}
    for clip in clips:
        part = order.index(clip.attributes["part"])
        last_part[clip.speaker] = max(last_part.get(clip.speaker, 0), part)
    for clip in clips:
        last = order[last_part[clip.speaker]]
        if clip.attributes["part"] == last:
            yield clip
        else:
            dropped[clip.path.name] = f"speaker {clip.speaker} is in the {last} part as well"


def _official_split(corpus: Corpus, config: CorpusConfig) -> tuple[frozenset[str], frozenset[str]]:
    del config
    return speakers_with(corpus, "part", "train"), speakers_with(corpus, "part", "validation")


READER = Reader(
    read,
    NAME_EXAMPLE,
    LABEL_MAP,
    split=_official_split,
    # Seven manikins (Busso et al., arXiv 2509.09791).
    dimensions=valence_arousal_dominance(1.0, 7.0),
    facts=CorpusFacts(
        "MSP-Podcast (Busso et al., 2025)",
        "en",
        "Speaking turns of English podcasts, not acted, rated by a crowd.",
        "MSP-Podcast is under the licence that its users sign.",
    ),
)
