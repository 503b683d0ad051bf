"""Small folders, drawn from public corpora: what ``ser-kd train FOLDER`` makes of them.

python benchmarks/own_folder.py --emodb $EMODB_DIR --corpora $CORPORA_DIR --out own_folder

``$EMODB_DIR`` holds EmoDB's files, ``$CORPORA_DIR`` a folder per corpus with a table ``clips.csv``
(path, speaker, emotion). Of each corpus some speakers are drawn, and of their clips as many of each
label as asked for; all clips of the other speakers are the test set, which no run sees. For every
folder: the bundled student unchanged (where it knows all labels), ``own_folder``, and the same
settings from random weights. A line of JSON each in ``OUT/results.jsonl``; what is there is not
repeated.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_EMODB = {"W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness"}
_EMODB |= {"T": "sadness", "N": "neutral"}
_SCRATCH = ["student.transfer=all", 'student.initial_weights=""', "fit.epochs=0"]
_SCRATCH += ["fit.learning_rate=2e-3", "corpus.folds=3"]


@dataclass(frozen=True)
class Folder:
    """What is drawn: clips of some labels (none: of all) by some speakers of one corpus."""

    corpus: str
    clips: int
    speakers: int
    labels: tuple[str, ...] = ()


FOLDERS = {
    "emodb_50": Folder("emodb", 50, 5, ("anger", "boredom", "happiness", "neutral", "sadness")),
    "ravdess_150": Folder("ravdess", 150, 10, ("calm", "sad", "angry", "happy", "surprised")),
    "nemo_150": Folder("nemo", 150, 5, ("anger", "happiness", "neutral", "sadness", "fear")),
    "emospeech_in_500": Folder("emospeech_in", 500, 50),
    "ravdess_150_known": Folder("ravdess", 150, 10, ("sad", "angry", "happy", "neutral")),
    "emovo_150": Folder("emovo", 150, 3, ("anger", "joy", "neutral", "sadness", "disgust", "fear")),
}

Row = tuple[Path, str, str]
"""File, speaker, label."""


def rows_of(corpus: str, emodb: Path, corpora: Path) -> list[Row]:
    """All clips of a corpus."""
    if corpus == "emodb":
        files = sorted(path for path in emodb.iterdir() if path.suffix in (".wav", ".ogg"))
        return [(path, path.stem[:2], _EMODB[path.stem[5]]) for path in files]
    folder = corpora / corpus
    with (folder / "clips.csv").open(encoding="utf-8", newline="") as file:
        return [
            (folder / row["path"], row["speaker"], row["emotion"]) for row in csv.DictReader(file)
        ]


def draw(rows: list[Row], wanted: Folder, seed: int) -> tuple[list[Row], list[Row]]:
    """Training clips, and all of the speakers that are not among them."""
    rng = np.random.default_rng(seed)
    rows = [row for row in rows if not wanted.labels or row[2] in wanted.labels]
    order = rng.permutation(sorted({speaker for _, speaker, _ in rows})).tolist()
    chosen = set(order[: wanted.speakers])
    labels = sorted({label for *_, label in rows})
    training: list[Row] = []
    for label in labels:
        of_label = [row for row in rows if row[1] in chosen and row[2] == label]
        picked = rng.permutation(len(of_label))[: wanted.clips // len(labels)]
        training += [of_label[index] for index in sorted(picked)]
    return training, [row for row in rows if row[1] not in chosen]


def write(rows: list[Row], folder: Path) -> Path:
    """``folder/<label>/<speaker>/<file>``."""
    for path, speaker, label in rows:
        target = folder / label / speaker / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(path, target)
    return folder


def ser_kd(*arguments: object) -> None:
    """Runs a command; its output goes to a log beside the last argument's folder."""
    subprocess.run([sys.executable, "-m", "ser_kd", *map(str, arguments)], check=True)


def score(model: Path | None, test: Path, out: Path) -> float | None:
    """UA of a model on the test clips; None if it lacks a class."""
    given = [] if model is None else [model]
    ser_kd("evaluate", *given, "--corpus", "folder", "--data-dir", test, "--split", "all",
           "--no-robustness", "--out", out)  # fmt: skip
    evaluation = json.loads((out / "eval.json").read_text(encoding="utf-8"))
    part = evaluation["parts"]["all"]
    if any("is no class of the model" in note for note in evaluation["notes"]):
        return None
    return float(part["models"][part["file"]["model"]]["ua"])


def main() -> None:
    """Draws, trains, scores."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--emodb", type=Path, required=True)
    parser.add_argument("--corpora", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--folders", nargs="+", choices=FOLDERS, default=list(FOLDERS))
    parser.add_argument("--without-scratch", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    results = given.out / "results.jsonl"
    known = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    done = {(row["folder"], row["seed"], row["what"]) for row in map(json.loads, known)}
    kinds = {"unchanged": None, "own_folder": [], "scratch": _SCRATCH}
    if given.without_scratch:
        del kinds["scratch"]
    for seed in range(given.seeds):
        for name in given.folders:
            rows = rows_of(FOLDERS[name].corpus, given.emodb, given.corpora)
            training, held_out = draw(rows, FOLDERS[name], seed)
            place = given.out / f"{name}_{seed}"
            train = write(training, place / "train")
            test = write(held_out, place / "test")
            for what, settings in kinds.items():
                if (name, seed, what) in done:
                    continue
                row = {"folder": name, "seed": seed, "what": what, "clips": len(training)}
                model, start = None, time.monotonic()
                if settings is not None:
                    run = place / what
                    changed = [item for setting in settings for item in ("--set", setting)]
                    ser_kd("train", train, "--run-dir", run, *changed)
                    row["seconds"] = round(time.monotonic() - start)
                    model = run / "export" / "student_waveform.tflite"
                    part = json.loads((run / "eval.json").read_text())["parts"]["out-of-fold"]
                    row["out_of_fold"] = part["models"][part["file"]["model"]]["ua"]
                    exported = json.loads((run / "export" / "export.json").read_text())
                    row["chosen"] = exported["cross_validation"]["chosen"]
                row["ua"] = score(model, test, place / f"{what}_test")
                row["test_clips"] = len(held_out)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
