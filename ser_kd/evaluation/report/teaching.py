"""What the students took from each teacher, and how far one run can tell."""

from collections.abc import Mapping, Sequence
from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words

_CAVEAT = (
    "None of this proves that a teacher helped: it shows what happened together, not what caused "
    "what. Two trainings of one student differ by chance alone, and what comes right by chance is "
    "mostly what a good teacher knows: a good teacher has a good net even if nobody learnt from "
    "it. The proof is the same training without that teacher."
)


def teaching(evaluation: dict[str, Any]) -> str:
    """Agreement with each teacher, clips won and lost, and whether teachers differ."""
    found = evaluation.get("teaching") or {}
    if not found.get("agreement"):
        return ""
    parts = [_agreement(found), _won_and_lost(found), _details(found)]
    return "\n".join(part for part in parts if part)


def _agreement(found: Mapping[str, Any]) -> str:
    shares = found.get("shares") or {}
    blocks = [
        charts.Block(
            item["with"],
            [
                charts.Bar(
                    name.removeprefix("student, "),
                    student["same_label"],
                    rules.enough(student.get("interval"), found["speakers"]),
                )
                for name, student in item["students"].items()
            ],
        )
        for item in found["agreement"]
    ]
    if not any(block.bars for block in blocks):
        return ""
    plot = charts.interval_bars(
        "teaching",
        "How often students name the emotion that a teacher names",
        "One block per teacher, one bar per student: the share of the clips on which both name the "
        "same emotion, right or wrong.",
        blocks,
        "clips with the teacher's answer, %",
    )
    return page.figure(
        plot,
        "Labels alone: the same student, trained without teachers. Where the distilled student's "
        "bar is longer than that one, it has come nearer to the teacher, right or wrong.",
        _shares(found),
        "Mixed: what a student would say that had learnt these shares perfectly."
        if any(item["with"] not in shares for item in found["agreement"])
        else "",
    )


def _shares(found: Mapping[str, Any]) -> str:
    """From whom the student learnt what."""
    shares = found.get("shares") or {}
    answers = [f"{name} {words.percent(share, 0)}" for name, share in shares.items() if share > 0]
    embeddings = list(found.get("embedding_weights") or {})
    said = []
    if answers:
        said.append(f"Learnt from their answers, with the shares: {', '.join(answers)}.")
    if embeddings:
        said.append(f"Learnt from the inner values (embedding) of {words.listed(embeddings)}.")
    others = [n for n, share in shares.items() if not share and n not in embeddings]
    if others:
        said.append(f"Not learnt from, for comparison: {words.listed(others)}.")
    return " ".join(said)


def _won_and_lost(found: Mapping[str, Any]) -> str:
    counts = found.get("help")
    if not counts:
        return ""
    speakers = found["speakers"]
    opening = (
        f"Of {words.count(found['clips'], 'clip')} of {words.count(speakers, 'speaker')}, the "
        f"distilled student wins {counts['won']:,} that the student from labels alone gets wrong, "
        f"and loses {counts['lost']:,} that it gets right. What did each teacher say of them?"
    )
    heads = (
        "Teacher",
        "Labels alone says something else",
        "Distilled moved to it",
        "Rightly: won",
        "Lost, teacher wrong",
        "Net, clips",
    )
    rows = [
        [
            item["with"],
            f"{item['differs']:,}",
            _of(item["moved"], item["differs"]),
            _of(item["won"], item["moved"]),
            f"{item['lost']:,}",
            _change(item["net"], item.get("net_interval"), speakers),
        ]
        for item in counts["teachers"]
    ]
    terms = {
        "Won": "labels alone wrong, distilled right, and the teacher right.",
        "Lost": "labels alone right, distilled wrong, and the teacher wrong.",
        "Net": "won less lost.",
        "In brackets": "95 % interval over speakers; where it reaches across 0, it may be chance."
        if speakers >= rules.MIN_SPEAKERS
        else "no intervals, for there are too few speakers: all of it may be chance.",
    }
    return (
        page.heading("Which teacher may have helped?")
        + page.paragraph(opening)
        + page.table(heads, rows, "Won and lost")
        + page.glossary(terms, "terms")
        + page.paragraph(_CAVEAT)
        + _nearer(counts["teachers"], speakers)
    )


def _nearer(teachers: Sequence[Mapping[str, Any]], speakers: int) -> str:
    """What chance alone does not favour."""
    hint = (
        "So here is a fairer count: how many clips more have the teacher's answer with the "
        "distilled student than with labels alone. By chance this is about 0 for any teacher, good "
        "or bad. Above 0 where the teacher is right: what it may have given, or what made the "
        "student better for another reason. Above 0 where the teacher is wrong: its mistakes, "
        "taken over from it or from a teacher that makes the same."
    )
    heads = ("Teacher", "Nearer where it is right", "Nearer where it is wrong")
    rows = [
        [
            item["with"],
            *(
                _change(item["nearer"][key], item["nearer"].get(f"{key}_interval"), speakers)
                for key in ("right", "wrong")
            ),
        ]
        for item in teachers
    ]
    return page.paragraph(hint) + page.table(heads, rows, "Nearer to each teacher")


def _details(found: Mapping[str, Any]) -> str:
    """Teachers against each other, and divergences: for those who ask."""
    students = list(dict.fromkeys(name for item in found["agreement"] for name in item["students"]))
    parts = []
    pairs = found.get("between") or []
    if pairs:
        heads = ("Teachers", "Same answer", "Both right", "Only the first", "Only the second",
                 "Neither")  # fmt: skip
        rows = [
            [
                " and ".join(pair["teachers"]),
                words.percent(pair["same_label"]),
                *(
                    f"{pair[key]:,}"
                    for key in ("both_right", "first_right", "second_right", "neither")
                ),
            ]
            for pair in pairs
        ]
        hint = (
            "Do the teachers know different things? Clips on which only one of two is right are "
            "what it can add to the other."
        )
        parts.append(page.paragraph(hint) + page.table(heads, rows, "Teachers compared"))
    if students:
        rows = [
            [item["with"], *(_nats(item["students"].get(name)) for name in students)]
            for item in found["agreement"]
        ]
        hint = (
            "How far a student's probabilities are from the teacher's: KL(teacher || student) in "
            "nats, the mean over clips; 0 is the same."
        )
        parts.append(page.paragraph(hint) + page.table(("Teacher", *students), rows, "Divergence"))
    title = "Teachers against each other, and probabilities" if pairs else "Probabilities"
    return page.folded(title, "\n".join(parts)) if parts else ""


def _nats(student: Mapping[str, Any] | None) -> str:
    return f"{student['kl']:.3f}" if student and words.known(student.get("kl")) else words.NOT_KNOWN


def _of(part: int, whole: int) -> str:
    """``12 (40 %)``."""
    return f"{part:,} ({words.percent(part / whole, 0)})" if whole else f"{part:,}"


def _change(clips: int, low_high: Sequence[float] | None, speakers: int) -> str:
    """``+12 (+3 to +20)``."""
    ends = rules.enough(low_high, speakers)
    return f"{clips:+,}" + (f" ({ends[0]:+,.0f} to {ends[1]:+,.0f})" if ends else "")
