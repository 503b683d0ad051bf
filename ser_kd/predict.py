"""Print the emotion of audio files: any format, any rate, any length."""

import argparse
import dataclasses
import json
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_kd import files, streaming
from ser_kd.audio import AudioError, decode, is_silent, to_float, to_int16, window_starts
from ser_kd.config import Config, LogMelConfig
from ser_kd.errors import UserError
from ser_kd.owner import CLASSIFY_OWNER, LISTEN_TO_OWNER, Corpus, sounding, to_corpus
from ser_kd.owner_loop import OwnerLoop, Voices
from ser_kd.progress import say
from ser_kd.streaming import Streamer
from ser_kd.targets import softmax
from ser_kd.tflite import TFLiteModel

# TensorFlow (5 s) is imported where it is used, so that ``ser-kd --help`` is quick.
if TYPE_CHECKING:
    import keras

_MODEL_SUFFIXES = (".tflite", ".keras")
_BATCH = 64


@dataclass(frozen=True)
class Frontend:
    """What lies between a waveform and a model's input: the content of ``frontend.json``.

    See ``ser_kd.config.AudioConfig`` and ``LogMelConfig``. ``frames`` is the number of log-mel
    frames in a window; windows of a longer clip start every ``window_hop_samples``. Logits are
    divided by ``temperature`` before softmax; the waveform model has that inside of it. ``corpus``
    is what a known voice's frames are moved to (``ser_kd.owner``); older exports lack it.
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
        from ser_kd.data import Windowing

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
    def logmel(self) -> LogMelConfig:
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


@dataclass(frozen=True)
class Prediction:
    """What a model says of one file.

    Attributes:
        probs: float32 ``[classes]``, the mean over the windows.
        seconds: The file's length.
        silent: No sample is above the noise of the format: the label then means nothing.
    """

    probs: np.ndarray
    seconds: float
    silent: bool


class Predictor:
    """A student and its front end, ready for audio files.

    Attributes:
        labels: Class names, in the order of the probabilities.
        frontend: How audio becomes the model's input.
        voices: What the model can do with its owner's voice; None = nothing.
    """

    def __init__(
        self,
        predict_windows: Callable[[np.ndarray], np.ndarray],
        labels: tuple[str, ...],
        frontend: Frontend,
        voices: Voices | None = None,
    ) -> None:
        self._predict_windows = predict_windows
        self.labels = labels
        self.frontend = frontend
        self.voices = voices

    @classmethod
    def load(cls, path: Path) -> "Predictor":
        """Loads a .tflite or .keras student.

        ``labels.txt`` and ``frontend.json`` are looked for beside the model, then in ``export/``
        beside it, then the config of the run that the model lies in is asked; a waveform model
        brings its own.

        Raises:
            UserError: The model cannot be loaded, does not fit its front end, or that is missing.
        """
        if path.suffix not in _MODEL_SUFFIXES:
            raise UserError(f"{path}: a model ends in {' or '.join(_MODEL_SUFFIXES)}")
        if not path.is_file():
            raise UserError(f"{path}: no such model")
        labels, frontend = find_frontend(path)
        predict: Callable[[np.ndarray], np.ndarray]
        voices, corpus = None, frontend.corpus
        takes: tuple[int, ...] = (frontend.frames, frontend.mels)
        if path.suffix == ".tflite":
            model = TFLiteModel(path)
            inputs, outputs, predict = model.input_shape, model.output_shape, model.predict
            if model.hears_waveforms:
                takes = (frontend.window_samples,)
                voices = _waveform_voices(model, corpus)
        else:
            network = load_keras(path)
            inputs, outputs = network.input_shape, network.output_shape
            if isinstance(network.output, dict):  # output_shape is a tuple where it has one entry
                raise _tells_dimensions(path)
            predict, corpus = keras_logits(network), keras_corpus(network)
        wanted = takes, (len(labels),)
        if isinstance(inputs, dict) or (tuple(inputs[1:]), tuple(outputs[1:])) != wanted:
            raise UserError(
                f"{path} does not fit its labels.txt and frontend.json: it takes {inputs} and "
                f"gives {outputs}; they say [1, {', '.join(map(str, takes))}] and "
                f"{len(labels)} labels"
            )
        if len(takes) > 1:
            logits, predict = predict, _with_front_end(predict, frontend)
            voices = _logmel_voices(logits, frontend, corpus)
        return cls(predict, labels, frontend, voices)

    def predict_windows(self, windows: np.ndarray) -> np.ndarray:
        """Class probabilities of windows.

        Args:
            windows: float32 ``[windows, frontend.window_samples]`` in -1..1; zeros after a clip
                that is shorter.

        Returns:
            float32 ``[windows, classes]``.
        """
        return self._predict_windows(windows)

    def predict_waveform(self, waveform: np.ndarray) -> np.ndarray:
        """Class probabilities of a clip, computed exactly as in evaluation.

        Args:
            waveform: float32 ``[samples]`` in -1..1 at ``frontend.sample_rate_hz``.

        Returns:
            float32 ``[classes]``: softmax, then the mean over the windows.
        """
        frontend = self.frontend
        waveform = to_float(to_int16(waveform))
        starts = window_starts(
            len(waveform),
            frontend.window_samples,
            frontend.window_hop_samples,
            frontend.hop_samples,
        )
        total = np.zeros(len(self.labels))
        for first in range(0, len(starts), _BATCH):
            chosen = starts[first : first + _BATCH]
            windows = np.zeros((len(chosen), frontend.window_samples), np.float32)
            for row, start in zip(windows, chosen, strict=True):
                part = waveform[start : start + frontend.window_samples]
                row[: len(part)] = part
            total += self.predict_windows(windows).sum(axis=0)
        mean: np.ndarray = (total / len(starts)).astype(np.float32)
        return mean

    def predict(self, path: Path | str) -> Prediction:
        """What the model says of an audio file.

        Raises:
            AudioError: The file cannot be used.
        """
        return self.hear(decode(path, self.frontend.sample_rate_hz))

    def hear(self, waveform: np.ndarray) -> Prediction:
        """What the model says of a clip; ``waveform`` as for ``predict_waveform``."""
        seconds = len(waveform) / self.frontend.sample_rate_hz
        return Prediction(self.predict_waveform(waveform), seconds, is_silent(waveform))

    def predict_file(self, path: Path | str) -> np.ndarray:
        """Class probabilities of an audio file, float32 ``[classes]``; see ``predict``."""
        return self.predict(path).probs


def load_keras(path: Path) -> "keras.Model":
    """Loads a .keras file of this project, teachers' included, for evaluation.

    Raises:
        UserError: It is missing, truncated, corrupt, or not a Keras model.
    """
    import keras

    import ser_kd.heads
    import ser_kd.layers
    import ser_kd.teachers.classifier  # (their classes are registered by importing them)
    import ser_kd.teachers.dimensional_network
    import ser_kd.teachers.fusion_network
    import ser_kd.teachers.linguistic_network
    import ser_kd.teachers.prosodic_network  # noqa: F401

    if not path.is_file():
        raise UserError(f"{path}: no such model; train one first: python train.py")
    try:
        return keras.saving.load_model(path, compile=False)
    except Exception as error:  # zip, JSON, HDF5 and Keras each have their own errors
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise UserError(f"{path} is damaged or no Keras model ({reason}); train again") from None


def keras_logits(model: "keras.Model") -> Callable[[np.ndarray], np.ndarray]:
    """A compiled function of a log-mel model: float32 ``[batch, frames, mels]`` -> logits."""
    import tensorflow as tf

    run = tf.function(lambda windows: model(windows, training=False), reduce_retracing=True)
    return lambda windows: run(tf.constant(windows, tf.float32)).numpy()


def keras_corpus(model: "keras.Model") -> Corpus | None:
    """What a log-mel model standardises its features with; None = it is another kind of model."""
    try:
        standardize = model.get_layer("standardize")
        return Corpus(np.asarray(standardize.mean), np.asarray(standardize.deviation))
    except (ValueError, AttributeError):
        return None


def load_for_owner(model: Path, statistics: Path) -> tuple[Predictor, OwnerLoop]:
    """A predictor that knows its owner as far as ``statistics`` does, and what lets it learn.

    Raises:
        UserError: As ``Predictor.load``; the model cannot be moved to a voice; or the file with the
            statistics is damaged or of another front end.
    """
    stranger = Predictor.load(model)
    if stranger.voices is None:
        raise UserError(
            f"{model} cannot learn its owner's voice: it has no signature {CLASSIFY_OWNER}, or its "
            "frontend.json no corpus; export its run again (python -m export RUN_DIR)"
        )
    owner = OwnerLoop(statistics, stranger.voices, stranger.frontend)
    known = Predictor(owner.predict_windows, stranger.labels, stranger.frontend, stranger.voices)
    return known, owner


def _with_front_end(
    predict_logits: Callable[[np.ndarray], np.ndarray], frontend: Frontend
) -> Callable[[np.ndarray], np.ndarray]:
    """A log-mel model as a function of samples: windows -> probabilities."""
    from ser_kd.features import LogMel

    logmel = LogMel(frontend.logmel)
    temperature = frontend.temperature
    return lambda windows: softmax(predict_logits(np.asarray(logmel(windows))) / temperature)


def _logmel_voices(
    predict_logits: Callable[[np.ndarray], np.ndarray], frontend: Frontend, corpus: Corpus | None
) -> Voices | None:
    from ser_kd.features import LogMel

    if corpus is None:
        return None
    logmel, floor_db = LogMel(frontend.logmel), frontend.floor_db
    target = corpus.mean_db, corpus.deviation_db

    def predict_windows(windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        moved = to_corpus(np.asarray(logmel(windows)), (voice[0], voice[1]), target, floor_db)
        return softmax(predict_logits(moved) / frontend.temperature)

    def sums(windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        frames = sounding(np.asarray(logmel(windows)), floor_db).astype(np.float64)
        return len(frames), frames.sum(0), (frames**2).sum(0)

    return Voices(corpus, predict_windows, sums)


def _waveform_voices(model: TFLiteModel, corpus: Corpus | None) -> Voices | None:
    if corpus is None or not {CLASSIFY_OWNER, LISTEN_TO_OWNER} <= set(model.signatures):
        return None

    def predict_windows(windows: np.ndarray, voice: np.ndarray) -> np.ndarray:
        answers = (
            model.run(CLASSIFY_OWNER, pcm=window[np.newaxis], statistics=voice)
            for window in windows
        )
        return np.concatenate([answer["probabilities"] for answer in answers])

    def sums(windows: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        parts = [model.run(LISTEN_TO_OWNER, pcm=window[np.newaxis]) for window in windows]
        frames, total, squares = (
            np.stack([part[name] for part in parts]).sum(axis=0, dtype=np.float64)
            for name in ("frames", "total", "squares")
        )
        return float(frames[0]), total, squares

    return Voices(corpus, predict_windows, sums)


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
        from ser_kd.run import Run

        run = Run.open(folder)
        return run.labels, Frontend.of(run.config)
    if zipfile.is_zipfile(model):
        return _packed_frontend(model)
    if (folder / "dimensions.json").is_file():
        raise _tells_dimensions(model)
    raise UserError(
        f"{model}: labels.txt and frontend.json are needed beside it (python -m export writes them)"
    )


def _tells_dimensions(model: Path) -> UserError:
    return UserError(
        f"{model} tells dimensions, which have no labels to print; docs/dimensions.md says how to "
        "read them. Of categories are student.keras and the other files of export/"
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


def default_model() -> Path:
    """The student that comes with the package: ``ser_kd/pretrained/student_waveform.tflite``."""
    return Path(str(resources.files("ser_kd") / "pretrained" / "student_waveform.tflite"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``python -m ser_kd predict``."""
    parser.add_argument(
        "paths",
        nargs="+",
        metavar="[MODEL] FILE",
        help="audio files; one that ends in .tflite or .keras, first or last, is the model "
        "(default: the one that comes with ser_kd)",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="hear each file as a microphone would: an answer every 0.5 s, or 'no speech'",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    add_owner_argument(parser)


def add_owner_argument(parser: argparse.ArgumentParser) -> None:
    """``--owner-statistics FILE``, for every command that hears one person."""
    parser.add_argument(
        "--owner-statistics",
        type=Path,
        metavar="FILE",
        help="learn the voice of the one person who speaks: each clip is heard with what FILE "
        "knows, and its speech is then added to FILE, which holds two numbers per mel band and no "
        "sound; it is made if missing, and deleting it forgets the voice",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per file, or per update; files that cannot be read are named on stderr.

    Returns:
        0, or 1 if a file could not be read.

    Raises:
        UserError: There is no model, or no audio file is given.
    """
    paths = [Path(path) for path in arguments.paths]
    place = next((at for at in (0, -1) if paths[at].suffix in _MODEL_SUFFIXES), None)
    given = None if place is None else paths.pop(place)
    if not paths:
        raise UserError(f"which audio files? Give them beside the model {given}")
    model = given or default_model()
    owner: OwnerLoop | None = None
    if arguments.owner_statistics:
        predictor, owner = load_for_owner(model, arguments.owner_statistics)
    else:
        predictor = Predictor.load(model)
    if not given:
        print(f"model: {model}", file=sys.stderr)
    if owner:
        print(owner, file=sys.stderr)
    failed = 0
    for path in paths:
        try:
            if arguments.stream:
                _stream(predictor, path, arguments.json, owner)
                continue
            waveform = decode(path, predictor.frontend.sample_rate_hz)
            prediction = predictor.hear(waveform)
            if owner:
                owner.learn(waveform)
        except AudioError as error:
            failed += 1
            print(f"error: {error}", file=sys.stderr)
            continue
        if prediction.silent:
            print(f"warning: {path} is silent: its label means nothing", file=sys.stderr)
        say(_line(path, prediction, predictor.labels, arguments.json))
    if owner:
        print(owner, file=sys.stderr)
    if failed:
        print(f"{failed} of {len(paths)} files could not be read", file=sys.stderr)
    return 1 if failed else 0


def _stream(predictor: Predictor, path: Path, as_json: bool, owner: OwnerLoop | None) -> None:
    frontend = predictor.frontend
    waveform = decode(path, frontend.sample_rate_hz)
    learn = owner.learn if owner else None
    streamer = Streamer(predictor.predict_windows, predictor.labels, frontend, learn=learn)
    for start in range(0, len(waveform), frontend.sample_rate_hz):
        for update in streamer.push(waveform[start : start + frontend.sample_rate_hz]):
            say(streaming.line(update, predictor.labels, as_json, str(path)))
    for update in streamer.finish():
        say(streaming.line(update, predictor.labels, as_json, str(path)))


def _line(path: Path, prediction: Prediction, labels: tuple[str, ...], as_json: bool) -> str:
    probs = {name: round(float(p), 4) for name, p in zip(labels, prediction.probs, strict=True)}
    label = max(probs, key=probs.__getitem__)
    if as_json:
        record: dict[str, Any] = {
            "file": str(path),
            "label": label,
            "probability": probs[label],
            "probabilities": probs,
            "seconds": round(prediction.seconds, 3),
            "silent": prediction.silent,
        }
        return json.dumps(record, ensure_ascii=False)
    rest = "  ".join(f"{name} {p:.2f}" for name, p in probs.items())
    return f"{path}: {label} {probs[label]:.2f}{' (silent)' * prediction.silent}   [{rest}]"
