"""What the model is good for and what not, in a few words each, by ``rules`` from the figures."""

from typing import Any

from ser_kd.evaluation.report import rules, words

_BADLY = "Does badly"
KINDS = {
    "noise": "background noise",
    "phone": "telephone sound",
    "small": "small changes",
    "level": "changed loudness and clipping",
    "crop": "cut or padded clips",
    "codec": "low-rate codecs",
}


def verdict(evaluation: dict[str, Any]) -> dict[str, str]:
    """What it is good for and what not, by ``rules`` from the figures."""
    found: dict[str, str] = {}
    title, where = _at_home(evaluation)
    found[title] = where
    if rules.conditions(evaluation) and title != _BADLY:
        found["Fails with"] = _failures(evaluation)
    others = evaluation.get("cross_corpus") or []
    if others:
        found["Other corpora"] = " ".join(_elsewhere(evaluation, item) for item in others)
    published = rules.limits(evaluation, True)
    source = " (whose: see Robustness)"
    for name, met in (("kept", True), ("missed", False)):
        of_these = [limit for limit in published if bool(limit["met"]) is met]
        if of_these:
            found[f"Published limits {name}"] = (
                f"{len(of_these)} of {len(published)}{source}: {_named(of_these)}"
                f"{_few_speakers(evaluation, of_these)}.{_unchanged(of_these)}"
            )
            source = ""
    return found


def _at_home(evaluation: dict[str, Any]) -> tuple[str, str]:
    """How it does with unchanged clips of its own corpus."""
    corpus, ua = evaluation["corpus"], evaluation["scores"]["ua"]
    clips = (
        f"the unchanged recordings of {corpus['name']}"
        if corpus.get("heard_in_training") is None
        else f"clean recordings like those it learnt from ({corpus['name']})"
    )
    figures = f"{words.UA} {words.percent(ua)}, guessing {words.percent(rules.guess(evaluation))}"
    far = rules.way(ua, rules.guess(evaluation))
    if far < rules.FAIRLY:
        return _BADLY, f"Already with {clips}: {figures}."
    held = rules.held_kinds(evaluation)
    kinds = [KINDS.get(kind, kind) for kind in held]
    also = (
        f" Hardly worse with {words.listed(kinds)}: UA falls by {words.points(max(held.values()))} "
        "at most."
        if held
        else ""
    )
    title = "Does well" if far >= rules.WELL else "Does fairly well"
    return title, f"{words.first_upper(clips)}: {figures}.{also}"


def _failures(evaluation: dict[str, Any]) -> str:
    """Where more than half of what it has above guessing is lost, a kind of change each."""
    tried = rules.conditions(evaluation)
    limit = f"below {words.percent(rules.middle(evaluation))}, half of the way to guessing"
    kinds = []
    for kind, broken in rules.broken_kinds(evaluation).items():
        of_kind = sum(item["kind"] == kind for item in tried)
        lowest = words.percent(min(item["ua"] for item in broken), 0)
        some = f"{len(broken)} of {of_kind} ways tried, down to " if of_kind > 1 else ""
        kinds.append(f"{KINDS.get(kind, kind)} ({some}{lowest})")
    if not kinds:
        return (
            f"None of the {len(tried)} ways of spoiling the sound that were tried takes it {limit}."
        )
    return f"{words.first_upper(words.listed(kinds))}: UA falls {limit}."


def _elsewhere(evaluation: dict[str, Any], item: dict[str, Any]) -> str:
    guessed, scores = rules.guess(evaluation), item["scores"]
    name = _called(item["corpus"])
    far = rules.way(scores["ua"], guessed, evaluation["scores"]["ua"])
    if far < rules.FAIRLY:
        judged = f"fails: UA {words.percent(scores['ua'])}, little better than guessing"
        if scores["ua"] <= guessed:
            judged = f"fails: UA {words.percent(scores['ua'])}, no better than guessing"
    elif far < rules.WELL:
        judged = f"fails: UA {words.percent(scores['ua'])}, more than half of the way to guessing"
    elif far < rules.ALIKE:
        judged = f"clearly worse: UA {words.percent(scores['ua'])}"
    else:
        judged = f"nearly as well, or better: UA {words.percent(scores['ua'])}"
    found = rules.favourite(evaluation["labels"], scores.get("confusion") or [])
    if not found:
        return f"{name}: {judged}."
    label, said, true = found
    return (
        f"{name}: {judged}. It says {words.emotion(label)} for {words.percent(said, 0)} of the "
        f"clips there; {words.percent(true, 0)} are."
    )


def _called(corpus: str) -> str:
    full = words.CORPORA.get(corpus, "")
    return f"{corpus} ({full})" if full else corpus


def _named(limits: list[dict[str, Any]]) -> str:
    """``telephone (drop of UA, labels unchanged), small changes (labels unchanged)``."""
    figures: dict[str, list[str]] = {}
    for limit in limits:
        on, _, figure = words.limit_name(limit).partition(": ")
        figures.setdefault(on, []).append(figure)
    return words.listed(
        [f"{on} ({', '.join(of_it)})" if any(of_it) else on for on, of_it in figures.items()]
    )


def _few_speakers(evaluation: dict[str, Any], limits: list[dict[str, Any]]) -> str:
    few = rules.few_speakers_of_sexes(evaluation)
    if not few or not any(limit["name"].startswith("sexes") for limit in limits):
        return ""
    return f"; for the sexes, {few} say little"


def _unchanged(limits: list[dict[str, Any]]) -> str:
    if not any("unchanged" in words.limit_name(limit) for limit in limits):
        return ""
    return " Labels unchanged: how many clips keep the answer that they have when clean."
