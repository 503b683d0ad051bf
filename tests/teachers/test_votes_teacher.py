"""A crowd's votes as soft labels."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ser_kd.config import config_from_dict
from ser_kd.corpora.crema_d import SPEAKERS
from ser_kd.corpora.splits import tfds_speakers_split
from ser_kd.data.targets import read_targets
from ser_kd.errors import UserError
from ser_kd.pipeline import stages, students
from ser_kd.runs.folder import Run
from ser_kd.students.saved import load_keras
from ser_kd.teachers.crossfit import targets_path

# Keras saves a TensorFlow variable through a NumPy 1 interface.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

COLUMNS = {"ANG": "A", "DIS": "D", "FEA": "F", "HAP": "H", "NEU": "N", "SAD": "S"}
# Of train three, of validation and test one.
ACTORS = tuple(
    actor
    for part, count in zip(tfds_speakers_split(SPEAKERS), (3, 1, 1), strict=True)
    for actor in sorted(part)[:count]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Every clip of ANG was heard as ANG by 7 of 10 and as DIS by 3; of others by all alike."""
    folder = tmp_path_factory.mktemp("votes")
    rng = np.random.default_rng(0)
    rows = [f",{','.join(COLUMNS.values())},fileName"]
    for actor in ACTORS:
        for place, emotion in enumerate(COLUMNS):
            name = f"{actor}_IEO_{emotion}_XX"
            tone = 0.1 * np.sin(2 * np.pi * (200 + 150 * place) * np.arange(16_000) / 16_000)
            soundfile.write(folder / f"{name}.wav", tone + 0.01 * rng.normal(size=16_000), 16_000)
            voice = [10 * (label == emotion) for label in COLUMNS]
            if emotion == "ANG":
                voice[:2] = [7, 3]
            face = [4 * (label == "HAP") for label in COLUMNS]
            number = len(rows)
            for channel, votes in (("1", voice), ("2", face)):
                rows.append(f"{channel}{number:05d},{','.join(map(str, votes))},{name}")
    (folder / "tabulatedVotes.csv").write_text("\n".join(rows) + "\n")
    return folder


def make_run(folder: Path, directory: Path, teacher: dict, **corpus) -> Run:
    table = {
        "corpus": {"name": "crema_d", "data_dir": str(folder), **corpus},
        "audio": {"window_seconds": 1.0},
        "logmel": {"mels": 16},
        "teachers": {"crowd": {"kind": "votes", **teacher}},
        "student": {"kind": "cnn", "width": 0.25},
        "fit": {"epochs": 1, "batch_size": 6},
        "distill": {"label_weight": 0.5, "logit_weight": 0.5, "temperature": 1.0},
    }
    return Run.create(config_from_dict(table), directory)


def targets_of(run: Run) -> dict[str, np.ndarray]:
    run_data = run.data()
    stages.all_teacher_targets(run, run_data)
    targets = read_targets(targets_path("crowd", run), run_data.labels)
    ids = [i for part in ("training", "validation", "test") for i in run_data.ids(part)]
    return dict(zip(ids, np.exp(targets.logits_of(ids, "crowd")), strict=True))


def test_shares_of_the_voices_votes_with_a_prior(folder, tmp_path):
    run = make_run(folder, tmp_path / "run", {"prior_votes": 3.0})
    said = targets_of(run)
    assert len(said) == len(ACTORS) * len(COLUMNS)
    half = 0.5 / 13
    for actor in ACTORS:
        np.testing.assert_allclose(
            said[f"{actor}_IEO_ANG_XX"], [7.5 / 13, 3.5 / 13, half, half, half, half], atol=1e-6
        )
        np.testing.assert_allclose(said[f"{actor}_IEO_SAD_XX"], [half] * 5 + [10.5 / 13], atol=1e-6)


def test_other_channels_and_merged_labels(folder, tmp_path):
    merged = {"DIS": "ANG"}
    run = make_run(folder, tmp_path / "voice", {"prior_votes": 0.5}, label_map=merged)
    assert run.data().labels == ("ANG", "FEA", "HAP", "NEU", "SAD")
    tenth = 0.1 / 10.5
    np.testing.assert_allclose(
        targets_of(run)[f"{ACTORS[0]}_IEO_ANG_XX"], [10.1 / 10.5, *[tenth] * 4], atol=1e-6
    )
    run = make_run(folder, tmp_path / "face", {"channel": "face"})
    assert {label.argmax() for label in targets_of(run).values()} == {3}


def test_a_student_learns_from_them(folder, tmp_path):
    run = make_run(folder, tmp_path / "run", {})
    run_data = run.data()
    targets = stages.all_teacher_targets(run, run_data)
    students.distilled_student(run, run_data, targets)
    assert load_keras(run.student_path).output_shape[-1] == 6
    history = (run.directory / "history.jsonl").read_text()
    assert '"logit_loss": 0.0,' not in history
    assert '"logit_loss"' in history


def test_what_is_missing_is_named(folder, tmp_path):
    run = make_run(folder, tmp_path / "run", {"channel": "multimodal"})
    with pytest.raises(UserError, match=r"teachers.crowd.channel = 'multimodal' is absent for all"):
        stages.all_teacher_targets(run, run.data())
    with pytest.raises(UserError, match=r"prior_votes = 0.0 is out of range: .* above 0"):
        make_run(folder, tmp_path / "other", {"prior_votes": 0.0})
    fusion = {"kind": "fusion", "modalities": {"a": "teacher:crowd", "b": "votes:face"}}
    with pytest.raises(UserError, match="give its votes themselves, 'votes:voice'"):
        config_from_dict(
            {"teachers": {"crowd": {"kind": "votes"}, "both": {**fusion, "audio": ["a"]}}}
        )
