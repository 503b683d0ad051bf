"""A run's folder, where all stages meet: what lies where in it."""

from pathlib import Path

from ser_kd import files
from ser_kd.config import Config, read_run_config
from ser_kd.distillation.fit_loop import HISTORY
from ser_kd.errors import UserError
from ser_kd.runs.data import RunData
from ser_kd.runs.reading import read_run_data
from ser_kd.runs.record import FILE, require_same_settings

RUNS_DIR = Path("runs")
LABELS_ALONE, RATINGS_ALONE = "student, labels alone", "student, ratings alone"
DISTILLED = "student, distilled"
"""What tables and histories call a run's students."""


class Run:
    """The folder of one run.

    Attributes:
        directory: Holds everything; docs/how_it_works.md lists its files.
        config: The resolved config.
    """

    def __init__(self, directory: Path, config: Config) -> None:
        self.directory = directory
        self.config = config

    @classmethod
    def create(cls, config: Config, directory: Path | None = None) -> "Run":
        """Makes the folder, or finds it again to go on with.

        Raises:
            UserError: The folder belongs to a run with other settings.
        """
        directory = directory or RUNS_DIR / config.name
        require_same_settings(directory, config)
        return cls(directory, config)

    @classmethod
    def open(cls, directory: Path) -> "Run":
        """Opens the folder of an earlier run.

        Raises:
            UserError: It is none.
        """
        path = directory / FILE
        if not path.exists():
            raise UserError(
                f"{directory} is no run folder (it has no config.json); train one first: "
                "ser-kd train"
            )
        return cls(directory, read_run_config(path))

    @property
    def student_path(self) -> Path:
        """The student of categories; a run with ``dimensions.alone`` has none."""
        return self.directory / "student.keras"

    @property
    def dimensions_path(self) -> Path:
        """The student with its head for continuous targets, where ``config.dimensions`` asks."""
        return self.directory / "dimensions.keras"

    @property
    def students(self) -> list[Path]:
        """Those of the two that are trained; both have one body."""
        return [path for path in (self.student_path, self.dimensions_path) if path.is_file()]

    @property
    def baseline_dir(self) -> Path:
        """Where the student that learns without teachers is trained."""
        return self.directory / "baseline"

    @property
    def export_dir(self) -> Path:
        """What is for the phone."""
        return self.directory / "export"

    @property
    def history_path(self) -> Path:
        """The student's epochs, a line each."""
        return self.directory / HISTORY

    @property
    def resources_path(self) -> Path:
        """Size, time and memory of every model."""
        return self.directory / "resources.json"

    @property
    def evaluation_path(self) -> Path:
        """The scores of every model of categories."""
        return self.directory / "eval.json"

    @property
    def predictions_path(self) -> Path:
        """What the file for the phone predicts for every clip."""
        return self.directory / "predictions.csv"

    @property
    def report_path(self) -> Path:
        """The page about the scores."""
        return self.directory / "report.html"

    @property
    def dimension_scores_path(self) -> Path:
        """The scores of every model of continuous targets."""
        return self.directory / "dimensions.json"

    @property
    def out_of_fold_path(self) -> Path:
        """What the students of a cross-validation predict (``runs.out_of_fold``)."""
        return self.directory / "folds" / "out_of_fold.npz"

    def fold_dir(self, number: int) -> Path:
        """The student of a cross-validation that is trained without fold ``number``."""
        return self.directory / "folds" / f"fold_{number}"

    def teacher_dir(self, name: str) -> Path:
        """A teacher's networks, predictions and targets."""
        return self.directory / "teachers" / name

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in output order, of a recorded run."""
        return tuple(files.read_json(self.directory / FILE)["labels"])

    @property
    def cache_dir(self) -> Path:
        """Decoded audio, shared by all runs in the same parent folder."""
        return self.directory.parent / ".ser_kd_cache"

    def data(self) -> RunData:
        """Reads, decodes and divides the corpus; see ``reading.read_run_data``.

        Raises:
            UserError: There is nothing to train on.
        """
        return read_run_data(self.directory, self.config, self.cache_dir)
