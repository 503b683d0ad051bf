"""Colours and layout of the page: light, dark, paper, telephone."""

LIGHT = {
    "page": "#ffffff",
    "text": "#1b1f24",
    "dim": "#57606a",
    "rule": "#c3cad3",
    "grid": "#dde2e8",
    "bar": "#9cc7ea",
    "blue": "#1769aa",
    "orange": "#b93c09",
    "heat": "#1769aa",
    "warning": "#fff1d6",
}
DARK = {
    "page": "#16181c",
    "text": "#eceff3",
    "dim": "#a9b1ba",
    "rule": "#4a515b",
    "grid": "#343a42",
    "bar": "#2f618f",
    "blue": "#6cb6ff",
    "orange": "#ff9f66",
    "heat": "#4f9be8",
    "warning": "#4a3413",
}
"""Blue and orange keep apart for colour-blind readers; nothing is told by colour alone."""

_RULES = """
* { box-sizing: border-box }
html { background: var(--page) }
body { max-width: 62rem; margin: 0 auto; padding: 1rem 0.9rem 4rem; background: var(--page);
  color: var(--text); overflow-wrap: break-word;
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0.5rem 0; overflow-wrap: anywhere }
h2 { font-size: 1.25rem; margin: 2.8rem 0 0.6rem; padding-top: 0.6rem;
  border-top: 1px solid var(--rule) }
h3 { font-size: 1.05rem; margin: 1.6rem 0 0.4rem }
p, li, dd { max-width: 46rem }
a { color: var(--blue) }
code { font: 0.92em ui-monospace, Consolas, "DejaVu Sans Mono", monospace;
  overflow-wrap: anywhere }
.dim, figcaption .dim { color: var(--dim) }
.facts { color: var(--dim); margin: 0; font-size: 0.95rem }
.lead { font-size: 1.2rem; line-height: 1.45; margin: 1rem 0 }
.banner { border: 3px solid var(--orange); background: var(--warning); padding: 0.7rem 1rem;
  margin: 1rem 0; max-width: none; font-weight: 600; font-size: 1.1rem }
nav ul { list-style: none; margin: 1rem 0; padding: 0; display: flex; flex-wrap: wrap;
  gap: 0.2rem 1.1rem }
figure { margin: 1rem 0 1.6rem; display: grid; gap: 0.4rem 1.6rem; align-items: start;
  grid-template-columns: minmax(0, 26rem) minmax(13rem, 1fr) }
.plotted { overflow-x: auto }
figcaption { font-size: 0.95rem }
figcaption p { margin: 0 0 0.6rem }
.scroll { overflow-x: auto; margin: 0.8rem 0 }
table { border-collapse: collapse; font-size: 0.95rem; font-variant-numeric: tabular-nums }
th, td { padding: 0.3rem 0.8rem 0.3rem 0; border-bottom: 1px solid var(--grid); text-align: left;
  vertical-align: top }
th { font-weight: 600 } thead th { border-bottom: 2px solid var(--rule); vertical-align: bottom }
.number { text-align: right; white-space: nowrap } thead .number { white-space: normal }
.loud { color: var(--orange); font-weight: 600; white-space: nowrap } .quiet { color: var(--dim) }
td:first-child { white-space: nowrap }
tr.this { font-weight: 600 }
dt { font-weight: 600; margin-top: 0.7rem } dd { margin: 0 }
.terms { margin: 0.6rem 0 } .terms dt, .terms dd { display: inline }
.terms dt::after { content: ": " } .terms dd::after { content: "\\A"; white-space: pre }
.verdict { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 0.5rem 1.2rem;
  margin: 1.2rem 0; padding: 0.8rem 1rem; border: 1px solid var(--rule) }
.verdict dt { margin: 0 }
details { margin: 1rem 0; border: 1px solid var(--rule); padding: 0.5rem 0.9rem }
summary { cursor: pointer; color: var(--blue) } details[open] > summary { margin-bottom: 0.6rem }
footer { margin-top: 3rem; border-top: 1px solid var(--rule); padding-top: 0.6rem;
  color: var(--dim); font-size: 0.9rem }
.plot { display: block; width: 100%; height: auto; overflow: visible }
.plot text { font-size: 12px; fill: var(--text) }
.plot .dim { fill: var(--dim) } .plot .strong { font-weight: 600 }
.plot .pale { fill: var(--dim) }
.plot .heading, .plot .dim { paint-order: stroke; stroke: var(--page); stroke-width: 4px;
  stroke-linejoin: round }
.plot .incell { fill: var(--text) }
.plot .axis { stroke: var(--dim) } .plot .grid { stroke: var(--grid) }
.plot .reference { stroke: var(--text); stroke-width: 1.2; stroke-dasharray: 4 3 }
.plot .leader { stroke: var(--dim); fill: none; stroke-width: 0.8 }
.plot .bar { fill: var(--bar); stroke: var(--blue) }
.plot .missed { fill: var(--page); stroke: var(--orange); stroke-width: 1.4 }
.plot .cross { stroke: var(--orange); stroke-width: 2 }
.plot .whisker { stroke: var(--text); stroke-width: 1.4 }
.plot .cell { fill: var(--heat); stroke: var(--grid) }
.plot .right { fill: none; stroke: var(--text); stroke-width: 1.6 }
.plot .curve { fill: none; stroke-width: 2; stroke-linejoin: round }
.plot .first { stroke: var(--blue) }
.plot .second { stroke: var(--orange); stroke-dasharray: 6 3 }
.plot .end.first { fill: var(--blue) } .plot .end.second { fill: var(--orange) }
.plot .dot { fill: var(--blue); stroke: var(--page) }
.plot .chosen { fill: var(--orange); stroke: var(--page) }
.plot .ring { fill: none; stroke: var(--text); stroke-width: 1.6 }
@media (max-width: 48rem) {
  body { padding: 0.6rem 0.6rem 3rem }
  h1 { font-size: 1.35rem } .lead { font-size: 1.1rem }
  ul { padding-left: 1.3rem } nav ul { padding: 0 }
  figure { grid-template-columns: minmax(0, 1fr) }
  .verdict { display: block } .verdict dt + dd { margin-bottom: 0.6rem }
  details { padding: 0.5rem 0; border-width: 1px 0 }
  th, td { white-space: nowrap }
}
@page { margin: 15mm }
@media print {
  body { max-width: none; padding: 0; font-size: 10pt }
  nav { display: none }
  details { border: 0; padding: 0 }
  summary { list-style: none; color: inherit; font-weight: 600 }
  details::details-content { content-visibility: visible; display: block; height: auto }
  h2, h3 { break-after: avoid }
  figure, tr, .banner { break-inside: avoid }
  figure { grid-template-columns: minmax(0, 3fr) minmax(0, 2fr) }
  .scroll, .plotted { overflow: visible }
  .plot { max-height: 225mm }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""


def style_sheet() -> str:
    """The page's CSS: light unless the reader's screen asks for dark; paper is always light."""
    return (
        f":root {{ color-scheme: light; {_variables(LIGHT)} }}\n"
        "@media screen and (prefers-color-scheme: dark) {\n"
        f"  :root {{ color-scheme: dark; {_variables(DARK)} }}\n}}{_RULES}"
    )


def _variables(colours: dict[str, str]) -> str:
    return "; ".join(f"--{name}: {colour}" for name, colour in colours.items())
