"""How often the model is right, and how sure it is: figures, confusion, recall, calibration."""

from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words
from ser_kd.evaluation.report.opening import largest_confusion, too_sure

_SCORES = (
    (
        "ua",
        words.first_upper(words.UA),
        "of each emotion's clips the share named rightly, averaged",
    ),
    ("wa", words.first_upper(words.WA), "of all clips, named rightly"),
    ("macro_f1", "macro-F1", "also counts false alarms"),
)


def summary(evaluation: dict[str, Any]) -> str:
    """The main figures in a table."""
    scores, speakers = evaluation["scores"], evaluation["corpus"]["speakers"]
    rows = [
        [
            title,
            words.percent(scores[key]),
            words.interval(rules.interval_of(scores, key, speakers)),
            of,
        ]
        for key, title, of in _SCORES
    ]
    calibration = evaluation.get("calibration")
    if calibration:
        meaning = "distance of stated and true certainty; 0 is best" + by_chance(calibration)
        rows.append(["ECE, calibration error", words.points(calibration["ece"]), "-", meaning])
    if words.known(scores.get("nll")):
        rows.append(["NLL", f"{scores['nll']:.3f} nats", "-", "surprise at the truth; 0 is best"])
    rows += _resource_rows(evaluation)
    heads = ("Measure", "Value", "95 % interval, %", "In words")
    return page.table(heads, rows, "Summary", text=(0, 3), marked=(0,))


def by_chance(calibration: dict[str, Any]) -> str:
    """What a model with true probabilities would measure, where that is known."""
    if "ece_by_chance" not in calibration:  # of an earlier version
        return ""
    mean, highest = map(words.points, calibration["ece_by_chance"])
    return f" (of as many clips, true certainty too would measure {mean}, rarely above {highest})"


def _resource_rows(evaluation: dict[str, Any]) -> list[list[str]]:
    resources = evaluation.get("resources") or {}
    runtime = resources.get("runtime") or evaluation["model"].get("runtime", words.NOT_KNOWN)
    where = f"for {words.window(evaluation)}, {runtime}, {words.machine(evaluation)}"
    shown = (
        ("latency_ms", "Time, median", words.milliseconds, where),
        ("latency_p95_ms", "Time, 95 of 100 runs", words.milliseconds, "at most this long"),
        ("peak_memory_mb", "Peak memory", words.megabytes, "a fresh process, its runtime included"),
        ("bytes", "File", words.size, "as it is shipped"),
    )
    return [
        [title, show(resources[key]), "-", note]
        for key, title, show, note in shown
        if words.known(resources.get(key))
    ]


def confusion(evaluation: dict[str, Any]) -> str:
    """What is taken for what."""
    return confusion_figure(
        "confusion", evaluation["labels"], evaluation["scores"].get("confusion") or []
    )


def confusion_figure(
    name: str, labels: list[str], confusion: list[list[int]], explained: bool = True
) -> str:
    """The heat map with how to read it, where it is to be ``explained``; "" without numbers."""
    if not confusion:
        return ""
    plot = charts.heat_map(
        name,
        "Confusion matrix",
        "One row per true emotion, one column per emotion that the model named; each cell has the "
        "share of the row's clips and their number.",
        labels,
        confusion,
    )
    named = [words.emotion(label) for label in labels if label in words.EMOTIONS]
    found = largest_confusion(labels, confusion)
    most = ""
    if found:
        truth, said, number, total = found
        most = (
            f"Most frequent mistake: {words.emotion(truth)} taken for {words.emotion(said)}, "
            f"{number:,} of {words.count(total, 'clip')} ({words.percent(number / total, 0)})."
        )
    return page.figure(
        plot,
        "Each row holds the clips of one true emotion and adds up to 100 %; the small numbers are "
        "clips. Framed cells, down the diagonal, are right answers, all others mistakes. The "
        "deeper the colour, the larger the share."
        if explained
        else "",
        most,
        f"{', '.join(named)}." if named and explained else "",
    )


def recall(evaluation: dict[str, Any]) -> str:
    """How many clips of each emotion are recognised."""
    scores, speakers = evaluation["scores"], evaluation["corpus"]["speakers"]
    if not scores.get("recall"):
        return ""
    plot = charts.interval_bars(
        "recall",
        "Recall per emotion",
        "One bar per emotion: the share of its clips that the model named rightly, with a 95 % "
        "interval.",
        [charts.Block("", recall_bars(scores["recall"], speakers))],
        "share of the emotion's clips named rightly, %",
        [
            guessing(evaluation),
            (scores["ua"], f"mean (UA) {words.percent(scores['ua'])}"),
        ],
    )
    return page.figure(
        plot,
        "The longer the bar, the more clips of this emotion the model recognises. The thin line "
        "across the bar's end is the 95 % interval over speakers, in brackets at the right: "
        "where two of them overlap widely, the difference may be chance.",
        "Dashed: what guessing would give, and the mean of the bars (UA).",
        "" if speakers >= rules.MIN_SPEAKERS else "No intervals: there are too few speakers.",
    )


def guessing(evaluation: dict[str, Any]) -> tuple[float, str]:
    """What guessing would give, and its words for a plot."""
    share = rules.guess(evaluation)
    return share, f"guessing {words.percent(share)}"


def recall_bars(recall: dict[str, Any], speakers: int) -> list[charts.Bar]:
    """A bar per emotion; without intervals where there are too few speakers."""
    return [
        charts.Bar(
            words.emotion(label),
            item["value"],
            rules.enough(item.get("interval"), speakers),
            words.count(item["clips"], "clip"),
        )
        for label, item in recall.items()
    ]


def calibration(evaluation: dict[str, Any]) -> str:
    """Whether stated probabilities are what they say."""
    calibration = evaluation.get("calibration")
    if not calibration or not any(item["clips"] for item in calibration["bins"]):
        return ""
    plot = charts.reliability(
        "reliability",
        "Reliability diagram",
        "How sure the model was against how often it was right, and how many clips there were at "
        "each step of sureness.",
        calibration["bins"],
    )
    return page.figure(
        plot,
        "When the model says 80 %, is it right 8 times in 10? Then the dots lie on the dashed "
        "line. Each dot is the mean of the clips counted in the bar below it: dots of few clips "
        "jump about by chance.",
        f"ECE, the mean distance from the dashed line: {words.points(calibration['ece'])}"
        f"{by_chance(calibration)}; {too_sure(calibration['bins'])}.",
    )
