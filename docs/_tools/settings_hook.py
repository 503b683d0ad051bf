"""Writes the tables of ``docs/api/config.md`` from the settings' classes, when MkDocs builds."""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from ser_kd.config import Config
from ser_kd.teachers.settings import TEACHER_KINDS

MARK = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' hook: the page's text, with the tables in place of the mark."""
    return markdown.replace(MARK, "\n".join(tables())) if MARK in markdown else markdown


def tables() -> Iterator[str]:
    """Markdown: a heading, the class's text and a table for each section and kind of teacher."""
    defaults = Config()
    yield from table("The recipe itself", Config, "")
    for item in dataclasses.fields(Config):
        settings = getattr(defaults, item.name)
        if dataclasses.is_dataclass(settings):
            yield from table(f"`[{item.name}]`", type(settings), inspect.getdoc(settings) or "")
    for kind, row in TEACHER_KINDS.items():
        text = inspect.getdoc(row.settings) or ""
        yield from table(f'`[teachers.<name>]`, kind = "{kind}"', row.settings, text)


def table(heading: str, settings: type, text: str) -> Iterator[str]:
    """One section."""
    yield from (f"\n## {heading}\n", text, "")
    hints = typing.get_type_hints(settings)
    rows = [
        f"| `{item.name}` | {default(item)} | {allowed(item, hints[item.name])} |"
        for item in dataclasses.fields(settings)
        if not dataclasses.is_dataclass(hints[item.name]) and item.name not in ("kind", "teachers")
    ]
    yield from ("| setting | default | |", "|---|---|---|", *rows)
    own = [
        f"`{item.name}` ({hints[item.name].__name__})"
        for item in dataclasses.fields(settings)
        if dataclasses.is_dataclass(hints[item.name])
    ]
    if own and text:
        yield f"\nTables of their own: {', '.join(own)}."


def default(item: "dataclasses.Field[Any]") -> str:
    """The default as a recipe spells it."""
    make = item.default_factory
    value = item.default if make is dataclasses.MISSING else make()
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`{list(value)}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def allowed(item: "dataclasses.Field[Any]", hint: Any) -> str:
    """The range or the choices, in words."""
    if typing.get_origin(hint) is typing.Literal:
        return " or ".join(f'`"{choice}"`' for choice in typing.get_args(hint))
    bounds = item.metadata.get("bounds") or {}
    return ", ".join(f"{name.replace('_', ' ')} {bound}" for name, bound in bounds.items())
