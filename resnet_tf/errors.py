"""The error for everything that a user caused and can correct."""


class UserError(ValueError):
    """An error that a user can correct; its one sentence says what is wrong, with the received value, and what to do.

    The command line prints it as `error: …` and exits with code 2, without a traceback.
    """
