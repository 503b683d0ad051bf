"""Training curves."""

from typing import Any

from ser_kd.evaluation.report import charts, page, words


def training(evaluation: dict[str, Any]) -> str:
    """The training curves."""
    history = evaluation.get("history") or []
    loss = _curve(history, "loss", "training clips", 1)
    right = [
        curve
        for curve in (
            _curve(history, "accuracy", "training clips: share (WA)", 100),
            _curve(history, "validation_ua", "validation clips: mean (UA)", 100, "second"),
        )
        if curve
    ]
    panels = [charts.Panel("loss", [loss])] if loss else []
    if right:
        panels.append(charts.Panel("named rightly, %", right, _best_epoch(history)))
    if not panels:
        return ""
    plot = charts.curves(
        "training",
        "Training curves",
        "Loss on the training clips, and what is named rightly of the training and of the "
        "validation clips, over the epochs.",
        panels,
        "epoch (one pass through the training clips)",
    )
    figure = page.figure(
        plot,
        "Above: the loss on the training clips, which training makes as small as it can. Below: "
        "how much is named rightly, of the training clips while it learns from them (blue, whole "
        "line: share of clips) and of the validation clips, whose speakers it does not learn from "
        "(orange, dashed: mean over emotions). A gap that opens between the two means that it "
        "learns its training voices by heart.",
        _final(evaluation, history),
    )
    return page.folded("Show the training curves", figure)


def _final(evaluation: dict[str, Any], history: list[dict[str, Any]]) -> str:
    """Why the page's figure is not the last point of a curve."""
    best = _best_epoch(history)
    if not best:
        return ""
    split, ua = evaluation["corpus"]["split"], words.percent(evaluation["scores"]["ua"])
    reason = ""
    if split != "validation":
        reason = f", for it is of other clips ({split} part)"
    elif evaluation["model"]["name"].endswith(".tflite"):
        reason = ", for an exported file rounds its numbers"
    same = words.percent(best[1] / 100) == ua and split == "validation"
    return (
        f"Ring: the best epoch, {best[0]}, with {words.percent(best[1] / 100)} on the validation "
        "clips. The model of that epoch was kept, not that of the last one. "
        + ("That is the figure of this page." if same else f"This page's figure is {ua}{reason}.")
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
    return best["epoch"], 100 * score, f"kept: epoch {best['epoch']}, {words.percent(score)}"
