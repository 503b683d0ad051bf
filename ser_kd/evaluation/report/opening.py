"""The top of the page: what was evaluated and what came out, in plain words."""

from typing import Any

from ser_kd.evaluation.report import page, words

_CHOSEN_HERE = (
    "A run keeps its best epoch by these same validation clips, which flatters its model a little; "
    "only speakers of the test part are wholly new to it."
)
_SYNTHETIC = (
    "SYNTHETIC SPEECH. These clips come from a speech synthesiser, not from people. The figures "
    "show that everything runs; they prove nothing about real speech."
)


def opening(evaluation: dict[str, Any]) -> str:
    """Title, facts, banner where the corpus is synthetic, the result in words."""
    model, corpus = evaluation["model"], evaluation["corpus"]
    facts = (
        f"Corpus {corpus['name']}, {corpus['split']} part. The model hears the {_hears(model)}, "
        f"runs in {model.get('runtime', words.NOT_KNOWN)}, {words.size(model.get('bytes'))}."
    )
    parts = [page.heading(f"Evaluation of {model['name']}", 1), page.paragraph(facts, "facts")]
    if corpus.get("synthetic"):
        parts.append(page.paragraph(_SYNTHETIC, "banner"))
    parts += [page.paragraph(result(evaluation), "lead"), page.bullets(findings(evaluation))]
    return "\n".join(parts)


def result(evaluation: dict[str, Any]) -> str:
    """The one sentence to remember."""
    corpus, scores = evaluation["corpus"], evaluation["scores"]
    voices = words.count(corpus["speakers"], "speaker") + _acquaintance(corpus)
    ends = words.interval(interval_of(scores, "ua", corpus["speakers"]))
    spread = "" if ends == words.NOT_KNOWN else f"; 95 % interval {ends}"
    return (
        f"On {words.count(corpus['clips'], 'clip')} of {voices}, the model names the right one of "
        f"{len(evaluation['labels'])} emotions for {words.percent(scores['ua'])} of "
        f"them (mean over the emotions{spread})."
    )


def findings(evaluation: dict[str, Any]) -> list[str]:
    """What else to know, one sentence each."""
    labels = evaluation["labels"]
    found = [
        f"Guessing would be right for {words.percent(1 / len(labels))}.",
        _best_and_worst(evaluation),
        _sureness(evaluation),
        _gates(evaluation),
        _cost(evaluation.get("resources") or {}),
        _caveat(evaluation["corpus"]),
    ]
    return [sentence for sentence in found if sentence]


def interval_of(scores: dict[str, Any], key: str, speakers: int) -> Any:
    """None where a single speaker gave the score: nothing can be drawn from one."""
    return (scores.get("intervals") or {}).get(key) if speakers > 1 else None


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


def _hears(model: dict[str, Any]) -> str:
    names = {"waveform": "waveform", "logmel": "log-mel features (made beforehand)"}
    return names.get(model.get("hears", ""), "sound")


def _acquaintance(corpus: dict[str, Any]) -> str:
    """Whether the model was trained on these speakers; nothing where that is not known."""
    heard = corpus.get("heard_in_training")
    if heard is None:
        return ""
    if not heard:
        return " it never heard in training"
    if heard < corpus["clips"]:
        return ", some of whom it was trained on"
    return " it was trained on"


def _caveat(corpus: dict[str, Any]) -> str:
    """Why the score is too good for new speakers, where that is known."""
    heard = corpus.get("heard_in_training")
    if heard is None:
        return ""
    if not heard:
        return _CHOSEN_HERE if corpus["split"] == "validation" else ""
    if heard < corpus["clips"]:
        return (
            f"The model was trained on the speakers of {heard:,} of these "
            f"{words.count(corpus['clips'], 'clip')}: expect less on new ones."
        )
    return "The model was trained on these speakers: expect less on new ones."


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
        f"Best recognised: {words.emotion(best)} ({words.percent(recall[best], 0)}); "
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


def _gates(evaluation: dict[str, Any]) -> str:
    gates = (evaluation.get("robustness") or {}).get("gates") or []
    gates = [gate for gate in gates if gate.get("published", True)]
    if not gates:
        return ""
    met = sum(bool(gate["met"]) for gate in gates)
    return f"Of {len(gates)} published limits for robustness and fairness it keeps {met}."


def _cost(resources: dict[str, Any]) -> str:
    known = [
        f"{show(resources[key])} {what}"
        for key, show, what in (
            ("latency_ms", words.milliseconds, "of computing for one window of sound"),
            ("bytes", words.size, "of file"),
            ("peak_memory_mb", words.megabytes, "of memory"),
        )
        if words.known(resources.get(key))
    ]
    return f"It needs {words.listed(known)}." if known else ""
