"""The sections of the page; each is left out where its numbers are not there."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ser_kd.evaluation_report import charts, page, words
from ser_kd.evaluation_report.opening import interval_of, largest_confusion, too_sure

_SCORES = (
    ("ua", "UA, mean recall of the emotions", "each emotion counts the same"),
    ("wa", "WA, accuracy", "each clip counts the same"),
    ("macro_f1", "macro-F1", "also counts false alarms"),
)
_KINDS = {
    "noise": "Background noise",
    "phone": "Telephone",
    "small": "Small changes",
    "level": "Louder, softer, clipped",
    "crop": "Cut off or padded",
    "codec": "Low-rate codec",
}
_OWN_LIMITS = "Ours: no part of that source; the same figures asked for in harder conditions."
_TERMS = {
    "Recall": "Of the clips of one emotion, the share for which the model named that emotion.",
    "UA (unweighted accuracy)": "The mean of the recalls: every emotion counts the same, however "
    "many clips it has. The main figure here.",
    "WA (weighted accuracy)": "The share of all clips that were named rightly.",
    "macro-F1": "For each emotion the harmonic mean of recall and precision (of the clips to which "
    "the model gave this emotion, the share that had it); then the mean over the emotions.",
    "95 % interval": "How far the figure might move with other speakers of the same kind: the "
    "evaluation was repeated with the speakers drawn at random again and again (bootstrap); 95 % "
    "of the results lay in this range. Few speakers make it wide, and less to be trusted.",
    "ECE (expected calibration error)": "How far, on average, the model's stated probability lies "
    "from how often it is right. 0 is perfect.",
    "NLL (negative log-likelihood)": "How surprised the model was by the truth, in nats; less is "
    "better. Sure and wrong costs most.",
    "Agreement, unchanged": "The share of clips for which two models, or one model with a clean "
    "and a spoilt clip, name the same emotion, right or wrong.",
    "int8, float": "An int8 file stores its numbers in 8 bits: smaller and faster than float, for "
    "a little accuracy.",
    "Points": "The difference of two figures in per cent: 65 % is 5 points less than 70 %.",
}


@dataclass(frozen=True)
class Section:
    """``make`` gives the section's HTML from the evaluation, or "" where it has nothing to show."""

    name: str
    title: str
    make: Callable[[dict[str, Any]], str]


def _summary(evaluation: dict[str, Any]) -> str:
    scores, speakers = evaluation["scores"], evaluation["corpus"]["speakers"]
    rows = [
        [title, words.percent(scores[key]), words.interval(interval_of(scores, key, speakers)), of]
        for key, title, of in _SCORES
    ]
    calibration = evaluation.get("calibration")
    if calibration:
        rows.append(["ECE, calibration error", words.points(calibration["ece"]), "-",
                     "distance of stated and true certainty; 0 is best"])  # fmt: skip
    if words.known(scores.get("nll")):
        rows.append(["NLL", f"{scores['nll']:.3f} nats", "-", "surprise at the truth; 0 is best"])
    rows += _resource_rows(evaluation.get("resources") or {})
    heads = ("Measure", "Value", "95 % interval, %", "In words")
    return page.table(heads, rows, "Summary", text=(0, 3), marked=(0,))


def _resource_rows(resources: dict[str, Any]) -> list[list[str]]:
    where = f"one window of sound, one CPU thread, {resources.get('runtime', words.NOT_KNOWN)}"
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


def _compared(evaluation: dict[str, Any]) -> str:
    models = evaluation.get("compared") or []
    parts = []
    if models:
        heads = ("Model", "Role", "WA", "UA", "macro-F1", "Time", "Size", "Peak memory")
        rows = [_compared_row(model) for model in models]
        own = [i for i, model in enumerate(models) if model["name"] == evaluation["model"]["name"]]
        parts.append(page.table(heads, rows, "Models compared", text=(0, 1), marked=own))
        parts.append(page.paragraph(_against_teacher(models, evaluation["model"]["name"])))
        parts.append(
            page.paragraph("Time: median for one window of sound. A dash: not measured.", "dim")
        )
    agreement = evaluation.get("agreement") or []
    if agreement:
        parts.append(page.heading("How often they name the same emotion"))
        columns = ("Compared with", "Same emotion", "UA of the other", "Clips")
        rows = [
            [a["with"], words.percent(a["same_label"]), words.percent(a.get("ua")),
             f"{a['clips']:,}"]
            for a in agreement
        ]  # fmt: skip
        parts.append(page.table(columns, rows, "Agreement"))
    return "\n".join(parts)


