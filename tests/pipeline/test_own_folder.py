"""A folder of one's own clips: bundled student, new head, cross-validation."""

import contextlib
import io
import json

import numpy as np
import pytest
from emotion_maker import EMOTIONS, write_emotions

import ser_kd
from ser_kd.commands.main import main
from ser_kd.config import load_config
from ser_kd.corpora.clip import Clip
from ser_kd.errors import UserError
from ser_kd.pipeline.cross_validation import fold_groups
from ser_kd.pipeline.run import train_run
from ser_kd.runs.folder import Run
from ser_kd.runs.out_of_fold import OutOfFold

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return write_emotions(tmp_path_factory.mktemp("own") / "my_clips")


@pytest.fixture(scope="module")
def quick_run(clips, tmp_path_factory):
    folder, said = tmp_path_factory.mktemp("runs") / "mine", io.StringIO()
    with contextlib.redirect_stdout(said):
        assert main(["train", str(clips), "--quick", "--run-dir", str(folder)]) == 0
    assert f"Try it:        ser-kd predict {folder}" in said.getvalue()
    return folder


@pytest.mark.slow
def test_one_command_gives_a_file_for_the_phone_with_ones_own_labels(quick_run, clips):
    model = ser_kd.load(quick_run / "export" / "student_waveform.tflite")
    assert tuple(model.labels) == tuple(EMOTIONS)
    assert json.loads((quick_run / "config.json").read_text())["config"]["name"] == "my_clips"
    clip = next((clips / "sad" / "s0").iterdir())
    assert model.predict(clip).label in EMOTIONS


@pytest.mark.slow
def test_every_clip_is_scored_once_by_a_student_that_does_not_know_its_speaker(quick_run, clips):
    evaluation = json.loads((quick_run / "eval.json").read_text())
    part = evaluation["parts"]["out-of-fold"]
    assert (part["clips"], part["speakers"], part["folds"], part["by_speaker"]) == (
        150,
        10,
        5,
        True,
    )
    scores = part["models"][part["file"]["model"]]
    assert np.sum(scores["confusion"]) == 150
    assert scores["ua"] > 0.6

    # Predicted again, by what the folds' students are, on the speakers that they were not given.
    stored = OutOfFold.load(quick_run / "folds" / "out_of_fold.npz")
    run = Run.open(quick_run)
    data = run.data()
    predicted = stored.probs(stored.chosen).argmax(1)
    truth = data.one_hot(stored.ids).argmax(1)
    assert np.mean(predicted == truth) == pytest.approx(scores["wa"])


@pytest.mark.slow
def test_the_scores_are_not_those_of_the_clips_that_the_file_was_trained_on(quick_run):
    exported = json.loads((quick_run / "export" / "export.json").read_text())
    card = (quick_run / "export" / "MODEL_CARD.md").read_text()
    of_folds = exported["cross_validation"]
    assert of_folds["by_speaker"]
    assert of_folds["folds"] == 5
    assert f"UA {of_folds['ua']:.1%}" in card
    assert f"value: {of_folds['ua']:.4f}" in card
    assert exported["models"]["waveform"]["ua"] > of_folds["ua"]


@pytest.mark.slow
def test_a_finished_run_is_found_again(quick_run, clips, capsys):
    before = (quick_run / "eval.json").read_bytes()
    assert main(["train", str(clips), "--quick", "--run-dir", str(quick_run)]) == 0
    assert "out_of_fold.npz is there" in capsys.readouterr().out
    assert (quick_run / "eval.json").read_bytes() == before


@pytest.mark.slow
def test_a_dry_run_trains_nothing_and_says_what_it_would_do(clips, tmp_path, capsys):
    assert main(["train", str(clips), "--dry-run", "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "150 clips   10 speakers" in said
    assert "label happy: begins with what is known of HAP" in said
    assert not (tmp_path / "run").exists()


def some(*speakers):
    return tuple(Clip(f"c{i}", None, speaker, "a") for i, speaker in enumerate(speakers))


@pytest.mark.parametrize(
    ("speakers", "groups", "by_speaker"),
    [
        (("x", "y", "x"), ["x", "y", "x"], True),
        (("x", "x", "x"), ["c0", "c1", "c2"], False),
        (("unknown/c0", "unknown/c1"), ["c0", "c1"], False),
        (("x", "unknown/c1"), ["c0", "c1"], False),
        (("x", "y", "unknown/c2"), ["x", "y", "unknown/c2"], True),
    ],
)
def test_folds_are_of_speakers_where_two_are_known(speakers, groups, by_speaker):
    found, known = fold_groups(some(*speakers))
    assert [clip.speaker for clip in found] == groups
    assert known == by_speaker


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "nowhere", "--quick"], "nowhere does not exist: check the path"),
        (["train", "a", "--data-dir", "b"], "two folders, a and --data-dir b: give one"),
        (["train", "--quick"], "--quick is for your own clips"),
    ],
)
def test_wrong_arguments(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_teachers_cannot_be_cross_validated_with_the_student():
    with pytest.raises(UserError, match="it must be false in a run with teachers"):
        load_config("crema_d_cpu", ["corpus.cross_validation=true"])


@pytest.mark.slow
def test_fine_tuning_learns_more_than_the_head(quick_run, clips, tmp_path):
    overrides = [f"corpus.data_dir={clips}", "fit.epochs=8", "corpus.folds=3"]
    train_run(load_config("own_folder", overrides), tmp_path / "run")
    part = json.loads((tmp_path / "run" / "eval.json").read_text())["parts"]["out-of-fold"]
    quick = json.loads((quick_run / "eval.json").read_text())["parts"]["out-of-fold"]
    ua = [item["models"][item["file"]["model"]]["ua"] for item in (part, quick)]
    assert ua[0] > ua[1]
