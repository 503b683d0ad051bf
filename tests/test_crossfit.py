"""Cross-fitting: from the stored files, nobody's target comes from a network that heard them."""

import contextlib
import dataclasses
import json

import keras
import numpy as np
import pytest
import soundfile
from corpus_maker import SPEAKERS, TAKES, settings, snapshot, wav2vec2_teacher, write_corpus

from ser_kd import fitting
from ser_kd.config import LogMelConfig, config_from_dict
from ser_kd.data import to_int16
from ser_kd.errors import UserError
from ser_kd.features import LogMel
from ser_kd.run import Run, RunData
from ser_kd.targets import ALL_FOLDS, IN_FOLD, softmax
from ser_kd.teachers.crossfit import teacher_targets

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
    return run, run_data, teacher_targets("ensemble", run, run_data)


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
        patch.setattr("ser_kd.teachers.logmel_ensemble.LogMelEnsemble.predict", stop)
        with pytest.raises(StopIteration):
            teacher_targets("ensemble", other_run, noise)
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


def test_resuming_leaves_what_is_finished_and_ends_the_same(corpus, fitted, monkeypatch):
    run, run_data = make_run(corpus, "resumed")
    saved, save = [], fitting.TrainingState.save

    def save_or_die(state):
        saved.append(state.path)
        if len(saved) == 2:  # in the second fold, its only epoch done and not on disk
            raise KeyboardInterrupt
        save(state)

    with monkeypatch.context() as patch:
        patch.setattr(fitting.TrainingState, "save", save_or_die)
        with pytest.raises(KeyboardInterrupt):
            teacher_targets("ensemble", run, run_data)
    directory = run.teacher_dir("ensemble")
    assert (directory / "fold_0" / "predictions.npz").exists()
    assert not (directory / "fold_1" / "member_0.keras").exists()
    assert not (directory / "targets.npz").exists()
    before = snapshot(directory / "fold_0")

    # Killed again, between the second fold's network and its predictions.
    with monkeypatch.context() as patch:
        patch.setattr("ser_kd.teachers.logmel_ensemble.LogMelEnsemble.predict", stop)
        with pytest.raises(StopIteration):
            teacher_targets("ensemble", run, run_data)
    network = (directory / "fold_1" / "member_0.keras").stat().st_mtime_ns

    assert_same_targets(teacher_targets("ensemble", run, run_data), fitted[2])
    assert snapshot(directory / "fold_0") == before
    assert (directory / "fold_1" / "member_0.keras").stat().st_mtime_ns == network
    assert not list(directory.rglob("training_state.npz"))
    assert not list(directory.rglob(".partial-*"))

    finished = snapshot(directory)
    assert_same_targets(teacher_targets("ensemble", run, run_data), fitted[2])
    assert snapshot(directory) == finished


def test_an_in_fold_teacher_is_named_as_such(corpus):
    table = {**settings(corpus)["teachers"]["ensemble"], "in_fold": True}
    run, run_data = make_run(corpus, "in_fold", known=table)
    targets = teacher_targets("known", run, run_data)
    (record,) = records(run, "known")
    assert record["in_fold"] is True
    assert record["training_speakers"] == record["target_speakers"]
    fold_of = dict(zip(targets.ids, targets.fold.tolist(), strict=True))
    divided = parts(run_data)
    assert {fold_of[i] for i in divided["training"]} == {IN_FOLD}
    assert {fold_of[i] for i in divided["validation"] | divided["test"]} == {ALL_FOLDS}


def test_a_wav2vec2_teacher_goes_the_same_way(corpus):
    run, run_data = make_run(corpus, "wav2vec2", wave=wav2vec2_teacher())
    targets = teacher_targets("wave", run, run_data)
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
        teacher_targets("mine", run, run_data)
    np.savez(path, ids=ids[::-1], logits=run_data.one_hot(ids[::-1]), labels=run_data.labels)
    targets = teacher_targets("mine", run, run_data)
    np.testing.assert_array_equal(targets.logits_of(ids, "mine"), run_data.one_hot(ids))
    assert not run.teacher_dir("mine").exists()


def test_published_weights_are_not_there_yet(corpus):
    table = {**wav2vec2_teacher(), "checkpoint": "facebook/wav2vec2-base"}
    run, run_data = make_run(corpus, "checkpoint", wave=table)
    with pytest.raises(UserError, match=r"teachers\.wave\.checkpoint = 'facebook/wav2vec2-base'"):
        teacher_targets("wave", run, run_data)


def test_more_folds_than_speakers(corpus):
    run, run_data = make_run(corpus, "folds", wave=wav2vec2_teacher(folds=7))
    with pytest.raises(UserError, match="folds = 7, but there are only 6 speakers"):
        teacher_targets("wave", run, run_data)
    with contextlib.suppress(FileNotFoundError):
        assert not list(run.teacher_dir("wave").iterdir())
