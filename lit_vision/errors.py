class UserError(Exception):
    """Something that the user can mend.

    The message is one line that names the culprit and the remedy; the command line prints it and exits with 2.
    """


class TrainingInterrupted(BaseException):
    """A signal asked the run to stop, and it did, with last.ckpt written.

    Not an Exception, so that nothing between the training loop and the command line handles it as a failure.

    Args:
        signum: of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum
