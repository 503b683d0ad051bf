"""UA of a run's student when 0, 1, 3 ... unlabelled clips of the speaker are known.

    python benchmarks/owner_statistics.py runs/crema_d_pretrained

For every validation speaker some clips are drawn, the voice's statistics are estimated from them,
and the speaker's other clips are scored: with clips drawn at random, and with clips of one emotion,
the hard case, in which a voice that is only ever angry looks like a loud one (where an emotion has
fewer clips than asked for, all of them). The gain is the difference from the same clips with no
voice known. ``all``: every clip of the speaker, the scored one included. The last line is JSON.
"""

import argparse
import dataclasses
import json
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import numpy as np

from ser_kd import metrics
from ser_kd.audio.windows import Windowing
from ser_kd.distillation.logmel_network import LogMelPredictor
from ser_kd.progress import say
from ser_kd.runs.folder import Run
from ser_kd.speaker.statistics import VoiceStatistics, to_corpus
from ser_kd.students.frontend import PRIOR_CLIPS
from ser_kd.students.saved import load_keras

CLIPS = (0, 1, 3, 5, 10, 20)


def main() -> None:
    """Prints UA and gain by the number of known clips."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--student", default="student.keras", help="in the run's folder")
    parser.add_argument("--draws", type=int, default=3, help="how often clips are drawn")
    parser.add_argument(
        "--prior-clips", type=float, default=PRIOR_CLIPS, help="how many clips the corpus counts as"
    )
    parser.add_argument("--part", default="validation", choices=["validation", "test"])
    parsed = parser.parse_args()
    run = Run.open(parsed.run)
    run_data = run.data()
    model = load_keras(run.directory / parsed.student)
    standardize = model.get_layer("standardize")
    corpus = np.asarray(standardize.mean), np.asarray(standardize.deviation)
    predictor = LogMelPredictor(model, Windowing.of(run.config.audio, run.config.logmel))
    ids = run_data.ids(parsed.part)
    arrays = run_data.logmel.select(ids)
    truth = run_data.one_hot(ids).argmax(1)
    of_speaker = defaultdict(list)
    for row, clip_id in enumerate(ids):
        of_speaker[run_data.speakers[clip_id]].append(row)

    def voice(rows: list[int]) -> tuple[np.ndarray, np.ndarray]:
        known = VoiceStatistics()
        for row in rows:
            known = known.after(arrays.clip(row))
        return known.voice(*corpus, parsed.prior_clips)

    plain, _ = predictor.predict(arrays)

    def score(draw: dict[str, list[int]], without_drawn: bool) -> tuple[float, float]:
        """UA of the clips that were not drawn, each with its speaker's voice, and without."""
        values, scored = np.empty_like(arrays.values), []
        for speaker, rows in of_speaker.items():
            own = voice(draw[speaker])
            for row in rows:
                place = slice(arrays.offsets[row], arrays.offsets[row + 1])
                values[place] = to_corpus(arrays.values[place], own, corpus, arrays.padding)
            drawn = set(draw[speaker]) if without_drawn else set()
            scored += [row for row in rows if row not in drawn]
        moved = dataclasses.replace(arrays, values=values)
        probs, _ = predictor.predict(moved)
        known, unknown = (
            float(metrics.scores(truth[scored], of[scored].argmax(1))["ua"])
            for of in (probs, plain)
        )
        return known, unknown

    def draw(rng: np.random.Generator, clips: int, one_emotion: bool) -> dict[str, list[int]]:
        chosen = {}
        for speaker, rows in of_speaker.items():
            pool = np.array(rows)
            if one_emotion:
                labels = np.unique(truth[pool])
                pool = pool[truth[pool] == rng.choice(labels)]
            chosen[speaker] = rng.permutation(pool)[:clips].tolist()
        return chosen

    results: dict[str, dict[str, dict[str, float]]] = {"random": {}, "one emotion": {}}
    for kind, found in results.items():
        for clips in CLIPS:
            draws = 1 if clips == 0 else parsed.draws
            drawn = [
                draw(np.random.default_rng((clips, turn)), clips, kind != "random")
                for turn in range(draws)
            ]
            scores = [score(each, True) for each in drawn]
            counts = sorted(len(rows) for each in drawn for rows in each.values())
            found[str(clips)] = summary(f"{kind:<12} {clips:>3} clips", scores, counts)
    everything = summary("all clips", [score(of_speaker, False)], [])
    print(json.dumps({"run": run.directory.name, "clips": len(ids), **results, "all": everything}))


def summary(what: str, scores: list[tuple[float, float]], counts: list[int]) -> dict[str, float]:
    """Prints and returns the mean of the draws."""
    known, unknown = np.mean(scores, axis=0)
    fewest = f", {counts[0]} to {counts[-1]} each" if counts and counts[0] < counts[-1] else ""
    say(
        f"{what}: UA {known:.1%}, {100 * (known - unknown):+.1f} points on the same clips "
        f"({len(scores)} draws{fewest})"
    )
    return {"ua": float(known), "gain": float(known - unknown)}


if __name__ == "__main__":
    main()
