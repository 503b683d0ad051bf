"""Fine-tuning a checkpoint: what is trained, batches by length, kept features, resuming."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from corpus_maker import settings, write_corpus

from ser_kd import load_encoder
from ser_kd.audio import decoding
from ser_kd.audio.windows import Windowing
from ser_kd.config import config_from_dict, load_config
from ser_kd.data import batching
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.data.training_set import TrainingSet
from ser_kd.distillation import fit_loop
from ser_kd.errors import UserError
from ser_kd.runs.folder import Run
from ser_kd.teachers.clip_store import ClipStore
from ser_kd.teachers.crossfit import Teachers
from ser_kd.teachers.finetuning import Wav2Vec2Teacher, clip_weights
from ser_kd.teachers.waveform_batches import batches_by_length, padded_samples, trimmed

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CHECKPOINT = Path(__file__).parents[1] / "fixtures" / "encoders" / "wav2vec2_layer_stable"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_corpus(tmp_path_factory.mktemp("finetuning") / "corpus")


def make_run(corpus: Path, name: str, views: dict | None = None, **teacher) -> Run:
    table = {
        "kind": "wav2vec2",
        "folds": 2,
        "checkpoint": str(CHECKPOINT),
        "projection": 8,
        "fit": {"epochs": 2, "batch_size": 6, "warmup_epochs": 0.0, "learning_rate": 1e-3},
        **teacher,
    }
    config = config_from_dict(settings(corpus, teachers={"wave": table}, views=views or {}))
    return Run.create(config, corpus.parent / "runs" / name)


def loaded(run: Run, fold: int = 0):
    return keras.models.load_model(run.teacher_dir("wave") / f"fold_{fold}" / "classifier.keras")


@pytest.mark.slow
def test_it_starts_from_the_checkpoint_and_leaves_the_convolutions_alone(corpus, capsys):
    run = make_run(corpus, "plain", encoder_learning_rate=1e-4)
    targets = Teachers(run, run.data()).targets("wave")
    assert np.isfinite(targets.logits).all()
    assert targets.embedding.shape == (len(targets.ids), 8)
    before, after = load_encoder(CHECKPOINT, notify=lambda line: None), loaded(run).encoder
    for old, new in zip(
        before.feature_encoder.get_weights(), after.feature_encoder.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(old, new)
    moved = [
        np.abs(old - new).max()
        for old, new in zip(
            before.encoder_layers[0].get_weights(),
            after.encoder_layers[0].get_weights(),
            strict=True,
        )
    ]
    # 10 updates of at most 1e-4 each: it moved, and with its own rate, not the head's.
    assert 0 < max(moved) < 2e-3
    # Said once, not once a fold.
    assert capsys.readouterr().out.count("left out, not part of the encoder") == 1


@pytest.mark.slow
def test_every_setting_at_once_and_resumed_after_a_kill_it_is_the_same(corpus, monkeypatch):
    teacher = {
        "combine": "weighted",
        "pooling": "attentive_statistics",
        "class_weights": "balanced",
        "encoder_learning_rate": 1e-4,
        "gradient_checkpointing": True,
        "frozen": "feature_encoder",
        "in_fold": True,  # one network, which is enough for this
        "architecture": {"mask_time_prob": 0.2, "mask_time_length": 2, "layerdrop": 0.2},
        "fit": {
            "epochs": 3,
            "batch_size": 5,  # seven batches an epoch and updates of three: they cross epochs
            "warmup_epochs": 1.0,
            "decay": "linear",
            "accumulation_steps": 3,
            "learning_rate": 1e-3,
            "label_smoothing": 0.1,
        },
    }
    straight = make_run(corpus, "straight", **teacher)
    expected = Teachers(straight, straight.data()).targets("wave")

    interrupted = make_run(corpus, "interrupted", **teacher)
    save, saved = fit_loop.TrainingState.save, []

    def save_and_die(self):
        save(self)
        saved.append(self.epochs_done)
        if len(saved) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        Teachers(interrupted, interrupted.data()).targets("wave")
    targets = Teachers(interrupted, interrupted.data()).targets("wave")
    assert saved == [1, 2, 3]
    np.testing.assert_array_equal(targets.logits, expected.logits)
    np.testing.assert_array_equal(targets.embedding, expected.embedding)


@pytest.mark.slow
def test_a_frozen_encoder_hears_every_clip_once(corpus, monkeypatch):
    heard: list[int] = []
    original = Wav2Vec2Teacher._map

    def counting(self, run, clips):
        heard.append(len(clips))
        return original(self, run, clips)

    monkeypatch.setattr(Wav2Vec2Teacher, "_map", counting)
    run = make_run(corpus, "frozen", frozen="encoder", combine="weighted")
    run_data = run.data()
    targets = Teachers(run, run_data).targets("wave")
    clips = len(run_data.waveforms)
    assert sum(heard) == clips
    # What is stored is what the saved network says of the waveform itself.
    model = loaded(run)
    window = run.config.audio.window_samples
    short = [i for i in run_data.ids("validation") if run_data.signals.samples(i) <= window]
    row = targets.ids.index(short[0])
    clip = decoding.to_float(run_data.waveforms.select([targets.ids[row]]).values)
    inputs = {"waveform": clip[None], "samples": np.array([len(clip)], np.int32)}
    probs = [tf.nn.softmax(loaded(run, fold)(inputs)).numpy()[0] for fold in range(2)]
    if len(clip) <= run.config.audio.window_samples:
        np.testing.assert_allclose(np.exp(targets.logits[row]), np.mean(probs, axis=0), atol=2e-3)
    for old, new in zip(
        load_encoder(CHECKPOINT, notify=lambda line: None).get_weights(),
        model.encoder.get_weights(),
        strict=True,
    ):
        np.testing.assert_array_equal(old, new)


def test_features_are_kept_by_content_and_go_on_after_a_kill(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.integers(-100, 100, 300).astype(np.int16)
    arrays = ClipArrays(
        ("a", "b", "c"), values, np.array([0, 50, 150, 300]), np.array([50, 100, 150]), 1, 0.0
    )
    heard: list[str] = []

    def extract(groups: Iterable[ClipArrays], clips: int) -> Iterator[np.ndarray]:
        for group in groups:
            heard.extend(group.ids)
            if len(heard) == 3:
                raise KeyboardInterrupt
            yield from ([group.clip(i).astype(float).mean()] for i in range(len(group)))

    def features_of(clips: ClipArrays) -> np.ndarray:
        return np.stack(ClipStore(tmp_path, extract, "test:", 16_000, clips_per_file=1).of(clips))

    with pytest.raises(KeyboardInterrupt):
        features_of(arrays)
    assert heard == ["c", "b", "a"]  # the longest first
    features = features_of(arrays)
    assert heard == ["c", "b", "a", "a"]
    expected = [[arrays.clip(i).mean()] for i in range(3)]
    np.testing.assert_allclose(features, expected, atol=0.05)
    renamed = ClipArrays(("x", "y", "z"), *list(vars(arrays).values())[1:])
    np.testing.assert_array_equal(features_of(renamed), features)
    assert len(heard) == 4
    # Views of a clip have its id, and samples of their own.
    views = ClipArrays(("a", "a", "a"), values - 7, *list(vars(arrays).values())[2:])
    of_views = features_of(views)
    np.testing.assert_allclose(of_views, np.array(expected) - 7, atol=0.05)
    changed = ClipArrays(arrays.ids, values + 1, *list(vars(arrays).values())[2:])
    assert features_of(changed)[0] == pytest.approx(features[0] + 1, abs=0.1)


def clips_of(lengths: list[int]) -> ClipArrays:
    samples = np.array(lengths)
    values = np.random.default_rng(0).integers(-99, 99, samples.sum()).astype(np.int16)
    offsets = np.concatenate([[0], np.cumsum(samples)])
    return ClipArrays(tuple(map(str, range(len(samples)))), values, offsets, samples, 1, 0.0)


def test_windows_are_padded_to_their_own_half_second():
    arrays = clips_of([7_999, 8_000, 8_001, 30_000, 40_000])
    windowing = Windowing(window_samples=24_000, hop_samples=8_000, grid_samples=320)
    found: dict[int, list[tuple[int, int]]] = {}
    for clips, inputs in batches_by_length(arrays, windowing, 16_000, batch_size=2):
        assert len(clips) <= 2
        for row, clip in enumerate(clips):
            wave, real = inputs["waveform"][row], int(inputs["samples"][row])
            found.setdefault(int(clip), []).append((len(wave), real))
            assert not wave[real:].any()
            own = decoding.to_float(arrays.clip(int(clip)))
            assert any(np.array_equal(wave[:real], own[i : i + real]) for i in range(len(own)))
    assert found[0] == [(8_000, 7_999)]
    assert found[1] == [(8_000, 8_000)]
    assert found[2] == [(16_000, 8_001)]
    assert {length for length, _ in found[3] + found[4]} == {24_000}
    assert len(found[3]) == len(windowing.starts(30_000))
    assert padded_samples(23_999, 16_000, 24_000) == 24_000
    assert padded_samples(1, 16_000, 5_000) == 5_000


def test_training_batches_have_clips_of_like_length_and_no_needless_padding():
    rng = np.random.default_rng(0)
    lengths = rng.integers(8_000, 40_000, 64).tolist()
    arrays = clips_of(lengths)
    keep = trimmed(lambda windows, lengths, y, seed: (windows, {"lengths": lengths}), 16_000)
    spread: dict[int, list[int]] = {}
    for bucket in (0, 4):
        plan = batching.BatchPlan(48_000, keep, batches_per_bucket=bucket)
        labels = np.ones((len(arrays), 1), np.float32)
        batches = batching.training_batches(TrainingSet(arrays, labels), plan, 8, 3, range(2))
        epochs: list[list[int]] = [[], []]
        for number, (windows, y) in enumerate(batches):
            samples = y["lengths"]
            longest = int(samples.numpy().max())
            assert windows.shape[1] == min(48_000, -(-longest // 8_000) * 8_000)
            spread.setdefault(bucket, []).append(longest - int(samples.numpy().min()))
            epochs[number // 8] += sorted(samples.numpy().tolist())
        assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(lengths)
        assert epochs[0] != epochs[1]
    assert np.mean(spread[4]) < 0.5 * np.mean(spread[0])


def test_class_weights_by_hand():
    labels = np.eye(3)[[0, 0, 0, 1]]
    np.testing.assert_allclose(clip_weights(labels, "balanced"), [2 / 3, 2 / 3, 2 / 3, 2.0])
    np.testing.assert_array_equal(clip_weights(labels, "none"), np.ones(4))


@pytest.mark.slow
def test_mixed_precision_scales_the_loss_and_goes_on_after_a_kill(corpus, monkeypatch, capsys):
    """As on a GPU, which this machine pretends to have."""
    monkeypatch.setattr(fit_loop, "on_gpu", lambda: True)
    fit = {"epochs": 2, "batch_size": 6, "accumulation_steps": 2, "learning_rate": 1e-3}
    teacher = {"precision": "mixed_float16", "encoder_learning_rate": 1e-4, "fit": fit}
    teacher["in_fold"] = True  # one network, which is enough for this
    optimizers, save, killed = [], fit_loop.TrainingState.save, []

    def save_and_die(self):
        save(self)
        optimizers.append(self.model.optimizer)
        if killed and killed.pop():
            raise KeyboardInterrupt

    monkeypatch.setattr(fit_loop.TrainingState, "save", save_and_die)
    results = []
    for name in ("half", "half_killed"):
        run = make_run(corpus, name, **teacher)
        if name == "half_killed":
            killed.append(True)
            with pytest.raises(KeyboardInterrupt):
                Teachers(run, run.data()).targets("wave")
        results.append(Teachers(run, run.data()).targets("wave").logits)
    np.testing.assert_array_equal(*results)
    assert {type(optimizer).__name__ for optimizer in optimizers} == {"LossScaleOptimizer"}
    assert {type(o.inner_optimizer).__name__ for o in optimizers} == {"ScaledAdamW"}
    assert loaded(run).encoder.compute_dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert "no GPU" not in capsys.readouterr().out


@pytest.mark.slow
def test_frozen_features_of_views_are_the_views_own(corpus):
    run = make_run(corpus, "frozen_views", frozen="encoder", views={"count": 2, "gain_db": 12.0})
    run_data = run.data()
    targets = Teachers(run, run_data).targets("wave")
    clip_id = next(
        i
        for i in run_data.ids("training")
        if run_data.signals.samples(i) <= run.config.audio.window_samples
    )
    fold = int(targets.fold[targets.rows_of([clip_id], "wave")[0]])
    found = []
    for view in range(3):
        clip = decoding.to_float(run_data.signals.arrays("waveform", [(clip_id, view)]).values)
        inputs = {"waveform": clip[None], "samples": np.array([len(clip)], np.int32)}
        expected = tf.nn.softmax(loaded(run, fold)(inputs)).numpy()[0]
        found.append(np.exp(targets.logits_of([clip_id], "wave", view)[0]))
        np.testing.assert_allclose(found[-1], expected, atol=2e-3)
    assert np.abs(found[1] - found[2]).max() > 1e-5


@pytest.mark.slow
def test_without_a_gpu_half_precision_is_refused_aloud(corpus, capsys):
    run = make_run(corpus, "no_gpu", precision="mixed_float16", in_fold=True)
    Teachers(run, run.data()).targets("wave")
    assert "no GPU: precision = 'mixed_float16' is not used" in capsys.readouterr().out
    assert loaded(run).encoder.compute_dtype == "float32"


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"checkpoint": "", "frozen": "encoder"}, "frozen = 'encoder' needs a checkpoint"),
        ({"checkpoint": "./nowhere"}, "no such folder: './nowhere'"),
        ({"architecture": {"hidden_size": 8}}, "'hidden_size' cannot be set for the checkpoint"),
        ({"checkpoint": "", "architecture": {"hiden_size": 8}}, "'hiden_size'"),
        ({"frozen": "encoder", "pooling": "attentive_statistics"}, "pooling = .*out of range"),
    ],
)
def test_wrong_settings_show_before_any_training(teacher, message):
    table = {"kind": "wav2vec2", "checkpoint": str(CHECKPOINT), **teacher}
    with pytest.raises(UserError, match=message):
        make_teacher(table)


def test_a_checkpoint_needs_its_own_sampling_rate():
    rate = {"sample_rate_hz": 8_000}
    sections = {"audio": rate, "logmel": {**rate, "max_hz": 3_900.0}}
    with pytest.raises(UserError, match=r"checkpoint takes 16000 Hz, but .* = 8000"):
        make_teacher({"kind": "wav2vec2", "checkpoint": str(CHECKPOINT)}, **sections)


def test_windows_longer_than_the_encoder_hears_are_refused():
    table = {"kind": "wav2vec2", "architecture": {"model_type": "whisper"}}
    make_teacher(table, audio={"window_seconds": 30.0})
    with pytest.raises(UserError, match=r"window_seconds = 31, .*teachers.wave hears at most 30 s"):
        make_teacher(table, audio={"window_seconds": 31.0})


def make_teacher(table: dict, **sections) -> Wav2Vec2Teacher:
    config = config_from_dict({"teachers": {"wave": table}, **sections})
    return Wav2Vec2Teacher("wave", config, None)


@pytest.mark.parametrize("recipe", ["crema_d", "crema_d_large"])
def test_the_recipes_teachers_can_be_made(recipe, corpus):
    """With a small checkpoint in the place of the published one."""
    (name,) = load_config(recipe).teachers
    config = load_config(recipe, [f"teachers.{name}.checkpoint={json.dumps(str(CHECKPOINT))}"])
    model = Wav2Vec2Teacher(name, config, None)._build(classes=6)
    assert model.head.settings["combine"] == "weighted"
    assert model.encoder.config.mask_time_prob == 0.05
    assert model.encoder.config.hidden_size == 16  # the checkpoint's
