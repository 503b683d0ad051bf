"""What TFLite's ``benchmark_model`` prints and writes, read by pure functions.

Three outputs are read: the log (``log.py``; TF 1.12 to LiteRT 2.3, from a terminal, adb or logcat),
the operator profile (``profile.py``; a table or CSV) and the binary result proto
(``result_file.py``). ``figures.py`` has what they give. Nothing here raises: what is torn,
truncated, empty or not a log at all gives None and empty tuples, and it is ``verdict.judge`` that
decides whether a run counts.

Two rules keep a damaged log from giving wrong figures. A last line without its line break may have
lost digits, so no number is taken from it. The statistics of the timed runs count only when their
average is the one that the final line repeats, so that a warm-up is never taken for them.
"""
