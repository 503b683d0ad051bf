"""Training curves."""

from typing import Any

from ser_kd.evaluation.report import charts, page, words


def training(evaluation: dict[str, Any]) -> str:
    """The training curves."""
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
