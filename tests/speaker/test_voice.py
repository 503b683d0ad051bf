"""A voice's file: it comes back, holds no sound, and is refused where it is damaged."""

import json

import numpy as np
import pytest

from ser_kd.errors import UserError
from ser_kd.speaker.statistics import VoiceStatistics
from ser_kd.speaker.voice import Voice
from ser_kd.students.frontend import Corpus

MELS = 5
BANDS = {"mels": MELS, "floor_db": -80.0}


@pytest.fixture
def voice(rng):
    known = VoiceStatistics()
    for frames in (30, 80, 55):
        known = known.after(rng.normal(-40, 9, (frames, MELS)))
    return Voice(known, BANDS)


def test_it_comes_back_from_its_file(voice, tmp_path):
    path = tmp_path / "folder" / "voice.json"
    voice.save(path)
    again = Voice.load(path)
    assert (again.clips, again.mel_bands) == (3, BANDS)
    corpus = Corpus(np.zeros(MELS, np.float32), np.ones(MELS, np.float32))
    np.testing.assert_array_equal(again.as_array(corpus), voice.as_array(corpus))
    # Two numbers per mel band and two counts: nothing else leaves the audio.
    assert sum(len(v) for v in json.loads(path.read_text()).values() if isinstance(v, list)) == 10
    with pytest.raises(UserError, match=r"nobody\.json: no such file"):
        Voice.load(tmp_path / "nobody.json")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"format": 1, "clips": 1, "frames": 2, "total": [1], "squares": []}',
        '{"format": 1, "clips": 1, "frames": 0, "total": [1], "squares": [1]}',
        '{"format": 1, "clips": 0, "frames": 2, "total": [1], "squares": [1]}',
        '{"format": 1, "clips": NaN, "frames": 2, "total": [1], "squares": [1]}',
        '{"format": 9, "clips": 1, "frames": 2, "total": [1], "squares": [1]}',
    ],
)
def test_a_damaged_file_is_named(content, tmp_path):
    path = tmp_path / "voice.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"voice\.json: no voice statistics.*delete it"):
        Voice.load(path)


def test_a_model_of_other_bands_is_refused(voice):
    voice.check_bands(BANDS)
    with pytest.raises(UserError, match=r"mel bands .*'mels': 5.* this model has .*'mels': 40"):
        voice.check_bands({**BANDS, "mels": 40})
