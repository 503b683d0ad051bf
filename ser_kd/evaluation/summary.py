"""An evaluation as text for a terminal: the table of all models, then the detailed file."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ser_kd.evaluation.scores import OUT_OF_FOLD
from ser_kd.metrics import collapsed_class, reported_interval

_HEADINGS = ("", "WA", "UA", "macro-F1", "parameters", "file", "per clip", "memory", "runtime")
_HELP = """\
WA accuracy, UA mean recall of the classes (95 % interval over speakers), in per cent.
per clip: median of one window on one CPU thread, all models taking turns; log-mel models
without the front end. memory: peak of a process that loads and runs the model, its runtime
included. A teacher is all of its networks (folds x members), run one after the other."""


def reported_part(evaluation: Mapping[str, Any]) -> str:
    """The part that stands for all: ``test`` where its clips are there, else the last one."""
    return "test" if "test" in evaluation["parts"] else list(evaluation["parts"])[-1]


def collapsed(evaluation: Mapping[str, Any], model: str | None = None) -> str:
    """What is wrong with a model that has one label for nearly everything; empty if it has not.

    Args:
        evaluation: As ``scores`` describes it.
        model: Its name in the table; None = the file that is looked at in detail.
    """
    part = evaluation["parts"][reported_part(evaluation)]
    model = model or part["file"]["model"]
    found = collapsed_class(part["models"][model]["confusion"])
    if found is None:
        return ""
    label, share = evaluation["labels"][found[0]], found[1]
    return (
        f"{model} predicts {label} for {100 * share:.0f} % of the clips, whatever is said in them: "
        "it has not learned the classes, and its scores are those of guessing"
    )


def guessing(evaluation: Mapping[str, Any]) -> str:
    """What is wrong with a model whose scores may be those of guessing; empty if they are not.

    The lower end of UA's 95 % interval over speakers is held against chance; where too few speakers
    give no interval, UA itself.

    Args:
        evaluation: As ``scores`` describes it; of the file that is looked at in detail.
    """
    part = evaluation["parts"][reported_part(evaluation)]
    scores = part["models"][part["file"]["model"]]
    ends = reported_interval(scores["intervals"]["ua"], part["speakers"])
    chance = 1 / len(scores["recall"])
    if (ends[0] if ends else scores["ua"]) > chance:
        return ""
    return (
        f"{part['file']['model']} has {100 * scores['ua']:.0f} % (UA), which these clips cannot "
        f"tell from guessing, {100 * chance:.0f} %"
    )


def result(evaluation: Mapping[str, Any]) -> str:
    """The result in one sentence, of the file that is looked at in detail.

    Args:
        evaluation: As ``scores`` describes it.
    """
    name = reported_part(evaluation)
    part = evaluation["parts"][name]
    scores = part["models"][part["file"]["model"]]
    known = part["clips_of_training_speakers"]
    speakers = "new speakers" if known == 0 else "speakers that it may know"
    if not part.get("by_speaker", True):
        speakers = "new clips of the same voices"
    caveat = ", on whose clips the epoch was chosen" if name == "validation" else ""
    ua, guessing = 100 * scores["ua"], 100 / len(scores["recall"])
    return f"{ua:.0f} % (UA) on {speakers}{caveat}; guessing has {guessing:.0f} %"


def summary(evaluation: Mapping[str, Any], resources: Mapping[str, Any]) -> str:
    """The main figures of ``eval.json`` and ``resources.json``, in per cent.

    Args:
        evaluation: As ``scores`` describes it.
        resources: Model -> size, time and memory, as far as measured.
    """
    name = reported_part(evaluation)
    part = evaluation["parts"][name]
    rows = [
        _cells(model, scores, part["speakers"], resources.get(model, {}))
        for model, scores in part["models"].items()
    ]
    warnings = [
        f"WARNING: {text}" for text in (collapsed(evaluation, m) for m in part["models"]) if text
    ]
    title = [_title(evaluation, name, part), ""]
    lines = [*warnings, *title, *_align([_HEADINGS, *rows]), "", _HELP]
    for block in (
        _teachers(evaluation, part),
        _file(part, bool(collapsed(evaluation))),
        [_other_corpus(item) for item in evaluation["cross_corpus"]],
        [f"note: {note}" for note in evaluation["notes"]],
    ):
        lines += ["", *block] if block else []
    return "\n".join(lines)


def _title(evaluation: Mapping[str, Any], name: str, part: Mapping[str, Any]) -> str:
    synthetic = "SYNTHETIC SPEECH: " if evaluation["synthetic"] else ""
    clips, speakers = f"{part['clips']:,} {name} clips", _count(part["speakers"])
    known = part["clips_of_training_speakers"]
    caveat = ""
    if name == OUT_OF_FOLD:
        by = "its speaker" if part["by_speaker"] else "it, but may be on its speaker"
        return (
            f"{synthetic}{part['clips']:,} clips of {speakers} of {evaluation['corpus']}, each "
            f"predicted by one of {part['folds']} students that were not trained on {by}"
        )
    if not part.get("by_speaker", True):
        return (
            f"{synthetic}{clips} of {evaluation['corpus']}, divided by clip and not by speaker: of "
            "new voices this tells nothing"
        )
    if known:
        caveat = f"; {known:,} of the clips are of speakers that it was trained on"
    elif known == 0:
        caveat = " never trained on"
        if name == "validation":
            caveat += "; the best epoch was chosen on these same clips"
    return f"{synthetic}{clips} of {speakers} of {evaluation['corpus']}{caveat}"


def _count(speakers: int) -> str:
    return f"{speakers} speaker{'s' * (speakers != 1)}"


def _cells(
    model: str, scores: Mapping[str, Any], speakers: int, resources: Mapping[str, Any]
) -> tuple[str, ...]:
    ends = reported_interval(scores["intervals"]["ua"], speakers)
    between = f" ({100 * ends[0]:.0f}-{100 * ends[1]:.0f})" if ends else " (-)"
    return (
        model,
        f"{100 * scores['wa']:.1f}",
        f"{100 * scores['ua']:.1f}{between}",
        f"{100 * scores['macro_f1']:.1f}",
        _or_dash(resources, "parameters", lambda n: f"{n / 1e3:,.0f} k"),
        _or_dash(resources, "bytes", lambda n: f"{n / 1e3:,.0f} kB"),
        _or_dash(resources, "latency_ms", lambda ms: f"{ms:.2f} ms"),
        _or_dash(resources, "peak_memory_mb", lambda mb: f"{mb:,.0f} MB"),
        resources.get("runtime", "-"),
    )


def _or_dash(row: Mapping[str, Any], key: str, show: Callable[[Any], str]) -> str:
    return show(row[key]) if row.get(key) is not None else "-"


def _align(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        first = row[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append("  ".join([first, *rest]).rstrip())
    lines.insert(1, "-" * max(map(len, lines)))
    return lines


def _teachers(evaluation: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    """Accuracy of the teachers' targets, and how often the students predict the same label."""
    out_of_fold = evaluation["teachers_out_of_fold"]
    validation = evaluation["parts"].get("validation", {"models": {}})["models"]
    rows = [("UA of the teachers' targets", "training", "validation", "same label as the student")]
    for teacher, scores in out_of_fold.items():
        row = f"teacher {teacher}"
        same = part["agreement"].get(row, {}).get(part["file"]["model"])
        rows.append(
            (
                teacher,
                f"{100 * scores['ua']:.1f}" if scores else "-",
                f"{100 * validation[row]['ua']:.1f}" if row in validation else "-",
                f"{100 * same:.1f}" if same is not None else "-",
            )
        )
    if not out_of_fold:
        model = part["file"]["model"]
        return [
            f"same label as {name}: {100 * shares[model]:.1f}"
            for name, shares in part["agreement"].items()
            if model in shares
        ]
    return [
        *_align(rows),
        "training: each clip by the fold that was not trained on its speaker;",
        "validation: the mean of the folds",
    ]


