"""``report.html``: the evaluation as one page, by jinja2 templates and matplotlib figures."""
