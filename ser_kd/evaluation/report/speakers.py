"""Groups of speakers."""

from typing import Any

from ser_kd.evaluation.report import charts, page, words


def slices(evaluation: dict[str, Any]) -> str:
    """Scores by sex, age and race."""
    slices = [item for item in evaluation.get("slices") or [] if item["groups"]]
    if not slices:
        return ""
    ua = evaluation["scores"]["ua"]
    plot = charts.interval_bars(
        "slices",
        "UA by group of speakers",
        "One bar per group: the mean recall (UA) of its clips, with a 95 % interval.",
        [charts.Block(f"by {item['by']}", _group_bars(item["groups"])) for item in slices],
        "mean recall of the emotions (UA), %",
        [(ua, f"all clips {words.percent(ua)}")],
    )
    parts = [
        page.figure(
            plot,
            "Does the model serve everybody alike? Then all bars of a block end near the dashed "
            "line. An interval that reaches across that line means: this group may be no "
            "different. A group of few speakers says little: one has no interval, and that of two "
            "or three is too narrow to be trusted.",
            *(_widest_gap(item) for item in slices),
        )
    ]
    for number, item in enumerate(slices):
        parts.append(_slice_recall(f"slice-{number}", item))
    return "\n".join(parts)


def _group_bars(groups: list[dict[str, Any]]) -> list[charts.Bar]:
    return [
        charts.Bar(
            group["name"],
            group["ua"],
            group.get("interval") if group["speakers"] > 1 else None,
            f"{words.count(group['speakers'], 'speaker')}, {words.count(group['clips'], 'clip')}",
        )
        for group in groups
    ]


def _widest_gap(item: dict[str, Any]) -> str:
    """Between the groups of more than one speaker."""
    groups = [g for g in item["groups"] if words.known(g["ua"]) and g["speakers"] > 1]
    if len({group["ua"] for group in groups}) < 2:
        return ""
    best, worst = max(groups, key=lambda g: g["ua"]), min(groups, key=lambda g: g["ua"])
    return (
        f"By {item['by']}: {words.points(best['ua'] - worst['ua'])} between {best['name']} "
        f"({words.percent(best['ua'])}) and {worst['name']} ({words.percent(worst['ua'])})."
    )


def _slice_recall(name: str, item: dict[str, Any]) -> str:
    """Recall per emotion, the groups of one slice under each other."""
    groups = [group for group in item["groups"] if group.get("recall")]
    labels = list(dict.fromkeys(label for group in groups for label in group["recall"]))
    if not labels:
        return ""
    blocks = [
        charts.Block(
            words.emotion(label),
            [
                charts.Bar(
                    f"{group['name']}, {words.count(group['recall'][label]['clips'], 'clip')}",
                    group["recall"][label]["value"],
                    group["recall"][label].get("interval") if group["speakers"] > 1 else None,
                )
                for group in groups
                if label in group["recall"]
            ],
        )
        for label in labels
    ]
    plot = charts.interval_bars(
        name,
        f"Recall per emotion by {item['by']}",
        "One block per emotion, one bar per group of speakers, with 95 % intervals.",
        blocks,
        "share of the emotion's clips named rightly, %",
    )
    caption = (
        "The same groups, emotion by emotion: within a block, bars of different length mean that "
        "the emotion is recognised better in one group than in the other."
    )
    return page.heading(f"Recall per emotion by {item['by']}") + page.figure(plot, caption)