def _file(part: Mapping[str, Any], one_label: bool) -> list[str]:
    """The detailed file; a model with one label for everything can be calibrated by chance only."""
    file = part["file"]
    calibration = file["calibration"]
    recall = part["models"][file["model"]]["recall"]
    ece = (
        f"  ECE {100 * calibration['ece']:.1f} ({100 * calibration['ece_by_chance'][0]:.1f} by "
        "chance)"
    )
    lines = [
        f"{file['model']}:",
        *([] if one_label else [ece]),
        "  recall: "
        + ", ".join(f"{label} {100 * item['value']:.1f}" for label, item in recall.items()),
    ]
    for item in file["slices"]:
        groups = ", ".join(f"{g['name']} {100 * g['ua']:.1f}" for g in item["groups"])
        lines.append(f"  UA by {item['by']}: {groups}")
    for limit in file["robustness"]["limits"]:
        met = "met   " if limit["met"] else "MISSED"
        harder = "" if limit["published"] else "; harder than published"
        lines.append(
            f"  {met} {limit['name']} {100 * limit['worst']:.1f} ({limit['condition']}; "
            f"{limit['bound']} {100 * limit['limit']:g}{harder})"
        )
    return lines


def _other_corpus(item: Mapping[str, Any]) -> str:
    scores, parts = item["scores"], []
    for key, name in (("wa", "WA"), ("ua", "UA"), ("macro_f1", "macro-F1")):
        ends = reported_interval(scores["intervals"][key], item["speakers"])
        between = f" ({100 * ends[0]:.1f}-{100 * ends[1]:.1f})" if ends else ""
        parts.append(f"{name} {100 * scores[key]:.1f}{between}")
    return f"{item['corpus']}, {item['clips']:,} clips: {', '.join(parts)}"
