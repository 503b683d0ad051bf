"""Cross-fitting: from the stored files, nobody's target comes from a network that heard them."""

import contextlib
import dataclasses
import json
import shutil

import keras
import numpy as np
import pytest
import soundfile
from corpus_maker import (
    SPEAKERS,
    TAKES,
    settings,
    snapshot,
    wav2vec2_teacher,
    write_corpus,
    write_unlabelled,
)

from ser_kd.audio.decoding import to_float, to_int16
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.views import make_view
from ser_kd.audio.windows import Windowing
from ser_kd.config import LogMelConfig, ViewsConfig, config_from_dict
from ser_kd.data.targets import ALL_FOLDS, IN_FOLD, softmax
from ser_kd.distillation import fit_loop
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import make_teacher
from ser_kd.teachers.crossfit import Teachers

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

FOLDS = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("crossfit") / "corpus")


def make_run(corpus, name: str, **teachers) -> tuple[Run, RunData]:
    table = settings(corpus)
    config = config_from_dict({**table, "teachers": teachers or table["teachers"]})
    run = Run.create(config, corpus.parent / "runs" / name)
    return run, run.data()


@pytest.fixture(scope="module")
def fitted(corpus):
    """An uninterrupted cross-fit."""
    run, run_data = make_run(corpus, "straight")
    return run, run_data, Teachers(run, run_data).targets("ensemble")


def records(run: Run, name: str = "ensemble") -> list[dict]:
    paths = sorted(run.teacher_dir(name).glob("fold_*/fold.json"))
    return [json.loads(path.read_text()) for path in paths]


def speaker_of(clip_id: str) -> str:
    """From the path, not from the run's own records."""
    return clip_id.split("/")[1]


def parts(run_data: RunData) -> dict[str, set[str]]:
    return {part: set(run_data.ids(part)) for part in ("training", "validation", "test")}


def test_no_clips_teacher_heard_its_speaker(fitted):
    run, run_data, _ = fitted
    training = parts(run_data)["training"]
    record_of = {record["fold"]: record for record in records(run)}
    assert sorted(record_of) == list(range(FOLDS))
    with np.load(run.teacher_dir("ensemble") / "targets.npz") as stored:
        fold_of = dict(zip(stored["ids"].tolist(), stored["fold"].tolist(), strict=True))
    assert len(training) == 6 * 3 * TAKES
    for clip_id in training:
        record = record_of[fold_of[clip_id]]
        speaker = speaker_of(clip_id)
        assert speaker in record["target_speakers"]
        assert speaker not in record["training_speakers"]
        assert speaker not in record["feature_statistics_speakers"]
        assert speaker not in record["early_stopping_speakers"]
        assert record["in_fold"] is False


def test_folds_deal_out_the_training_speakers(fitted):
    run, run_data, _ = fitted
    everyone = {speaker_of(clip_id) for clip_id in parts(run_data)["training"]}
    assert len(everyone) == 6
    groups = [set(record["target_speakers"]) for record in records(run)]
    assert set().union(*groups) == everyone
    assert sum(map(len, groups)) == len(everyone)
    for record, group in zip(records(run), groups, strict=True):
        assert set(record["training_speakers"]) == everyone - group
        assert record["training_clips"] == (6 - len(group)) * 3 * TAKES


