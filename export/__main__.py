"""``python -m export RUN``, from a checkout; installed: ``ser-kd export``."""

import sys

from ser_kd.commands.main import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("export"))
