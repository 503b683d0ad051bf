"""What exported files may differ by, and what is said where they differ by more."""

from typing import Any

from ser_kd.config import ExportConfig

MAX_VOICE_DIFFERENCE_DB = 0.2
"""The mel filters in the file have 16 bits, which is 0.2 dB for single cells at most."""


def problems(models: dict[str, dict[str, Any]], config: ExportConfig) -> list[str]:
    """What is wrong with the figures of ``verify.compare``; empty = fit to ship."""
    found = []
    for figures in models.values():
        name = figures["file"]
        if figures["agreement"] < config.min_agreement:
            found.append(
                f"{name} gives the Keras model's label for {figures['agreement']:.1%} of the "
                f"validation clips (export.min_agreement = {config.min_agreement:.1%})"
            )
        if -figures["ua_difference"] > config.max_ua_drop:
            found.append(
                f"{name} loses {-figures['ua_difference']:.1%} UA on validation "
                f"(export.max_ua_drop = {config.max_ua_drop:.1%})"
            )
        plain = figures.get("without_xnnpack", {}).get("same_label", 1.0)
        if plain < config.min_kernel_agreement:
            found.append(
                f"{name} gives the same label with and without XNNPACK for {plain:.1%} of the "
                f"windows (export.min_kernel_agreement = {config.min_kernel_agreement:.1%})"
            )
        for runtime, other in figures.get("other_runtimes", {}).items():
            if other["same_label"] < config.min_runtime_agreement:
                found.append(
                    f"{name} gives the same label on {runtime} and {figures['runtime']}, both "
                    f"without XNNPACK, for {other['same_label']:.1%} of the windows "
                    f"(export.min_runtime_agreement = {config.min_runtime_agreement:.1%})"
                )
            if other.get("max_steps", 0.0) > config.max_runtime_steps + 0.01:
                found.append(
                    f"{name} differs by {other['max_steps']:.0f} quantisation steps between "
                    f"{runtime} and {figures['runtime']}, both without XNNPACK "
                    f"(export.max_runtime_steps = {config.max_runtime_steps})"
                )
        if figures.get("not_int8"):
            found.append(
                f"{name} has {len(figures['not_int8'])} tensors that are not int8, such as "
                f"{figures['not_int8'][0]}"
            )
    return found


def known_voice_problems(figures: dict[str, Any], config: ExportConfig) -> list[str]:
    """What is wrong with the figures of ``compare_known_voices``; empty = fit to ship."""
    found = []
    if figures["agreement"] < config.min_agreement:
        found.append(
            f"{figures['signature']} gives the Keras model's label for {figures['agreement']:.1%} "
            f"of the validation clips (export.min_agreement = {config.min_agreement:.1%})"
        )
    if figures["corpus_same_label"] < config.min_runtime_agreement:
        found.append(
            f"{figures['signature']} with the corpus's own statistics gives the same label as the "
            f"first signature for {figures['corpus_same_label']:.1%} of the windows "
            f"(export.min_runtime_agreement = {config.min_runtime_agreement:.1%})"
        )
    if figures["max_voice_difference_db"] > MAX_VOICE_DIFFERENCE_DB:
        found.append(
            f"voices are learned {figures['max_voice_difference_db']:.2f} dB from those of the "
            f"log-mel layer's frames, {MAX_VOICE_DIFFERENCE_DB} dB are allowed"
        )
    return found
