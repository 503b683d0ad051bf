"""The first lines of a run: what it is going to do."""

from collections.abc import Mapping

from ser_kd.config import TeacherConfig
from ser_kd.progress import say
from ser_kd.runs.folder import Run


def announce(run: Run, used: Mapping[str, TeacherConfig]) -> None:
    """Says where the run lies and what it trains on.

    Args:
        run: Its folder and settings.
        used: Those of its teachers that have a part in it.
    """
    config = run.config
    teachers = ", ".join(f"{name} ({t.kind})" for name, t in used.items()) or "none"
    say(f"run folder  {run.directory}  (the same command goes on where it was interrupted)")
    say(f"corpus      {config.corpus.name}  {config.corpus.data_dir}".rstrip())
    say(f"teachers    {teachers}")
    if unused := ", ".join(name for name in config.teachers if name not in used):
        say(f"            without {unused}: no part in this run")
    say(f"student     {config.student.kind}, width {config.student.width:g}")
    if config.corpus.cross_validation:
        say("steps       data, students for the scores, student from all clips, export, scores")
    else:
        say("steps       data, teachers, student without and with them, export, scores")
    say(f"audio       is decoded once, into {run.cache_dir}, which may be deleted at any time")
    say("time        what is left is said once steps are timed; --dry-run estimates it beforehand")
