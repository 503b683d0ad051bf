"""The sections of the page; each is left out where its numbers are not there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ser_kd.evaluation.report import (
    models,
    other_corpora,
    page,
    robustness,
    rules,
    scores,
    speakers,
    teaching,
    training,
    words,
)

_TERMS = {
    "Recall": "Of the clips of one emotion, the share for which the model named that emotion.",
    "Mean over emotions (UA)": "The mean of the recalls: every emotion counts the same, however "
    "many clips it has. The main figure here. The letters stand for its other name, unweighted "
    "accuracy.",
    "Share of clips (WA)": "Of all clips, the share that was named rightly; also called weighted "
    "accuracy, or just accuracy.",
    "macro-F1": "For each emotion the harmonic mean of recall and precision (of the clips to which "
    "the model gave this emotion, the share that had it); then the mean over the emotions.",
    "95 % interval": "How far the figure might move with other speakers of the same kind: the "
    "evaluation was repeated with the speakers drawn at random again and again (bootstrap); 95 % "
    f"of the results lay in this range. It is left out for fewer than {rules.MIN_SPEAKERS} "
    "speakers. Two figures that differ by less than it are about the same.",
    "ECE (expected calibration error)": "How far, on average, the model's stated probability lies "
    "from how often it is right. 0 is perfect.",
    "NLL (negative log-likelihood)": "How surprised the model was by the truth, in nats; less is "
    "better. Sure and wrong costs most.",
    "Agreement, unchanged": "The share of clips for which two models, or one model with a clean "
    "and a spoilt clip, name the same emotion, right or wrong.",
    "Corpus": "A collection of recordings whose emotion is known. Its parts: training, which the "
    "model learns from; validation, which chooses the best epoch; test, kept for the end. No "
    "speaker is in two of them.",
    "Front end": "What makes features of sound (how loud each pitch is at each moment) before the "
    "network sees them.",
    "Does well, fails": "Well: UA has come at least half of the way from guessing to 100 %; fairly "
    "well: a quarter. Fails with: UA loses more than half of what it has above guessing with clean "
    "recordings; little better than guessing: more than three quarters.",
    "Points": "The difference of two figures in per cent: 65 % is 5 points less than 70 %.",
}


@dataclass(frozen=True)
class Section:
    """``make`` gives the section's HTML from the evaluation, or "" where it has nothing to show."""

    name: str
    title: str
    make: Callable[[dict[str, Any]], str]


def _worst(evaluation: dict[str, Any]) -> str:
    worst = evaluation.get("worst") or []
    if not worst:
        return ""
    heads = (
        "Clip",
        "Speaker",
        "Truth",
        "Model said",
        "with probability",
        "Probability of the truth",
    )
    rows = [
        [
            str(clip["id"]),
            str(clip["speaker"]),
            words.emotion(clip["truth"]),
            words.emotion(clip["predicted"]),
            words.percent(clip["probability"]),
            words.percent(clip["probability_of_truth"]),
        ]
        for clip in worst
    ]
    hint = (
        "The wrong answers of which the model was surest. Listen to some of them: is the label "
        "wrong, the emotion mixed, the recording bad, or the model?"
    )
    clips = page.table(heads, rows, "Worst clips", text=(0, 1, 2, 3), code=(0, 1))
    return page.paragraph(hint) + page.folded(f"Show {words.count(len(rows), 'clip')}", clips)


def closing(evaluation: dict[str, Any], left_out: list[str]) -> list[tuple[Section, str]]:
    """The glossary, and what was not measured, where there is something to say of that."""
    ends = [(Section("glossary", "How to read this page", lambda _: ""), page.glossary(_TERMS))]
    notes = list(evaluation.get("notes") or [])
    if left_out:
        notes.insert(0, f"Left out, with nothing to show: {words.listed(left_out)}.")
    unreadable = evaluation["corpus"].get("unreadable") or {}
    if unreadable:
        notes.append(f"{words.count(len(unreadable), 'clip')} could not be read:")
    body = page.bullets(notes) if notes else ""
    if unreadable:
        rows = [[clip, reason] for clip, reason in unreadable.items()]
        names = page.table(("Clip", "Reason"), rows, "Unreadable clips", text=(0, 1), code=(0,))
        body += page.folded("Show them", names)
    if body:
        ends.append((Section("missing", "Notes, and what was not measured", lambda _: ""), body))
    return ends


def settings(evaluation: dict[str, Any]) -> str:
    """What is needed to get the same numbers again."""
    chosen = evaluation.get("settings") or {}
    names = {
        "bootstrap_resamples": "bootstrap resamples",
        "seed": "seed",
        "noise_seed": "noise seed",
    }
    facts = [f"{name} {chosen[key]}" for key, name in names.items() if key in chosen]
    digest = evaluation["model"].get("sha256")
    if digest:
        facts.append(f"SHA-256 of the model {digest}")
    return f"Made by ser_kd from eval.json: {', '.join(facts)}." if facts else "Made by ser_kd."


SECTIONS = (
    Section("summary", "Summary", scores.summary),
    Section("compared", "Teacher and student", models.compared),
    Section("teaching", "What each teacher may have taught", teaching.teaching),
    Section("confusion", "What is taken for what (confusion matrix)", scores.confusion),
    Section("recall", "Recall per emotion", scores.recall),
    Section("calibration", "Can its probabilities be trusted? (calibration)", scores.calibration),
    Section("slices", "Groups of speakers", speakers.slices),
    Section("robustness", "Robustness", robustness.robustness),
    Section("cross", "Other corpora", other_corpora.cross_corpus),
    Section("family", "Accuracy against time", models.family),
    Section("training", "Training curves", training.training),
    Section("worst", "Worst clips", _worst),
)
