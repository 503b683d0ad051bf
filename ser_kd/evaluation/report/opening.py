"""The top of the page: what was evaluated and what came out, in plain words."""

from collections.abc import Mapping
from typing import Any

from ser_kd.evaluation.report import page, rules, words
from ser_kd.evaluation.report.verdict import verdict

_PARTS = {
    "train": "the clips that it learnt from",
    "validation": "clips kept apart to choose the best epoch",
    "test": "clips kept apart for the end",
    "all": "the whole of it",
}
_SYNTHETIC = (
    "SYNTHETIC SPEECH. These clips come from a speech synthesiser, not from people. The figures "
    "show that everything runs; they prove nothing about real speech."
)


def opening(evaluation: dict[str, Any]) -> str:
    """Title, facts, banner where the corpus is synthetic, the result in words."""
    parts = [
        page.heading(f"Evaluation of {evaluation['model']['name']}", 1),
        page.paragraph(_facts(evaluation), "facts"),
    ]
    if evaluation["corpus"].get("synthetic"):
        parts.append(page.paragraph(_SYNTHETIC, "banner"))
    parts += [
        page.paragraph(result(evaluation), "lead"),
        page.glossary(verdict(evaluation), "verdict"),
        page.bullets(findings(evaluation)),
    ]
    return "\n".join(parts)


def result(evaluation: dict[str, Any]) -> str:
    """The sentences to remember."""
    corpus, scores = evaluation["corpus"], evaluation["scores"]
    ends = words.interval(rules.interval_of(scores, "ua", corpus["speakers"]))
    spread = (
        f"with other speakers it might lie between {ends.replace('-', ' and ')} % (95 % interval)"
        if ends != words.NOT_KNOWN
        else _no_interval(corpus["speakers"])
    )
    return (
        f"On {words.count(corpus['clips'], 'clip')} of "
        f"{words.count(corpus['speakers'], 'speaker')}, the model names the right one of "
        f"{len(evaluation['labels'])} emotions for {words.percent(scores['wa'])} of the clips "
        f"(WA). The mean over emotions (UA), in which each emotion counts the same, is "
        f"{words.percent(scores['ua'])}; {spread}. Guessing would give "
        f"{words.percent(rules.guess(evaluation))}."
    )


def _no_interval(speakers: int) -> str:
    if speakers >= rules.MIN_SPEAKERS:
        return "how far it might move with other speakers is not known"
    are = "is" if speakers == 1 else "are"
    return (
        f"{words.count(speakers, 'speaker')} {are} too few to say how far it might move with others"
    )


def findings(evaluation: dict[str, Any]) -> list[str]:
    """What else to know, one sentence each."""
    found = [
        _best_and_worst(evaluation),
        _sureness(evaluation),
        _cost(evaluation),
        _acquaintance(evaluation["corpus"]),
    ]
    return [sentence for sentence in found if sentence]


def largest_confusion(
    labels: list[str], confusion: list[list[int]]
) -> tuple[str, str, int, int] | None:
    """Truth, what was said, how many clips of how many; by the share of the truth's clips."""
    wrong = [
        (number / sum(row), labels[truth], labels[said], number, sum(row))
        for truth, row in enumerate(confusion)
        for said, number in enumerate(row)
        if said != truth and number
    ]
    return max(wrong)[1:] if wrong else None


def _facts(evaluation: dict[str, Any]) -> str:
    model, corpus = evaluation["model"], evaluation["corpus"]
    full = words.CORPORA.get(corpus["name"], "")
    part = _PARTS.get(corpus["split"], "")
    models = evaluation.get("compared") or []
    student = (
        " It is a student: a small model that learnt to answer as a larger one does, its teacher."
        if any(item["role"] == "teacher" for item in models)
        and any(item["role"] == "student" and item["name"] == model["name"] for item in models)
        else ""
    )
    return (
        f"Corpus (a collection of recordings whose emotion is known): {corpus['name']}"
        f"{f' ({full})' if full else ''}, {corpus['split']} part{f' ({part})' if part else ''}. "
        f"The model takes {_hears(model)}, runs in {model.get('runtime', words.NOT_KNOWN)} and "
        f"has {words.size(model.get('bytes'))}.{student}"
    )


def _hears(model: dict[str, Any]) -> str:
    names = {
        "waveform": "the sound as it is (its front end, which makes features of sound, is inside)",
        "logmel": "log-mel features, which a front end has to make of the sound before",
    }
    return names.get(model.get("hears", ""), "sound")


def _acquaintance(corpus: Mapping[str, Any]) -> str:
    """Whether the speakers are new to the model; nothing where that is not known."""
    heard = corpus.get("heard_in_training")
    if heard is None:
        return ""
    if not heard and corpus["split"] == "validation":
        return (
            "It was not trained on these speakers, but the epoch that was kept was chosen by how "
            "well it does with them: expect a little less with speakers that are wholly new."
        )
    if not heard:
        return "It was not trained on these speakers."
    if heard < corpus["clips"]:
        return (
            f"It was trained on the speakers of {heard:,} of these "
            f"{words.count(corpus['clips'], 'clip')}: expect less with others."
        )
    return "It was trained on these speakers: expect less with others."


def _best_and_worst(evaluation: dict[str, Any]) -> str:
    recall = {
        label: item["value"]
        for label, item in (evaluation["scores"].get("recall") or {}).items()
        if words.known(item["value"])
    }
    if len(set(recall.values())) < 2:
        return ""
    best, worst = max(recall, key=lambda k: recall[k]), min(recall, key=lambda k: recall[k])
    return (
        f"Best recognised: {words.emotion(best)} ({words.percent(recall[best], 0)} of its clips); "
        f"worst: {words.emotion(worst)} ({words.percent(recall[worst], 0)})."
    )


def _sureness(evaluation: dict[str, Any]) -> str:
    calibration = evaluation.get("calibration")
    if not calibration:
        return ""
    return (
        f"How sure it says it is differs from how often it is right by "
        f"{words.points(calibration['ece'])} on average; {too_sure(calibration['bins'])}."
    )


def too_sure(bins: list[dict[str, Any]]) -> str:
    """Mean confidence against accuracy, in words."""
    clips = sum(item["clips"] for item in bins)
    excess = sum(i["clips"] * (i["confidence"] - i["accuracy"]) for i in bins) / max(clips, 1)
    if abs(excess) < 0.01:
        return "on the whole it is neither too sure nor too modest"
    return f"on the whole it is too {'sure' if excess > 0 else 'modest'}"


def _cost(evaluation: dict[str, Any]) -> str:
    resources = evaluation.get("resources") or {}
    time = words.milliseconds(resources.get("latency_ms"))
    known = [
        f"{show(resources[key])} {what}"
        for key, show, what in (
            ("bytes", words.size, "of file"),
            ("peak_memory_mb", words.megabytes, "of memory"),
        )
        if words.known(resources.get(key))
    ]
    if time != words.NOT_KNOWN:
        known.insert(0, f"{time} for {words.window(evaluation)} on {words.machine(evaluation)}")
    return f"It needs {'; '.join(known)}." if known else ""
