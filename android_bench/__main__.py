"""``python -m android_bench MODEL``, from a checkout; installed: ``ser-kd bench``."""

import sys

from ser_kd.commands.main import run_alone

if __name__ == "__main__":
    sys.exit(run_alone("bench"))
