"""What every command has in common: errors of the user are one line, never a stack trace."""

import errno
import os
import sys
from collections.abc import Callable

from ser_kd.errors import UserError


def guarded(main: Callable[[], int]) -> int:
    """Runs ``main`` and turns what a user can mend into one line on stderr.

    Returns:
        The exit status: that of ``main``; 2 after a ``UserError`` or an error of the operating
        system (a full disk, a missing permission); 130 after Ctrl-C.
    """
    # TensorFlow's own start-up chatter hides the lines that matter.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        return main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        # The reader of our output went away (``| head``): nothing to report, nobody to report to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        hint = ": free some space, then run the same command again" if _disk_full(error) else ""
        print(f"error: {error.strerror or error}{where}{hint}", file=sys.stderr)
    except KeyboardInterrupt:
        print(
            "\ninterrupted; what is finished is kept: run the same command again to go on",
            file=sys.stderr,
        )
        return 130
    return 2


def _disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
