import logging
import sys
from io import TextIOWrapper

from lightning.pytorch.utilities.rank_zero import rank_zero_only

_LOG = logging.getLogger("lit_vision")


@rank_zero_only
def log_info(message: str) -> None:
    """Tell the user something that is no error; once, not in every process."""
    _LOG.warning(message)


def to_stdout() -> None:
    """Send what runs tell to stdout, without Lightning's own remarks: stderr is for errors and progress bars."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may be any bytes
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("lit_vision", "INFO"), ("lightning.pytorch", "WARNING"), ("lightning.fabric", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    for wanted in ("callbacks.model_summary", "profilers.profiler"):  # the table of layers, what a profiler found
        logging.getLogger(f"lightning.pytorch.{wanted}").setLevel("INFO")
