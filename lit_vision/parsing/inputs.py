"""How images are prepared, where the command line leaves that to a checkpoint or to pretrained weights."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from jsonargparse import Namespace

from lit_vision.data.decoding import resize_for
from lit_vision.errors import UserError
from lit_vision.models import InputSpec, TransferClassifier, pretrained_input
from lit_vision.models.modules import BEFORE_DECODING
from lit_vision.utils.log import log_info

_BRINGS_ITS_INPUT = "timm/"  # beginning of the names of networks that need no --data.input


def fill_in_input(config: Namespace, trained: Mapping[str, Any] | None) -> None:
    """Set the options of the data that are not given: from the checkpoint if there is one, or from the weights.

    Args:
        config: the options of a command, which are changed in place.
        trained: the content of the checkpoint; None without one.

    Raises:
        UserError: the network has no pretrained weights.
    """
    data, model = config.data.init_args, config.model.init_args
    if trained is not None:
        known = {name: trained["hyper_parameters"].get(name) for name in InputSpec._fields}
        known["decoding"] = known["decoding"] or BEFORE_DECODING
    elif data.get("input") == "pretrained":
        known = _of_weights(config)._asdict()
    elif str(model.get("arch")).startswith(_BRINGS_ITS_INPUT):
        known = pretrained_input(model.arch, model.get("weights") or "DEFAULT")._asdict()
    else:
        return
    if "input" in data:
        data.input = None
    if isinstance(known["resize"], int) and data.get("image_size") is not None:
        known["resize"] = resize_for(data.image_size, known["resize"], known["image_size"])
    if trained is None:
        del known["decoding"]
    filled = {name: value for name, value in known.items() if name in data and data[name] is None and value is not None}
    for name, value in filled.items():
        data[name] = value
    if filled and trained is None:
        words = ", ".join(f"{name} {list(v) if isinstance(v, tuple) else v}" for name, v in filled.items())
        log_info(f"images as the weights {model.weights} of {model.arch} expect them: {words}")


def _of_weights(config: Namespace) -> InputSpec:
    module, _, name = config.model.class_path.rpartition(".")
    kind = getattr(import_module(module), name)
    options = config.model.init_args
    if not issubclass(kind, TransferClassifier) or not {"arch", "weights"} <= set(vars(options)):
        raise UserError(
            f"input pretrained needs a pretrained network, unlike {name}: use --model TransferClassifier, or leave "
            "--data.input out"
        )
    return pretrained_input(options.arch, options.weights)
