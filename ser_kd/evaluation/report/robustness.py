"""Spoilt clips, and limits on what may become of the answers."""

from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words

_KINDS = {
    "noise": "Background noise",
    "phone": "Telephone",
    "small": "Small changes",
    "level": "Louder, softer, clipped",
    "crop": "Cut off or padded",
    "codec": "Low-rate codec",
}
_TERMS = {
    "gain": ("Gain", "The sound made louder (+) or softer (-); 6 dB is twice or half the level."),
    "clipped": ("Clipped", "The loudest peaks cut off flat, as when a microphone is overdriven."),
    "white noise": ("White noise", "An even hiss, as of a radio between stations."),
    "pink noise": ("Pink noise", "A deeper rush, as of rain: the lower the frequency, the louder."),
    "babble": ("Babble noise", "Four to seven other speakers of the corpus who talk at once."),
    "noise, ": (
        "Noise in dB",
        "How much louder the voice is than the noise: at 20 dB the noise is weak, at 5 dB strong.",
    ),
    "mu-law": (
        "mu-law",
        "How telephone lines store a sample in 8 bits: coarse where it is loud. The line also "
        "drops all frequencies but 300-3400 Hz.",
    ),
    "Opus": ("Opus", "The codec of calls over the internet; 6 kbit/s is the least that it has."),
}
_PUBLISHED, _OURS = "Published limits", "Harder limits of ours"
_OUR_LIMITS = (
    "Not from that source: the same figures, asked for in harder conditions and between other "
    "groups."
)


def robustness(evaluation: dict[str, Any]) -> str:
    """Scores on spoilt clips, and what became of the limits."""
    parts = [_conditions_figure(evaluation)] if rules.conditions(evaluation) else []
    source = (evaluation.get("settings") or {}).get("gates")
    published, ours = (rules.limits(evaluation, kind) for kind in (True, False))
    parts += _limits(_PUBLISHED, published, f"From {source}." if source else "")
    parts += _limits(_OURS, ours, _OUR_LIMITS)
    few = rules.few_speakers_of_sexes(evaluation)
    if few and any(limit["name"].startswith("sexes") for limit in published + ours):
        parts.append(page.paragraph(f"Of the sexes there are {few}: too few to be sure.", "dim"))
    return "\n".join(parts)


def _conditions_figure(evaluation: dict[str, Any]) -> str:
    conditions = rules.conditions(evaluation)
    limits = rules.limits(evaluation, True) + rules.limits(evaluation, False)
    clean = evaluation["scores"]["ua"]
    kinds = list(dict.fromkeys(condition["kind"] for condition in conditions))
    blocks = [
        charts.Block(
            _KINDS.get(kind, kind),
            [
                charts.PairedBar(
                    condition["name"],
                    condition["ua"],
                    condition["unchanged"],
                    (
                        _missed(condition, limits, "ua_drop", False),
                        _missed(condition, limits, "unchanged", True),
                    ),
                )
                for condition in conditions
                if condition["kind"] == kind
            ],
        )
        for kind in kinds
    ]
    plot = charts.paired_bars(
        "robustness",
        "Robustness",
        "One row per way of spoiling the sound: mean over emotions (UA) on the spoilt clips, and "
        "the share of clips that keep the answer of the clean clip; crosses where a limit is "
        "missed.",
        blocks,
        ("mean (UA), %", "unchanged, %"),
        (clean, f"clean {words.percent(clean)}"),
    )
    worst = max(conditions, key=lambda condition: condition["ua_drop"])
    some_missed = any(any(bar.missed) for block in blocks for bar in block.bars)
    every = "; ".join(f"{condition['name']}, " for condition in conditions)
    terms = dict(term for key, term in _TERMS.items() if key in every)
    return page.figure(
        plot,
        "The same clips, spoilt in different ways. Left: how well the model still does; the "
        "shorter the bar against the dashed line (clean clips), the more it suffers. Right: for "
        "how many clips it still gives the same answer, right or wrong.",
        "A cross and a hollow bar: a limit is missed, one of the published or one of our harder "
        "ones. All others keep their limits or have none; the tables below name them."
        if some_missed
        else "",
        f"Hardest: {worst['name']}, UA {words.points(worst['ua_drop'])} below clean."
        if worst["ua_drop"] > 0
        else "Nothing of this lowers UA.",
        more=page.glossary(terms, "terms"),
    )


def _missed(
    condition: dict[str, Any], limits: list[dict[str, Any]], figure: str, at_least: bool
) -> str:
    """The limit that a condition misses, in words; empty where it misses none."""
    for limit in limits:
        on = limit["name"].partition(": ")[0]
        if on != condition.get("gate") or rules.is_at_least(limit) is not at_least:
            continue
        value = condition[figure]
        if value < limit["limit"] if at_least else value > limit["limit"]:
            return f"{words.limit_name(limit)} {_allowed(limit)}"
    return ""


def _limits(title: str, limits: list[dict[str, Any]], about: str) -> list[str]:
    if not limits:
        return []
    kept = sum(bool(limit["met"]) for limit in limits)
    heads = ("Limit", "Allowed", "Worst found", "In", "Verdict")
    verdicts = {(row, 4): bool(limit["met"]) for row, limit in enumerate(limits)}
    return [
        page.heading(f"{title}: {kept} of {len(limits)} kept"),
        page.paragraph(about) if about else "",
        page.table(
            heads,
            [_limit_row(limit) for limit in limits],
            title,
            text=(0, 3, 4),
            loud=[cell for cell, met in verdicts.items() if not met],
            quiet=[cell for cell, met in verdicts.items() if met],
        ),
    ]


def _allowed(limit: dict[str, Any]) -> str:
    if rules.is_at_least(limit):
        return f"at least {words.percent(limit['limit'])}"
    return f"at most {words.points(limit['limit'])}"


def _limit_row(limit: dict[str, Any]) -> list[str]:
    show = words.percent if rules.is_at_least(limit) else words.points
    return [
        words.limit_name(limit),
        _allowed(limit),
        show(limit["worst"]),
        limit.get("condition") or words.NOT_KNOWN,
        "kept" if limit["met"] else "\N{MULTIPLICATION SIGN} missed",
    ]
