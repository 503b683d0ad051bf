"""The process around a command: how it begins, ends and is interrupted."""

import signal
import sys


def entry() -> None:
    """Runs the command and ends the process with its status; Ctrl-C never shows a traceback."""
    # Nothing is begun yet: the signal ends the process by itself, also while modules are imported.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from ser_kd.commands.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status = main()
    finally:
        # All is done and said: what libraries do at the end is not interrupted either.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)
