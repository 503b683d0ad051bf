"""What the students are shown and taught: views, and speech without labels."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from corpus_maker import HZ_OF, settings, write_corpus, write_unlabelled

from ser_kd.audio.decoding import to_int16
from ser_kd.audio.logmel import LogMel
from ser_kd.audio.views import make_view
from ser_kd.config import LogMelConfig, ViewsConfig, config_from_dict
from ser_kd.data.batching import training_batches
from ser_kd.data.targets import ALL_FOLDS, Targets
from ser_kd.distillation import fit_loop
from ser_kd.errors import UserError
from ser_kd.evaluation.run_models import teacher_predictions
from ser_kd.pipeline import students
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COUNT, SEED, SMOOTHING, EPOCHS = 2, 4, 0.3, 24
OFF = dict.fromkeys(
    ["shift_seconds", "gain_db", "time_masks", "mel_masks", "mixup_alpha", "noise_probability"], 0
)
WINDOW = 24_000  # longer than every clip in every view: nothing is cropped
SEGMENTS = ["unlabelled/long.wav@0", "unlabelled/long.wav@1.5", "unlabelled/short.wav@0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("training")
    write_corpus(place / "corpus")
    write_unlabelled(place / "speech")
    return place


def table(place) -> dict:
    table = settings(
        place / "corpus",
        seed=SEED,
        views={"count": COUNT, "speed": 0.05, "noise_probability": 1.0},
        augment=OFF,
        audio={"window_seconds": WINDOW / 16_000},
        teachers={"mine": {"kind": "file", "path": str(place / "mine.npz")}},
    )
    table["corpus"]["unlabelled_dirs"] = [str(place / "speech")]
    table["fit"] |= {"epochs": EPOCHS, "label_smoothing": SMOOTHING}
    return table


@pytest.fixture(scope="module")
def run(place):
    run = Run.create(config_from_dict(table(place)), place / "run")
    return run, run.data()


def write_teacher(path, keys) -> dict:
    """Other logits for every view of every clip."""
    rng = np.random.default_rng(0)
    logits = {key: rng.normal(size=3).astype(np.float32) for key in sorted(keys)}
    np.savez(
        path,
        ids=[clip_id for clip_id, _ in logits],
        view=[view for _, view in logits],
        logits=list(logits.values()),
    )
    return logits


def all_keys(run_data) -> set:
    keys = {(i, view) for i in run_data.ids("training") for view in range(COUNT + 1)}
    return keys | {(segment, 0) for segment in SEGMENTS}


def batches_of(training_set, plan, job, epochs: int) -> list:
    smoothed = training_set.smoothed(job.fit.label_smoothing)
    batches = training_batches(smoothed, plan, job.fit.batch_size, job.seed, range(epochs))
    return [(np.asarray(x), {k: np.asarray(v) for k, v in y.items()}) for x, y in batches]


@pytest.fixture(scope="module")
def shown(place, run):
    """The batches and the students, before a step is made: ``{name: (batches, student)}``."""
    run, run_data = run
    logits = write_teacher(place / "mine.npz", all_keys(run_data))
    found = {}

    def fit(distiller, training_set, plan, job, score):
        got = batches_of(training_set, plan, job, EPOCHS)
        assert len(got) == EPOCHS * (len(training_set) // job.fit.batch_size)
        found[job.name] = (got, distiller.student)
        return 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit_loop, "fit", fit)
        targets = all_teacher_targets(run, run_data)
        students.baseline_student(run, run_data)
        students.distilled_student(run, run_data, targets)
    return found, logits


def logmel_of(place, clip_id: str, view: int) -> np.ndarray:
    """float32 ``[frames, mels]`` of the window, from the file."""
    if clip_id in SEGMENTS:
        name, start = clip_id.removeprefix("unlabelled/").split("@")
        waveform = soundfile.read(place / "speech" / name, dtype="float32")[0]
        waveform = waveform[round(16_000 * float(start)) :][:WINDOW]
    else:
        waveform = soundfile.read(place / "corpus" / clip_id, dtype="float32")[0]
    config = ViewsConfig(count=COUNT, speed=0.05, noise_probability=1.0)
    waveform = make_view(waveform, config, SEED, clip_id, view)
    assert (len(waveform) == WINDOW) == (clip_id == SEGMENTS[0])
    window = np.zeros((1, WINDOW), np.float32)
    window[0, : len(waveform)] = to_int16(waveform).astype(np.float32) / 32_768
    return np.asarray(LogMel(LogMelConfig(mels=16))(window)[0])


def smoothed(clip_id: str) -> np.ndarray:
    if clip_id in SEGMENTS:
        return np.zeros(3)
    one_hot = np.array([clip_id.startswith(name) for name in HZ_OF], float)
    return (1 - SMOOTHING) * one_hot + SMOOTHING / 3


def test_the_student_is_shown_the_view_whose_prediction_it_learns(place, run, shown):
    _, run_data = run
    found, logits = shown
    batches, _ = found["student, distilled"]
    windows = {key: logmel_of(place, *key) for key in logits}
    key_of = {tuple(value.tolist()): key for key, value in logits.items()}
    counts: Counter = Counter()
    for x, y in batches:
        assert set(y) == {"labels", "teacher_logits"}
        for window, label, teacher in zip(x, y["labels"], y["teacher_logits"], strict=True):
            key = key_of[tuple(teacher.tolist())]
            expected = windows[key]
            if key[0] == SEGMENTS[0] and np.abs(window[0] - expected[1]).max() < 1e-3:
                # As long as the window, it has a last frame more, half of which is zeros.
                window, expected = window[:-1], expected[1:]
            np.testing.assert_allclose(window, expected, atol=1e-3, err_msg=str(key))
            np.testing.assert_allclose(label, smoothed(key[0]), atol=1e-6)
            counts[key] += 1
    training_ids = run_data.ids("training")
    assert set(counts) == all_keys(run_data)
    # 39 clips in batches of 6: 36 are drawn in an epoch, each view of a clip equally often.
    assert len(batches) == EPOCHS * 6
    drawn = {view: sum(counts[i, view] for i in training_ids) for view in range(COUNT + 1)}
    assert sum(drawn.values()) + sum(counts[s, 0] for s in SEGMENTS) == EPOCHS * 36
    for view in range(COUNT + 1):
        assert 0.28 < drawn[view] / sum(drawn.values()) < 0.39, drawn
    for segment in SEGMENTS:
        assert EPOCHS / 2 < counts[segment, 0] <= EPOCHS


def test_every_view_may_be_taught_what_the_teachers_say_of_the_clip_as_it_is(place, monkeypatch):
    """With ``teachers_hear = "clip"`` a file without views will do."""
    settings_then = table(place)
    settings_then["views"]["teachers_hear"] = "clip"
    settings_then["teachers"]["mine"]["path"] = str(place / "clips.npz")
    run = Run.create(config_from_dict(settings_then), place / "clips_alone")
    run_data = run.data()
    keys = all_keys(run_data)
    logits = write_teacher(place / "clips.npz", {key for key in keys if key[1] == 0})
    clip_of = {tuple(value.tolist()): clip_id for (clip_id, _), value in logits.items()}
    windows = {key: logmel_of(place, *key) for key in keys}
    shown: Counter = Counter()

    def fit(distiller, training_set, plan, job, score):
        for x, y in batches_of(training_set, plan, job, 6):
            for window, teacher in zip(x, y["teacher_logits"], strict=True):
                clip_id = clip_of[tuple(teacher.tolist())]
                views = range(COUNT + 1) if (clip_id, 1) in windows else range(1)
                away = {v: np.abs(window - windows[clip_id, v])[:-1].max() for v in views}
                view = min(away, key=away.__getitem__)
                assert away[view] < 1e-3 or clip_id == SEGMENTS[0]
                shown[view] += 1
        return 1

    monkeypatch.setattr(fit_loop, "fit", fit)
    students.distilled_student(run, run_data, all_teacher_targets(run, run_data))
    assert set(shown) == set(range(COUNT + 1))
    assert min(shown.values()) > 0.2 * sum(shown.values())


def test_the_baseline_is_shown_the_views_and_no_unlabelled_speech(place, run, shown):
    _, run_data = run
    batches, _ = shown[0]["student, labels alone"]
    assert len(batches) == EPOCHS * 36 // 6
    windows = {key: logmel_of(place, *key) for key in all_keys(run_data)}
    views: Counter = Counter()
    for number in range(EPOCHS):
        ids = []
        for x, y in batches[6 * number : 6 * (number + 1)]:
            assert set(y) == {"labels"}
            for window, label in zip(x, y["labels"], strict=True):
                distance = {key: np.abs(window - w).max() for key, w in windows.items()}
                clip_id, view = min(distance, key=distance.__getitem__)
                assert distance[clip_id, view] < 1e-3
                np.testing.assert_allclose(label, smoothed(clip_id), atol=1e-6)
                ids.append(clip_id)
                views[view] += 1
        assert sorted(ids) == sorted(run_data.ids("training"))
    assert set(views) == set(range(COUNT + 1))


def test_feature_statistics_are_of_the_labelled_clips_themselves(place, run, shown):
    _, run_data = run
    frames = []
    for clip_id in run_data.ids("training"):
        samples = len(soundfile.read(place / "corpus" / clip_id)[0])
        frames.append(logmel_of(place, clip_id, 0)[: -(-samples // 320)])
    mean = np.concatenate(frames).mean(0)
    for _, student in shown[0].values():
        np.testing.assert_allclose(student.get_layer("standardize").mean, mean, atol=2e-2)
        # Views and segments would show: noise lifts the quiet bands.
        views = np.concatenate([logmel_of(place, i, 1) for i in run_data.ids("training")])
        assert np.abs(views.mean(0) - mean).max() > 1.0


def test_predictions_from_a_file_that_lack_views_or_segments(place, run):
    run, run_data = run
    keys = all_keys(run_data)
    clip_id = run_data.ids("training")[0]
    path = place / "mine.npz"
    content = path.read_bytes() if path.exists() else b""
    try:
        for missing, message in (
            ({(clip_id, 2)}, r"no prediction for 1 views .* is view 2 of .* asks for 2 views"),
            (
                {key for key in keys if key[1] > 0},
                r"no prediction for 72 views of clips, .* the run asks for 2 views",
            ),
            (
                {(SEGMENTS[1], 0)},
                r"no prediction for 1 of 39 clips, the first is 'unlabelled/long.wav@1.5'",
            ),
        ):
            write_teacher(path, keys - missing)
            with pytest.raises(UserError, match=message):
                all_teacher_targets(run, run_data)
    finally:
        path.write_bytes(content)


def test_targets_are_of_the_clips_themselves(run):
    """A teacher from outside that predicted some validation clip in another view only has none."""
    _, run_data = run
    validation = run_data.ids("validation")
    rng = np.random.default_rng(1)
    for view, known in ((0, True), (1, False)):
        ids = [*validation, *validation]
        logits = rng.normal(size=(len(ids), 3)).astype(np.float32)
        views = np.array([0] * len(validation) + [1] * len(validation))
        views[len(validation) - 1] = view
        views[-1] = 1 if known else 2
        targets = Targets(tuple(ids), logits, logits[:, :0], np.full(len(ids), ALL_FOLDS), views)
        found = teacher_predictions({"mine": targets}, validation)
        assert [item.name for item in found] == (["teacher mine"] if known else [])
        if known:
            own = logits[: len(validation)].argmax(1)
            np.testing.assert_array_equal(found[0].probs.argmax(1), own)
