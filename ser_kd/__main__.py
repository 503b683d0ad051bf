"""``python -m ser_kd``, installed as ``ser-kd``."""

import signal
import sys

if __name__ == "__main__":  # nothing is begun yet: Ctrl-C ends the process without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from ser_kd.commands.main import main


def entry() -> None:
    """Runs the command and ends the process with its status."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    status = main()
    # All is done and said: libraries that shut down are not to be interrupted with a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


if __name__ == "__main__":
    entry()
