"""Speech without labels: which files, which segments, and what it must not touch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from corpus_maker import settings, write_corpus

from ser_kd.config import Config, config_from_dict, load_config
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run

RATE_HZ = 16_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("unlabelled") / "corpus")


def speech(seconds: float, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).normal(size=round(seconds * RATE_HZ)).clip(-3, 3)


def write(path: Path, samples: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, RATE_HZ)
    return path


def config_of(corpus: Path, *folders: Path, window_seconds: float = 1.0) -> Config:
    table = settings(corpus)
    table["corpus"]["unlabelled_dirs"] = [str(folder) for folder in folders]
    table["audio"]["window_seconds"] = window_seconds
    return config_from_dict(table)


def data_of(run_dir: Path, corpus: Path, *folders: Path, **audio) -> RunData:
    return Run.create(config_of(corpus, *folders, **audio), run_dir).data()


def samples_of(run_data: RunData, clip_id: str) -> np.ndarray:
    return run_data.signals.arrays("waveform", [(clip_id, 0)]).clip(0)


def test_recordings_are_cut_into_windows(corpus, tmp_path, capsys):
    folder = tmp_path / "speech"
    long, silent = speech(9.0), speech(5.0, 1)
    silent[2 * RATE_HZ : 4 * RATE_HZ] = 0.0
    write(folder / "a" / "long.wav", long[: round(8.5 * RATE_HZ)])
    write(folder / "a" / "rest.flac", long[: round(2.9 * RATE_HZ)])
    write(folder / "b.wav", speech(1.0, 2))
    write(folder / "silent.wav", silent)
    write(folder / "short.wav", speech(0.99, 3))
    (folder / "broken.wav").write_bytes(b"RIFF")
    (folder / "note.txt").write_text("no audio")
    run_data = data_of(tmp_path / "runs" / "a", corpus, folder, window_seconds=2.0)
    assert run_data.ids("unlabelled") == [
        "unlabelled/a/long.wav@0",
        "unlabelled/a/long.wav@2",
        "unlabelled/a/long.wav@4",
        "unlabelled/a/long.wav@6",
        "unlabelled/a/rest.flac@0",
        "unlabelled/b.wav@0",
        "unlabelled/silent.wav@0",
        "unlabelled/silent.wav@4",
    ]
    for start in (0, 2, 4, 6):
        found = samples_of(run_data, f"unlabelled/a/long.wav@{start}")
        expected = long[start * RATE_HZ : (start + 2) * RATE_HZ]
        np.testing.assert_allclose(found / 32_768, expected, atol=1.1 / 32_768)
    assert len(samples_of(run_data, "unlabelled/b.wav@0")) == RATE_HZ
    np.testing.assert_allclose(
        samples_of(run_data, "unlabelled/silent.wav@4") / 32_768, silent[-RATE_HZ:], atol=4e-5
    )
    out = capsys.readouterr().out
    assert "unlabelled      8 segments  0.00 h, for distillation only" in out
    assert "left out: 1 files that cannot be decoded" in out
    assert "left out: 2 rests shorter than 1 s" in out
    assert "left out: 1 files shorter than 1 s" in out
    assert "left out: 1 segments of digital silence" in out


def test_starts_of_segments_tell_them_apart(corpus, tmp_path):
    write(tmp_path / "speech" / "a.wav", speech(3.0))
    run_data = data_of(tmp_path / "runs" / "a", corpus, tmp_path / "speech", window_seconds=0.7)
    assert [i.split("@")[1] for i in run_data.ids("unlabelled")] == ["0", "0.7", "1.4", "2.1"]


def test_several_folders_with_the_same_names(corpus, tmp_path):
    for number in range(2):
        write(tmp_path / f"speech{number}" / "a.wav", speech(1.2, number))
    folders = [tmp_path / "speech0", tmp_path / "speech1", tmp_path / "speech0"]
    run_data = data_of(tmp_path / "runs" / "a", corpus, *folders)
    ids = run_data.ids("unlabelled")
    assert ids == ["unlabelled/1/a.wav@0", "unlabelled/2/a.wav@0"]  # the third is the first again
    one, other = (samples_of(run_data, clip_id) for clip_id in ids)
    assert not np.array_equal(one, other)


def test_they_touch_nothing_but_distillation(corpus, tmp_path):
    plain = data_of(tmp_path / "runs" / "plain", corpus)
    write(tmp_path / "speech" / "a.wav", speech(3.0))
    run_data = data_of(tmp_path / "runs" / "more", corpus, tmp_path / "speech")
    assert len(run_data.ids("unlabelled")) == 3
    for part in ("training", "validation", "test"):
        assert run_data.ids(part) == plain.ids(part)
    assert run_data.logmel.ids == plain.logmel.ids
    assert run_data.waveforms.ids == plain.waveforms.ids
    assert run_data.labels == plain.labels
    assert not set(run_data.ids("unlabelled")) & set(run_data.speakers)
    ids = [run_data.ids("training")[0], run_data.ids("unlabelled")[0]]
    rows = run_data.one_hot([ids[1], ids[0]])
    np.testing.assert_array_equal(rows, [[0, 0, 0], plain.one_hot(ids[:1])[0]])
    with pytest.raises(KeyError):
        run_data.one_hot(["unlabelled/b.wav@0"])


def test_clips_of_the_corpus_are_no_unlabelled_speech(corpus, tmp_path, capsys):
    folder = tmp_path / "speech"
    write(folder / "new.wav", speech(1.0))
    clip = corpus / "low" / "s3" / "0.wav"
    shutil.copy(clip, folder / "copy.wav")
    (folder / "link.wav").symlink_to(corpus / "high" / "s4" / "1.wav")
    # As long as a clip, but another recording.
    content = bytearray(clip.read_bytes())
    content[-100:] = bytes(100)
    (folder / "same_size.wav").write_bytes(content)
    seconds = soundfile.info(clip).duration
    run_data = data_of(tmp_path / "runs" / "a", corpus, folder)
    ids = run_data.ids("unlabelled")
    assert "unlabelled/new.wav@0" in ids
    assert ("unlabelled/same_size.wav@0" in ids) == (seconds >= 1.0)
    assert not [i for i in ids if "copy" in i or "link" in i]
    line = next(
        line for line in capsys.readouterr().out.splitlines() if "left out, because" in line
    )
    assert "2 files are left out, because they are of the labelled corpus, such as" in line
    assert str(folder / "copy.wav") in line


def test_copies_in_another_format_are_of_the_corpus_too(corpus, tmp_path, capsys):
    """As CREMA-D has them: MP3 beside WAV. The same name alone says nothing."""
    clip = corpus / "low" / "s3" / "0.wav"
    samples, _ = soundfile.read(clip)
    folder = tmp_path / "speech"
    copy = write(folder / "other" / "0.flac", np.pad(0.9 * samples, (0, 1_600)))
    write(folder / "0.wav", np.tile(samples, 5))
    ids = data_of(tmp_path / "runs" / "a", corpus, folder).ids("unlabelled")
    assert "unlabelled/0.wav@0" in ids
    assert not [i for i in ids if "flac" in i]
    out = capsys.readouterr().out
    assert f"1 files are left out, because they are of the labelled corpus, such as {copy}" in out


def test_the_corpus_itself_is_no_unlabelled_speech(corpus, tmp_path):
    for folder in (corpus, corpus.parent):
        with pytest.raises(UserError, match=r"every file in .* is of the labelled corpus"):
            data_of(tmp_path / "runs" / "a", corpus, folder)
    assert not (tmp_path / "runs" / "a").exists()


def test_clips_whose_label_is_dropped_are_of_the_corpus_too(corpus, tmp_path):
    table = settings(corpus)
    table["corpus"] |= {"label_map": {"mid": ""}, "unlabelled_dirs": [str(corpus / "mid")]}
    with pytest.raises(UserError, match="is of the labelled corpus"):
        Run.create(config_from_dict(table), tmp_path / "runs" / "a").data()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (None, r"corpus\.unlabelled_dirs: data folder .*speech does not exist"),
        ({}, r"corpus\.unlabelled_dirs: no audio file in .*speech"),
        ({"a.wav": speech(0.5)}, r"no segment can be used \(1 files shorter than 1 s\)"),
        ({"a.wav": np.zeros(RATE_HZ)}, r"no segment can be used \(1 segments of digital silence"),
    ],
)
def test_folders_without_speech(corpus, tmp_path, files, message):
    folder = tmp_path / "speech"
    if files is not None:
        folder.mkdir()
        for name, samples in files.items():
            write(folder / name, samples)
    with pytest.raises(UserError, match=message):
        data_of(tmp_path / "runs" / "a", corpus, folder)


def test_other_unlabelled_files_are_another_run(corpus, tmp_path):
    folder = tmp_path / "speech"
    write(folder / "a.wav", speech(1.5))
    run_dir = tmp_path / "runs" / "a"
    data_of(run_dir, corpus, folder)
    record = json.loads((run_dir / "config.json").read_text())
    assert record["config"]["corpus"]["unlabelled_dirs"] == [str(folder)]
    data_of(run_dir, corpus, folder)
    with pytest.raises(UserError, match=r"corpus\.unlabelled_dirs = \['.*'\], now \[\]"):
        data_of(run_dir, corpus)
    write(folder / "b.wav", speech(1.5))
    with pytest.raises(UserError, match="the clips are not those that"):
        data_of(run_dir, corpus, folder)
    (folder / "b.wav").unlink()
    write(folder / "a.wav", speech(1.6))
    with pytest.raises(UserError, match="the clips are not those that"):
        data_of(run_dir, corpus, folder)


def test_a_run_from_before_there_were_views_goes_on(corpus, tmp_path):
    run_dir = tmp_path / "runs" / "old"
    data_of(run_dir, corpus)
    record = json.loads((run_dir / "config.json").read_text())
    del record["config"]["views"], record["config"]["corpus"]["unlabelled_dirs"]
    (run_dir / "config.json").write_text(json.dumps(record))
    data_of(run_dir, corpus)
    table = settings(corpus, views={"count": 2})
    with pytest.raises(UserError, match=r"views\.count = 0, now 2"):
        Run.create(config_from_dict(table), run_dir)


def test_settings():
    config = load_config("demo", ['corpus.unlabelled_dirs=["~/speech", "b"]'])
    assert config.corpus.unlabelled_dirs == ("~/speech", str(Path("b").absolute()))
    with pytest.raises(UserError, match=r"corpus\.unlabelled_dirs is a list, got 'speech'"):
        load_config("demo", ["corpus.unlabelled_dirs=speech"])
    with pytest.raises(UserError, match=r"unlabelled_dirs needs a value of type str, got 3"):
        load_config("demo", ["corpus.unlabelled_dirs=[3]"])
    table = {"corpus": {"unlabelled_dirs": ["speech"]}}
    deaf = {"teachers": {"a": {"kind": "logmel_ensemble"}}, "distill": {"logit_weight": 0.0}}
    for more in ({}, deaf):
        with pytest.raises(UserError, match="must be empty where no teacher is learned from"):
            config_from_dict({**table, **more})
