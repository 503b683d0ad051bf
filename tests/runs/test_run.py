"""The run folder: settings that must not change, data that is counted, clips that are odd."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from corpus_maker import settings, write_corpus

from ser_kd.config import Config, config_from_dict, config_to_dict
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.pipeline import students
from ser_kd.runs.folder import Run
from ser_kd.runs.record import record_fit

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("run") / "corpus")


def config_of(corpus, /, **sections) -> Config:
    return config_from_dict(settings(corpus, **sections))


@pytest.fixture
def run(corpus, tmp_path):
    """A recorded run."""
    run = Run.create(config_of(corpus), tmp_path / "runs" / "mine")
    run.data()
    return run


def test_a_run_is_found_again(run, corpus):
    again = Run.create(config_of(corpus), run.directory)
    assert again.config == Run.open(run.directory).config == run.config
    assert again.labels == ("high", "low", "mid")
    before = (run.directory / "config.json").stat().st_mtime_ns
    again.data()
    assert (run.directory / "config.json").stat().st_mtime_ns == before


def test_the_record(run):
    record = json.loads((run.directory / "config.json").read_text())
    assert set(record) == {
        "config", "labels", "synthetic", "corpus_fingerprint", "commit", "python", "machine",
        "versions",
    }  # fmt: skip
    assert record["synthetic"] is False
    assert {"tensorflow", "keras", "numpy"} <= set(record["versions"])
    assert config_from_dict(record["config"]) == run.config


def test_nothing_is_written_before_the_corpus_is_known(corpus, tmp_path):
    Run.create(config_of(corpus), tmp_path / "runs" / "mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"fit": {"epochs": 3}}, r"fit\.epochs = 2, now 3\)"),
        ({"seed": 1}, r"seed = 0, now 1\)"),
        ({"teachers": {}}, "teachers"),
        ({"distill": {"teachers": {"ensemble": 1.0}}}, r"distill\.teachers"),
        ({"corpus": {"name": "emodb"}}, r"corpus\.name = 'folder', now 'emodb'"),
    ],
)
def test_other_settings_are_refused_by_name(run, corpus, sections, message):
    with pytest.raises(UserError, match=message) as error:
        Run.create(config_of(corpus, **sections), run.directory)
    assert str(run.directory) in str(error.value)
    assert "--run-dir" in str(error.value)


def test_a_teacher_or_label_that_is_taken_away_is_noticed(corpus, tmp_path):
    one = settings(corpus)["teachers"]["ensemble"]
    mapped = {"name": "folder", "data_dir": str(corpus), "label_map": {"mid": "low", "low": "low"}}
    config = config_of(corpus, teachers={"a": one, "b": one}, corpus=mapped)
    Run.create(config, tmp_path / "mine").data()
    with pytest.raises(UserError, match=r"teachers\.b\.\S+ = .*, now None"):
        Run.create(config_of(corpus, teachers={"a": one}, corpus=mapped), tmp_path / "mine")
    del mapped["label_map"]["low"]
    with pytest.raises(UserError, match=r"corpus\.label_map\.low = 'low', now None"):
        Run.create(
            config_of(corpus, teachers={"a": one, "b": one}, corpus=mapped), tmp_path / "mine"
        )


def test_a_run_that_stored_the_defaults_of_before_goes_on(corpus, tmp_path):
    table = {"epochs": 40, "batch_size": 32}
    Run.create(config_of(corpus, fit=table), tmp_path / "mine").data()
    Run.create(config_of(corpus, fit={}), tmp_path / "mine")
    with pytest.raises(UserError, match=r"fit\.epochs = 40, now 41"):
        Run.create(config_of(corpus, fit={"epochs": 41}), tmp_path / "mine")


def test_what_was_chosen_for_the_number_of_clips_is_recorded(corpus, tmp_path):
    run = Run.create(config_of(corpus, fit={}), tmp_path / "mine")
    run.data()
    before = json.loads((run.directory / "config.json").read_text())
    record_fit(run.directory, "one", 90, run.config.fit)
    record_fit(run.directory, "two", 600, run.config.fit)
    after = json.loads((run.directory / "config.json").read_text())
    assert after == {**before, "fits": {
        "one": {"clips": 90, "epochs": 60, "batch_size": 9},
        "two": {"clips": 600, "epochs": 40, "batch_size": 32},
    }}  # fmt: skip
    assert Run.open(run.directory).config == run.config


def test_the_packages_own_files_are_the_same_wherever_it_is_installed(tmp_path):
    def stored(path: str) -> Run:
        table = {"teachers": {"stored": {"kind": "file", "path": path}}}
        return Run.create(config_from_dict(table), tmp_path / "run")

    run = stored("/python3.12/ser_kd/recipes/targets/crema_d.npz")
    run.directory.mkdir()
    record = {"config": config_to_dict(run.config)}
    (run.directory / "config.json").write_text(json.dumps(record))
    stored("/python3.13/ser_kd/recipes/targets/crema_d.npz")
    with pytest.raises(UserError, match="other settings"):
        stored("/python3.13/ser_kd/recipes/targets/other.npz")


def test_another_corpus_is_refused(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    run = Run.create(config_of(copy), tmp_path / "runs" / "mine")
    run.data()
    (copy / "low" / "s3" / "0.wav").unlink()
    with pytest.raises(UserError, match=r"the clips are not those that .*mine began with"):
        Run.create(config_of(copy), run.directory).data()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"config": 3}'])
def test_a_damaged_config_is_one_line(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    for attempt in (lambda: Run.open(tmp_path), lambda: Run.create(Config(), tmp_path)):
        with pytest.raises(UserError) as error:
            attempt()
        assert "\n" not in str(error.value)


def test_a_run_from_before_settings_were_removed_is_read(run, tmp_path):
    record = json.loads((run.directory / "config.json").read_text())
    config = record["config"]
    config["quantization"] = {"epochs": 0, "learning_rate": 1e-4}
    config["distill"]["logit_loss"] = "kl"
    config["fit"]["averaged_epochs"] = 0
    config["export"]["calibration_clips"] = config["export"].pop("representative_clips")
    config["teachers"]["ensemble"]["fit"]["averaged_epochs"] = 0
    path = tmp_path / "config.json"
    path.write_text(json.dumps(record))
    assert Run.open(tmp_path).config == run.config
    Run.create(run.config, tmp_path)
    config["fit"]["averaged_epochs"] = 6
    path.write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"unknown key 'fit\.averaged_epochs'"):
        Run.open(tmp_path)


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match="is no run folder"):
        Run.open(tmp_path)
    with pytest.raises(UserError, match="is no run folder"):
        Run.open(tmp_path / "absent")


def test_parts_are_speaker_disjoint_and_whole(run):
    run_data = run.data()
    parts = {part: run_data.ids(part) for part in ("training", "validation", "test")}
    speakers = [{i.split("/")[1] for i in ids} for ids in parts.values()]
    assert [len(found) for found in speakers] == [6, 2, 2]
    assert len(set().union(*speakers)) == 10
    one_hot = run_data.one_hot(["low/s0/0.wav", "high/s1/1.wav"])
    np.testing.assert_array_equal(one_hot, [[0, 1, 0], [1, 0, 0]])


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A corpus with clips that are corrupt, empty, silent, 20 ms and 10 minutes long."""
    corpus = write_corpus(tmp_path_factory.mktemp("odd") / "corpus")
    regular = Run.create(config_of(corpus), corpus.parent / "runs" / "regular")
    training_ids = regular.data().ids("training")
    training_speakers = sorted({i.split("/")[1] for i in training_ids})
    other = next(f"s{n}" for n in range(10) if f"s{n}" not in training_speakers)
    tone = 0.3 * np.sin(2 * np.pi * 900 * np.arange(600 * 16_000) / 16_000)
    # One clip of each kind per class and speaker group, in place of what was there.
    for speaker in (training_speakers[0], other):
        corpus.joinpath("low", speaker, "0.wav").write_bytes(b"RIFF\x00")
        corpus.joinpath("low", speaker, "1.wav").write_bytes(b"")
        soundfile.write(corpus / "mid" / speaker / "0.wav", np.zeros(16_000), 16_000)
        soundfile.write(corpus / "mid" / speaker / "1.wav", tone[:320], 16_000)
        soundfile.write(corpus / "high" / speaker / "0.wav", np.zeros(0), 16_000)
    soundfile.write(corpus / "high" / training_speakers[0] / "1.wav", tone, 16_000)
    soundfile.write(corpus / "high" / other / "1.wav", tone[: 60 * 16_000], 16_000)
    return corpus, training_speakers[0]


