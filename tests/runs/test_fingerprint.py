"""What a run is trained on must stay what it is; where it lies may change."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_maker import settings, snapshot, write_corpus

from ser_kd.config import Config, config_from_dict
from ser_kd.corpora import Clip
from ser_kd.errors import UserError
from ser_kd.runs.fingerprint import FILE, require_same_clips
from ser_kd.runs.folder import Run

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture
def corpus(tmp_path):
    return write_corpus(tmp_path / "corpus")


def data_of(corpus: Path, tmp_path: Path):
    return Run.create(config_from_dict(settings(corpus)), tmp_path / "runs" / "mine").data()


def test_other_audio_under_the_same_names_is_refused_by_name(corpus, tmp_path):
    data_of(corpus, tmp_path)
    path = corpus / "low" / "s3" / "0.wav"
    before, stat = path.read_bytes(), path.stat()
    samples, rate_hz = soundfile.read(path, dtype="int16")
    soundfile.write(path, samples[::-1], rate_hz)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a careful copy leaves it
    message = r"mine began with: 1 have another audio, such as 'low/s3/0.wav'. Give another --run"
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            data_of(corpus, tmp_path)
    path.write_bytes(before)
    data_of(corpus, tmp_path)


def test_a_corpus_may_be_moved_and_files_touched(corpus, tmp_path):
    first = data_of(corpus, tmp_path)
    moved = shutil.move(corpus, tmp_path / "elsewhere")
    (moved / "low" / "s3" / "0.wav").touch()
    again = data_of(moved, tmp_path)
    np.testing.assert_array_equal(again.waveforms.values, first.waveforms.values)
    before = snapshot(tmp_path / "runs")
    data_of(moved, tmp_path)
    assert snapshot(tmp_path / "runs") == before


def test_gone_and_new_files_are_counted(corpus, tmp_path):
    data_of(corpus, tmp_path)
    (corpus / "mid" / "s1" / "0.wav").rename(corpus / "low" / "s1" / "9.wav")
    (corpus / "mid" / "s1" / "1.wav").unlink()
    with pytest.raises(UserError, match=r"2 are gone, such as 'mid/s1/0.wav'; 1 are new, such as"):
        data_of(corpus, tmp_path)


def test_a_run_of_an_earlier_version_goes_on(corpus, tmp_path):
    data_of(corpus, tmp_path)
    (tmp_path / "runs" / "mine" / FILE).unlink()
    data_of(corpus, tmp_path)
    assert (tmp_path / "runs" / "mine" / FILE).is_file()
    (tmp_path / "runs" / "mine" / FILE).unlink()
    (corpus / "mid" / "s1" / "0.wav").unlink()
    with pytest.raises(UserError, match="other files or labels"):
        data_of(corpus, tmp_path)
    assert not (tmp_path / "runs" / "mine" / FILE).exists()


@pytest.mark.parametrize(
    ("sections", "name", "used"),
    [
        ({}, "votes", False),
        ({}, "text", False),
        ({}, "ratings", False),
        ({"dimensions": {"weight": 1.0, "ranges": {"Joy": [0, 1]}}}, "ratings", True),
        ({"dimensions": {"weight": 1.0, "ranges": {"Joy": [0, 1]}}}, "joy", True),
        ({"teachers": {"words": {"kind": "linguistic"}}}, "text", True),
        ({"teachers": {"words": {"kind": "linguistic"}}}, "votes", False),
    ],
)
def test_what_is_not_learned_from_may_change(tmp_path, sections, name, used):
    config = config_from_dict({"corpus": {"name": "folder", "data_dir": "x"}, **sections})
    check(config, tmp_path, {name: {"a": 1}})
    check(config, tmp_path, {name: {"a": 1}})
    if not used:
        check(config, tmp_path, {name: {"a": 2}})
        return
    with pytest.raises(UserError, match="1 have another (?i:" + name + "), such as 'one'"):
        check(config, tmp_path, {name: {"a": 2}})


def check(config: Config, directory: Path, attributes: dict) -> None:
    clip = Clip("one", directory / "gone.wav", "ann", "joy", attributes)
    require_same_clips(directory, config, [clip])


@pytest.mark.parametrize("change", [{"emotion": "rage"}, {"speaker": "ben"}])
def test_labels_and_speakers(tmp_path, change):
    facts = {"id": "one", "path": tmp_path / "x.wav", "speaker": "ann", "emotion": "joy"}
    require_same_clips(tmp_path, Config(), [Clip(**facts)])
    with pytest.raises(UserError, match="1 have another"):
        require_same_clips(tmp_path, Config(), [Clip(**facts | change)])
