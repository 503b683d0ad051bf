"""``python -m export RUN_DIR``, from a checkout; installed: ``ser-kd export``."""

import sys

from ser_kd.export.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
