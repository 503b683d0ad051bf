"""The prosodic teacher: out of fold, statistics, descriptors computed once, resuming."""

import dataclasses
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import soundfile
from corpus_maker import settings, snapshot, write_corpus, write_unlabelled

from ser_kd.audio import prosody
from ser_kd.audio.decoding import to_int16
from ser_kd.audio.prosody import DESCRIPTORS, Descriptor
from ser_kd.config import config_from_dict
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.targets import ALL_FOLDS
from ser_kd.distillation import fit_loop
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers import descriptors
from ser_kd.teachers.base import make_teacher
from ser_kd.teachers.crossfit import Teachers
from ser_kd.teachers.descriptors import Descriptors
from ser_kd.teachers.prosodic_network import build_network, frame_statistics
from ser_kd.teachers.settings import ProsodicTeacherConfig

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FIT = {"epochs": 8, "batch_size": 6, "warmup_epochs": 0.5, "learning_rate": 0.01}
TEACHER = {"kind": "prosodic", "folds": 2, "members": 1, "units": 8, "dropout": 0.0, "fit": FIT}
FRAMES = f"descriptors-{prosody.VERSION}"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("prosodic") / "corpus")


def make_run(corpus: Path, name: str, like: Run | None = None, **teacher) -> tuple[Run, RunData]:
    """``like``: another run, whose descriptors are copied, as they take time."""
    config = config_from_dict(settings(corpus, teachers={"p": {**TEACHER, **teacher}}))
    run = Run.create(config, corpus.parent / "runs" / name)
    if like is not None:
        shutil.copytree(like.teacher_dir("p") / FRAMES, run.teacher_dir("p") / FRAMES)
    return run, run.data()


@pytest.fixture(scope="module")
def fitted(corpus):
    """An uninterrupted cross-fit."""
    run, run_data = make_run(corpus, "straight")
    return run, run_data, Teachers(run, run_data).targets("p")


def speaker_of(clip_id: str) -> str:
    """From the path, not from the run's own records."""
    return clip_id.split("/")[1]


def records(run: Run) -> dict[int, dict]:
    paths = sorted(run.teacher_dir("p").glob("fold_*/fold.json"))
    return {record["fold"]: record for record in (json.loads(p.read_text()) for p in paths)}


@pytest.mark.slow
def test_no_clips_teacher_heard_its_speaker(fitted):
    run, run_data, targets = fitted
    record_of = records(run)
    assert sorted(record_of) == [0, 1]
    training = set(run_data.ids("training"))
    for clip_id, fold in zip(targets.ids, targets.fold.tolist(), strict=True):
        assert (fold != ALL_FOLDS) == (clip_id in training)
        if fold != ALL_FOLDS:
            assert speaker_of(clip_id) in record_of[fold]["target_speakers"]
            assert speaker_of(clip_id) not in record_of[fold]["training_speakers"]
    assert len(targets.ids) == 60
    assert targets.embedding.shape == (60, 16)
    np.testing.assert_allclose(np.exp(targets.logits).sum(1), 1.0, atol=1e-5)


@pytest.mark.slow
def test_it_hears_what_the_emotions_of_the_made_corpus_are(fitted):
    """Tones of 150, 400 and 900 Hz, the last one above any voice."""
    _, run_data, targets = fitted
    for part in ("training", "test"):
        ids = run_data.ids(part)
        truth = run_data.one_hot(ids).argmax(1)
        assert np.mean(targets.logits_of(ids, "p").argmax(1) == truth) > 0.85


def mean_level_db(corpus: Path, speakers: list[str]) -> float:
    """Over all frames of the speakers' files: RMS of 400 samples every 160."""
    found = []
    for path in sorted(corpus.glob("*/*/*.wav")):
        if path.parent.name in speakers:
            wave = soundfile.read(path)[0]
            padded = np.pad(wave - wave.mean(), (200, 400))
            for first in range(0, len(wave), 160):
                found.append(10 * np.log10(np.mean(padded[first : first + 400] ** 2) + 1e-10))
    return float(np.mean(found))


@pytest.mark.slow
def test_a_network_carries_the_statistics_of_just_its_speakers(corpus, fitted):
    run, _, _ = fitted
    record = records(run)[0]
    path = run.teacher_dir("p") / "fold_0" / "member_0.keras"
    mean = np.asarray(keras.models.load_model(path).get_layer("standardize").mean)
    found = mean[[descriptor.name for descriptor in DESCRIPTORS].index("level_db")]
    speakers = record["training_speakers"]
    assert found == pytest.approx(mean_level_db(corpus, speakers), abs=1e-3)
    # Anybody more or less would show.
    one_more = speakers + record["target_speakers"][:1]
    assert abs(found - mean_level_db(corpus, one_more)) > 0.05
    assert abs(found - mean_level_db(corpus, speakers[1:])) > 0.05


