"""``python train.py``, from a checkout; installed: ``ser-kd train``.

python train.py                                                  the demo: no download
python train.py --recipe crema_d_cpu --data-dir ~/CREMA-D        real speech
"""

import sys
from collections.abc import Sequence

from ser_kd.commands.main import run_alone


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs ``ser-kd train``; gives the exit status."""
    return run_alone("train", arguments)


if __name__ == "__main__":
    sys.exit(main())
