"""``python -m ser_kd``, installed as ``ser-kd``."""

import sys

from ser_kd.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
