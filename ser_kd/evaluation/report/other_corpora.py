"""The same model on recordings made elsewhere."""

from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words
from ser_kd.evaluation.report.scores import confusion_figure, guessing, recall_bars


def cross_corpus(evaluation: dict[str, Any]) -> str:
    """The same model on other corpora."""
    others = evaluation.get("cross_corpus") or []
    if not others:
        return ""
    home = {**evaluation["corpus"], "scores": evaluation["scores"], "labels": evaluation["labels"]}
    home["corpus"] = f"{home['name']} (this evaluation)"
    heads = (
        "Corpus",
        "Clips",
        "Speakers",
        words.first_upper(words.UA),
        "95 % interval, %",
        words.first_upper(words.WA),
        "macro-F1",
        "Left out",
    )
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
        "One block per corpus: the mean over emotions (UA) and the recall of each emotion, with "
        "95 % intervals.",
        blocks,
        "share of clips named rightly, %",
        [guessing(evaluation)],
    )
    caption = (
        "The same model on recordings made elsewhere: other voices, rooms, sentences, perhaps "
        "another language. What it loses against the first block is what it learnt of its own "
        "corpus only."
    )
    names = {item["corpus"]: words.CORPORA.get(item["corpus"], "") for item in others}
    known = {name: f"{full}." for name, full in names.items() if full}
    parts = [
        page.table(heads, rows, "Corpora", text=(0, 7), marked=(0,)),
        page.glossary(known, "terms"),
    ]
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
        words.interval(rules.interval_of(scores, "ua", item["speakers"])),
        words.percent(scores["wa"]),
        words.percent(scores["macro_f1"]),
        words.counted(item.get("dropped") or {}) or words.NOT_KNOWN,
    ]


def _ua_bar(item: dict[str, Any]) -> charts.Bar:
    ends = rules.interval_of(item["scores"], "ua", item["speakers"])
    return charts.Bar("mean over emotions (UA)", item["scores"]["ua"], ends)


def _corpus_confusion(labels: list[str], number: int, item: dict[str, Any]) -> str:
    """The model's own labels, or those of the other corpus where the matrix has only these."""
    table = item["scores"].get("confusion") or []
    names = labels if len(table) == len(labels) else item["labels"]
    plot = confusion_figure(f"confusion-{number}", names, table, explained=False)
    return page.heading(f"What is taken for what on {item['corpus']}") + plot if plot else ""
