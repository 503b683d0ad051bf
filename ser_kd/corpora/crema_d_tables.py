"""CREMA-D's three tables: who the actors are, and what the crowd perceived."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ser_kd.corpora.clip import LABEL_ORDER
from ser_kd.corpora.table import read_table
from ser_kd.errors import UserError

_DEMOGRAPHICS = "VideoDemographics.csv"
_SUMMARY = "summaryTable.csv"
_VOTES = "tabulatedVotes.csv"
_EMOTION_OF_LETTER = {label[0]: label for label in LABEL_ORDER}
_INTENSITY_COLUMNS = {
    "ANG": "meanAngerResp",
    "DIS": "meanDisgustResp",
    "FEA": "meanFearResp",
    "HAP": "meanHappyResp",
    "NEU": "meanNeutralResp",
    "SAD": "meanSadResp",
}
EMOTION_OF_DIMENSION = {
    "anger": "ANG",
    "disgust": "DIS",
    "fear": "FEA",
    "happiness": "HAP",
    "neutral": "NEU",
    "sadness": "SAD",
}
_MEND = "mend it, or take it away (it is optional)"
_CHANNEL_OF_ROW_ID = {"1": "voice", "2": "face", "3": "multimodal"}


class Tables:
    """The attributes from the CSVs.

    Args:
        folder: Of the audio files.
        metadata_dir: Where the CSVs are looked for first, or None.

    Attributes:
        of_speaker: Speaker -> attributes.
        of_clip: Clip id -> attributes.

    Raises:
        UserError: ``metadata_dir`` holds none of the CSVs, or one of them is bad.
    """

    def __init__(self, folder: Path, metadata_dir: Path | None) -> None:
        places = [
            place / inner
            for place in (folder, folder.resolve().parent)
            for inner in ("", "metadata", "processedResults")
        ]
        if metadata_dir is not None:
            given = [metadata_dir, metadata_dir / "processedResults"]
            if not any(_find(name, given) for name in (_DEMOGRAPHICS, _SUMMARY, _VOTES)):
                raise UserError(
                    f"metadata folder {metadata_dir} holds none of {_DEMOGRAPHICS}, {_SUMMARY}, "
                    f"{_VOTES} (or .gz): check the path"
                )
            places = given + places
        self.of_speaker: dict[str, dict[str, Any]] = {}
        self.of_clip: dict[str, dict[str, Any]] = {}
        if path := _find(_DEMOGRAPHICS, places):
            self._read_demographics(path)
        if path := _find(_SUMMARY, places):
            self._read_summary(path)
        if path := _find(_VOTES, places):
            self._read_votes(path)

    def _read_demographics(self, path: Path) -> None:
        columns = ("ActorID", "Age", "Sex", "Race", "Ethnicity")
        for number, row in read_table(path, columns, mend=_MEND).rows:
            self.of_speaker[row["ActorID"]] = {
                "age": _whole(row["Age"], path, number),
                "sex": row["Sex"],
                "race": row["Race"],
                "ethnicity": row["Ethnicity"],
            }

    def _read_summary(self, path: Path) -> None:
        columns = {"voice": "VoiceVote", "face": "FaceVote", "multimodal": "MultiModalVote"}
        for number, row in read_table(path, ("FileName", *columns.values()), mend=_MEND).rows:
            try:
                crowd_labels = {
                    channel: tuple(_EMOTION_OF_LETTER[letter] for letter in row[name].split(":"))
                    for channel, name in columns.items()
                }
            except KeyError as error:
                raise UserError(
                    f"{path}, row {number}: {error} is not a vote (one of A D F H N S, joined by :)"
                ) from None
            self.of_clip.setdefault(row["FileName"], {})["crowd_labels"] = crowd_labels

    def _read_votes(self, path: Path) -> None:
        columns = ("", *_EMOTION_OF_LETTER, "fileName")
        intensities = tuple(_INTENSITY_COLUMNS.values())
        for number, row in read_table(path, columns, intensities, mend=_MEND).rows:
            channel = _CHANNEL_OF_ROW_ID.get(row[""][:1])
            if channel is None or len(row[""]) != 6:
                raise UserError(
                    f"{path}, row {number}: id {row['']!r} is none of 1xxxxx, 2xxxxx, 3xxxxx"
                )
            clip = self.of_clip.setdefault(row["fileName"], {})
            votes = {
                emotion: _whole(row[letter], path, number)
                for letter, emotion in _EMOTION_OF_LETTER.items()
            }
            clip.setdefault("votes", {})[channel] = votes
            if all(row.get(column) for column in _INTENSITY_COLUMNS.values()):
                # -1 stands where nobody chose the emotion.
                clip.setdefault("vote_intensities", {})[channel] = {
                    emotion: _number(row[column], path, number)
                    for emotion, column in _INTENSITY_COLUMNS.items()
                    if votes[emotion]
                }
        for clip in self.of_clip.values():
            if "votes" in clip:
                clip["ratings"] = crowd_intensities(
                    clip["votes"].get("voice", {}),
                    clip.get("vote_intensities", {}).get("voice", {}),
                )


def crowd_intensities(votes: Mapping[str, int], strengths: Mapping[str, float]) -> dict[str, float]:
    """How strongly listeners perceived each emotion from the voice alone.

    Everybody named one emotion and its strength, 0 to 100. The table's mean is over those alone who
    named it (one of eleven perceived joy, at 98: mean 98) and is missing where nobody did. Here it
    is over all who listened, to whom the emotions that they did not name count 0: 8.9.

    Args:
        votes: Emotion -> how many named it.
        strengths: Emotion -> mean strength to those who named it.

    Returns:
        Dimension -> 0 to 100; empty where there are no strengths.
    """
    if not strengths:
        return {}
    listeners = sum(votes.values())
    return {
        name: votes[label] * strengths.get(label, 0.0) / listeners
        for name, label in EMOTION_OF_DIMENSION.items()
    }


def _find(name: str, places: list[Path]) -> Path | None:
    for place in places:
        for path in (place / name, place / f"{name}.gz"):
            if path.is_file():
                return path
    return None


def _number(text: str, path: Path, number: int) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(f"{path}, row {number}: {text!r} is not a number") from None


def _whole(text: str, path: Path, number: int) -> int:
    try:
        return int(text)
    except ValueError:
        raise UserError(f"{path}, row {number}: {text!r} is not a whole number") from None
