"""Teachers, one module each, and how their predictions are made out of fold."""