@pytest.mark.slow
def test_killed_anywhere_it_ends_the_same_and_describes_nothing_twice(corpus, fitted, monkeypatch):
    run, run_data = make_run(corpus, "killed")
    # To describe anew takes time; what the uninterrupted run kept serves as well.
    known = {}
    for path in (fitted[0].teacher_dir("p") / FRAMES).iterdir():
        with np.load(path) as stored:
            parts = np.split(stored["values"][:, :-1], np.cumsum(stored["lengths"])[:-1])
            known |= dict(zip(stored["keys"].tolist(), parts, strict=True))
    assert len(known) == 60
    described, alive = [], []

    def describe_or_die(waveform, rate_hz):
        if len(described) == 40 and not alive:
            raise KeyboardInterrupt
        key = hashlib.sha256(to_int16(waveform).tobytes()).hexdigest()
        described.append(key)
        return known[key]

    monkeypatch.setattr(descriptors, "_CLIPS_PER_FILE", 16)
    entry = (DESCRIPTORS, describe_or_die)
    monkeypatch.setitem(prosody.FEATURES, "descriptors", entry)
    with pytest.raises(KeyboardInterrupt):
        Teachers(run, run_data).targets("p")
    written = snapshot(run.teacher_dir("p") / FRAMES)
    assert len(written) == 2  # 32 clips; the next 8 have to be done again
    alive.append(True)

    saved, save = [], fit_loop.TrainingState.save

    def save_and_die(state):
        save(state)
        saved.append(state.epochs_done)
        if len(saved) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        Teachers(run, run_data).targets("p")
    targets = Teachers(run, run_data).targets("p")
    assert saved == [*range(1, 9), *range(1, 9)]
    assert len(described) == 60 + 8
    assert len(set(described)) == 60
    after = snapshot(run.teacher_dir("p") / FRAMES)
    assert {name: after[name] for name in written} == written
    for name in ("logits", "embedding", "fold"):
        np.testing.assert_array_equal(getattr(targets, name), getattr(fitted[2], name))


