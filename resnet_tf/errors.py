"""The one kind of error that a user caused and can mend."""


class UserError(ValueError):
    """One sentence: what is wrong, with the value that was received, and what to do about it.

    The command line prints it as `error: …` and exits with code 2, without a traceback.
    """
