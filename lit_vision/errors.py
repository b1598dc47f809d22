class UserError(Exception):
    """An error that the user can fix.

    The message is one line that names the culprit and the remedy. The command line prints it and exits with 2.
    """


class TrainingInterrupted(BaseException):
    """A signal ended the training, and last.ckpt was written.

    It derives from BaseException, so that nothing between training loop and command line takes it for a failure.

    Args:
        signum: the number of the signal, such as ``signal.SIGTERM``.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def check_at_least(least: float, group: str, **options: float | None) -> None:
    """Check the lower bound of options.

    Args:
        least: the smallest allowed value.
        group: the part of the options' names on the command line before the dot: model, data, checkpoint or pictures.
        options: values by name; None is allowed.

    Raises:
        UserError: a value is below ``least``, or NaN.
    """
    for name, value in options.items():
        if value is not None and not value >= least:
            raise UserError(f"{name} {value} is below {least}: set --{group}.{name} to at least {least}")
