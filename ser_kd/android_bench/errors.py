"""The exceptions that mean: the user can mend this, and the message says how."""


class BenchError(Exception):
    """Wrong input from outside (arguments, files, devices).

    The command line prints its message as one line and exits with status 2.
    """


class DeviceLostError(BenchError):
    """The device was there and no longer answers."""
