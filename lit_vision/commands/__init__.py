"""The subcommands; it takes seconds to import, all of torch and Lightning."""

import warnings

from lit_vision.commands.functions import FUNCTIONS, run_function
from lit_vision.parsing.vision_cli import VisionCLI
from lit_vision.utils.log import to_stdout
from lit_vision.utils.memory import keep_freed_memory

_EXPECTED = (
    ".*exists and is not empty",  # the folder of a run that goes on
    ".*smaller than the logging interval",  # nothing is logged per step
    ".*sync_dist=True",  # the epoch's sums are reduced before they are logged
    ".*isinstance.treespec, LeafSpec.",  # Lightning's use of torch
    ".*module.s. in eval mode at the start of training",  # the frozen backbone
    ".*could not find the monitored key",  # without validation there is no best epoch
    ".*torch.jit.trace",  # TensorBoard's way to a graph
    ".*already a ScriptModule",
    ".*is not supported by the model summary",  # mixed precision, whose weights take 32 bits
    ".*WeightAveraging callback, but loading",  # to evaluate the average, which is what the checkpoint's weights are
    ".*callbacks used to create the checkpoint need to be provided",  # they are fit's alone
)


def run(args: list[str]) -> None:
    """Run one subcommand.

    Args:
        args: the command line without the program's name.
    """
    to_stdout()
    keep_freed_memory()
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message)
    if args and args[0] in FUNCTIONS:
        run_function(args[0], args[1:])
    else:
        VisionCLI(args)
