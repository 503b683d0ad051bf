"""A crowd as a teacher: the share of people who chose each emotion, as soft labels.

What people disagree about is not taught as certain (Fayek, Lech and Cavedon, "Modeling
subjectiveness in emotion recognition with deep neural networks: ensembles vs soft labels", IJCNN
2016). Votes of the face, or of face and voice, know what a student cannot hear: see
docs/multimodal.md.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ser_kd.config import VotesTeacherConfig
from ser_kd.data.clip_arrays import ClipArrays, ClipView, Hears, one_cell_per_clip
from ser_kd.runs.data import RunData
from ser_kd.teachers.modalities import Modality, require_all
from ser_kd.teachers.prediction import Predictor

_PARTS = ("training", "validation", "test", "unlabelled")


class VotesTeacher:
    """Trains nothing: predictions are shares of votes, of every view of a clip the same."""

    hears: Hears | None = None

    def __init__(self, name: str, teacher: VotesTeacherConfig, run_data: RunData) -> None:
        """Reads the votes.

        Raises:
            UserError: Some clip has none.
        """
        places = {label: place for place, label in enumerate(run_data.labels)}
        label_of = run_data.config.corpus.label_map
        shares: list[np.ndarray] = []
        rows: dict[str, int] = {}
        for clip in run_data.corpus.clips:
            counts = np.full(len(places), teacher.prior_votes / len(places))
            votes = clip.attributes.get("votes", {}).get(teacher.channel, {})
            for emotion, count in votes.items():
                if (label := label_of.get(emotion, emotion)) in places:
                    counts[places[label]] += count
            if sum(votes.values()):
                rows[clip.id] = len(shares)
                shares.append(counts / counts.sum())
        values = np.array(shares, np.float32).reshape(-1, len(places))
        self._votes = Modality(values, rows)
        views = [view for part in _PARTS for view in run_data.teacher_views(part)]
        require_all(self._votes, views, f"teachers.{name}.channel = {teacher.channel!r}")

    def network_paths(self, directory: Path) -> list[Path]:
        """There is none."""
        return []

    def train(self, ids: Sequence[str], directory: Path, label: str) -> None:
        """Nothing: people knew it before."""

    def arrays(self, views: Sequence[ClipView]) -> ClipArrays:
        """Shares of votes of some views of clips."""
        return one_cell_per_clip([clip_id for clip_id, _ in views], self._votes.of(views)[0])

    def predictor(self, directory: Path) -> Predictor:
        """Shares of votes as they are, and an embedding of no numbers."""
        return lambda arrays: (arrays.values, np.zeros((len(arrays), 0), np.float32))
