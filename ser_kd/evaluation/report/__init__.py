"""``report.html`` from the dict of ``eval.json``: one file, no network, no JavaScript."""

from pathlib import Path
from typing import Any

from ser_kd import files
from ser_kd.evaluation.report import page
from ser_kd.evaluation.report.opening import opening
from ser_kd.evaluation.report.sections import SECTIONS, closing, settings


def write_report(evaluation: dict[str, Any], path: Path) -> None:
    """Writes the page, atomically.

    Args:
        evaluation: As in ``eval.json``. Parts that are missing, empty or null are left out of the
            page, which says so at its end.
        path: Of the page.
    """
    with files.atomic(path) as partial:
        partial.write_text(report(evaluation), encoding="utf-8")


def report(evaluation: dict[str, Any]) -> str:
    """The page's text."""
    made = {section: section.make(evaluation) for section in SECTIONS}
    shown = {section: body for section, body in made.items() if body}
    left_out = [section.title for section, body in made.items() if not body]
    links = {section.name: section.title for section in shown}
    ends = closing(evaluation, left_out)
    links |= {section.name: section.title for section, _ in ends}
    parts = [
        opening(evaluation),
        page.contents(links),
        *(page.section(section.name, section.title, body) for section, body in shown.items()),
        *(page.section(section.name, section.title, body) for section, body in ends),
        page.footer(settings(evaluation)),
    ]
    name, corpus = evaluation["model"]["name"], evaluation["corpus"]["name"]
    return page.document(f"{name} on {corpus}: evaluation", "\n".join(parts))
