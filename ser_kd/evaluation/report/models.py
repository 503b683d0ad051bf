"""Teacher and student, and the files that were exported."""

from typing import Any

from ser_kd.evaluation.report import charts, page, words


def compared(evaluation: dict[str, Any]) -> str:
    """Teachers and students side by side."""
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


def family(evaluation: dict[str, Any]) -> str:
    """Accuracy against time of the exported files."""
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
