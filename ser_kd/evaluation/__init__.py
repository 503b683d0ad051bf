"""How good a model is, and where it is weak: scores, robustness, groups of speakers, a report.

``run`` evaluates everything that a training run made, ``model`` a single file; both give the schema
that ``scores`` describes, which ``summary`` prints and ``html_report`` shows.
"""