def _compared_row(model: dict[str, Any]) -> list[str]:
    shares = [words.percent(model.get(key)) for key in ("wa", "ua", "macro_f1")]
    return [
        model["name"],
        model["role"],
        *shares,
        words.milliseconds(model.get("latency_ms")),
        words.size(model.get("bytes")),
        words.megabytes(model.get("peak_memory_mb")),
    ]


def _against_teacher(models: list[dict[str, Any]], name: str) -> str:
    """The student (this model, else the last) against the best teacher, as far as measured."""
    teachers = [m for m in models if m["role"] == "teacher" and words.known(m.get("ua"))]
    students = [m for m in models if m["role"] == "student" and words.known(m.get("ua"))]
    if not teachers or not students:
        return ""
    teacher = max(teachers, key=lambda m: m["ua"])
    student = next((m for m in students if m["name"] == name), students[-1])
    gap = student["ua"] - teacher["ua"]
    parts = [f"UA {words.points(abs(gap))} {'higher' if gap > 0 else 'lower'}"]
    for key, less, more in (
        ("latency_ms", "faster", "slower"),
        ("bytes", "smaller", "larger"),
        ("peak_memory_mb", "less memory", "more memory"),
    ):
        if teacher.get(key) and student.get(key):
            parts.append(_ratio(teacher[key] / student[key], less, more))
    return f"{student['name']} against {teacher['name']}: {words.listed(parts)}."


def _ratio(ratio: float, less: str, more: str) -> str:
    times, word = (ratio, less) if ratio >= 1 else (1 / ratio, more)
    return f"{times:.{0 if times >= 10 else 1}f} times {word}"


def _confusion(evaluation: dict[str, Any]) -> str:
    return confusion_figure(
        "confusion", evaluation["labels"], evaluation["scores"].get("confusion") or []
    )


def confusion_figure(name: str, labels: list[str], confusion: list[list[int]]) -> str:
    """The heat map with how to read it; "" without numbers."""
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
        "deeper the colour, the larger the share.",
        most,
        f"{', '.join(named)}." if named else "",
    )


def _recall(evaluation: dict[str, Any]) -> str:
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
            _guessing(evaluation),
            (scores["ua"], f"mean (UA) {words.percent(scores['ua'])}"),
        ],
    )
    return page.figure(
        plot,
        "The longer the bar, the more clips of this emotion the model recognises. The thin line "
        "across the bar's end is the 95 % interval over speakers, in brackets at the right: "
        "where two of them overlap widely, the difference may be chance.",
        "Dashed: what guessing would give, and the mean of the bars (UA).",
    )


def _guessing(evaluation: dict[str, Any]) -> tuple[float, str]:
    share = 1 / len(evaluation["labels"])
    return share, f"guessing {words.percent(share)}"


def recall_bars(recall: dict[str, Any], speakers: int) -> list[charts.Bar]:
    """A bar per emotion; without intervals where there is one speaker only."""
    return [
        charts.Bar(
            words.emotion(label),
            item["value"],
            item.get("interval") if speakers > 1 else None,
            words.count(item["clips"], "clip"),
        )
        for label, item in recall.items()
    ]


def _calibration(evaluation: dict[str, Any]) -> str:
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
        f"ECE, the mean distance from the dashed line: {words.points(calibration['ece'])}; "
        f"{too_sure(calibration['bins'])}.",
    )


def _slices(evaluation: dict[str, Any]) -> str:
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


def _robustness(evaluation: dict[str, Any]) -> str:
    robustness = evaluation.get("robustness") or {}
    conditions, gates = robustness.get("conditions") or [], robustness.get("gates") or []
    parts = []
    if conditions:
        parts.append(_conditions_figure(conditions, gates, evaluation["scores"]["ua"]))
    if gates:
        source = (evaluation.get("settings") or {}).get("gates")
        parts.append(page.heading("Limits, met or missed"))
        if source:
            parts.append(page.paragraph(f"Published limits: {source}."))
        if not all(gate.get("published", True) for gate in gates):
            parts.append(page.paragraph(_OWN_LIMITS))
        heads = ("Limit", "Allowed", "Worst found", "In", "Verdict", "Source")
        rows = [_gate_row(gate) for gate in gates]
        parts.append(page.table(heads, rows, "Limits", text=(0, 3, 4, 5)))
    return "\n".join(parts)


