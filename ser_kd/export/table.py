"""The figures of ``export.json`` and ``dimensions.json`` for people."""

from typing import Any

from ser_kd.students.heads import DIMENSIONS


def table(figures: dict[str, Any]) -> str:
    """What an export has to say, in lines.

    Args:
        figures: What ``run.export_run`` returns.
    """
    if "models" not in figures:  # a student without categories
        return dimensions_table(figures)
    lines = [
        f"{'':<10}{'size':>10}{'UA':>8}{'difference':>12}{'agreement':>11}{'one window':>12}",
        f"{'Keras':<10}{'':>10}{figures['keras_ua']:>8.1%}",
    ]
    for kind, model in figures["models"].items():
        points = 100.0 * model["ua_difference"]
        lines.append(
            f"{kind:<10}{model['bytes'] / 1000:>7,.0f} kB{model['ua']:>8.1%}"
            f"{points:>+9.1f} pt{model['agreement']:>11.1%}{model['latency_ms']:>9.2f} ms"
        )
    lines.append(
        "one window: median on one CPU thread of this machine, models taking turns; all but"
    )
    lines.append(
        "waveform without the front end. agreement: same label as Keras, validation clips."
    )
    if figures["cross_validation"]:
        lines.append("UA: of the clips that it was trained on, to compare files; no score of it.")
    for kind in ("int8", "waveform"):
        model = figures["models"][kind]
        roles = (
            f"{role} {', '.join(f'{dtype} x {n}' for dtype, n in counts.items())}"
            for role, counts in model["dtypes"].items()
        )
        lines.append(f"{kind} tensors: {'; '.join(roles)}")
        lines.append(f"{kind} without XNNPACK: {_differs(model['without_xnnpack'])}")
        for runtime, other in model["other_runtimes"].items():
            lines.append(
                f"{kind} on {runtime}: {_differs(other)}; by default: "
                f"{_differs(other['by_default'])}"
            )
    owner = figures["owner"]
    lines.append(
        f"classify_owner, voices known: UA {owner['ua']:.1%} (Keras {owner['keras_ua']:.1%}), "
        f"agreement {owner['agreement']:.1%}"
    )
    lines.append("other runtimes: against LiteRT, both without XNNPACK; by default: as they come.")
    return "\n".join(lines)


def dimensions_table(facts: dict[str, Any]) -> str:
    """The content of ``dimensions.json`` for people."""
    names = facts["outputs"][DIMENSIONS]
    lines = [
        f"{facts['file']}: {facts['bytes'] / 1000:,.0f} kB; on average "
        f"{facts['mean_difference']:.4f} from Keras, of -1..1",
        f"{'CCC':<8}" + "".join(f"{name:>12}" for name in names),
    ]
    for row, key in (("Keras", "ccc_keras"), ("int8", "ccc_int8")):
        values = ("-" if facts[key][name] is None else f"{facts[key][name]:.3f}" for name in names)
        lines.append(f"{row:<8}" + "".join(f"{value:>12}" for value in values))
    return "\n".join([*lines, f"on the {facts['validation_clips']:,} validation clips"])


def _differs(figures: dict[str, float]) -> str:
    largest = (
        f"{figures['max_steps']:.0f} steps"
        if "max_steps" in figures
        else f"{figures['max_difference']:.4f}"
    )
    return f"same label {figures['same_label']:.1%} of windows, outputs within {largest}"
