"""The stages of a run, from a corpus to a table of results."""