def _conditions_figure(
    conditions: list[dict[str, Any]], gates: list[dict[str, Any]], clean: float
) -> str:
    kinds = list(dict.fromkeys(condition["kind"] for condition in conditions))
    blocks = [
        charts.Block(
            _kind_heading(kind, conditions, gates),
            [
                charts.PairedBar(condition["name"], condition["ua"], condition["unchanged"])
                for condition in conditions
                if condition["kind"] == kind
            ],
        )
        for kind in kinds
    ]
    plot = charts.paired_bars(
        "robustness",
        "Robustness",
        "One row per way of spoiling the sound: UA on the spoilt clips, and the share of clips "
        "that keep the answer of the clean clip.",
        blocks,
        ("UA, %", "unchanged, %"),
        (clean, f"clean {words.percent(clean)}"),
    )
    worst = max(conditions, key=lambda condition: condition["ua_drop"])
    return page.figure(
        plot,
        "The same clips, spoilt in different ways. Left: how well the model still does; the "
        "shorter the bar against the dashed line (clean clips), the more it suffers. Right: for "
        "how many clips it still gives the same answer, right or wrong.",
        f"Hardest: {worst['name']}, UA {words.points(worst['ua_drop'])} below clean."
        if worst["ua_drop"] > 0
        else "Nothing of this lowers UA.",
        "Noise in dB: how much louder the voice is than the noise; fewer is noisier."
        if "noise" in kinds
        else "",
    )


def _kind_heading(kind: str, conditions: list[dict[str, Any]], gates: list[dict[str, Any]]) -> str:
    """The block's name, with what became of the limits whose worst case lies in it."""
    names = {condition["name"] for condition in conditions if condition["kind"] == kind}
    own = [gate for gate in gates if gate.get("condition") in names]
    title = _KINDS.get(kind, kind)
    if not own:
        return title
    missed = sum(not gate["met"] for gate in own)
    if not missed:
        return f"{title} (limits met)"
    return f"{title} ({missed} of {len(own)} limits missed)"


def _gate_row(gate: dict[str, Any]) -> list[str]:
    bound = gate.get("bound", "at least" if "unchanged" in gate["name"] else "at most")
    show = words.percent if bound == "at least" else words.points
    return [
        gate["name"],
        f"{bound} {show(gate['limit'])}",
        show(gate["worst"]),
        gate.get("condition") or words.NOT_KNOWN,
        "met" if gate["met"] else "MISSED",
        "published" if gate.get("published", True) else "ours",
    ]


def _cross_corpus(evaluation: dict[str, Any]) -> str:
    others = evaluation.get("cross_corpus") or []
    if not others:
        return ""
    home = {**evaluation["corpus"], "scores": evaluation["scores"], "labels": evaluation["labels"]}
    home["corpus"] = f"{home['name']} (this evaluation)"
    heads = ("Corpus", "Clips", "Speakers", "UA", "95 % interval, %", "WA", "macro-F1", "Left out")
    rows = [_corpus_row(item) for item in (home, *others)]
    blocks = [
        charts.Block(
            f"{item['corpus']}: {words.count(item['clips'], 'clip')}, "
            f"{words.count(item['speakers'], 'speaker')}",
            [_ua_bar(item), *recall_bars(item["scores"].get("recall") or {}, item["speakers"])],
        )
        for item in (home, *others)
    ]
    plot = charts.interval_bars(
        "cross",
        "Recall per emotion on other corpora",
        "One block per corpus: the mean recall and the recall of each emotion, with 95 % "
        "intervals.",
        blocks,
        "share of clips named rightly, %",
        [_guessing(evaluation)],
    )
    caption = (
        "The same model on recordings made elsewhere: other voices, rooms, sentences, perhaps "
        "another language. What it loses against the first block is what it learnt of its own "
        "corpus only."
    )
    parts = [page.table(heads, rows, "Corpora", text=(0, 7), marked=(0,))]
    parts.append(page.figure(plot, caption, "Left out: emotions that the model has no class for."))
    parts += [_corpus_confusion(evaluation["labels"], number, c) for number, c in enumerate(others)]
    return "\n".join(parts)


def _corpus_row(item: dict[str, Any]) -> list[str]:
    scores = item["scores"]
    return [
        item["corpus"],
        f"{item['clips']:,}",
        f"{item['speakers']:,}",
        words.percent(scores["ua"]),
        words.interval(interval_of(scores, "ua", item["speakers"])),
        words.percent(scores["wa"]),
        words.percent(scores["macro_f1"]),
        words.counted(item.get("dropped") or {}) or words.NOT_KNOWN,
    ]


