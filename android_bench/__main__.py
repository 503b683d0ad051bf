"""``python -m android_bench MODEL``, from a checkout; installed: ``ser-kd bench``."""

import sys

from ser_kd.commands.bench import main

if __name__ == "__main__":
    sys.exit(main())
