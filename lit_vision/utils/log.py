"""Messages of a run, and a filter for the messages and warnings of libraries."""

import logging
import sys
import warnings
from io import TextIOWrapper

from lightning.pytorch.utilities.rank_zero import rank_zero_only

_LOG = logging.getLogger("lit_vision")

_EXPECTED_WARNINGS = (
    ".*exists and is not empty",  # the folder of a run that is resumed
    ".*smaller than the logging interval",  # nothing is logged per step
    ".*sync_dist=True",  # the sums of an epoch are reduced over all processes before they are logged
    ".*isinstance.treespec, LeafSpec.",  # Lightning's use of torch
    ".*module.s. in eval mode at the start of training",  # the frozen backbone
    ".*could not find the monitored key",  # without validation there is no best epoch
    ".*requested to overfit but enabled",  # the order is fixed then, though not by Lightning's sampler
    ".*torch.jit.trace",  # how TensorBoard gets a graph
    ".*already a ScriptModule",
    ".*is not supported by the model summary",  # mixed precision, whose weights take 32 bits
    ".*WeightAveraging callback, but loading",  # for evaluation: the weights in the checkpoint are the average
    ".*callbacks used to create the checkpoint need to be provided",  # only fit has them
)


def is_first_process() -> bool:
    """Whether this process has rank 0, as far as is known before the processes of a run are connected."""
    return rank_zero_only.rank == 0  # type: ignore[attr-defined]  # which Lightning sets


@rank_zero_only
def log_info(message: str) -> None:
    """Print a message on the first process only. The level is WARNING, which Python shows by default."""
    _LOG.warning(message)


def configure_logging() -> None:
    """Send messages to stdout, and hide Lightning's remarks and expected warnings; errors and progress go to stderr."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file name may contain any bytes
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("lit_vision", "INFO"), ("lightning.pytorch", "WARNING"), ("lightning.fabric", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    for shown in ("callbacks.model_summary", "profilers.profiler"):  # the table of layers, and a profiler's report
        logging.getLogger(f"lightning.pytorch.{shown}").setLevel("INFO")
    for message in _EXPECTED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # oddities of an image that it reads all the same
