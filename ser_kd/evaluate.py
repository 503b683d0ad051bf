"""Score a model on a corpus, look for its weak points, and write a report."""

import argparse
import contextlib
import csv
import dataclasses
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ser_kd import audio, files
from ser_kd.audio import AudioError, Waveform
from ser_kd.config import CorpusConfig
from ser_kd.corpora import CORPORA, Clip, Corpus, load_corpus
from ser_kd.errors import UserError
from ser_kd.measure import measure_all
from ser_kd.predict import Predictor, default_model
from ser_kd.progress import say, track
from ser_kd.splits import split_corpus
from ser_kd.targets import read_targets
from ser_kd.tflite import TFLiteModel

# What needs scikit-learn and SciPy (2 s) or TensorFlow (5 s) is imported where it is used: the help
# is quick, and a .tflite outside of a run's folder needs no TensorFlow.
if TYPE_CHECKING:
    from ser_kd.run import Run

SPLITS = ("train", "validation", "test", "all")
RESAMPLES = 1000
SEED = 0
_WORST_CLIPS = 20
_BATCH = 64
_DECODING_THREADS = 2
_INT16 = 32_768.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command line of ``python -m ser_kd evaluate``."""
    parser.add_argument(
        "model",
        nargs="?",
        type=Path,
        metavar="MODEL",
        help="a .tflite or .keras file (default: the one that comes with ser_kd)",
    )
    parser.add_argument(
        "--corpus", metavar="NAME", help=f"{', '.join(CORPORA)} (default: that of the model's run)"
    )
    parser.add_argument("--data-dir", metavar="DIR", help="where its clips are")
    parser.add_argument("--metadata-dir", metavar="DIR", help="where its tables are (CREMA-D)")
    parser.add_argument(
        "--split",
        metavar="SPLIT",
        help=f"{', '.join(SPLITS)} (default: test if its clips are there, else validation)",
    )
    several: dict[str, Any] = {"nargs": "+", "action": "extend", "default": []}
    parser.add_argument(
        "--cross",
        metavar="NAME=DIR",
        help="other corpora, all of their clips, such as emodb=EmoDB/wav",
        **several,
    )
    parser.add_argument(
        "--teacher",
        type=Path,
        metavar="TARGETS.npz",
        help="stored predictions of teachers (those of the model's run are found)",
        **several,
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="MODEL",
        help="models to compare with (the float student of the model's run is found)",
        **several,
    )
    parser.add_argument(
        "--no-robustness", action="store_true", help="only the clips as they are: much quicker"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="(default: evaluation/ beside MODEL)"
    )
    parser.add_argument("--json", action="store_true", help="print eval.json instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Writes ``eval.json``, ``predictions.csv`` and ``report.html``, and prints a table.

    Returns:
        0.

    Raises:
        UserError: There is no model or corpus, an argument is wrong, or no clip can be used.
    """
    from ser_kd.evaluation_report import write_report

    # With --json nothing but the JSON is on stdout.
    with contextlib.redirect_stdout(sys.stderr if arguments.json else sys.stdout):
        model = arguments.model or default_model()
        # Not beside the default model: that would be among the installed packages.
        beside = arguments.model.parent if arguments.model else Path()
        out = arguments.out or beside / "evaluation"
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out} is a file: name a folder")
        evaluation, predictions = evaluate(model, arguments)
        files.write_json(out / "eval.json", evaluation)
        _write_csv(out / "predictions.csv", predictions)
        write_report(evaluation, out / "report.html")
        if not arguments.json:
            say("\n" + summary(evaluation) + "\n")
        say(f"written to {out}: eval.json, predictions.csv, report.html")
    if arguments.json:
        say(json.dumps(evaluation, ensure_ascii=False))
    return 0