def test_every_clip_has_its_own_folds_prediction_or_the_mean(fitted):
    run, run_data, targets = fitted
    divided = parts(run_data)
    by_fold = []
    for number in range(FOLDS):
        with np.load(run.teacher_dir("ensemble") / f"fold_{number}" / "predictions.npz") as stored:
            ids = stored["ids"].tolist()
            assert len(set(ids)) == len(ids)
            by_fold.append(
                {i: (p, e) for i, p, e in zip(ids, stored["probs"], stored["embedding"])}  # noqa: B905
            )
    outside = divided["validation"] | divided["test"]
    assert set(targets.ids) == divided["training"] | outside
    assert len(targets.ids) == len(SPEAKERS) * 3 * TAKES
    probs = dict(zip(targets.ids, softmax(targets.logits), strict=True))
    embedding = dict(zip(targets.ids, targets.embedding, strict=True))
    fold_of = dict(zip(targets.ids, targets.fold.tolist(), strict=True))
    for clip_id in divided["training"]:
        holders = [n for n, predictions in enumerate(by_fold) if clip_id in predictions]
        assert holders == [fold_of[clip_id]]
        own, own_embedding = by_fold[holders[0]][clip_id]
        np.testing.assert_allclose(probs[clip_id], own, atol=1e-6)
        np.testing.assert_array_equal(embedding[clip_id], own_embedding)
    for clip_id in outside:
        assert fold_of[clip_id] == ALL_FOLDS
        mean = np.mean([predictions[clip_id][0] for predictions in by_fold], axis=0)
        np.testing.assert_allclose(probs[clip_id], mean, atol=1e-6)
        assert np.isnan(embedding[clip_id]).all()


