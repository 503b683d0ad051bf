"""The table at the end, from JSON files written by hand."""

import json
from pathlib import Path

import pytest

from ser_kd.pipeline.run_table import reported_part, summary, summary_rows


def score(ua: float) -> dict:
    intervals = {key: [ua - 0.05, ua + 0.05] for key in ("wa", "ua", "macro_f1")}
    return {"wa": ua + 0.01, "ua": ua, "macro_f1": ua - 0.01, "intervals": intervals,
            "confusion": [[1, 0], [0, 1]]}  # fmt: skip


def part(first: float) -> dict:
    models = {
        "teacher mine": score(first),
        "student, labels alone": score(first - 0.1),
        "student, distilled": score(first - 0.05),
    }
    return {"clips": 1234, "speakers": 9, "models": models}


def write_run(folder: Path, synthetic: bool = False, test: bool = True, **resources) -> Path:
    parts = {"validation": part(0.7), **({"test": part(0.65)} if test else {})}
    evaluated = {
        "labels": ["ANG", "SAD"],
        "synthetic": synthetic,
        "parts": parts,
        "teachers_out_of_fold": {"mine": {"wa": 0.63, "ua": 0.62, "macro_f1": 0.61}},
    }
    measured = {
        "teacher mine": {"parameters": 12_345_678, "bytes": 49_382_712, "latency_ms": 21.567,
                         "latency_p95_ms": 30.0, "peak_memory_mb": 801.4, "runtime": "Keras"},
        "student, distilled": {"parameters": 400_123, "bytes": 560_000, "latency_ms": 0.3649,
                               "peak_memory_mb": None, "runtime": "Keras"},
        **resources,
    }  # fmt: skip
    folder.joinpath("eval.json").write_text(json.dumps(evaluated))
    folder.joinpath("resources.json").write_text(json.dumps(measured))
    return folder


