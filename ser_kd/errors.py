"""The one exception that means: the user can mend this, and the message says how."""


class UserError(ValueError):
    """Wrong input from outside (arguments, config, files, devices).

    The command line prints its message as one line and exits with status 2; the message names
    the offending value and the mend.
    """
