"""What lies between a waveform and a model's input: ``frontend.json``."""

import dataclasses
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ser_kd import files
from ser_kd.audio.windows import Windowing
from ser_kd.config import Config, LogMelConfig, read_run_config
from ser_kd.errors import UserError
from ser_kd.tflite.structure import check_flatbuffer

# What every file in a zip archive begins with. The archive at a model's end is much smaller.
_ZIP_ENTRY, _ARCHIVE_BYTES = b"PK\x03\x04", 1 << 16

PRIOR_CLIPS = 8.0
"""The corpus counts as so many of the owner's clips (2, 8 and 20 were tried: docs/phone.md)."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """What voices are moved to: the statistics that a student standardises its features with.

    Attributes:
        mean_db: float32 ``[mels]`` in dB.
        deviation_db: The same, above 0.
        prior_clips: How many of the owner's clips it counts as.
    """

    mean_db: np.ndarray
    deviation_db: np.ndarray
    prior_clips: float = PRIOR_CLIPS

    def as_json(self) -> dict[str, Any]:
        """For ``frontend.json``; the numbers come back as they were."""
        return {
            "mean_db": [float(f"{value:.9g}") for value in self.mean_db],
            "deviation_db": [float(f"{value:.9g}") for value in self.deviation_db],
            "prior_clips": self.prior_clips,
        }

    @classmethod
    def from_json(cls, facts: Any) -> "Corpus":
        """What ``as_json`` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            mean_db, deviation_db = (
                np.array(facts[name], np.float32) for name in ("mean_db", "deviation_db")
            )
            prior_clips = float(facts["prior_clips"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if (
            mean_db.ndim != 1
            or mean_db.shape != deviation_db.shape
            or not np.isfinite([*mean_db, *deviation_db, prior_clips]).all()
            or not (deviation_db > 0).all()
            or prior_clips < 0
        ):
            raise ValueError("no mean and deviation of each mel band, or no prior_clips")
        return cls(mean_db, deviation_db, prior_clips)


@dataclass(frozen=True)
class Frontend:
    """What lies between a waveform and a model's input: the content of ``frontend.json``.

    See ``ser_kd.config.AudioConfig`` and ``LogMelConfig``. ``frames`` is the number of log-mel
    frames in a window; windows of a longer clip start every ``window_hop_samples``. Logits are
    divided by ``temperature`` before softmax; the waveform model has that inside of it. ``corpus``
    is what a known voice's frames are moved to (``ser_kd.speaker.statistics``); older exports lack
    it.
    """

    sample_rate_hz: int
    window_samples: int
    window_hop_samples: int
    fft_samples: int
    hop_samples: int
    mels: int
    min_hz: float
    max_hz: float
    floor_db: float
    frames: int
    temperature: float = 1.0
    # Found by training, not set by the run's configuration, which is what front ends differ by.
    corpus: Corpus | None = field(default=None, compare=False)

    @classmethod
    def of(
        cls, config: Config, temperature: float = 1.0, corpus: Corpus | None = None
    ) -> "Frontend":
        """The front end of a run, whose student's logits want this temperature."""
        logmel, window_samples = config.logmel, config.audio.window_samples
        return cls(
            sample_rate_hz=logmel.sample_rate_hz,
            window_samples=window_samples,
            window_hop_samples=Windowing.of(config.audio, logmel).hop_samples,
            fft_samples=logmel.fft_samples,
            hop_samples=logmel.hop_samples,
            mels=logmel.mels,
            min_hz=logmel.min_hz,
            max_hz=logmel.max_hz,
            floor_db=logmel.floor_db,
            frames=logmel.frames(window_samples),
            temperature=temperature,
            corpus=corpus,
        )

    @classmethod
    def read(cls, path: Path) -> "Frontend":
        """Reads ``frontend.json``.

        Raises:
            UserError: It is not one.
        """
        try:
            values = {"temperature": cls.temperature, **files.read_json(path)}
            numbers = [f for f in dataclasses.fields(cls) if f.name != "corpus"]
            frontend = cls(
                **{f.name: f.type(values[f.name]) for f in numbers},  # type: ignore[operator]
                corpus=Corpus.from_json(values["corpus"]) if values.get("corpus") else None,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is not a front end's description ({type(error).__name__}: {error}); "
                "export the run again"
            ) from None
        wanted = frontend.logmel.frames(frontend.window_samples)
        if frontend.frames != wanted:
            raise UserError(f"{path}: frames = {frontend.frames}, but a window has {wanted}")
        if not 0.0 < frontend.temperature < float("inf"):
            raise UserError(f"{path}: temperature = {frontend.temperature}; it is above 0")
        if frontend.corpus and len(frontend.corpus.mean_db) != frontend.mels:
            raise UserError(
                f"{path}: mels = {frontend.mels} does not fit corpus, which has "
                f"{len(frontend.corpus.mean_db)}; export the run again"
            )
        return frontend

    def as_json(self) -> dict[str, Any]:
        """What ``read`` reads."""
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        facts["corpus"] = self.corpus and self.corpus.as_json()
        return {name: value for name, value in facts.items() if value is not None}

    @property
    def windowing(self) -> Windowing:
        """How a clip is cut into windows."""
        return Windowing(self.window_samples, self.window_hop_samples, self.hop_samples)

    @property
    def logmel(self) -> LogMelConfig:
        """The settings of the log-mel frames."""
        return LogMelConfig(
            self.sample_rate_hz,
            self.fft_samples,
            self.hop_samples / self.sample_rate_hz,
            self.mels,
            self.min_hz,
            self.max_hz,
            self.floor_db,
        )

    @property
    def mel_bands(self) -> dict[str, float]:
        """What makes a frame's numbers what they are: statistics of other bands are others."""
        names = ("sample_rate_hz", "fft_samples", "mels", "min_hz", "max_hz", "floor_db")
        return {name: getattr(self, name) for name in names}


def find_frontend(model: Path) -> tuple[tuple[str, ...], Frontend]:
    """A model's labels and front end; see ``Predictor.load`` for where they are looked for.

    Raises:
        UserError: They are not there, or do not fit.
    """
    folder = model.parent
    for place in (folder, folder / "export"):
        labels, frontend = place / "labels.txt", place / "frontend.json"
        if labels.is_file() and frontend.is_file():
            names = tuple(labels.read_text(encoding="utf-8").splitlines())
            return names, Frontend.read(frontend)
    if (folder / "config.json").is_file():
        record = folder / "config.json"
        return tuple(files.read_json(record)["labels"]), Frontend.of(read_run_config(record))
    if zipfile.is_zipfile(model) and model.suffix != ".keras":  # which is a zip file itself
        return _packed_frontend(model)
    _check_whole(model)
    if (folder / "dimensions.json").is_file():
        raise no_categories(model)
    raise UserError(
        f"{model}: labels.txt and frontend.json are needed beside it (ser-kd export writes them)"
    )


def no_categories(model: Path) -> UserError:
    """What to raise of a model that predicts dimensions alone."""
    return UserError(
        f"{model} predicts dimensions, which have no labels to print; docs/teachers.md says how "
        "to read them. Of categories are student.keras and the other files of export/"
    )


def _check_whole(model: Path) -> None:
    """That a file without a front end is not one that has lost it.

    Raises:
        UserError: It is cut off or damaged, or is no model.
    """
    if model.suffix == ".keras":
        if not zipfile.is_zipfile(model):
            raise UserError(f"{model} is damaged or no Keras model: copy or export it again")
        return
    check_flatbuffer(model)
    if _ZIP_ENTRY in model.read_bytes()[-_ARCHIVE_BYTES:]:
        raise UserError(
            f"{model} is truncated or damaged: the labels at its end are cut off; copy or download "
            "it again"
        )


def _packed_frontend(model: Path) -> tuple[tuple[str, ...], Frontend]:
    """What a waveform model carries at its end."""
    with tempfile.TemporaryDirectory(prefix="ser_kd-") as folder:
        try:
            with zipfile.ZipFile(model) as archive:
                for name in ("labels.txt", "frontend.json"):
                    Path(folder, name).write_bytes(archive.read(name))
        except (KeyError, zipfile.BadZipFile, RuntimeError) as error:
            raise UserError(f"{model}: its labels cannot be read ({error})") from None
        names = tuple(Path(folder, "labels.txt").read_text(encoding="utf-8").splitlines())
        return names, Frontend.read(Path(folder, "frontend.json"))
