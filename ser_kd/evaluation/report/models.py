"""Teacher and student, and the files that were exported."""

from typing import Any

from ser_kd.evaluation.report import charts, page, rules, words

_ROLES = {
    "teacher": "Teacher: a large model, or several that vote, too slow for a telephone.",
    "student": "Student: the small model for the telephone, trained on the labels of the clips "
    "and, where there is a teacher, to answer as it does.",
}
_FORMATS = {
    "keras": "as it was trained, in the format of the library Keras, its numbers in 32 bits; for "
    "a computer, not for a telephone",
    "float32": "exported for telephones (.tflite), its numbers in 32 bits as in training",
    "float16": "its numbers stored in 16 bits: half the size",
    "dynamic": "what it learnt stored in 8 bits; what it passes on from layer to layer has 32",
    "int8": "its numbers in 8 bits, stored and calculated with: small and fast, for a little "
    "accuracy",
    "waveform": "the int8 file with its front end (what makes features of the sound) inside: it "
    "takes the sound as it is, where the other files take features",
}


def compared(evaluation: dict[str, Any]) -> str:
    """Teachers and students side by side."""
    models = evaluation.get("compared") or []
    parts = []
    if models:
        roles = [_ROLES[role] for role in _ROLES if role in {model["role"] for model in models}]
        parts += [page.paragraph(words_of_role) for words_of_role in roles]
        heads = (
            "Model",
            "Role",
            words.first_upper(words.WA),
            words.first_upper(words.UA),
            "macro-F1",
            "Time",
            "Size",
            "Peak memory",
        )
        rows = [_compared_row(model) for model in models]
        own = [i for i, model in enumerate(models) if model["name"] == evaluation["model"]["name"]]
        parts.append(page.table(heads, rows, "Models compared", text=(0, 1), marked=own))
        parts.append(page.paragraph(_against_teacher(evaluation, models)))
        parts.append(page.glossary(_formats([model["name"] for model in models]), "terms"))
        time = (
            f"Time: median for {words.window(evaluation)} on {words.machine(evaluation)}; figures "
            "from a run's resources.json were measured when the run was made. A dash: not "
            "measured."
        )
        parts.append(page.paragraph(time, "dim"))
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


def _formats(names: list[str]) -> dict[str, str]:
    """What the kinds of file are, for those of these names that tell their kind."""
    found = {}
    for name in names:
        stem = name.removesuffix(".tflite").removeprefix("student_").removesuffix("_range")
        kind = "keras" if name.endswith(".keras") else stem
        if kind in _FORMATS:
            found[name] = f"{_FORMATS[kind]}."
    return found


def _against_teacher(evaluation: dict[str, Any], models: list[dict[str, Any]]) -> str:
    """The student (this model, else the last) against the best teacher, as far as measured."""
    teachers = [m for m in models if m["role"] == "teacher" and words.known(m.get("ua"))]
    students = [m for m in models if m["role"] == "student" and words.known(m.get("ua"))]
    if not teachers or not students:
        return ""
    teacher = max(teachers, key=lambda m: m["ua"])
    name = evaluation["model"]["name"]
    student = next((m for m in students if m["name"] == name), students[-1])
    parts = [_ua_against(evaluation, student["ua"], teacher["ua"])]
    for key, less, more in (
        ("latency_ms", "faster", "slower"),
        ("bytes", "smaller", "larger"),
        ("peak_memory_mb", "less memory", "more memory"),
    ):
        if teacher.get(key) and student.get(key):
            parts.append(_ratio(teacher[key] / student[key], less, more))
    return f"{student['name']} against {teacher['name']}: {words.listed(parts)}."


def _ua_against(evaluation: dict[str, Any], own: float, other: float) -> str:
    """A difference within the interval is none."""
    scores, speakers = evaluation["scores"], evaluation["corpus"]["speakers"]
    ends = rules.interval_of(scores, "ua", speakers)
    gap = f"{words.points(abs(own - other))} {'higher' if own > other else 'lower'}"
    if not ends:
        return f"UA {gap} (which may be chance: {words.count(speakers, 'speaker')} only)"
    if rules.about_the_same(own, other, scores, speakers):
        apart = words.points(abs(own - other))
        return f"UA about the same ({apart} apart, within the interval {words.interval(ends)})"
    return f"UA {gap}"


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
        ("time for one window, ms (less is better)", f"{words.UA}, %"),
    )
    alone = any(file["name"] == "waveform" for file in files) and len(files) > 1
    return page.figure(
        plot,
        "Each dot is one file made of the same model. The best lie at the top left: accurate and "
        "fast.",
        _spread(evaluation, [file["ua"] for file in files]),
        "Square, in bold: the file of this page." if any(dot.chosen for dot in dots) else "",
        "Measured when the files were exported, on the speakers of the validation part."
        + (" waveform: timed with its front end; the others without one." if alone else ""),
        more=page.glossary(_formats([file["name"] for file in files]), "terms"),
    )


def _spread(evaluation: dict[str, Any], uas: list[float]) -> str:
    """How much the files differ, held against the interval of this page's model."""
    apart = max(uas) - min(uas)
    if not apart:
        return ""
    scores, speakers = evaluation["scores"], evaluation["corpus"]["speakers"]
    said = (
        "The upright axis does not begin at 0: it shows small differences large. The files are "
        f"{words.points(apart)} apart at most"
    )
    if rules.about_the_same(max(uas), min(uas), scores, speakers):
        ends = rules.interval_of(scores, "ua", speakers)
        return (
            f"{said}, less than the interval of UA ({words.interval(ends)}): in accuracy they are "
            "about the same."
        )
    return f"{said}."