def test_odd_clips_are_counted_and_training_goes_on(odd, tmp_path, capsys):
    corpus, speaker = odd
    run = Run.create(config_of(corpus, teachers={}), tmp_path / "runs" / "odd")
    run_data = run.data()
    out = capsys.readouterr().out
    assert "could not be decoded, take no part: 6 clips, such as" in out
    assert "not trained on: 2 (digital silence)" in out
    assert len(run_data.skipped) == 6
    assert {reason.split(": ")[-1].split(" (")[0] for reason in run_data.skipped.values()} == {
        "the file is empty",
        "not readable as audio",
        "holds no samples",
    }
    training_ids = set(run_data.ids("training"))
    assert len(training_ids) == 36 - 4
    assert f"mid/{speaker}/0.wav" not in training_ids
    assert {f"mid/{speaker}/1.wav", f"high/{speaker}/1.wav"} <= training_ids

    model = students.baseline_student(run, run_data)
    history = (run.baseline_dir / "history.jsonl").read_text().splitlines()
    assert len(history) == 2
    assert all(np.isfinite(json.loads(row)["loss"]) for row in history)
    from ser_kd.audio.windows import Windowing

    predictor = LogMelPredictor(model, Windowing.of(run.config.audio, run.config.logmel))
    probs, _ = predictor.predict(run_data.logmel)
    assert probs.shape == (54, 3)
    np.testing.assert_allclose(probs.sum(1), 1.0, atol=1e-5)


def test_no_usable_clip_in_a_part(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    run = Run.create(config_of(copy), tmp_path / "runs" / "mine")
    for clip in run.data().splits.validation:
        clip.path.write_bytes(b"")
    with pytest.raises(UserError, match=r"no validation clip can be used .*ser-kd data folder"):
        Run.create(config_of(copy), tmp_path / "runs" / "other").data()


def test_no_readable_clip_at_all(corpus, tmp_path):
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    for path in copy.rglob("*.wav"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"none of 60 clips could be decoded; the first: .*empty"):
        Run.create(config_of(copy), tmp_path / "runs" / "mine").data()


def test_a_damaged_student_is_one_line(run):
    run_data = run.data()
    run.student_path.write_bytes(b"PK")
    with pytest.raises(UserError, match=r"student\.keras is damaged or no Keras model"):
        students.distilled_student(run, run_data, {})
