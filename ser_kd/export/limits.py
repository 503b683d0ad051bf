"""What exported files may differ by, and what is said where they differ by more."""

from pathlib import Path
from typing import Any

from scipy import stats

from ser_kd.config import ExportConfig
from ser_kd.errors import UserError

MANY_CLIPS = 1_000
"""From so many validation clips on, a measured share is held against its limit as it is."""
_CONFIDENCE = 0.95
MAX_VOICE_DIFFERENCE_DB = 0.2
"""The mel filters in the file have 16 bits, which is 0.2 dB for single cells at most."""


def require(figures: dict[str, Any], config: ExportConfig, folder: Path) -> None:
    """Refuses an export that differs too much from the Keras model; the files stay.

    Args:
        figures: What ``run.export_run`` returns.
        config: The limits.
        folder: Where the files are.

    Raises:
        UserError: Names the figures, the limits and how to relax them.
    """
    if found := exceeded(figures, config):
        raise UserError(
            "; ".join(found) + f"; all files and figures are kept, see {folder / 'export.json'}. "
            "A setting in brackets is relaxed by training again in the same folder with "
            "--set SECTION.KEY=VALUE: only the limits are checked again"
        )


def exceeded(figures: dict[str, Any], config: ExportConfig) -> list[str]:
    """What is wrong with an export's figures; empty = fit to ship."""
    if "models" not in figures:  # a student without categories
        return []
    clips = figures["validation_clips"]
    found = problems(figures["models"], config, clips)
    return found + known_voice_problems(figures["owner"], config, clips)


def share_is_below(share: float, clips: int, limit: float) -> bool:
    """Whether the clips can tell that a share of them is below a limit.

    From ``MANY_CLIPS`` on that is so wherever the measured share is below it. Of fewer clips, the
    upper end of the one-sided 95 % interval (Clopper and Pearson, Biometrika 26, 1934) must be
    below it: 29 of 30 do not refute 97 %.

    Args:
        share: Measured, 0..1.
        clips: How many it was measured on.
        limit: The least that is allowed.
    """
    hits = round(share * clips)
    if clips >= MANY_CLIPS or hits >= clips:
        return share < limit
    return float(stats.beta.ppf(_CONFIDENCE, hits + 1, clips - hits)) < limit


def drop_is_above(drop: float, error: float, clips: int, limit: float) -> bool:
    """Whether the clips can tell that UA falls by more than a limit.

    Args:
        drop: Of UA, measured on the same clips with both models.
        error: Its standard error.
        clips: How many there are; from ``MANY_CLIPS`` on the measured drop counts as it is.
        limit: The most that is allowed.
    """
    if clips >= MANY_CLIPS:
        return drop > limit
    return drop - float(stats.norm.ppf(_CONFIDENCE)) * error > limit


def problems(
    models: dict[str, dict[str, Any]], config: ExportConfig, clips: int = MANY_CLIPS
) -> list[str]:
    """What is wrong with the figures of ``verify.compare``; empty = fit to ship.

    Args:
        models: Kind of file -> its figures.
        config: The limits.
        clips: How many validation clips the figures are of.
    """
    found = []
    for figures in models.values():
        name = figures["file"]
        if share_is_below(figures["agreement"], clips, config.min_agreement):
            found.append(
                f"{name} gives the Keras model's label for {figures['agreement']:.1%} of the "
                f"validation clips (export.min_agreement = {config.min_agreement:.1%})"
            )
        # export.json of before 2026-11-30 has no standard error.
        error = figures.get("ua_difference_error", 0.0)
        if drop_is_above(-figures["ua_difference"], error, clips, config.max_ua_drop):
            found.append(
                f"{name} loses {-figures['ua_difference']:.1%} UA on validation "
                f"(export.max_ua_drop = {config.max_ua_drop:.1%})"
            )
        plain = figures.get("without_xnnpack", {}).get("same_label", 1.0)
        if share_is_below(plain, clips, config.min_kernel_agreement):
            found.append(
                f"{name} gives the same label with and without XNNPACK for {plain:.1%} of the "
                f"windows (export.min_kernel_agreement = {config.min_kernel_agreement:.1%})"
            )
        for runtime, other in figures.get("other_runtimes", {}).items():
            if share_is_below(other["same_label"], clips, config.min_runtime_agreement):
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


def known_voice_problems(
    figures: dict[str, Any], config: ExportConfig, clips: int = MANY_CLIPS
) -> list[str]:
    """What is wrong with the figures of ``compare_known_voices``; empty = fit to ship."""
    found = []
    if share_is_below(figures["agreement"], clips, config.min_agreement):
        found.append(
            f"{figures['signature']} gives the Keras model's label for {figures['agreement']:.1%} "
            f"of the validation clips (export.min_agreement = {config.min_agreement:.1%})"
        )
    if share_is_below(figures["corpus_same_label"], clips, config.min_runtime_agreement):
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
