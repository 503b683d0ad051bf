"""Predictions as lines of text, JSON or CSV."""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ser_kd.corpora.emotions import emotion

if TYPE_CHECKING:
    from ser_kd.inference.predictor import Prediction

Form = Literal["text", "json", "csv"]


@dataclass(frozen=True)
class Lines:
    """How predictions are printed; without speech no label is claimed.

    Attributes:
        form: Text, JSON (an object per line) or CSV.
        labels: Class names in output order.
        timeline: Whether each prediction is of a window and has a start.
    """

    form: Form
    labels: tuple[str, ...]
    timeline: bool

    @property
    def heading(self) -> str:
        """What stands above all lines; empty: nothing."""
        if self.form != "csv":
            return ""
        start = ["start_seconds"] if self.timeline else []
        columns = ["file", *start, "seconds", "speech", "silent", "label", "probability"]
        return _csv([*columns, *(f"p_{label}" for label in self.labels)])

    def line(
        self, path: Path, prediction: "Prediction", speech: bool, start_seconds: float = 0.0
    ) -> str:
        """One prediction.

        Args:
            path: Of the file.
            prediction: Of it, or of a window of it.
            speech: Whether there is any in it.
            start_seconds: Where the window begins.
        """
        rounded = [round(float(value), 4) for value in prediction.probabilities]
        probs = dict(zip(self.labels, rounded, strict=True))
        label = prediction.label
        if self.form == "text":
            return self._text(path, prediction, speech, start_seconds, probs)
        record: dict[str, Any] = {"file": str(path)}
        if self.timeline:
            record["start_seconds"] = round(start_seconds, 3)
        record |= {
            "label": label if speech else None,
            "probability": probs[label] if speech else None,
            "probabilities": probs,
            "seconds": round(prediction.seconds, 3),
            "silent": prediction.silent,
            "speech": speech,
        }
        if self.form == "json":
            return json.dumps(record, ensure_ascii=False)
        start = [record["start_seconds"]] if self.timeline else []
        claimed = [record["label"] or "", "" if not speech else record["probability"]]
        flags = [str(value).lower() for value in (speech, prediction.silent)]
        return _csv([str(path), *start, record["seconds"], *flags, *claimed, *rounded])

    def _text(
        self,
        path: Path,
        prediction: "Prediction",
        speech: bool,
        start_seconds: float,
        probs: dict[str, float],
    ) -> str:
        end = start_seconds + prediction.seconds
        where = f"{path}: " + f"{start_seconds:.1f}-{end:.1f} s  " * self.timeline
        if not speech:
            return f"{where}no speech{' (silent)' * prediction.silent}"
        rest = "  ".join(f"{name} {value:.2f}" for name, value in probs.items())
        return f"{where}{emotion(prediction.label)} {probs[prediction.label]:.2f}   [{rest}]"


def _csv(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(cells)
    return text.getvalue()
