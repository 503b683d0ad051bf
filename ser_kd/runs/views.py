"""Which views of which clips there are, and who is given which (``config.views``)."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ser_kd.config import ViewsConfig
from ser_kd.data.clip_arrays import ClipView


@dataclass(frozen=True)
class ViewIndex:
    """The views of a run's clips, by number; ``audio.views`` makes them.

    Training clips have ``config.count`` views beside view 0, the clip itself; every other clip and
    all speech without labels has but view 0.

    Attributes:
        config: How many views there are, and what teachers are given.
        ids: Part -> clip ids: ``training``, ``validation``, ``test`` and ``unlabelled``.
    """

    config: ViewsConfig
    ids: Mapping[str, Sequence[str]]

    def of(self, part: str) -> list[ClipView]:
        """Every view of every clip of a part, clip by clip, from view 0 on."""
        count = self.config.count if part == "training" else 0
        return [(clip_id, view) for clip_id in self.ids[part] for view in range(count + 1)]

    def predicted_for(self, view: ClipView) -> ClipView:
        """What teachers are given where a student is given ``view``: the same, or the clip."""
        return view if self.config.teachers_hear == "view" else (view[0], 0)

    def for_teachers(self, part: str) -> list[ClipView]:
        """What teachers predict of a part, each view once."""
        return list(dict.fromkeys(map(self.predicted_for, self.of(part))))

    @functools.cached_property
    def for_students(self) -> Sequence[ClipView]:
        """What a student can learn from: the views of the training clips, unlabelled segments."""
        return self.of("training") + self.of("unlabelled")

    @functools.cached_property
    def predicted(self) -> tuple[list[str], list[int]]:
        """Ids and views of what teachers predict for each of ``for_students``."""
        ids, views = zip(*map(self.predicted_for, self.for_students), strict=True)
        return list(ids), list(views)

    @functools.cached_property
    def row_of(self) -> Mapping[ClipView, int]:
        """View -> its place in ``for_students``."""
        return {view: row for row, view in enumerate(self.for_students)}

    def student_rows(self, with_unlabelled: bool) -> np.ndarray:
        """Where in ``for_students`` each clip's views are, int ``[clips, views]``.

        A segment without label has one view, whichever is drawn.
        """
        training, views = len(self.ids["training"]), self.config.count + 1
        rows = np.arange(training * views).reshape(training, views)
        if not with_unlabelled:
            return rows
        segments = np.arange(rows.size, rows.size + len(self.ids["unlabelled"]))
        return np.concatenate([rows, np.repeat(segments[:, np.newaxis], views, axis=1)])
