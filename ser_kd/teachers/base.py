"""What every kind of teacher is, and how a run gets one from its row in ``TEACHER_KINDS``."""

import abc
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np

from ser_kd.config import AudioConfig, Config, TeacherConfig
from ser_kd.corpora.splits import speaker_folds
from ser_kd.data.clip_arrays import ClipArrays, ClipView, InputKind
from ser_kd.data.targets import Targets
from ser_kd.registry import load_object
from ser_kd.runs.data import RunData
from ser_kd.teachers.prediction import Predictor
from ser_kd.teachers.settings import TEACHER_KINDS

Settings = TypeVar("Settings", bound=TeacherConfig)

TargetsOf = Callable[[str], Targets]
"""Name of a teacher -> its targets, which are made if they are not there."""

PARTS = ("training", "validation", "test", "unlabelled")


def no_targets(name: str) -> Targets:
    """Of a teacher that is made without access to the others."""
    raise TypeError(f"made without access to the targets of teacher {name!r}")


class Teacher(abc.ABC, Generic[Settings]):
    """One teacher of a run: trains and predicts, one fold at a time.

    Wrong settings and files are reported when it is made, before anything is trained.

    Attributes:
        name: Of the teacher.
        settings: Its own.
        config: Of the run.
        run_data: The run's clips.
        targets_of: Asked for the teachers that it learns from, when it trains or predicts.
        input_kind: The run's arrays that its networks are given; None: ``arrays`` is its own.
    """

    input_kind: ClassVar[InputKind | None] = None

    def __init__(
        self,
        name: str,
        config: Config,
        run_data: RunData,
        targets_of: TargetsOf = no_targets,
    ) -> None:
        self.name, self.config, self.run_data = name, config, run_data
        self.settings = cast(Settings, config.teachers[name])
        self.targets_of = targets_of

    @abc.abstractmethod
    def network_paths(self, directory: Path) -> list[Path]:
        """The files of the networks that predict for the fold in ``directory``."""

    @abc.abstractmethod
    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Trains one fold's networks; those that are there are left as they are.

        Nothing but the clips of ``ids`` is looked at, feature statistics included; the weights are
        those of the last epoch, so that no clip is needed to choose it.

        Args:
            ids: The fold's training clips.
            directory: Of the fold.
            label: Names the fold, to the reader and for the seed.
        """

    @abc.abstractmethod
    def predictor(self, directory: Path) -> Predictor:
        """Loads the networks of the fold in ``directory``."""

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays:
        """What the predictor is given of some views of clips."""
        assert self.input_kind is not None
        return self.run_data.signals.arrays(self.input_kind, views)

    @classmethod
    def example_input(
        cls, settings: TeacherConfig, audio: AudioConfig
    ) -> np.ndarray | Mapping[str, np.ndarray] | None:
        """An input to time the networks with; None: noise of the shape that they name will do."""
        return None

    @functools.cached_property
    def all_views(self) -> list[ClipView]:
        """All that teachers predict in this run."""
        return [view for part in PARTS for view in self.run_data.views.for_teachers(part)]

    @functools.cached_property
    def fold_of_clip(self) -> dict[str, int]:
        """Training clip -> the fold that is kept from its speaker."""
        data = self.run_data
        groups = speaker_folds(data.splits.training, self.settings.folds, self.config.seed)
        fold_of = {speaker: fold for fold, group in enumerate(groups) for speaker in group}
        return {clip_id: fold_of[data.speakers[clip_id]] for clip_id in data.ids("training")}


def teacher_class(settings: TeacherConfig) -> type[Teacher[Any]]:
    """The implementation of a kind, imported only where it is used.

    Raises:
        TypeError: It is a kind of which nothing is trained.
    """
    place = TEACHER_KINDS[settings.kind].implementation
    if not place:
        raise TypeError(f"a teacher of kind {settings.kind!r} is not trained here")
    found: type[Teacher[Any]] = load_object(place)
    return found


def make_teacher(
    name: str, config: Config, run_data: RunData, targets_of: TargetsOf = no_targets
) -> Teacher[Any]:
    """The teacher of that name, ready to train.

    Raises:
        UserError: What is wrong with its settings or files.
    """
    return teacher_class(config.teachers[name])(name, config, run_data, targets_of)
