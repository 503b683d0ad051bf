"""``ser-kd data``: arguments in, report out."""

import argparse
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.commands.data import add_arguments, run
from ser_kd.config import AudioConfig, CorpusConfig
from ser_kd.corpora import download
from ser_kd.corpora.inspect import inspect_corpus
from ser_kd.errors import UserError

RATE_HZ = 16_000


def noise(path: Path, seconds: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, round(seconds * RATE_HZ))
    soundfile.write(path, samples, RATE_HZ)


@pytest.fixture
def crema_d(tmp_path: Path) -> Path:
    """Eight files: four good clips, and one each silent, corrupt, very short, excluded."""
    for index, speaker in enumerate((1001, 1002, 1003, 1010)):  # the last one is a test actor
        noise(tmp_path / f"{speaker}_DFA_ANG_XX.wav", 1.0 + index, seed=index)
    soundfile.write(tmp_path / "1076_MTI_SAD_XX.wav", np.zeros(RATE_HZ), RATE_HZ)
    (tmp_path / "1004_DFA_SAD_XX.wav").write_bytes(b"no audio")
    noise(tmp_path / "1005_DFA_HAP_XX.wav", 0.02, seed=9)
    # The same sound as a clip, in another container.
    samples, rate_hz = soundfile.read(tmp_path / "1001_DFA_ANG_XX.wav")
    soundfile.write(tmp_path / "1006_TIE_NEU_XX.flac", samples, rate_hz)
    return tmp_path


def data(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return run(parser.parse_args(arguments))


def test_report_on_a_flawed_corpus(crema_d: Path) -> None:
    report = inspect_corpus(CorpusConfig(name="crema_d", data_dir=str(crema_d)), AudioConfig())
    assert len(report.findings) == 8
    assert [finding.name for finding in report.unreadable] == ["1004_DFA_SAD_XX.wav"]
    assert [finding.name for finding in report.silent] == ["1076_MTI_SAD_XX.wav"]
    assert [finding.name for finding in report.very_short] == ["1005_DFA_HAP_XX.wav"]
    assert report.duplicates == (("1001_DFA_ANG_XX.wav", "1006_TIE_NEU_XX.flac"),)
    assert sorted(report.clip_seconds) == pytest.approx([0.02, 1.0, 1.0, 2.0, 3.0, 4.0])
    assert report.splits is not None
    assert [clip.speaker for clip in report.splits.test] == ["1010"]


def test_command_prints_what_was_found(crema_d: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert data("crema_d", str(crema_d)) == 0
    out = capsys.readouterr().out
    for line in (
        "files     8",
        "clips     7",
        "speakers  7",
        "labels    ANG 4, DIS 0, FEA 0, HAP 1, NEU 0, SAD 2",
        "length    0.02 to 4.00 s, mean 1.84 s, 0.00 h in all",
        "unreadable: 1",
        "silent: 1",
        "duplicates: 1",
        "shorter than 0.1 s: 1",
        "    1076_MTI_SAD_XX (digital silence)",
        "    1001_DFA_ANG_XX.wav = 1006_TIE_NEU_XX.flac",
        "    1005_DFA_HAP_XX.wav (0.020 s)",
    ):
        assert line in out.splitlines()
    rows = {line.split()[0]: line.split()[1:3] for line in out.splitlines() if line}
    assert rows["test"] == ["1", "1"]
    assert "Traceback" not in out
    assert str(crema_d / "1004") not in out  # names are relative to the folder


def test_long_lists_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index in range(9):
        for emotion in "ab":
            path = tmp_path / emotion / str(index) / "x.wav"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"nothing")
    assert data("folder", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "unreadable: 18" in out
    assert "    ... and 13 more" in out
    assert "length" not in out  # none could be measured


def test_label_map_and_folds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for index, speaker in enumerate(("03", "08", "09", "10")):
        for letter in "FLW":
            noise(tmp_path / f"{speaker}a01{letter}a.wav", 0.2, seed=10 * index + ord(letter))
    arguments = ["emodb", str(tmp_path), "--folds", "4", "--fold", "2"]
    assert data(*arguments, "--label-map", "boredom=", "happiness=joy") == 0
    out = capsys.readouterr().out
    assert "clips     8" in out
    assert "ANG 4" in out
    assert "joy 4" in out
    assert "BOR" not in out
    assert "not used: 4" in out
    with pytest.raises(UserError, match="--label-map 'boredom': write label=class"):
        data(*arguments, "--label-map", "boredom")


def test_unknown_speakers_are_reported_not_fatal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(4):
        noise(tmp_path / "joy" / f"{index}.wav", 0.2, seed=index)
        noise(tmp_path / "rage" / f"{index}.wav", 0.2, seed=9 + index)
    assert data("folder", str(tmp_path)) == 0
    out = capsys.readouterr().out
    assert "no splits: 8 of 8 clips have no speaker" in out
    assert "speakers  0 (8 clips: unknown)" in out
    assert data("folder", str(tmp_path), "--allow-unknown-speakers") == 0
    assert "no splits" not in capsys.readouterr().out


def test_download_comes_first(
    crema_d: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def fake(directory: Path, **_: object) -> None:
        asked.append(directory)
        noise(crema_d / "1007_DFA_DIS_XX.wav", 0.5, seed=20)

    monkeypatch.setattr(download, "download_crema_d", fake)
    assert data("crema_d", str(crema_d), "--download") == 0
    assert asked == [crema_d]
    assert "files     9" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["crema"], "did you mean 'crema_d'"),
        (["crema_d"], r"which folder\? ser-kd data crema_d DIR"),
        (["crema_d", "nowhere"], "nowhere does not exist"),
        (["emodb", "x", "--download"], "fetches crema_d only"),
        (["crema_d", "--download"], "--download needs a folder"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        data(*arguments)
    assert "\n" not in str(error.value)
