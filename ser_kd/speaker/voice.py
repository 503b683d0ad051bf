"""What is known of one voice, and the file that keeps it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import files
from ser_kd.errors import UserError
from ser_kd.speaker.statistics import VoiceStatistics
from ser_kd.students.frontend import Corpus

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Voice:
    """What is known of one voice, from unlabelled clips: no sound, two numbers per mel band.

    Made by ``Model.voice`` or read by ``Voice.load``.

    Attributes:
        statistics: Floating-point sums over the voice's log-mel frames.
        mel_bands: What the bands are; a model with others cannot use them.
    """

    statistics: VoiceStatistics
    mel_bands: Mapping[str, float]

    @property
    def clips(self) -> float:
        """From how many clips (parts of at most a window) of speech; old ones fade."""
        return self.statistics.clips

    def as_array(self, corpus: Corpus) -> np.ndarray:
        """Mean and deviation, float32 ``[2, mels]`` in dB, drawn towards ``corpus`` where few."""
        mean, deviation = corpus.mean_db, corpus.deviation_db
        return np.stack(self.statistics.voice(mean, deviation, corpus.prior_clips))

    def check_bands(self, mel_bands: Mapping[str, float], source: str = "this voice") -> None:
        """Makes sure that a model has these mel bands.

        Raises:
            UserError: It has others.
        """
        if self.statistics.frames and dict(self.mel_bands) != dict(mel_bands):
            raise UserError(
                f"{source} was learnt with the mel bands {dict(self.mel_bands)}, this model has "
                f"{dict(mel_bands)}: learn it again with this model"
            )

    def save(self, path: Path | str) -> None:
        """Writes the voice as JSON, atomically."""
        facts = {
            "format": _FORMAT,
            "front_end": dict(self.mel_bands),
            "clips": self.statistics.clips,
            "frames": self.statistics.frames,
            "total": self.statistics.total.tolist(),
            "squares": self.statistics.squares.tolist(),
        }
        with files.atomic(Path(path)) as partial:
            partial.write_text(json.dumps(facts), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> "Voice":
        """Reads what ``save`` wrote.

        Raises:
            UserError: The file is not there, damaged, or something else.
        """
        try:
            facts: Any = files.read_json(Path(path))
        except FileNotFoundError:
            raise UserError(f"{path}: no such file") from None
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: no voice statistics ({error}); delete it") from None
        try:
            known = VoiceStatistics(
                float(facts["clips"]),
                float(facts["frames"]),
                np.array(facts["total"], np.float64),
                np.array(facts["squares"], np.float64),
            )
            bands = dict(facts.get("front_end", {}))
            whole = (
                facts["format"] == _FORMAT
                and known.total.ndim == 1
                and known.total.shape == known.squares.shape
                and np.isfinite([known.clips, known.frames, *known.total, *known.squares]).all()
                and known.clips >= 0
                and (known.clips > 0) == (known.frames > 0) == (len(known.total) > 0)
            )
        except (KeyError, TypeError, ValueError):
            whole = False
        if not whole:
            raise UserError(f"{path}: no voice statistics; delete it to begin anew")
        return cls(known, bands)
