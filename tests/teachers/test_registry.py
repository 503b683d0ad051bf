"""A new kind of teacher: a settings class, a row and an implementation, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from corpus_maker import settings, write_corpus

from ser_kd.config import config_from_dict, config_to_dict
from ser_kd.config.fields import setting
from ser_kd.data.clip_arrays import ClipArrays
from ser_kd.errors import UserError
from ser_kd.pipeline.teachers import all_teacher_targets
from ser_kd.runs.folder import Run
from ser_kd.teachers.base import Teacher, make_teacher
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import TEACHER_KINDS, TeacherKind, TrainedTeacherConfig


@dataclass(frozen=True)
class PriorConfig(TrainedTeacherConfig):
    kind: Literal["prior"] = "prior"
    votes: float = setting(1.0, above=0)


class PriorTeacher(Teacher[PriorConfig]):
    """Predicts how frequent the labels are among the training clips."""

    input_kind = "logmel"
    made = 0

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        PriorTeacher.made += 1

    def network_paths(self, directory: Path) -> list[Path]:
        return [directory / "prior.npy"]

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        counts = self.run_data.one_hot(ids).sum(axis=0) + self.settings.votes
        np.save(directory / "prior.npy", counts / counts.sum())

    def predictor(self, directory: Path) -> Predictor:
        prior = np.load(directory / "prior.npy")
        return lambda arrays: (np.tile(prior, (len(arrays), 1)), mean_level(arrays))


def mean_level(arrays: ClipArrays) -> np.ndarray:
    return np.array([[arrays.clip(row).mean()] for row in range(len(arrays))], np.float32)


@pytest.fixture
def prior_kind(monkeypatch) -> None:
    row = TeacherKind(PriorConfig, f"{__name__}:PriorTeacher")
    monkeypatch.setitem(TEACHER_KINDS, "prior", row)


@pytest.mark.usefixtures("prior_kind")
def test_a_new_kind_is_read_trained_out_of_fold_and_found_again(tmp_path):
    corpus = write_corpus(tmp_path / "corpus")
    teacher = {"kind": "prior", "folds": 2, "votes": 2}
    config = config_from_dict(settings(corpus, teachers={"mine": teacher}))
    assert config.teachers["mine"] == PriorConfig(folds=2, votes=2.0)
    assert config_from_dict(config_to_dict(config)) == config
    run = Run.create(config, tmp_path / "run")
    run_data = run.data()
    targets = all_teacher_targets(run, run_data)["mine"]
    training = targets.rows_of(run_data.ids("training"), "mine")
    assert set(targets.fold[training].tolist()) == {0, 1}
    np.testing.assert_allclose(np.exp(targets.logits).sum(axis=1), 1.0, atol=1e-5)
    assert np.isfinite(targets.embedding[training]).all()
    assert PriorTeacher.made == 1  # to check its settings and to train
    again = all_teacher_targets(run, run_data)["mine"]
    np.testing.assert_array_equal(again.logits, targets.logits)
    assert PriorTeacher.made == 1


@pytest.mark.usefixtures("prior_kind")
def test_its_ranges_and_keys_are_checked_as_all_others():
    for table, message in (
        ({"votes": 0}, r"teachers.mine.votes = 0.0 is out of range: it must be above 0"),
        ({"vote": 1}, r"unknown key 'teachers.mine.vote' \(did you mean 'votes'\?\)"),
        ({"folds": 1}, r"teachers.mine.folds = 1 .* at least 2"),
    ):
        with pytest.raises(UserError, match=message):
            config_from_dict({"teachers": {"mine": {"kind": "prior", **table}}})


def test_predictions_from_a_file_are_not_trained():
    config = config_from_dict({"teachers": {"mine": {"kind": "file", "path": "mine.npz"}}})
    with pytest.raises(TypeError, match="'file' is not trained here"):
        make_teacher("mine", config, None)