def evaluate(
    model: Path, arguments: argparse.Namespace
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Everything that can be said of a model on a corpus.

    Args:
        model: A .tflite or .keras file.
        arguments: See ``add_arguments``.

    Returns:
        What ``eval.json`` holds, and the rows of ``predictions.csv``.

    Raises:
        UserError: See ``run``.
    """
    from ser_kd.calibration import expected_calibration_error, reliability
    from ser_kd.robustness import GATES_SOURCE
    from ser_kd.slices import slices

    notes: list[str] = []
    predictor, own_run = Predictor.load(model), _find_run(model)
    clips = _main_clips(predictor, own_run, arguments, notes)
    crossed = [_cross_clips(text, predictor, notes) for text in arguments.cross]
    say(f"{model.name}: {len(clips):,} {clips.split} clips of {clips.corpus.name}")
    probs = predict_waveforms(predictor, clips.waveforms())
    predicted = probs.argmax(1)
    scores = _scores(probs, clips, predictor.labels)
    teachers = _teachers(clips, predictor.labels, own_run, arguments.teacher, notes)
    students = _students(clips, predictor, model, own_run, arguments.against, notes)
    resources, compared = _compare(model, scores, teachers, students, clips, notes)
    groups, unknown = slices(clips.clips, clips.truth, predicted, predictor.labels, RESAMPLES, SEED)
    notes += unknown
    robustness = _robustness(
        predictor, clips, predicted, groups, not arguments.no_robustness, notes
    )
    evaluation = {
        "format": 1,
        "model": _model_facts(model),
        "labels": list(predictor.labels),
        "corpus": {
            "name": clips.corpus.name,
            "split": clips.split,
            "clips": len(clips),
            "speakers": len(set(clips.speakers)),
            "synthetic": clips.corpus.synthetic,
            "heard_in_training": clips.heard_in_training,
            "unreadable": dict(clips.unreadable),
        },
        "scores": scores,
        "calibration": {
            "ece": expected_calibration_error(probs, clips.truth),
            "bins": [dataclasses.asdict(item) for item in reliability(probs, clips.truth)],
        },
        "agreement": [_agreement(other, predicted, clips) for other in teachers + students],
        "slices": groups,
        "robustness": robustness,
        "cross_corpus": [_cross_scores(predictor, other) for other in crossed],
        "resources": resources,
        "compared": compared,
        "family": _family(own_run),
        "history": _history(own_run),
        "worst": _worst(clips, probs, predictor.labels),
        "settings": {
            "bootstrap_resamples": RESAMPLES,
            "seed": SEED,
            "noise_seed": SEED,
            "gates": GATES_SOURCE,
        },
        "notes": notes,
    }
    return evaluation, _prediction_rows(clips, probs, predictor.labels)


def predict_waveforms(predictor: Predictor, waveforms: Iterable[Waveform]) -> np.ndarray:
    """What ``Predictor.predict_waveform`` says of each, with windows of several clips in a batch.

    Args:
        predictor: The model.
        waveforms: float32 ``[samples]`` each, in -1..1 at the model's sample rate.

    Returns:
        float32 ``[clips, classes]``.
    """
    frontend = predictor.frontend
    totals: list[np.ndarray] = []
    counts: list[int] = []
    waiting: list[tuple[int, np.ndarray]] = []

    def predict(batch: list[tuple[int, np.ndarray]]) -> None:
        probs = predictor.predict_windows(np.stack([window for _, window in batch]))
        for (clip, _), row in zip(batch, probs, strict=True):
            totals[clip] += row

    for clip, waveform in enumerate(waveforms):
        windows = audio.windows(
            _to_float(_to_int16(waveform)),
            frontend.window_samples,
            frontend.window_hop_samples,
            frontend.hop_samples,
        )
        totals.append(np.zeros(len(predictor.labels)))
        counts.append(len(windows))
        waiting += [(clip, window) for window in windows]
        while len(waiting) >= _BATCH:
            predict(waiting[:_BATCH])
            del waiting[:_BATCH]
    if waiting:
        predict(waiting)
    means: np.ndarray = (np.array(totals) / np.array(counts)[:, np.newaxis]).astype(np.float32)
    return means


def _to_int16(waveform: Waveform) -> np.ndarray:
    """16 bits, as ``Predictor`` and training hear it."""
    return np.clip(np.round(waveform * _INT16), -_INT16, _INT16 - 1).astype(np.int16)


def _to_float(samples: np.ndarray) -> Waveform:
    return np.divide(samples, _INT16, dtype=np.float32)


# The clips.


@dataclass(frozen=True)
class ClipSet:
    """The clips that a model is scored on: those that could be decoded and whose class it knows.

    Attributes:
        corpus: Where they come from.
        split: Which part of it.
        clips: Their labels and attributes.
        truth: Class indices ``[clips]``, in the order of the model's labels.
        samples: Their audio, int16 ``[samples]`` each.
        unreadable: Clip id -> reason.
        dropped: The corpus's own label -> how many clips, for classes that the model lacks.
        heard_in_training: How many clips are of speakers that the model was trained on; None where
            that is not known.
    """

    corpus: Corpus
    split: str
    clips: tuple[Clip, ...]
    truth: np.ndarray
    samples: tuple[np.ndarray, ...]
    unreadable: Mapping[str, str]
    dropped: Mapping[str, int]
    heard_in_training: int | None = None

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def ids(self) -> list[str]:
        return [clip.id for clip in self.clips]

    @property
    def speakers(self) -> list[str]:
        return [clip.speaker for clip in self.clips]

    def waveform(self, index: int) -> Waveform:
        """float32 ``[samples]`` in -1..1."""
        return _to_float(self.samples[index])

    def waveforms(self) -> Iterable[Waveform]:
        return map(self.waveform, range(len(self)))


def _find_run(model: Path) -> "Run | None":
    """The run in whose folder, or in whose ``export/``, the model lies."""
    folder = model.absolute().parent
    for place in (folder, folder.parent):
        if (place / "config.json").is_file():
            from ser_kd.run import Run

            return Run.open(place)
    return None


def _main_clips(
    predictor: Predictor, own_run: "Run | None", arguments: argparse.Namespace, notes: list[str]
) -> ClipSet:
    wanted = arguments.split
    if wanted is not None and wanted not in SPLITS:
        raise UserError(f"unknown split {wanted!r}: use {', '.join(SPLITS)}")
    given = {
        name: value
        for name in ("data_dir", "metadata_dir")
        if (value := getattr(arguments, name)) is not None
    }
    config = None if own_run is None else own_run.config.corpus
    if config is None or arguments.corpus not in (None, config.name):
        if arguments.corpus is None:
            raise UserError(
                "which clips? The model lies in no run's folder: give --corpus (one of "
                f"{', '.join(CORPORA)}) and --data-dir"
            )
        config = CorpusConfig(name=arguments.corpus)
        trained_here = False
    else:
        # Only CREMA-D's split is the same whatever is in the folder.
        trained_here = config.name == "crema_d" or "data_dir" not in given
    if wanted == "all":
        given["allow_unknown_speakers"] = True
    config = dataclasses.replace(config, **given)
    corpus = load_corpus(config)
    split, chosen = _choose(corpus, config, wanted)
    clips = _read_clips(corpus, split, chosen, predictor, notes)
    if not trained_here:
        notes.append("whether the model was trained on these speakers is not known")
        return clips
    trained = {clip.speaker for clip in split_corpus(corpus, config).train}
    heard = sum(speaker in trained for speaker in clips.speakers)
    if heard:
        notes.append(
            f"{heard:,} of {len(clips):,} clips are of speakers that the model was trained on: "
            "the scores do not say how well it does with others"
        )
        print(f"warning: {notes[-1]}", file=sys.stderr)
    elif split == "validation":
        notes.append("the model's best epoch was chosen on these same clips")
    return dataclasses.replace(clips, heard_in_training=heard)


def _choose(
    corpus: Corpus, config: CorpusConfig, wanted: str | None
) -> tuple[str, tuple[Clip, ...]]:
    """A split's name and its clips."""
    if wanted == "all":
        return wanted, corpus.clips
    unknown = sum(not clip.speaker for clip in corpus.clips)
    if unknown:
        raise UserError(
            f"{unknown:,} of {len(corpus.clips):,} clips of corpus {corpus.name!r} have no "
            "speaker, so that it has no splits: use --split all"
        )
    splits = split_corpus(corpus, config)
    if wanted is None:
        wanted = "test" if splits.test else "validation"
    splits.require(wanted)
    return wanted, getattr(splits, wanted)


def _cross_clips(text: str, predictor: Predictor, notes: list[str]) -> ClipSet:
    name, _, folder = text.partition("=")
    if not (name and folder):
        raise UserError(f"--cross {text!r}: give NAME=DIR, such as emodb=EmoDB/wav")
    corpus = load_corpus(CorpusConfig(name=name, data_dir=folder, allow_unknown_speakers=True))
    return _read_clips(corpus, "all", corpus.clips, predictor, notes)


def _read_clips(
    corpus: Corpus, split: str, clips: Sequence[Clip], predictor: Predictor, notes: list[str]
) -> ClipSet:
    labels, name = predictor.labels, corpus.name
    known = [clip for clip in clips if clip.emotion in labels]
    if not known:
        classes = ", ".join(sorted({clip.emotion for clip in clips}))
        raise UserError(
            f"corpus {name!r} has the classes {classes}, the model {', '.join(labels)}: none is "
            "the same, so that nothing can be scored"
        )
    own = _own_labels(name)
    dropped = Counter(own.get(c.emotion, c.emotion) for c in clips if c.emotion not in labels)
    notes += [
        f"{name}: {count:,} clips are left out, for the model does not know {label!r}"
        for label, count in sorted(dropped.items())
    ]
    with ThreadPoolExecutor(_DECODING_THREADS) as pool:
        decoded = pool.map(lambda clip: _decode(clip, predictor.frontend.sample_rate_hz), known)
        results = list(track(decoded, len(known), f"decoding {name}"))
    pairs = list(zip(known, results, strict=True))
    unreadable = {clip.id: result for clip, result in pairs if isinstance(result, str)}
    read = [(clip, result) for clip, result in pairs if not isinstance(result, str)]
    if unreadable:
        notes.append(f"{name}: {len(unreadable):,} clips could not be read")
    if not read:
        reason = next(iter(unreadable.values()))
        raise UserError(f"none of {len(known)} clips can be read; the first: {reason}")
    if not all(clip.speaker_known for clip, _ in read):
        notes.append(
            f"{name}: a clip without a speaker counts as a speaker of its own; the intervals are "
            "too narrow then, and babble may hold the same voice"
        )
    if len({clip.speaker for clip, _ in read}) == 1:
        notes.append(f"{name}: there is one speaker only, and so there are no intervals")
    return ClipSet(
        corpus,
        split,
        tuple(clip for clip, _ in read),
        np.array([labels.index(clip.emotion) for clip, _ in read]),
        tuple(samples for _, samples in read),
        unreadable,
        dropped,
    )


def _decode(clip: Clip, rate_hz: int) -> np.ndarray | str:
    """int16 samples, or why there are none."""
    try:
        return _to_int16(audio.decode(clip.path, rate_hz))
    except AudioError as error:
        return str(error)


def _own_labels(corpus: str) -> dict[str, str]:
    """Class -> the corpus's own labels for it."""
    own: dict[str, str] = {}
    for label, name in (CORPORA[corpus].label_map or {}).items():
        own[name] = f"{own[name]}, {label}" if name in own else label
    return own


# Scores.


def _scores(probs: np.ndarray, clips: ClipSet, labels: Sequence[str]) -> dict[str, Any]:
    from ser_kd import metrics

    truth, predicted = clips.truth, probs.argmax(1)
    return {
        **metrics.full_scores(truth, predicted, clips.speakers, labels, RESAMPLES, SEED),
        "nll": metrics.negative_log_likelihood(probs, truth),
    }


def _cross_scores(predictor: Predictor, clips: ClipSet) -> dict[str, Any]:
    say(f"  {len(clips):,} clips of {clips.corpus.name}")
    scores = _scores(predict_waveforms(predictor, clips.waveforms()), clips, predictor.labels)
    return {
        "corpus": clips.corpus.name,
        "clips": len(clips),
        "speakers": len(set(clips.speakers)),
        "labels": list(scores["recall"]),
        "dropped": dict(clips.dropped),
        "scores": scores,
    }


def _robustness(
    predictor: Predictor,
    clips: ClipSet,
    predicted: np.ndarray,
    groups: Sequence[Mapping[str, Any]],
    changed: bool,
    notes: list[str],
) -> dict[str, Any]:
    """Scores under changes, unless ``changed`` is False, and the gates."""
    from ser_kd import metrics, robustness

    measured = []
    if changed:
        rate_hz = predictor.frontend.sample_rate_hz
        conditions = robustness.conditions(rate_hz, clips.ids, clips.speakers, clips.waveform, SEED)
        for condition in track(conditions, len(conditions), "changed clips"):
            try:
                result = robustness.measure(
                    condition,
                    clips.waveforms(),
                    lambda waveforms: predict_waveforms(predictor, waveforms),
                    clips.truth,
                    predicted,
                )
            except robustness.UnavailableError as error:
                notes.append(f"{condition.name}: not measured ({error})")
            else:
                measured.append(result)
        if len(set(clips.speakers)) == 1:
            notes.append("babble noise: not measured (it is made of other speakers' clips)")
    else:
        notes.append("robustness: not measured (--no-robustness)")
    of_sexes = robustness.sex_gates(
        metrics.scores(clips.truth, predicted)["ua"],
        {g["name"]: g["ua"] for item in groups if item["by"] == "sex" for g in item["groups"]},
    )
    return {"conditions": measured, "gates": robustness.gates(measured) + of_sexes}


def _worst(clips: ClipSet, probs: np.ndarray, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The wrong clips in which the model was surest."""
    predicted = probs.argmax(1)
    order = np.argsort(-probs.max(1), kind="stable")
    return [
        {
            "id": clips.clips[row].id,
            "speaker": clips.clips[row].speaker,
            "truth": labels[clips.truth[row]],
            "predicted": labels[predicted[row]],
            "probability_of_truth": float(probs[row, clips.truth[row]]),
            "probability": float(probs[row].max()),
        }
        for row in order[predicted[order] != clips.truth[order]][:_WORST_CLIPS]
    ]


def _prediction_rows(
    clips: ClipSet, probs: np.ndarray, labels: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {
            "id": clip.id,
            "speaker": clip.speaker,
            "truth": clip.emotion,
            "predicted": labels[int(row.argmax())],
            **{f"p_{label}": f"{p:.6f}" for label, p in zip(labels, row, strict=True)},
            "condition": "clean",
        }
        for clip, row in zip(clips.clips, probs, strict=True)
    ]


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with files.atomic(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


# Teachers and other students.


@dataclass(frozen=True)
class Other:
    """What another model says of the same clips.

    Attributes:
        name: For tables.
        predicted: Class indices ``[rows]``.
        rows: Which clips these are.
        path: Its file; None for a teacher, whose predictions are stored.
        resources: What the run's ``resources.json`` says of it.
        networks: How many a teacher has, where that is known.
    """

    name: str
    predicted: np.ndarray
    rows: np.ndarray
    path: Path | None = None
    resources: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    networks: int = 0


def _agreement(other: Other, predicted: np.ndarray, clips: ClipSet) -> dict[str, Any]:
    from ser_kd import metrics

    return {
        "with": other.name,
        "same_label": float(np.mean(predicted[other.rows] == other.predicted)),
        "ua": metrics.scores(clips.truth[other.rows], other.predicted)["ua"],
        "clips": len(other.rows),
    }


def _teachers(
    clips: ClipSet,
    labels: Sequence[str],
    own_run: "Run | None",
    given: Sequence[Path],
    notes: list[str],
) -> list[Other]:
    """The stored predictions of the run's teachers, and of those that are given."""
    found = [(path.parent.name if path.stem == "targets" else path.stem, path, 0) for path in given]
    known = _stored_resources(own_run)
    if own_run is not None:
        from ser_kd.teachers.crossfit import targets_path

        for name in own_run.config.teachers:
            path = targets_path(name, own_run)
            networks = len(list(own_run.teacher_dir(name).glob("fold_*/*.keras")))
            if path.is_file():
                found.append((name, path, networks))
            else:
                notes.append(f"teacher {name}: its predictions are not there")
    others = []
    for name, path, networks in found:
        targets = read_targets(path, labels)
        views = zip(targets.ids, targets.view.tolist(), strict=True)
        there = {clip_id for clip_id, view in views if view == 0}
        rows = np.array([row for row, i in enumerate(clips.ids) if i in there], np.int64)
        if len(rows) < len(clips):
            notes.append(f"teacher {name}: predicted {len(rows):,} of {len(clips):,} clips")
        if not len(rows):
            continue
        predicted = targets.logits_of([clips.ids[row] for row in rows], name).argmax(1)
        resources = known.get(f"teacher {name}", {})
        others.append(Other(f"teacher {name}", predicted, rows, None, resources, networks))
    return others


def _students(
    clips: ClipSet,
    predictor: Predictor,
    model: Path,
    own_run: "Run | None",
    given: Sequence[Path],
    notes: list[str],
) -> list[Other]:
    """The run's float student, or for that one its int8 file, and the models that are given."""
    paths = [path.absolute() for path in given]
    known: dict[Path, Mapping[str, Any]] = {}
    if own_run is not None:
        from ser_kd.resources import student_files

        counterpart = own_run.student_path
        if model.absolute() == counterpart:
            counterpart = own_run.export_dir / "student_int8.tflite"
        if not counterpart.is_file():
            notes.append(f"{counterpart.name} is not there: float and int8 are not compared")
        elif counterpart not in paths:
            paths.insert(0, counterpart)
        stored, table = _stored_resources(own_run), own_run.directory / "resources.json"
        known = {
            path: stored.get(name, {})
            for name, path in student_files(own_run).items()
            if files.is_current(table, [path])  # exported anew since: measured anew
        }
    others = []
    for path in paths:
        other = Predictor.load(path)
        for what, one, mine in (
            ("classes", sorted(other.labels), sorted(predictor.labels)),
            ("Hz", [other.frontend.sample_rate_hz], [predictor.frontend.sample_rate_hz]),
        ):
            if one != mine:
                raise UserError(
                    f"{path} and {model} cannot be compared: {what} {one} and {mine} differ"
                )
        say(f"  {path.name}, to compare")
        order = [other.labels.index(label) for label in predictor.labels]
        probs = predict_waveforms(other, clips.waveforms())[:, order]
        rows = np.arange(len(clips))
        others.append(Other(path.name, probs.argmax(1), rows, path, known.get(path, {})))
    return others


def _compare(
    model: Path,
    scores: Mapping[str, Any],
    teachers: Sequence[Other],
    students: Sequence[Other],
    clips: ClipSet,
    notes: list[str],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Size, time and memory of the model; the same and the scores of all models.

    The model and those of which the run does not tell it are measured in turns.
    """
    from ser_kd import metrics

    fresh = [model, *(other.path for other in students if other.path and not other.resources)]
    say(f"  time and memory of {', '.join(path.name for path in fresh)}")
    measured: dict[Path, dict[str, Any]] = {}
    try:
        measured = dict(zip(fresh, measure_all(fresh), strict=True))
    except UserError as error:
        notes.append(f"time and memory: not measured ({error})")
    nothing = dict.fromkeys(("latency_ms", "latency_p95_ms", "peak_memory_mb", "runtime"))
    resources = {**nothing, **measured.get(model, {}), "bytes": model.stat().st_size}
    stored = [other.name for other in (*teachers, *students) if other.resources]
    if stored:
        notes.append(
            f"{', '.join(stored)}: size, time and memory are those of the run's resources.json; "
            f"{', '.join(path.name for path in fresh)}: measured now"
        )
    rows = []
    for other in teachers:
        if len(other.rows) < len(clips):
            continue  # another set of clips: no scores to compare
        count = f" ({other.networks} networks)" if other.networks else ""
        found = metrics.scores(clips.truth, other.predicted)
        rows.append(_compared_row(other.name + count, "teacher", found, other.resources))
    rows.append(_compared_row(model.name, "student", scores, resources))
    for other in students:
        of_file = other.resources or measured.get(other.path or model, {})
        size = {"bytes": other.path.stat().st_size} if other.path else {}
        found = metrics.scores(clips.truth, other.predicted)
        rows.append(_compared_row(other.name, "student", found, {**of_file, **size}))
    return resources, rows


def _compared_row(
    name: str, role: str, scores: Mapping[str, Any], resources: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "role": role,
        **{key: scores[key] for key in ("wa", "ua", "macro_f1")},
        **{key: resources.get(key) for key in ("latency_ms", "bytes", "peak_memory_mb")},
    }


# What the run's folder tells.


def _model_facts(model: Path) -> dict[str, Any]:
    hears, runtime = "logmel", "Keras"
    if model.suffix == ".tflite":
        loaded = TFLiteModel(model)
        hears = "waveform" if loaded.hears_waveforms else "logmel"
        runtime = loaded.runtime
    return {
        "name": model.name,
        "hears": hears,
        "runtime": runtime,
        "bytes": model.stat().st_size,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
    }


def _stored_resources(own_run: "Run | None") -> dict[str, Any]:
    """The run's ``resources.json``; empty where there is none."""
    path = own_run.directory / "resources.json" if own_run else None
    return files.read_json(path) if path and path.is_file() else {}


def _family(own_run: "Run | None") -> list[dict[str, Any]]:
    path = own_run.export_dir / "export.json" if own_run else None
    if not path or not path.is_file():
        return []
    keys = ("ua", "latency_ms", "bytes")
    return [
        {"name": name, **{key: figures.get(key) for key in keys}}
        for name, figures in files.read_json(path)["models"].items()
    ]


def _history(own_run: "Run | None") -> list[dict[str, Any]]:
    path = own_run.directory / "history.jsonl" if own_run else None
    if not path or not path.is_file():
        return []
    epochs = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    keys = ("epoch", "loss", "accuracy", "validation_ua")
    return [{key: epoch.get(key) for key in keys} for epoch in epochs]


# The table.


def summary(evaluation: Mapping[str, Any]) -> str:
    """What is printed: the main figures of ``eval.json``, in per cent."""
    corpus, scores = evaluation["corpus"], evaluation["scores"]
    resources, model = evaluation["resources"], evaluation["model"]
    lines = [
        f"{'SYNTHETIC SPEECH: ' * corpus['synthetic']}{model['name']} on {corpus['clips']:,} "
        f"{corpus['split']} clips of {corpus['speakers']} speakers of {corpus['name']}",
        "  " + _score_line(scores),
        f"  ECE {100 * evaluation['calibration']['ece']:.1f}",
        "  recall: "
        + ", ".join(
            f"{label} {100 * item['value']:.1f}" for label, item in scores["recall"].items()
        ),
    ]
    lines += [
        f"  same label as {item['with']}: {100 * item['same_label']:.1f} "
        f"(its UA {100 * item['ua']:.1f})"
        for item in evaluation["agreement"]
    ]
    for item in evaluation["slices"]:
        groups = ", ".join(f"{g['name']} {100 * g['ua']:.1f}" for g in item["groups"])
        lines.append(f"  UA by {item['by']}: {groups}")
    for gate in evaluation["robustness"]["gates"]:
        met = "met   " if gate["met"] else "MISSED"
        harder = "" if gate["published"] else "; harder than published"
        lines.append(
            f"  {met} {gate['name']} {100 * gate['worst']:.1f} ({gate['condition']}; "
            f"{gate['bound']} {100 * gate['limit']:g}{harder})"
        )
    for item in evaluation["cross_corpus"]:
        lines.append(f"  {item['corpus']}, {item['clips']:,} clips: {_score_line(item['scores'])}")
    if resources["latency_ms"] is not None:
        front_end = "" if model["hears"] == "waveform" else ", without front end"
        lines.append(
            f"  {resources['latency_ms']:.2f} ms per window on one thread{front_end} "
            f"({resources['runtime']}), {resources['bytes'] / 1e3:,.0f} kB, "
            f"{resources['peak_memory_mb']:,.0f} MB at most in a process of its own"
        )
    lines += [f"  note: {note}" for note in evaluation["notes"]]
    return "\n".join(lines)


def _score_line(scores: Mapping[str, Any]) -> str:
    parts = []
    for key, name in (("wa", "WA"), ("ua", "UA"), ("macro_f1", "macro-F1")):
        limits = scores["intervals"][key]
        between = f" ({100 * limits[0]:.1f}-{100 * limits[1]:.1f})" if limits else ""
        parts.append(f"{name} {100 * scores[key]:.1f}{between}")
    return ", ".join(parts)