def log_mel_mean(corpus, speakers: list[str]) -> np.ndarray:
    """Mean log-mel frame of all clips of some speakers, from their files."""
    config = LogMelConfig(mels=16)
    logmel, frames = LogMel(config), []
    for path in sorted(corpus.glob("*/*/*.wav")):
        if path.parent.name in speakers:
            waveform = soundfile.read(path, dtype="float32")[0]
            waveform = to_int16(waveform).astype(np.float32) / 32_768
            count = -(-len(waveform) // config.hop_samples)
            padded = np.zeros((count - 1) * config.hop_samples + config.fft_samples, np.float32)
            padded[: len(waveform)] = waveform[: len(padded)]
            frames.append(np.asarray(logmel(padded[np.newaxis])[0]))
    return np.concatenate(frames).mean(0)


def test_the_networks_carry_the_statistics_of_just_the_speakers_on_record(corpus, fitted):
    run, _, _ = fitted
    for record in records(run):
        path = run.teacher_dir("ensemble") / f"fold_{record['fold']}" / "member_0.keras"
        mean = np.asarray(keras.models.load_model(path).get_layer("standardize").mean)
        speakers = record["feature_statistics_speakers"]
        np.testing.assert_allclose(mean, log_mel_mean(corpus, speakers), atol=1e-3)
        # Anybody more or less would show.
        one_more = log_mel_mean(corpus, speakers + record["target_speakers"][:1])
        assert np.abs(mean - one_more).max() > 0.05
        assert np.abs(mean - log_mel_mean(corpus, speakers[1:])).max() > 0.05


def test_what_the_others_say_does_not_change_a_folds_network(corpus, fitted):
    """The records apart: noise in place of everybody else's clips leaves the network as it is."""
    run, run_data, _ = fitted
    heard = set(records(run)[0]["training_speakers"])
    logmel = run_data.logmel
    values, rng = logmel.values.copy(), np.random.default_rng(0)
    for index, clip_id in enumerate(logmel.ids):
        if speaker_of(clip_id) not in heard:
            place = slice(logmel.offsets[index], logmel.offsets[index + 1])
            values[place] = rng.uniform(-80, 0, values[place].shape)
    other_run, _ = make_run(corpus, "noise")
    noise = dataclasses.replace(run_data, logmel=dataclasses.replace(logmel, values=values))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ser_kd.teachers.logmel_ensemble.LogMelEnsemble.predictor", stop)
        with pytest.raises(StopIteration):
            Teachers(other_run, noise).targets("ensemble")
    ours, theirs = (
        keras.models.load_model(r.teacher_dir("ensemble") / "fold_0" / "member_0.keras")
        for r in (run, other_run)
    )
    for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def stop(*_, **__):
    raise StopIteration


def assert_same_targets(one, other) -> None:
    assert one.ids == other.ids
    for name in ("logits", "embedding", "fold", "view"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.slow
def test_resuming_leaves_what_is_finished_and_ends_the_same(corpus, fitted, monkeypatch):
    run, run_data = make_run(corpus, "resumed")
    saved, save = [], fit_loop.TrainingState.save

    def save_or_die(state):
        saved.append(state.path)
        if len(saved) == 2:  # in the second fold, its only epoch done and not on disk
            raise KeyboardInterrupt
        save(state)

    with monkeypatch.context() as patch:
        patch.setattr(fit_loop.TrainingState, "save", save_or_die)
        with pytest.raises(KeyboardInterrupt):
            Teachers(run, run_data).targets("ensemble")
    directory = run.teacher_dir("ensemble")
    assert (directory / "fold_0" / "predictions.npz").exists()
    assert not (directory / "fold_1" / "member_0.keras").exists()
    assert not (directory / "targets.npz").exists()
    before = snapshot(directory / "fold_0")

    # Killed again, between the second fold's network and its predictions.
    with monkeypatch.context() as patch:
        patch.setattr("ser_kd.teachers.logmel_ensemble.LogMelEnsemble.predictor", stop)
        with pytest.raises(StopIteration):
            Teachers(run, run_data).targets("ensemble")
    network = (directory / "fold_1" / "member_0.keras").stat().st_mtime_ns

    assert_same_targets(Teachers(run, run_data).targets("ensemble"), fitted[2])
    assert snapshot(directory / "fold_0") == before
    assert (directory / "fold_1" / "member_0.keras").stat().st_mtime_ns == network
    assert not list(directory.rglob("training_state.npz"))
    assert not list(directory.rglob(".partial-*"))

    finished = snapshot(directory)
    assert_same_targets(Teachers(run, run_data).targets("ensemble"), fitted[2])
    assert snapshot(directory) == finished


VIEWS = {"count": 2, "gain_db": 6.0, "speed": 0.1, "noise_probability": 1.0}


@pytest.fixture(scope="module")
def with_views(corpus):
    """Two views beside each training clip, and speech without labels."""
    folder = write_unlabelled(corpus.parent / "speech")
    table = settings(corpus, views=VIEWS, seed=5)
    table["corpus"]["unlabelled_dirs"] = [str(folder)]
    run = Run.create(config_from_dict(table), corpus.parent / "runs" / "views")
    run_data = run.data()
    return run, run_data, Teachers(run, run_data).targets("ensemble")


@pytest.mark.slow
def test_views_are_predicted_of_training_clips_by_their_own_fold_only(with_views):
    run, run_data, targets = with_views
    divided = parts(run_data)
    unlabelled = {f"unlabelled/{name}@{start}" for name, start in SEGMENTS}
    outside = divided["validation"] | divided["test"] | unlabelled
    wanted = {(i, view) for i in divided["training"] for view in range(3)}
    wanted |= {(i, 0) for i in outside}
    keys = list(zip(targets.ids, targets.view.tolist(), strict=True))
    assert keys == sorted(wanted)
    fold_of = dict(zip(keys, targets.fold.tolist(), strict=True))
    for record in records(run):
        path = run.teacher_dir("ensemble") / f"fold_{record['fold']}" / "predictions.npz"
        with np.load(path) as stored:
            predicted = set(zip(stored["ids"].tolist(), stored["view"].tolist(), strict=True))
        speakers = set(record["target_speakers"])
        own = {key for key in predicted if key[0] in divided["training"]}
        assert own == {
            (i, view) for i in divided["training"] for view in range(3) if speaker_of(i) in speakers
        }
        assert predicted - own == {(i, 0) for i in outside}
        assert {fold_of[key] for key in own} == {record["fold"]}
    assert {fold_of[i, 0] for i in outside} == {ALL_FOLDS}


@pytest.mark.slow
def test_teachers_that_hear_clips_predict_no_views(corpus, with_views):
    """And the run is asked for no more than that."""
    views = {**VIEWS, "teachers_hear": "clip"}
    run = Run.create(
        config_from_dict(settings(corpus, views=views, seed=5)), corpus.parent / "runs" / "clips"
    )
    run_data = run.data()
    copied = run.teacher_dir("ensemble")
    shutil.copytree(
        with_views[0].teacher_dir("ensemble"),
        copied,
        ignore=shutil.ignore_patterns("predictions.npz", "targets.npz"),
    )  # the networks, which heard no view
    targets = Teachers(run, run_data).targets("ensemble")
    assert set(targets.view) == {0}
    assert set(targets.ids) == {i for part in parts(run_data).values() for i in part}
    ids = run_data.ids("training")
    straight = with_views[2]
    np.testing.assert_allclose(
        targets.logits_of(ids, "ensemble"), straight.logits_of(ids, "ensemble"), atol=1e-5
    )


def by_hand(run: Run, corpus, clip_id: str, view: int, fold: int) -> np.ndarray:
    """A view's probabilities from files: audio, network; windows as in the config of the tests."""
    path = corpus.parent / "speech" / clip_id.split("/")[1].split("@")[0]
    path = path if clip_id.startswith("unlabelled/") else corpus / clip_id
    waveform = soundfile.read(path, dtype="float32")[0]
    if "@" in clip_id:
        waveform = waveform[16_000 * int(clip_id.split("@")[1]) :][:16_000]
    config = ViewsConfig(count=2, gain_db=6.0, speed=0.1, noise_probability=1.0)
    waveform = make_view(waveform, config, 5, clip_id, view)
    waveform = to_int16(waveform).astype(np.float32) / 32_768
    windows = Windowing(16_000, 8_000, 320).cut(waveform)
    path = run.teacher_dir("ensemble") / f"fold_{fold}" / "member_0.keras"
    model = keras.models.load_model(path)
    logits = model.predict(np.asarray(LogMel(LogMelConfig(mels=16))(windows)), verbose=0)
    return softmax(logits).mean(0)


SEGMENTS = [("long.wav", 0), ("long.wav", 1), ("short.wav", 0)]


@pytest.mark.slow
def test_a_views_target_is_what_the_network_says_of_that_view(corpus, with_views):
    run, run_data, targets = with_views
    for clip_id in run_data.ids("training")[::12]:
        rows = targets.rows_of([clip_id] * 3, "ensemble", [0, 1, 2])
        found = softmax(targets.logits[rows])
        assert np.abs(found[0] - found[1]).max() > 1e-3
        assert np.abs(found[1] - found[2]).max() > 1e-3
        for view in range(3):
            expected = by_hand(run, corpus, clip_id, view, targets.fold[rows[0]])
            np.testing.assert_allclose(found[view], expected, atol=1e-5)


@pytest.mark.slow
def test_unlabelled_speech_is_labelled_by_the_mean_of_the_folds(corpus, with_views):
    run, _, targets = with_views
    for name, start in SEGMENTS[1:]:
        clip_id = f"unlabelled/{name}@{start}"
        by_fold = [by_hand(run, corpus, clip_id, 0, fold) for fold in range(FOLDS)]
        (row,) = targets.rows_of([clip_id], "ensemble")
        np.testing.assert_allclose(softmax(targets.logits[row]), np.mean(by_fold, 0), atol=1e-5)
        assert np.isnan(targets.embedding[row]).all()


@pytest.mark.slow
def test_both_kinds_of_network_hear_the_same_view(corpus, with_views):
    _, run_data, _ = with_views
    keys = [(run_data.ids("training")[7], view) for view in (2, 0, 1)]
    keys += [(run_data.ids("test")[0], 0), ("unlabelled/long.wav@1", 0)]
    waveforms = run_data.signals.arrays("waveform", keys)
    logmel = run_data.signals.arrays("logmel", keys)
    assert waveforms.ids == logmel.ids == tuple(clip_id for clip_id, _ in keys)
    assert waveforms.samples.tolist() == logmel.samples.tolist() == waveforms.lengths.tolist()
    assert len(set(waveforms.samples[:3].tolist())) == 3  # of another speed each
    front_end = LogMel(LogMelConfig(mels=16))
    for row in range(len(keys)):
        heard = to_float(waveforms.clip(row))
        expected = np.asarray(front_end(heard[np.newaxis])[0])
        np.testing.assert_allclose(logmel.clip(row)[: len(expected)], expected, atol=1e-4)


@pytest.mark.slow
def test_prediction_that_is_killed_ends_the_same(corpus, with_views, monkeypatch):
    straight, run_data, expected = with_views
    run = Run.create(straight.config, corpus.parent / "runs" / "views_killed")
    directory = run.teacher_dir("ensemble")
    shutil.copytree(straight.teacher_dir("ensemble"), directory)
    (directory / "targets.npz").unlink()
    for number in range(FOLDS):
        (directory / f"fold_{number}" / "predictions.npz").unlink()
    monkeypatch.setattr("ser_kd.teachers.prediction.SHARD_VIEWS", 16)
    first = Teachers(run, run_data).targets("ensemble")
    (directory / "targets.npz").unlink()
    (directory / "fold_1" / "predictions.npz").unlink()
    predict, calls = LogMelPredictor.predict, []

    def predict_or_die(self, arrays):
        calls.append(len(arrays))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(self, arrays)

    with monkeypatch.context() as patch:
        patch.setattr(LogMelPredictor, "predict", predict_or_die)
        with pytest.raises(KeyboardInterrupt):
            Teachers(run, run_data).targets("ensemble")
    shards = sorted(p.name for p in (directory / "fold_1" / "predictions").iterdir())
    assert shards == ["shard_0000.npz", "shard_0001.npz"]
    before = snapshot(directory / "fold_0")
    assert_same_targets(Teachers(run, run_data).targets("ensemble"), first)
    assert snapshot(directory / "fold_0") == before
    assert not list(directory.glob("fold_*/predictions"))
    # Shards of another size make other batches of the same clips.
    assert expected.ids == first.ids
    np.testing.assert_allclose(first.logits, expected.logits, atol=1e-5)


@pytest.mark.slow
def test_leftover_shards_are_removed(with_views):
    run, run_data, expected = with_views
    shards = run.teacher_dir("ensemble") / "fold_0" / "predictions"
    shards.mkdir()
    (shards / "shard_0000.npz").write_bytes(b"")
    (run.teacher_dir("ensemble") / "targets.npz").unlink()
    assert_same_targets(Teachers(run, run_data).targets("ensemble"), expected)
    assert not shards.exists()


def test_an_in_fold_teacher_is_named_as_such(corpus):
    table = {**settings(corpus)["teachers"]["ensemble"], "in_fold": True}
    run, run_data = make_run(corpus, "in_fold", known=table)
    targets = Teachers(run, run_data).targets("known")
    (record,) = records(run, "known")
    assert record["in_fold"] is True
    assert record["training_speakers"] == record["target_speakers"]
    fold_of = dict(zip(targets.ids, targets.fold.tolist(), strict=True))
    divided = parts(run_data)
    assert {fold_of[i] for i in divided["training"]} == {IN_FOLD}
    assert {fold_of[i] for i in divided["validation"] | divided["test"]} == {ALL_FOLDS}


@pytest.mark.slow
def test_a_wav2vec2_teacher_goes_the_same_way(corpus):
    run, run_data = make_run(corpus, "wav2vec2", wave=wav2vec2_teacher())
    targets = Teachers(run, run_data).targets("wave")
    assert np.isfinite(targets.logits).all()
    np.testing.assert_allclose(np.exp(targets.logits).sum(1), 1.0, atol=1e-5)
    assert targets.embedding.shape == (60, 8)
    record_of = {record["fold"]: record for record in records(run, "wave")}
    assert len(record_of) == 2
    for clip_id, fold in zip(targets.ids, targets.fold.tolist(), strict=True):
        if fold == ALL_FOLDS:
            assert clip_id not in parts(run_data)["training"]
        else:
            assert speaker_of(clip_id) in record_of[fold]["target_speakers"]
            assert speaker_of(clip_id) not in record_of[fold]["training_speakers"]
    for fold in record_of:
        directory = run.teacher_dir("wave") / f"fold_{fold}"
        names = sorted(path.name for path in directory.iterdir())
        assert names == ["classifier", "classifier.keras", "fold.json", "predictions.npz"]
        assert sorted(path.name for path in (directory / "classifier").iterdir()) == [
            "history.jsonl",
            "tensorboard",
        ]


def test_a_teacher_from_a_file(corpus, tmp_path):
    path = tmp_path / "mine.npz"
    run, run_data = make_run(corpus, "file", mine={"kind": "file", "path": str(path)})
    ids = run_data.ids("training")
    with pytest.raises(UserError, match="no predictions file"):
        Teachers(run, run_data).targets("mine")
    np.savez(path, ids=ids[::-1], logits=run_data.one_hot(ids[::-1]), labels=run_data.labels)
    targets = Teachers(run, run_data).targets("mine")
    np.testing.assert_array_equal(targets.logits_of(ids, "mine"), run_data.one_hot(ids))
    assert not run.teacher_dir("mine").exists()


def test_more_folds_than_speakers(corpus):
    run, run_data = make_run(corpus, "folds", wave=wav2vec2_teacher(folds=7))
    with pytest.raises(UserError, match="folds = 7, but there are only 6 speakers"):
        Teachers(run, run_data).targets("wave")
    with contextlib.suppress(FileNotFoundError):
        assert not list(run.teacher_dir("wave").iterdir())


def shifted(run_data: RunData, speaker: str) -> RunData:
    """The same clips, all of one speaker's recorded with another microphone."""
    arrays = run_data.logmel
    values = arrays.values.copy()
    for row, clip_id in enumerate(arrays.ids):
        if run_data.speakers[clip_id] == speaker:
            place = slice(arrays.offsets[row], arrays.offsets[row + 1])
            values[place] = 0.5 * values[place] + np.linspace(-9, 3, values.shape[1])
    logmel = dataclasses.replace(arrays, values=values)
    return dataclasses.replace(run_data, logmel=logmel)


@pytest.mark.slow
@pytest.mark.parametrize("statistics", ["corpus", "speaker"])
def test_only_speaker_statistics_forgive_a_speakers_microphone(corpus, statistics):
    table = settings(corpus)["teachers"]["ensemble"]
    run, run_data = make_run(
        corpus, f"statistics_{statistics}", t={**table, "statistics": statistics}
    )
    targets = Teachers(run, run_data).targets("t")
    speaker = run_data.splits.validation[0].speaker
    ids = [i for i in run_data.ids("validation") if run_data.speakers[i] == speaker]
    other = shifted(run_data, speaker)
    predicted = []
    for fold in sorted(run.teacher_dir("t").glob("fold_*")):
        teacher = make_teacher("t", run.config, other)
        predicted.append(teacher.predictor(fold)(other.logmel.select(ids))[0])
    same = np.allclose(np.mean(predicted, 0), softmax(targets.logits_of(ids, "t")), atol=1e-4)
    assert same == (statistics == "speaker")


def test_speaker_statistics_need_speakers(corpus, tmp_path):
    table = settings(corpus)
    folder = write_unlabelled(tmp_path / "more")
    teacher = {**table["teachers"]["ensemble"], "statistics": "speaker"}
    config = config_from_dict(
        {
            **table,
            "teachers": {"t": teacher},
            "corpus": {**table["corpus"], "unlabelled_dirs": [str(folder)]},
        }
    )
    run = Run.create(config, tmp_path / "run")
    with pytest.raises(UserError, match=r"teachers.t.statistics = 'speaker'.*unlabelled_dirs"):
        Teachers(run, run.data()).targets("t")
