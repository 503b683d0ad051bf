"""How good a model is, and where it is weak: scores, robustness, groups of speakers, a report.

``command`` (the command line) and ``run_report`` (the end of a training run) ask ``model`` for all
that can be said of one model, and hand it to ``report``. ``run_scores`` is the table of all models
of a run; ``teaching`` is what its students may have taken from each teacher.
"""
