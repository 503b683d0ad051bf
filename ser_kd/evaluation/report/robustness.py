"""Spoilt clips, and limits on what may become of the answers."""

from typing import Any

from ser_kd.evaluation.report import charts, page, words

_KINDS = {
    "noise": "Background noise",
    "phone": "Telephone",
    "small": "Small changes",
    "level": "Louder, softer, clipped",
    "crop": "Cut off or padded",
    "codec": "Low-rate codec",
}
_OWN_LIMITS = "Ours: no part of that source; the same figures asked for in harder conditions."


def robustness(evaluation: dict[str, Any]) -> str:
    """Scores on spoilt clips, and published limits."""
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
