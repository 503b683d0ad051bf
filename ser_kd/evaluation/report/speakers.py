"""Groups of speakers."""

from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words


def slices(evaluation: dict[str, Any]) -> str:
    """Scores by sex, age and race."""
    slices = [item for item in evaluation.get("slices") or [] if item["groups"]]
    if not slices:
        return ""
    ua = evaluation["scores"]["ua"]
    plot = charts.interval_bars(
        "slices",
        "UA by group of speakers",
        "One bar per group: the mean over emotions (UA) of its clips, with a 95 % interval where "
        "there are enough speakers.",
        [charts.Block(f"by {item['by']}", _group_bars(item["groups"])) for item in slices],
        f"{words.UA}, %",
        [(ua, f"all clips {words.percent(ua)}")],
    )
    parts = [
        page.figure(
            plot,
            "Does the model serve everybody alike? Then all bars of a block end near the dashed "
            "line. An interval that reaches across that line means: this group may be no "
            "different.",
            f"Groups of fewer than {rules.MIN_SPEAKERS} speakers have no interval: drawn from so "
            "few, it would come out too narrow to be trusted. What they show may be chance."
            if any(g["speakers"] < rules.MIN_SPEAKERS for i in slices for g in i["groups"])
            else "",
            *(_lowest_and_highest(item) for item in slices),
            _too_few(slices),
        )
    ]
    plots = [_slice_recall(f"slice-{number}", item) for number, item in enumerate(slices)]
    if any(plots):
        caption = (
            "The same groups, emotion by emotion: within a block, bars of different length mean "
            "that the emotion is recognised better in one group than in the other, as far as the "
            "number of their speakers lets one say so."
        )
        body = page.paragraph(caption) + "\n".join(plots)
        parts.append(page.folded("Emotion by emotion, for each group", body))
    return "\n".join(parts)


def _group_bars(groups: list[dict[str, Any]]) -> list[charts.Bar]:
    return [
        charts.Bar(
            group["name"],
            group["ua"],
            rules.enough(group.get("interval"), group["speakers"]),
            words.count(group["speakers"], "speaker"),
            words.count(group["clips"], "clip"),
        )
        for group in groups
    ]


def _lowest_and_highest(item: dict[str, Any]) -> str:
    """Among the groups of enough speakers."""
    known = [group for group in item["groups"] if words.known(group["ua"])]
    groups = [group for group in known if group["speakers"] >= rules.MIN_SPEAKERS]
    if len({group["ua"] for group in groups}) < 2:
        return ""
    best, worst = max(groups, key=lambda g: g["ua"]), min(groups, key=lambda g: g["ua"])
    left_out = (
        f", among those of {rules.MIN_SPEAKERS} speakers or more"
        if len(groups) < len(known)
        else ""
    )
    return (
        f"By {item['by']}: lowest {worst['name']} ({words.percent(worst['ua'])}), highest "
        f"{best['name']} ({words.percent(best['ua'])}){left_out}{_overlap(worst, best)}."
    )


def _too_few(slices: list[dict[str, Any]]) -> str:
    """Where there are groups, but no two of them can be compared."""
    names = [
        item["by"]
        for item in slices
        if len(item["groups"]) > 1
        and sum(group["speakers"] >= rules.MIN_SPEAKERS for group in item["groups"]) < 2
    ]
    return f"By {words.listed(names)}: too few speakers to compare groups." if names else ""


def _overlap(worst: dict[str, Any], best: dict[str, Any]) -> str:
    low, high = worst.get("interval"), best.get("interval")
    return "; their intervals overlap" if low and high and low[1] >= high[0] else ""


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
                    rules.enough(group["recall"][label].get("interval"), group["speakers"]),
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
        "One block per emotion, one bar per group of speakers: the share of the emotion's clips "
        "that were named rightly.",
        blocks,
        "share of the emotion's clips named rightly, %",
    )
    return page.heading(f"Emotion by emotion, by {item['by']}") + page.figure(plot)
