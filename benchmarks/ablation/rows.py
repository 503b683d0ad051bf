"""The results: one line per variant and seed, and what each student said of every clip."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ablation.table import Table, Variant
from ser_kd import files, metrics
from ser_kd.data.targets import softmax
from ser_kd.errors import UserError
from ser_kd.metrics.calibration import expected_calibration_error

RESULTS = Path(__file__).parents[1] / "results" / "ablation"
Key = tuple[str, int]
"""Variant and seed."""
_LEAST_PROBABILITY = 1e-7


@dataclass(frozen=True)
class Clips:
    """The clips that every row is scored on.

    Attributes:
        ids: ``[clips]``.
        truth: Class indices ``[clips]``.
        speakers: ``[clips]``.
        validation: bool ``[clips]``: of the corpus's validation speakers; the others are of train.
        labels: Class names.
    """

    ids: tuple[str, ...]
    truth: np.ndarray
    speakers: tuple[str, ...]
    validation: np.ndarray
    labels: tuple[str, ...]

    def take(self, chosen: np.ndarray) -> "Clips":
        """Those of the mask, bool ``[clips]``."""
        return Clips(
            tuple(np.array(self.ids)[chosen].tolist()),
            self.truth[chosen],
            tuple(np.array(self.speakers)[chosen].tolist()),
            self.validation[chosen],
            self.labels,
        )


@dataclass(frozen=True)
class Row:
    """One line of ``rows.jsonl``.

    Attributes:
        variant: Its name in the table.
        lever: As in the table.
        seed: Of the run.
        settings: What differs from the library's defaults (``table.settings_of``).
        epochs: Of the student.
        ua: On all clips, 0..1.
        ua_validation: On those of the validation speakers.
        nll: Negative log-likelihood, nats.
        ece: Expected calibration error, 0..1.
        training_accuracy: Of the last epoch, on what the student was shown (mixed up, masked).
        training_seconds: Of the student's epochs, without scoring.
        teacher_seconds: Of the epochs of teachers that were trained for this row; 0 without
            teachers, None where their predictions came from a file.
        parameters: Of the student.
        machine: What it was trained on.
    """

    variant: str
    lever: str
    seed: int
    settings: Mapping[str, Any]
    epochs: int
    ua: float
    ua_validation: float
    nll: float
    ece: float
    training_accuracy: float
    training_seconds: float
    teacher_seconds: float | None
    parameters: int
    machine: str

    @property
    def key(self) -> Key:
        return self.variant, self.seed


def stored_logits(probs: np.ndarray) -> np.ndarray:
    """Probabilities ``[clips, classes]`` as they are stored: float16 log-probabilities.

    A clip's probabilities are the mean over its windows; their logarithms are its logits.
    """
    return np.log(np.maximum(probs, _LEAST_PROBABILITY)).astype(np.float16)


def scores(clips: Clips, logits: np.ndarray) -> dict[str, float]:
    """``ua``, ``ua_validation``, ``nll`` and ``ece`` of stored logits ``[clips, classes]``."""
    probs = softmax(logits.astype(np.float64))
    predicted, official = probs.argmax(1), clips.validation
    return {
        "ua": metrics.scores(clips.truth, predicted)["ua"],
        "ua_validation": metrics.scores(clips.truth[official], predicted[official])["ua"],
        "nll": metrics.negative_log_likelihood(probs, clips.truth),
        "ece": expected_calibration_error(probs, clips.truth),
    }


class Results:
    """The folder of the results; ``clips.npz`` once, ``rows.jsonl``, ``logits/<row>.npz``."""

    def __init__(self, folder: Path = RESULTS) -> None:
        self.folder = folder

    @property
    def speed_path(self) -> Path:
        return self.folder / "speed.json"

    @property
    def rows_path(self) -> Path:
        return self.folder / "rows.jsonl"

    def rows(self, table: Table) -> dict[Key, Row]:
        """All rows by variant and seed.

        Raises:
            UserError: A line cannot be read, occurs twice, lacks its logits, or is of a variant
                that is not in the table, or was made with other settings than are there now.
        """
        path = self.rows_path
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        found: dict[Key, Row] = {}
        for number, line in enumerate(lines, 1):
            row = _row(line, f"{path}, line {number}")
            where = f"{path}, line {number}: {row.variant!r}, seed {row.seed}"
            if row.key in found:
                raise UserError(f"{where}, is there twice; delete one line")
            if not self._logits_path(row.key).is_file():
                raise UserError(f"{where}, has no {self._logits_path(row.key)}; delete the line")
            variant = table.variants.get(row.variant)
            if variant is None:
                raise UserError(
                    f"{where}: no such variant in the table; put it back, or delete its lines"
                )
            _check_settings(row, variant, where)
            found[row.key] = row
        return found

    def clips(self) -> Clips | None:
        """What all rows are scored on; None before the first."""
        path = self.folder / "clips.npz"
        if not path.is_file():
            return None
        with np.load(path) as stored:
            return Clips(
                tuple(stored["ids"].tolist()),
                stored["truth"].astype(np.int64),
                tuple(stored["speakers"].tolist()),
                stored["validation"],
                tuple(stored["labels"].tolist()),
            )

    def logits(self, key: Key) -> np.ndarray:
        """float16 ``[clips, classes]``, in the order of ``clips``."""
        with np.load(self._logits_path(key)) as stored:
            return stored["logits"]

    def check_clips(self, clips: Clips) -> None:
        """Keeps the clips at the first row, and has every later one scored on the same.

        Raises:
            UserError: They are others.
        """
        known = self.clips()
        if known is None:
            ids, speakers = np.array(clips.ids), np.array(clips.speakers)
            truth = clips.truth.astype(np.int8)
            labels = np.array(clips.labels)
            with files.atomic(self.folder / "clips.npz") as partial, partial.open("wb") as file:
                np.savez_compressed(
                    file,
                    ids=ids,
                    truth=truth,
                    speakers=speakers,
                    validation=clips.validation,
                    labels=labels,
                )
        elif known.ids != clips.ids or known.labels != clips.labels:
            raise UserError(
                f"the {len(clips.ids)} development clips are not the {len(known.ids)} that the "
                f"rows in {self.folder} were scored on (other files or development_speakers); "
                "give another --results"
            )

    def add(self, row: Row, logits: np.ndarray) -> None:
        """Stores a row; its line comes last and in one write, so that it says that all is there."""
        with files.atomic(self._logits_path(row.key)) as partial, partial.open("wb") as file:
            np.savez_compressed(file, logits=logits)
        line = json.dumps(dataclasses.asdict(row), ensure_ascii=False)
        with self.rows_path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _logits_path(self, key: Key) -> Path:
        name, seed = key
        return self.folder / "logits" / f"{name}_{seed}.npz"


def predictions(results: Results, rows: Iterable[Row], clips: Clips) -> dict[Key, np.ndarray]:
    """Class indices ``[clips]`` that each row's student chose.

    Raises:
        UserError: A row's logits are not those that its line was made from.
    """
    found = {}
    for row in rows:
        logits = results.logits(row.key)
        of_these = logits.shape == (len(clips.ids), len(clips.labels))
        if not of_these or abs(scores(clips, logits)["ua"] - row.ua) > 1e-6:
            raise UserError(
                f"{row.variant!r}, seed {row.seed}: its line and its logits in {results.folder} do "
                "not belong together; delete the line, and train it again"
            )
        found[row.key] = logits.argmax(1)
    return found


def _row(line: str, where: str) -> Row:
    try:
        return Row(**json.loads(line))
    except (ValueError, TypeError) as error:
        raise UserError(f"{where} is no row ({error}); restore or delete it") from None


def _check_settings(row: Row, variant: Variant, where: str) -> None:
    now = variant.settings
    before = dict(row.settings)
    changed = [key for key in [*now, *before] if now.get(key) != before.get(key)]
    if changed:
        key = changed[0]
        raise UserError(
            f"{where}, was made with other settings ({key} = {before.get(key, 'default')!r}, now "
            f"{now.get(key, 'default')!r}); delete the line and its run folder to train it again, "
            "or give the new settings another name"
        )
    if row.lever != variant.lever:
        raise UserError(f"{where}: lever {row.lever!r} is now {variant.lever!r}; rename it there")
