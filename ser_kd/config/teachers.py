"""What settings of every kind of teacher have; the kinds are in ``ser_kd.teachers.settings``."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ser_kd.config.fields import nearest
from ser_kd.config.settings import DimensionsConfig
from ser_kd.errors import UserError
from ser_kd.registry import load_object


@dataclass(frozen=True)
class TeacherConfig:
    """What the code asks of every kind of teacher; a kind overrides what is different.

    ``live``: it predicts the student's input at every step, too. ``may_predict_dimensions``: its
    predictions have dimensions, or may where they come from a file. ``clip_attributes``: what it
    learns from of ``Clip.attributes``.
    """

    live: ClassVar[bool] = False
    may_predict_dimensions: ClassVar[bool] = False
    clip_attributes: ClassVar[tuple[str, ...]] = ()
    kind: str = ""

    @property
    def folds(self) -> int:
        """Groups of training speakers; each is predicted by a network trained on the others."""
        return 1

    @property
    def in_fold(self) -> bool:
        """Whether its networks predict clips that they were trained on."""
        return False

    @property
    def predictions_file(self) -> Path | None:
        """Where its predictions are, if nothing is trained for them."""
        return None

    @property
    def teachers_needed(self) -> tuple[str, ...]:
        """The teachers that it learns from, which come before it."""
        return ()

    def check_in_run(
        self, where: str, teachers: "Mapping[str, TeacherConfig]", dimensions: DimensionsConfig
    ) -> None:
        """Raises ``UserError`` where it does not go with the rest of the run."""

    @staticmethod
    def class_for(table: Any, where: str) -> "type[TeacherConfig]":
        """The settings class of a table's ``kind``; raises ``UserError`` where there is none."""
        # A table in the teachers' own room, higher up: a new kind changes nothing here.
        kinds = load_object("ser_kd.teachers.settings:TEACHER_KINDS")
        known = ", ".join(kinds)
        if not isinstance(table, Mapping) or "kind" not in table:
            raise UserError(f"{where} needs a kind: one of {known}")
        if (kind := str(table["kind"])) not in kinds:
            near = nearest(kind, list(kinds))
            raise UserError(f"{where}.kind = {kind!r}{near}; known: {known}")
        found: type[TeacherConfig] = kinds[kind].settings
        return found


def teacher_order(teachers: Mapping[str, TeacherConfig]) -> list[str]:
    """Files first, then as given, but the teachers that another one learns from come before it.

    Raises:
        UserError: Some learn from each other in a circle.
    """
    order: list[str] = []

    def add(name: str, asking: tuple[str, ...]) -> None:
        if name in asking:
            circle = " -> ".join([*asking[asking.index(name) :], name])
            raise UserError(f"teachers learn from each other in a circle ({circle}); cut it")
        for other in teachers[name].teachers_needed if name in teachers else ():
            add(other, (*asking, name))
        if name not in order:
            order.append(name)

    for name in sorted(teachers, key=lambda name: teachers[name].predictions_file is None):
        add(name, ())
    return order