def clips_of(parts: list[np.ndarray]) -> ClipArrays:
    lengths = np.array([len(part) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = tuple(map(str, range(len(parts))))
    return ClipArrays(ids, np.concatenate(parts), offsets, lengths, 1, 0.0)


def test_descriptors_are_kept_by_content(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    parts = [rng.integers(-9_000, 9_000, size).astype(np.int16) for size in (900, 1_700, 400)]
    columns = (Descriptor("voiced", "0 or 1", ""), Descriptor("mean", "1", ""))
    heard: list[int] = []

    def compute(waveform, rate_hz):
        assert rate_hz == 16_000
        heard.append(len(waveform))
        frames = -(-len(waveform) // 160)
        return np.full((frames, 2), waveform.mean(), np.float32)

    monkeypatch.setitem(prosody.FEATURES, "toy", (columns, compute))
    arrays = clips_of(parts)
    found = Descriptors(tmp_path, "toy", 16_000, "t").frames(arrays)
    assert heard == [1_700, 900, 400]  # the longest first
    assert "t: described 3 clips in" in capsys.readouterr().out
    assert found.lengths.tolist() == [6, 11, 3]
    assert (found.ids, found.cell_samples, found.padding) == (arrays.ids, 160, 0.0)
    np.testing.assert_array_equal(found.samples, arrays.samples)
    for index, part in enumerate(parts):
        np.testing.assert_allclose(found.clip(index)[:, 1], part.mean() / 32_768, rtol=1e-4)
        assert (found.clip(index)[:, 2] == 1).all()
    # Another run, other names, another order, one clip changed.
    changed = clips_of([parts[2], parts[0] + np.int16(1), parts[1]])
    again = Descriptors(tmp_path, "toy", 16_000, "t").frames(changed)
    assert heard == [1_700, 900, 400, 900]
    np.testing.assert_array_equal(again.clip(0), found.clip(2))
    np.testing.assert_array_equal(again.clip(2), found.clip(1))


def test_processes_describe_as_one_does(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = clips_of([rng.integers(-9_000, 9_000, n).astype(np.int16) for n in (900, 1_700, 400)])
    alone = Descriptors(tmp_path / "alone", "descriptors", 16_000, "t").frames(arrays)
    monkeypatch.setattr(descriptors, "_CLIPS_FOR_PROCESSES", 2)
    shared = Descriptors(tmp_path / "shared", "descriptors", 16_000, "t").frames(arrays)
    np.testing.assert_array_equal(shared.values, alone.values)
    np.testing.assert_array_equal(shared.offsets, alone.offsets)

    # A module of its own: this one would bring TensorFlow into the process that ends.
    (tmp_path / "worker.py").write_text(
        "import os\nimport numpy\n\n\ndef end(*_):\n    os._exit(1)\n\n\n"
        "def number(*_):\n    return numpy.full((1, 26), os.getpid())\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    worker = importlib.import_module("worker")
    monkeypatch.setattr(descriptors, "_PROCESSES", 1)
    monkeypatch.setattr(prosody, "compute", worker.end)
    store = Descriptors(tmp_path / "ended", "descriptors", 16_000, "t")
    with pytest.raises(UserError, match="a process that describes clips ended early"):
        store.frames(arrays)
    # openSMILE must not meet TensorFlow, however few clips there are.
    monkeypatch.setattr(descriptors, "_CLIPS_FOR_PROCESSES", 99)
    monkeypatch.setattr(prosody, "compute", worker.number)
    apart = Descriptors(tmp_path / "apart", "egemaps", 16_000, "t").frames(arrays)
    assert (apart.values[:, :26] != os.getpid()).all()


def test_egemaps_beside_tensorflow(tmp_path):
    if importlib.util.find_spec("opensmile") is None:
        pytest.skip("opensmile is not installed: pip install -e '.[prosody]'")
    rng = np.random.default_rng(0)
    clips = [rng.integers(-9_000, 9_000, n).astype(np.int16) for n in (9_000, 17_000, 400)]
    found = Descriptors(tmp_path, "egemaps", 16_000, "t").frames(clips_of(clips))
    assert found.values.shape[1] == len(prosody.EGEMAPS) + 1
    assert np.isfinite(found.values).all()
    assert found.values[:, :-1].std() > 1


def test_statistics_by_hand():
    columns = [
        Descriptor("voiced", "", ""),
        Descriptor("pitch", "", "", voiced_only=True),
        Descriptor("level", "", ""),
        Descriptor("never", "", "", voiced_only=True),
    ]
    frames = np.array([[1, 30, -20, 0], [0, 0, -60, 0], [1, 34, -40, 0]], np.float32)
    mean, deviation = frame_statistics(frames, columns)
    np.testing.assert_allclose(mean, [0, 32, -40, 0])
    np.testing.assert_allclose(deviation, [1, 2, np.sqrt(800 / 3), 1])
    mean, deviation = frame_statistics(frames[1:2], columns)  # no voice, and one frame
    np.testing.assert_allclose(mean, [0, 0, -60, 0])
    np.testing.assert_allclose(deviation, 1)


@pytest.mark.parametrize("kind", ["convolutional", "recurrent"])
def test_neither_padding_nor_unvoiced_pitch_has_an_influence(kind):
    keras.utils.set_random_seed(1)
    columns = [
        Descriptor("level", "", ""),
        Descriptor("voiced", "", ""),
        Descriptor("pitch", "", "", voiced_only=True),
    ]
    teacher = ProsodicTeacherConfig(network=kind, units=8)
    model = build_network(teacher, 50, columns, classes=3)
    rng = np.random.default_rng(0)
    mean, deviation = np.array([-30.0, 0, 40]), np.array([10.0, 1, 5])
    model.get_layer("standardize").set_statistics(mean, deviation)
    rows = np.zeros((2, 50, 4), np.float32)
    for clip, length in enumerate((21, 50)):
        rows[clip, :length, 0] = rng.normal(-30, 10, length)
        rows[clip, :length, 1] = np.arange(length) % 7 < 4
        rows[clip, :length, 2] = rng.normal(40, 5, length) * rows[clip, :length, 1]
        rows[clip, :length, 3] = 1
    logits = model.predict(rows, verbose=0)
    other = rows.copy()
    other[0, 21:, :3] = rng.normal(0, 50, (29, 3))
    other[..., 2] += 99 * (other[..., 1] < 0.5)
    np.testing.assert_allclose(model.predict(other, verbose=0), logits, atol=1e-5)
    # By hand: what the networks see.
    seen = keras.Model(model.input, model.get_layer("standardize").output).predict(rows, verbose=0)
    voiced = rows[..., 1] > 0.5
    np.testing.assert_allclose(seen[voiced, 2], (rows[voiced, 2] - 40) / 5, atol=1e-5)
    assert not seen[~voiced, 2].any()
    assert not seen[0, 21:].any()
    # What is in the clip counts.
    for place in ((0, 20, 0), (0, 3, 2)):
        moved = rows.copy()
        moved[place] += 20
        assert np.abs(model.predict(moved, verbose=0) - logits)[0].max() > 1e-4
    loud = rows.copy()
    loud[..., 0] = 1e6
    level = model.get_layer("standardize")(loud)[..., 0]
    assert float(np.max(level)) == pytest.approx(10.0)


@pytest.mark.slow
def test_with_speaker_statistics_a_speakers_microphone_does_not_matter(corpus, fitted):
    """A recurrent ensemble with them, and the network without them."""
    run, run_data, _ = fitted
    runs = {"corpus": run}
    runs["speaker"], _ = make_run(
        corpus,
        "speaker",
        run,
        network="recurrent",
        members=2,
        statistics="speaker",
        fit={**FIT, "epochs": 1},
    )
    teacher = make_teacher("p", runs["speaker"].config, run_data)
    fold = runs["speaker"].teacher_dir("p") / "fold_0"
    teacher.train(run_data.ids("training")[::2], fold, "p fold 1")
    files = teacher.network_paths(fold)
    assert [path.name for path in files] == ["member_0.keras", "member_1.keras"]
    assert files[0].read_bytes() != files[1].read_bytes()
    # The quietest one.
    speaker = min(clip.speaker for clip in run_data.splits.validation + run_data.splits.test)
    ids = [i for i in run_data.waveforms.ids if speaker_of(i) == speaker]
    moved = {}
    for statistics, trained in runs.items():
        probs = []
        for heard in (run_data, louder(run_data, speaker)):
            teacher = make_teacher("p", trained.config, heard)
            predict = teacher.predictor(trained.teacher_dir("p") / "fold_0")
            probs.append(predict(heard.waveforms.select(ids))[0])
        moved[statistics] = np.abs(probs[0] - probs[1]).max()
    assert moved["speaker"] < 1e-3 < 1e-2 < moved["corpus"]


def louder(run_data: RunData, speaker: str) -> RunData:
    arrays = run_data.waveforms
    values = np.array(arrays.values)
    for row, clip_id in enumerate(arrays.ids):
        if speaker_of(clip_id) == speaker:
            clip = values[arrays.offsets[row] : arrays.offsets[row + 1]]
            assert np.abs(clip.astype(int)).max() < 2**14
            clip *= 2
    return dataclasses.replace(run_data, waveforms=dataclasses.replace(arrays, values=values))


@pytest.mark.slow
def test_its_networks_can_be_loaded_where_nothing_of_it_was_imported(fitted):
    """As where time and memory are measured; the linguistic teacher's, too."""
    run, _, _ = fitted
    path = run.teacher_dir("p") / "fold_0" / "member_0.keras"
    program = (
        "import pathlib, sys, keras; from ser_kd.teachers.saved import load_network; "
        "print(load_network(pathlib.Path(sys.argv[1])).input_shape); "
        "print('ser_kd>TextClassifier' in keras.saving.get_custom_objects())"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split("\n")[:2] == [f"(None, 100, {len(DESCRIPTORS) + 1})", "True"]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"units": 7}, r"teachers.p.units = 7 is out of range: it must be even"),
        ({"members": 0}, r"teachers.p.members = 0 .* at least 1"),
        ({"dropout": 1.0}, r"teachers.p.dropout = 1.0 .* below 1"),
        ({"folds": 1}, r"teachers.p.folds = 1 .* at least 2"),
        ({"network": "recurent"}, "did you mean 'recurrent'"),
        ({"features": "gemaps"}, "did you mean 'egemaps'"),
        ({"fit": {"epochs": -1}}, r"teachers.p.fit.epochs = -1"),
    ],
)
def test_wrong_settings(teacher, message):
    with pytest.raises(UserError, match=message) as caught:
        config_from_dict({"teachers": {"p": {**TEACHER, **teacher}}})
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_what_it_cannot_do_shows_before_any_training(corpus, fitted, tmp_path, monkeypatch):
    _, run_data, _ = fitted
    rate = {"sample_rate_hz": 4_000}
    config = config_from_dict(
        {
            "teachers": {"p": TEACHER},
            "audio": rate,
            "logmel": {**rate, "max_hz": 1_900.0, "fft_samples": 128},
        }
    )
    with pytest.raises(UserError, match=r"needs audio.sample_rate_hz of 8000 or more, got 4000"):
        make_teacher("p", config, run_data)
    config = config_from_dict({"teachers": {"p": {**TEACHER, "features": "egemaps"}}})
    monkeypatch.setitem(sys.modules, "opensmile", None)
    with pytest.raises(UserError, match="needs the package opensmile"):
        make_teacher("p", config, run_data)
    table = settings(corpus, teachers={"p": {**TEACHER, "statistics": "speaker"}})
    table["corpus"]["unlabelled_dirs"] = [str(write_unlabelled(tmp_path / "more"))]
    run = Run.create(config_from_dict(table), tmp_path / "run")
    with pytest.raises(UserError, match=r"teachers.p.statistics = 'speaker'.*unlabelled_dirs"):
        make_teacher("p", run.config, run.data())