def _ua_bar(item: dict[str, Any]) -> charts.Bar:
    ends = interval_of(item["scores"], "ua", item["speakers"])
    return charts.Bar("mean (UA)", item["scores"]["ua"], ends)


def _corpus_confusion(labels: list[str], number: int, item: dict[str, Any]) -> str:
    """The model's own labels, or those of the other corpus where the matrix has only these."""
    table = item["scores"].get("confusion") or []
    names = labels if len(table) == len(labels) else item["labels"]
    plot = confusion_figure(f"confusion-{number}", names, table)
    return page.heading(f"Confusion on {item['corpus']}") + plot if plot else ""


def _family(evaluation: dict[str, Any]) -> str:
    files = [
        file
        for file in evaluation.get("family") or []
        if words.known(file.get("ua")) and words.known(file.get("latency_ms"))
    ]
    if not files:
        return ""
    own = evaluation["model"]["name"]
    dots = [
        charts.Dot(
            f"{file['name']}, {words.size(file.get('bytes'))}",
            file["latency_ms"],
            100 * file["ua"],
            own in (file["name"], f"student_{file['name']}.tflite"),
        )
        for file in files
    ]
    plot = charts.scatter(
        "family",
        "Accuracy against time of the exported files",
        "One dot per exported file: time for one window of sound against UA.",
        dots,
        ("time for one window, ms (less is better)", "UA, % (more is better)"),
    )
    alone = any(file["name"] == "waveform" for file in files) and len(files) > 1
    return page.figure(
        plot,
        "Each dot is one file made of the same model. The best lie at the top left: accurate and "
        "fast. A file with another one above it and to its left has nothing for it but its size.",
        "Square, in bold: the file of this page." if any(dot.chosen for dot in dots) else "",
        "The upright axis does not begin at 0: it shows small differences large.",
        "waveform: timed with the front end that makes the features; the others without it."
        if alone
        else "",
    )


def _training(evaluation: dict[str, Any]) -> str:
    history = evaluation.get("history") or []
    loss = _curve(history, "loss", "training", 1)
    right = [
        curve
        for curve in (
            _curve(history, "accuracy", "training WA", 100),
            _curve(history, "validation_ua", "validation UA", 100, "second"),
        )
        if curve
    ]
    panels = [charts.Panel("loss", [loss])] if loss else []
    if right:
        panels.append(charts.Panel("clips named rightly, %", right, _best_epoch(history)))
    if not panels:
        return ""
    plot = charts.curves(
        "training",
        "Training curves",
        "Loss, and shares named rightly in training and validation, over the epochs.",
        panels,
        "epoch (one pass through the training clips)",
    )
    return page.figure(
        plot,
        "Above: the loss, which training makes as small as it can. Below: how much is named "
        "rightly, of the training clips (blue, whole line) and of speakers that the model does not "
        "learn from (orange, dashed). A gap that opens between the two means that it learns its "
        "training voices by heart. Ring: the best epoch.",
    )


def _curve(
    history: list[dict[str, Any]], key: str, label: str, factor: float, kind: str = "first"
) -> charts.Curve | None:
    points = [(row["epoch"], factor * row[key]) for row in history if words.known(row.get(key))]
    return charts.Curve(label, points, kind) if points else None


def _best_epoch(history: list[dict[str, Any]]) -> tuple[float, float, str] | None:
    known = [row for row in history if words.known(row.get("validation_ua"))]
    if not known:
        return None
    best = max(known, key=lambda row: row["validation_ua"])
    score = best["validation_ua"]
    return best["epoch"], 100 * score, f"best: epoch {best['epoch']}, {words.percent(score)}"


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
    return page.paragraph(hint) + page.table(
        heads, rows, "Worst clips", text=(0, 1, 2, 3), code=(0, 1)
    )


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
        body += page.table(("Clip", "Reason"), rows, "Unreadable clips", text=(0, 1), code=(0,))
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
    Section("summary", "Summary", _summary),
    Section("compared", "Teacher and student", _compared),
    Section("confusion", "What is taken for what (confusion matrix)", _confusion),
    Section("recall", "Recall per emotion", _recall),
    Section("calibration", "Can its probabilities be trusted? (calibration)", _calibration),
    Section("slices", "Groups of speakers", _slices),
    Section("robustness", "Robustness", _robustness),
    Section("cross", "Other corpora", _cross_corpus),
    Section("family", "Accuracy against time", _family),
    Section("training", "Training curves", _training),
    Section("worst", "Worst clips", _worst),
)
