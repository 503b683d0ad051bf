"""The parts of the page as HTML; every word that comes in is escaped here."""

from collections.abc import Collection, Mapping, Sequence

from ser_kd.evaluation.report.style import style_sheet
from ser_kd.evaluation.report.svg import escaped


def paragraph(words: str, kind: str = "") -> str:
    return f"<p{_class(kind)}>{_running(words)}</p>"


def heading(words: str, level: int = 3) -> str:
    return f"<h{level}>{escaped(words)}</h{level}>"


def bullets(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_running(item)}</li>" for item in items) + "</ul>"


def glossary(terms: Mapping[str, str], kind: str = "") -> str:
    """What terms mean; "" without any."""
    entries = (f"<dt>{escaped(t)}</dt><dd>{_running(words)}</dd>" for t, words in terms.items())
    return f"<dl{_class(kind)}>{''.join(entries)}</dl>" if terms else ""


def figure(plot: str, *caption: str, more: str = "") -> str:
    """A plot (SVG, taken as it is) with what there is to see in it, and ``more`` (HTML)."""
    text = "".join(paragraph(words) for words in caption if words) + more
    caption_part = f"<figcaption>{text}</figcaption>" if text else ""
    return f'<figure><div class="plotted">{plot}</div>{caption_part}</figure>'


def folded(summary: str, body: str) -> str:
    """What is shown to those who ask for it; on paper it is open."""
    return f"<details><summary>{escaped(summary)}</summary>\n{body}</details>"


def table(
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    name: str,
    text: Collection[int] = (0,),
    code: Collection[int] = (),
    marked: Collection[int] = (),
    loud: Collection[tuple[int, int]] = (),
    quiet: Collection[tuple[int, int]] = (),
) -> str:
    """A table that scrolls sideways where the screen is narrow.

    Args:
        headings: Of the columns.
        rows: Their cells.
        name: What it holds, for those who hear the page read.
        text: Columns of words, aligned left; the others hold numbers.
        code: Columns in a typewriter's letters.
        marked: Rows to be set in bold.
        loud: Cells (row, column) that should not be overlooked.
        quiet: Cells that may be.
    """

    def cell(row: int, column: int, words: str) -> str:
        inner = f"<code>{escaped(words)}</code>" if column in code else escaped(words)
        kinds = {
            "number": column not in text,
            "loud": (row, column) in loud,
            "quiet": (row, column) in quiet,
        }
        return f"<td{_class(' '.join(kind for kind, so in kinds.items() if so))}>{inner}</td>"

    head = "".join(
        f'<th scope="col"{_class("" if column in text else "number")}>{escaped(words)}</th>'
        for column, words in enumerate(headings)
    )
    body = "".join(
        f"<tr{_class('this' if number in marked else '')}>"
        + "".join(cell(number, column, words) for column, words in enumerate(row))
        + "</tr>\n"
        for number, row in enumerate(rows)
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(name)}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>"
    )


def section(name: str, title: str, body: str) -> str:
    return f'<section id="{name}">{heading(title, 2)}\n{body}</section>'


def contents(sections: Mapping[str, str]) -> str:
    """Links to the sections, name -> title."""
    links = (f'<li><a href="#{name}">{escaped(title)}</a></li>' for name, title in sections.items())
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def footer(words: str) -> str:
    return f"<footer>{paragraph(words)}</footer>"


def document(title: str, body: str) -> str:
    """The whole page; it needs nothing but itself."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{escaped(title)}</title>\n<style>\n{style_sheet()}</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _running(words: str) -> str:
    """Text whose lines do not break between a number and its per cent sign."""
    return escaped(words).replace(" %", "&#160;%")


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
