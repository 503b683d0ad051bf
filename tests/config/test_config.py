"""Recipes, --set, and what is said about wrong settings."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from ser_kd import config
from ser_kd.config import Config, FitConfig, config_from_dict, config_to_dict, load_config
from ser_kd.errors import UserError
from ser_kd.registry import load_object
from ser_kd.teachers.base import Teacher
from ser_kd.teachers.settings import (
    TEACHER_KINDS,
    EnsembleTeacherConfig,
    FileTeacherConfig,
    Wav2Vec2TeacherConfig,
)

RECIPE = """
seed = 3

[corpus]
name = "folder"
label_map = { calm = "neutral", surprise = "" }

[fit]
epochs = 7
learning_rate = 1  # an integer where a float stands

[augment]
noise_snr_db = [0, 20.5]

[teachers.big]
kind = "logmel_ensemble"
members = 3
student = { width = 2.0 }
fit = { epochs = 5 }

[teachers.wav]
kind = "wav2vec2"
frozen = "nothing"
encoder_learning_rate = 1
architecture = { hidden_size = 64, conv_dim = [32, 32] }

[teachers.outside]
kind = "file"
path = "predictions.npz"

[distill.teachers]
big = 2
outside = 0.5
"""


PATHS = """
[corpus]
data_dir = "clips"
metadata_dir = "~/votes"
unlabelled_dirs = ["more", "/else/where"]

[student]
kind = "yamnet"
initial_weights = "yamnet.tflite"

[teachers]
other = { kind = "logmel_ensemble" }
live = { kind = "live", models = ["a.keras", "b.keras"] }
hub = { kind = "wav2vec2", checkpoint = "facebook/wav2vec2-base" }
folder = { kind = "wav2vec2", checkpoint = "./checkpoint" }