def table(text: str) -> list[str]:
    """The lines of the main table: its headings, a rule, one line per model."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if " WA " in line)
    return lines[start : start + 5]


def test_rows_join_scores_and_resources(tmp_path):
    rows = summary_rows(write_run(tmp_path))
    assert [row["name"] for row in rows] == [
        "teacher mine",
        "student, labels alone",
        "student, distilled",
    ]
    assert rows[0]["ua"] == 0.65
    assert rows[0]["parameters"] == 12_345_678
    assert "latency_ms" not in rows[1]


def test_figures_and_dashes(tmp_path):
    teacher, baseline, distilled = table(summary(write_run(tmp_path)))[2:]
    assert teacher.split("  ")[0] == "teacher mine"
    for figure in ("66.0", "65.0 (60-70)", "64.0", "12,346 k", "49,383 kB", "21.57 ms", "801 MB"):
        assert f" {figure} " in f"{teacher} ", figure
    assert baseline.split()[-5:] == ["-"] * 5
    for figure in ("400 k", "560 kB", "0.36 ms", "-", "Keras"):
        assert f" {figure} " in f"{distilled} ", figure


def test_columns_are_aligned(tmp_path):
    heading, rule, *rows = table(summary(write_run(tmp_path)))
    assert set(rule) == {"-"}
    assert len(rule) == max(len(line) for line in (heading, *rows))
    for name in ("WA", "macro-F1", "parameters", "file", "per clip", "memory", "runtime"):
        end = heading.index(f" {name}") + 1 + len(name)
        for row in rows:
            assert row[end - 1] != " ", (name, row)
            assert len(row) == end or row[end] == " ", (name, row)


@pytest.mark.parametrize("synthetic", [True, False])
def test_synthetic_speech_is_marked_in_the_first_line(tmp_path, synthetic):
    first = summary(write_run(tmp_path, synthetic)).splitlines()[0]
    assert first.startswith("SYNTHETIC SPEECH") is synthetic


def test_test_speakers_where_they_are_there(tmp_path):
    text = summary(write_run(tmp_path))
    first = text.splitlines()[0]
    assert first == "1,234 test clips of 9 speakers never trained on"
    assert "65.0 (60-70)" in text
    assert "70.0 (65-75)" not in text


def test_validation_comes_with_a_caveat(tmp_path):
    text = summary(write_run(tmp_path, test=False))
    first = text.splitlines()[0]
    assert first.startswith("1,234 validation clips of 9 speakers never trained on; the best epoch")
    assert "chosen on these same clips" in first
    assert "70.0 (65-75)" in text


def test_the_teachers_own_score_says_what_it_is(tmp_path):
    text = summary(write_run(tmp_path))
    assert "62.0" in text
    assert "never heard" in text
    assert "mean of the folds" in text


def test_a_teacher_without_out_of_fold_scores(tmp_path):
    folder = write_run(tmp_path)
    evaluated = json.loads((folder / "eval.json").read_text())
    evaluated["teachers_out_of_fold"] = {"mine": None}
    (folder / "eval.json").write_text(json.dumps(evaluated))
    assert "62.0" not in summary(folder)
    evaluated["teachers_out_of_fold"] = {}
    (folder / "eval.json").write_text(json.dumps(evaluated))
    assert "never heard" not in summary(folder)


def taught(folder: Path, intervals: bool = True) -> list[str]:
    """The lines about teaching, of a run of the teachers ``mine`` and ``other``."""
    names = ("student, labels alone", "student, distilled", "student, distilled, int8")
    rows = [("teacher mine", 0.61), ("teacher other", 0.5), ("teachers, mixed", 0.7)]
    part = {
        "agreement": [
            {"with": who, "students": {
                name: {"same_label": same + 0.1 * n, "interval": None, "kl": 0.5}
                for n, name in enumerate(names)
            }}
            for who, same in rows
        ],
        "between": [],
        "help": {"won": 31, "lost": 22, "teachers": [
            {"with": who, "differs": 120, "moved": 40, "won": 30, "lost": 9, "net": 21,
             "net_interval": [10.4, 31.6] if intervals else None,
             "nearer": {"right": 12, "right_interval": [1.2, 20.0] if intervals else None,
                        "wrong": -3, "wrong_interval": [-8.0, 2.0] if intervals else None}}
            for who, _ in rows
        ]},
    }  # fmt: skip
    path = folder / "eval.json"
    evaluated = json.loads(path.read_text())
    shares = {"teacher mine": 1.0, "teacher other": 0.0}
    evaluated["teaching"] = {"shares": shares, "embedding_weights": {}, "parts": {"test": part}}
    path.write_text(json.dumps(evaluated))
    lines = summary(folder).splitlines()
    return lines[lines.index(next(line for line in lines if "net" in line.split())) :]


def test_what_each_teacher_taught(tmp_path):
    lines = taught(write_run(tmp_path))
    heading, rule, *rows = lines[:5]
    assert heading.split("  ")[0] == "same label"
    assert set(rule) == {"-"}
    counted = "30 9 +21 (+10 to +32) +12 (+1 to +20) -3 (-8 to +2)"
    assert [" ".join(row.split()) for row in rows] == [
        f"teacher mine 100 % 61.0 71.0 {counted}",
        f"teacher other 0 % 50.0 60.0 {counted}",
        f"teachers, mixed - 70.0 80.0 {counted}",
    ]
    said = " ".join(lines[5:])
    assert "association, not proof" in said
    assert "Proof is training without that teacher." in said
    assert all(len(line) <= 120 for line in lines)


def test_one_speaker_gives_no_interval_of_what_was_taught(tmp_path):
    mine = taught(write_run(tmp_path), intervals=False)[2]
    assert " ".join(mine.split()) == "teacher mine 100 % 61.0 71.0 30 9 +21 +12 -3"


def test_without_teaching_nothing_is_said_of_it(tmp_path):
    """Older files, runs without teachers, and those without the student from labels alone."""
    path = write_run(tmp_path) / "eval.json"
    older = json.loads(path.read_text())
    nothing = {"agreement": [], "between": [], "help": None}
    for teaching in (None, {}, {"parts": {}}, {"shares": {}, "parts": {"test": nothing}}):
        path.write_text(json.dumps({**older, "teaching": teaching}))
        assert "association" not in summary(tmp_path)
    path.write_text(json.dumps(older))
    assert "association" not in summary(tmp_path)


def test_reported_part():
    assert reported_part({"parts": {"validation": {}}}) == "validation"
    assert reported_part({"parts": {"validation": {}, "test": {}}}) == "test"


def test_no_line_is_wider_than_a_terminal_of_120(tmp_path):
    for line in summary(write_run(tmp_path, synthetic=True)).splitlines():
        assert len(line) <= 120, line
