"""The one exception that means: the user can mend this, and the message says how."""

import errno


class UserError(ValueError):
    """Wrong input from outside (arguments, config, files, devices).

    The command line prints its message as one line and exits with status 2; the message names
    the offending value and the mend.
    """


def is_disk_full(error: OSError) -> bool:
    """Whether an error says that the disk, or one's share of it, is full."""
    # NumPy's short writes have no number: "777221 requested and 522176 written"; HDF5's neither.
    text = str(error)
    short = error.errno is None and (text.endswith(" written") or "No space left" in text)
    return short or error.errno in (errno.ENOSPC, errno.EDQUOT)