[teachers.fusion]
kind = "fusion"
modalities = { ear = "teacher:other", face = "file:face.npz" }
audio = ["ear"]
"""


@pytest.fixture
def recipe(tmp_path) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(RECIPE)
    return str(path)


@pytest.mark.parametrize("name", config.recipe_names())
def test_shipped_recipes_load_by_name(name):
    loaded = load_config(name)
    assert loaded.name == name
    assert config_from_dict(json.loads(json.dumps(config_to_dict(loaded)))) == loaded
    assert set(loaded.distill.teachers) <= set(loaded.teachers)


@pytest.mark.parametrize("name", config.recipe_names())
def test_what_shipped_recipes_need_is_found_from_any_folder(name, tmp_path, monkeypatch):
    before = load_config(name)
    monkeypatch.chdir(tmp_path)
    loaded = load_config(name)
    assert loaded == before
    for teacher in loaded.teachers.values():
        if teacher.predictions_file:
            assert teacher.predictions_file.is_absolute()
            assert teacher.predictions_file.is_file()


def test_paths_start_from_the_recipe_and_those_of_overrides_from_here(tmp_path, monkeypatch):
    folder, here = tmp_path / "recipes", tmp_path / "here"
    folder.mkdir()
    here.mkdir()
    (folder / "mine.toml").write_text(PATHS)
    monkeypatch.chdir(here)
    loaded = load_config("../recipes/mine.toml")
    start = folder.resolve()
    assert loaded.corpus.data_dir == str(start / "clips")
    assert loaded.corpus.metadata_dir == "~/votes"
    assert loaded.corpus.unlabelled_dirs == (str(start / "more"), "/else/where")
    assert loaded.student.initial_weights == str(start / "yamnet.tflite")
    teachers = loaded.teachers
    assert teachers["live"].models == (str(start / "a.keras"), str(start / "b.keras"))
    assert teachers["fusion"].modalities == {
        "ear": "teacher:other",
        "face": f"file:{start / 'face.npz'}",
    }
    assert teachers["hub"].checkpoint == "facebook/wav2vec2-base"
    assert teachers["folder"].checkpoint == str(start / "checkpoint")

    given = ["teachers.fusion.modalities.face=file:face.npz", "student.initial_weights=y.tflite"]
    given += ["teachers.live={ kind = 'live', models = ['c.keras'] }"]
    loaded = load_config("../recipes/mine.toml", given)
    assert loaded.teachers["fusion"].modalities["face"] == f"file:{here / 'face.npz'}"
    assert loaded.teachers["live"].models == (str(here / "c.keras"),)
    assert loaded.student.initial_weights == str(here / "y.tflite")
    assert loaded.corpus.data_dir == str(start / "clips")
    assert config_from_dict(config_to_dict(loaded)) == loaded


def test_reading_a_recipe_imports_neither_numpy_nor_tensorflow():
    program = (
        "import sys; from ser_kd.config import load_config; load_config('demo_multimodal'); "
        "print(sorted({'tensorflow', 'keras', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("kind", TEACHER_KINDS)
def test_every_kind_has_settings_and_an_implementation_but_files(kind):
    settings, implementation = TEACHER_KINDS[kind]
    assert settings().kind == kind
    if not implementation:
        assert settings().predictions_file is not None
        return
    assert issubclass(load_object(implementation), Teacher)


def test_a_recipe_fills_its_sections_and_leaves_the_defaults(recipe):
    loaded = load_config(recipe)
    assert (loaded.name, loaded.seed) == ("mine", 3)
    assert loaded.corpus.label_map == {"calm": "neutral", "surprise": ""}
    assert loaded.fit == dataclasses.replace(Config().fit, epochs=7, learning_rate=1.0)
    assert isinstance(loaded.fit.learning_rate, float)
    assert loaded.augment.noise_snr_db == (0.0, 20.5)
    assert loaded.student == Config().student
    big, wav, outside = loaded.teachers.values()
    assert isinstance(big, EnsembleTeacherConfig)
    assert (big.members, big.student.width, big.fit.epochs) == (3, 2.0, 5)
    assert isinstance(wav, Wav2Vec2TeacherConfig)
    assert wav.frozen == "nothing"
    assert isinstance(wav.encoder_learning_rate, float)
    assert wav.architecture == {"hidden_size": 64, "conv_dim": [32, 32]}
    assert outside == FileTeacherConfig(path=str(Path(recipe).parent / "predictions.npz"))
    assert loaded.distill.teachers == {"big": 2.0, "outside": 0.5}


def test_a_config_survives_json(recipe):
    loaded = load_config(recipe)
    assert config_from_dict(json.loads(json.dumps(config_to_dict(loaded)))) == loaded
    assert config_from_dict(config_to_dict(Config())) == Config()
    assert config_from_dict({}) == Config()


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("seed=5", lambda c: c.seed == 5),
        ("fit.epochs = 9", lambda c: c.fit.epochs == 9),
        ("fit.learning_rate=5e-4", lambda c: c.fit.learning_rate == 5e-4),
        ("fit.weight_decay=0", lambda c: c.fit.weight_decay == 0.0),
        ("student.kind=crnn", lambda c: c.student.kind == "crnn"),
        ("corpus.data_dir=~/my data/CREMA-D", lambda c: c.corpus.data_dir == "~/my data/CREMA-D"),
        ("corpus.data_dir=/data/x=y", lambda c: c.corpus.data_dir == "/data/x=y"),
        ("corpus.data_dir=x", lambda c: c.corpus.data_dir == str(Path.cwd() / "x")),
        ("corpus.label_map.calm='C:\\x=y'", lambda c: c.corpus.label_map["calm"] == "C:\\x=y"),
        ("corpus.keep_flawed=true", lambda c: c.corpus.keep_flawed is True),
        ("corpus.label_map.calm=sad", lambda c: c.corpus.label_map["calm"] == "sad"),
        ("augment.noise_snr_db=[1, 2]", lambda c: c.augment.noise_snr_db == (1.0, 2.0)),
        ("teachers.big.fit.epochs=2", lambda c: c.teachers["big"].fit.epochs == 2),
        ("teachers.new.kind=file", lambda c: c.teachers["new"] == FileTeacherConfig()),
        ("name=other", lambda c: c.name == "other"),
    ],
)
def test_set_overrides(recipe, override, value):
    assert value(load_config(recipe, [override]))


def test_the_last_override_wins(recipe):
    assert load_config(recipe, ["seed=1", "seed=2"]).seed == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "fit.epoch=3",
            r"unknown key 'fit.epoch' \(did you mean 'epochs'\?\); known here: epochs,",
        ),
        ("export.calibration_clips=8", r"'export.calibration_clips' .*'representative_clips'\?"),
        ("studnet.width=1", r"unknown key 'studnet' \(did you mean 'student'\?\)"),
        ("teachers.big.membres=1", r"'teachers.big.membres' \(did you mean 'members'\?\)"),
        ("zzz=1", "unknown key 'zzz'; known here: name,"),
        ("seed", "--set 'seed': write it as section.key=value"),
        ("=3", "--set '=3': write it as section.key=value"),
        ("seed.x=3", "--set 'seed.x=3': 'seed' is a value, not a section"),
        ("fit=3", "fit is a section, got 3"),
        ("fit.epochs=2.5", "fit.epochs needs a value of type int, got 2.5"),
        ("fit.epochs=many", "fit.epochs needs a value of type int, got 'many'"),
        ("fit.epochs=true", "fit.epochs needs a value of type int, got True"),
        ("fit.learning_rate=false", "fit.learning_rate needs a value of type float, got False"),
        ("corpus.data_dir=7", "corpus.data_dir needs a value of type str, got 7"),
        ("corpus.keep_flawed=1", "corpus.keep_flawed needs a value of type bool, got 1"),
        ("corpus.label_map=[1]", r"corpus.label_map is a table, got \[1\]"),
        ("corpus.label_map.calm=1", "corpus.label_map.calm needs a value of type str, got 1"),
        ("augment.noise_snr_db=[1]", r"augment.noise_snr_db needs 2 values, got \[1\]"),
        ("augment.noise_snr_db=5", "augment.noise_snr_db needs 2 values, got 5"),
        ("augment.band_limit_probability=2", "augment.band_limit_probability = 2"),
        ("augment.low_cut_hz=[300, 100]", "augment.low_cut_hz = .* lowest, highest, each above 0"),
        ("augment.high_cut_hz=[0, 100]", "augment.high_cut_hz = .* lowest, highest, each above 0"),
        (
            "student.kind=mobilnet",
            r"kind = 'mobilnet' \(did you mean 'mobilenet'\?\); one of mobilenet, yamnet, cnn,",
        ),
        (
            "teachers.new.folds=3",
            "the recipe has no teacher 'new'.*teachers.new.kind=KIND",
        ),
        ("teachers.new=3", "teachers.new needs a kind"),
        ("teachers.new.kind=wav2vec", r"teachers.new.kind = 'wav2vec' \(did you mean 'wav2vec2'"),
        ("teachers.wav.frozen=encoders", r"frozen = 'encoders' \(did you mean 'encoder'"),
        ("teachers.wav.encoder_learning_rate=low", "encoder_learning_rate needs.*float, got 'low'"),
        ("teachers.wav.encoder_learning_rate=0", "encoder_learning_rate = 0.0 is out of range"),
        ("teachers.wav.fit.accumulation_steps=0", "accumulation_steps = 0 is out of range"),
        ("teachers.wav.fit.decay=step", "fit.decay = 'step'; one of cosine, linear"),
        ("distill.teachers.bigg=1", r"names 'bigg' \(did you mean 'big'\?\).*big, wav, outside"),
    ],
)
def test_wrong_settings_are_named_with_their_mend(recipe, override, message):
    with pytest.raises(UserError, match=message):
        load_config(recipe, [override])


@pytest.mark.parametrize(
    "override",
    [
        "audio.window_seconds=0.05",
        "audio.window_hop_seconds=0",
        "audio.window_hop_seconds=3.5",
        "logmel.sample_rate_hz=8000",
        "logmel.hop_seconds=0",
        "logmel.max_hz=8001",
        "logmel.max_hz=9000",
        "logmel.fft_samples=65536",
        "distill.temperature=0",
        "distill.temperature=nan",
        "distill.label_weight=-0.1",
        "distill.logit_weight=-1",
        "student.width=0",
        "student.dropout=1",
        "corpus.folds=2",
        "corpus.fold=5",
        "fit.epochs=-1",
        "fit.batch_size=-1",
        "fit.learning_rate=0",
        "teachers.big.folds=1",
        "teachers.wav.fit.epochs=-1",
        "seed=-1",
        "seed=4294967296",
    ],
)
def test_values_out_of_range_are_named(recipe, override):
    key, value = override.split("=")
    number = rf"({value}|{float(value):g}(\.0)?)"
    with pytest.raises(UserError, match=rf"{key} = {number} is out of range"):
        load_config(recipe, [override])


@pytest.mark.parametrize(
    ("clips", "epochs", "batch_size"),
    [(3, 200, 8), (30, 200, 8), (90, 60, 9), (310, 60, 31), (480, 40, 32), (5_144, 40, 32)],
)
def test_epochs_and_batch_size_follow_the_number_of_clips(clips, epochs, batch_size):
    chosen = FitConfig().for_clips(clips)
    assert (chosen.epochs, chosen.batch_size) == (epochs, batch_size)
    assert chosen == FitConfig(epochs=epochs, batch_size=batch_size)


def test_epochs_and_batch_size_that_are_given_stay():
    given = FitConfig(epochs=3, batch_size=16)
    assert given.for_clips(20) == given
    assert FitConfig(epochs=3).for_clips(90) == FitConfig(epochs=3, batch_size=9)
    assert FitConfig(batch_size=30).for_clips(90) == FitConfig(epochs=200, batch_size=30)


def test_a_loss_needs_a_weight(recipe):
    with pytest.raises(UserError, match=r"distill.logit_weight = 0.0 is out of range"):
        load_config(recipe, ["distill.label_weight=0", "distill.logit_weight=0"])


def test_unknown_recipes_are_named(tmp_path):
    with pytest.raises(UserError, match=r"no recipe 'nothing-like-it'.*path of a .toml file"):
        load_config("nothing-like-it")
    for name in config.recipe_names():
        with pytest.raises(UserError, match=rf"did you mean '{name}'"):
            load_config(name + "x")
    with pytest.raises(UserError, match=r"no recipe file .*absent\.toml"):
        load_config(str(tmp_path / "absent.toml"))
    (tmp_path / "bad.toml").write_text("[fit\nepochs = 3")
    with pytest.raises(UserError, match=r"bad\.toml' is not valid TOML: .*line 1"):
        load_config(str(tmp_path / "bad.toml"))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is not UTF-8 text"):
        load_config(str(tmp_path / "binary.toml"))


def test_sizes_that_follow():
    loaded = Config()
    assert loaded.audio.window_samples == 48_000
    assert loaded.logmel.hop_samples == 320
    assert loaded.logmel.frames(48_000) == 149
    assert loaded.logmel.frames(loaded.logmel.fft_samples) == 1


def test_configs_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().fit.epochs = 3


@pytest.mark.parametrize(
    ("encoding", "ends"), [("utf-8-sig", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n")]
)
def test_recipes_of_windows_editors(tmp_path, encoding, ends):
    text = f"[corpus]{ends}name = 'folder'{ends}data_dir = 'C:\\Users\\Jürgen'{ends}"
    (tmp_path / "mine.toml").write_bytes(text.encode(encoding))
    corpus = load_config(str(tmp_path / "mine.toml")).corpus
    assert (corpus.name, corpus.data_dir.endswith("C:\\Users\\Jürgen")) == ("folder", True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ('"C:\\Users\\me"', "not valid TOML: .*in single quotes, 'C:"),
        ('"D:\\xyz"', "not valid TOML: .*in single quotes"),
        ('"D:\\new\\test"', r"corpus.data_dir = .* holds a line break.*'D:\\new\\test'"),
    ],
)
def test_backslashes_of_windows_paths_in_a_recipe(tmp_path, path, message):
    (tmp_path / "mine.toml").write_text(f"[corpus]\nname = 'folder'\ndata_dir = {path}\n")
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("quote", ['"', "'", ""])
@pytest.mark.parametrize("path", ["C:\\Users\\me", "D:\\new\\test", "D:\\xyz", "\\\\server\\share"])
def test_backslashes_of_windows_paths_in_an_override(quote, path):
    override = f"corpus.metadata_dir={quote}{path}{quote}"
    assert load_config("demo", [override]).corpus.metadata_dir.endswith(path.removeprefix("\\\\"))


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("epochs", "'fit.epochs' or 'teachers.ensemble.fit.epochs'"),
        ("student.epochs", "'fit.epochs' or 'teachers.ensemble.fit.epochs'"),
        ("teachers.ensemble.epochs", "'teachers.ensemble.fit.epochs'"),
        ("lr", "'fit.learning_rate' or"),
        ("fit.lr", "'learning_rate'"),
        ("batch", "'fit.batch_size' or"),
        ("corpus.path", "'data_dir'"),
        ("data_dir", "'corpus.data_dir'"),
        ("widht", "'student.width'"),
        ("augment.noise", "'noise_snr_db'"),
        ("corpus.kind", "'name'"),
        ("student.model", "'kind'"),
        ("n_fft", "'logmel.fft_samples'"),
        ("num_train_epochs", "'fit.epochs' or"),
    ],
)
def test_what_a_wrong_name_was_meant_to_be(key, meant):
    with pytest.raises(UserError) as error:
        load_config("crema_d_cpu", [f"{key}=1"])
    assert f"unknown key '{key}' (did you mean {meant}" in str(error.value)


def test_no_setting_is_like_it():
    with pytest.raises(UserError, match="unknown key 'zzz'; known here: name, seed"):
        load_config("crema_d_cpu", ["zzz=1"])


def test_a_new_teacher_may_have_its_kind_last():
    overrides = ["teachers.more.folds=3", "teachers.more.kind=prosodic"]
    assert load_config("crema_d_cpu", overrides).teachers["more"].folds == 3


@pytest.mark.parametrize("key", ["patience", "labels", "device"])
def test_a_name_that_is_like_none_has_no_suggestion(key):
    with pytest.raises(UserError, match=rf"unknown key '{key}'; known here"):
        load_config("crema_d_cpu", [f"{key}=1"])


def test_an_override_is_one_value():
    with pytest.raises(UserError, match="more than one value: give each setting a --set"):
        load_config("demo", ["fit.epochs=3\nfit.batch_size=4"])


def test_a_folder_is_no_recipe(tmp_path):
    (tmp_path / "mine.toml").mkdir()
    with pytest.raises(UserError, match=r"recipe '.*mine.toml' cannot be read"):
        load_config(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teachers = 3", "teachers is a table, got 3"),
        ("fit = 3", "fit is a section, got 3"),
        (f"seed = {'9' * 5_000}", "cannot be read: .*digits"),
        ("a = " + "[" * 5_000, "cannot be read"),
    ],
)
def test_recipes_of_another_form_are_told_of(tmp_path, text, message):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=message):
        load_config(str(tmp_path / "mine.toml"), ["seed=1"])
