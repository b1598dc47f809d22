"""Files of weights to start from: a bare state_dict, or a checkpoint, which knows its classes and its input."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn

from lit_vision.errors import UserError
from lit_vision.models.checkpoint import read_dictionary
from lit_vision.models.checkpoint_content import check_content, check_tensors
from lit_vision.models.modules import InputSpec
from lit_vision.utils.log import log_info

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which programs save weights beside other things
_PREFIXES = ("module.", "_orig_mod.")  # of names, by DataParallel and by torch.compile


class WeightsFile(NamedTuple):
    """The content of a file of weights.

    Attributes:
        path: the file.
        state: tensors by name, on the CPU.
        hparams: the options of the network, if the file is a checkpoint of this project; otherwise empty.
    """

    path: str | Path
    state: dict[str, Tensor]
    hparams: Mapping[str, Any]

    def has_other_classes(self, class_names: Sequence[str]) -> bool:
        """Whether the file is known to be of other classes, or of the same in another order."""
        known = self.hparams.get("class_names")
        return known is not None and list(known) != list(class_names)

    def tell_other_classes(self, class_names: Sequence[str]) -> None:
        """Tell the user that the last layer starts anew."""
        theirs, ours = ", ".join(self.hparams["class_names"]), ", ".join(class_names)
        log_info(f"{self.path} knows the classes {theirs} instead of {ours}: all layers but the last start from it")

    def tell_other_input(self, spec: InputSpec) -> None:
        """Tell the user if the network was trained on images that were normalised in another way."""
        for name, ours in (("mean", spec.mean), ("std", spec.std)):
            theirs = self.hparams.get(name)
            if theirs is not None and tuple(theirs) != tuple(ours):
                log_info(f"{self.path} was trained with {name} {list(theirs)}; here it is {list(ours)} (--data.{name})")


def read_weights(path: str | Path) -> WeightsFile:
    """Read a state_dict, from a file of its own or from a checkpoint, with tensors on the CPU.

    Raises:
        UserError: the file is missing or broken, or holds more than tensors and plain values.
    """
    content = _read_safetensors(path) if Path(path).suffix == ".safetensors" else read_dictionary(path, "weights file")
    hparams = content.get("hyper_parameters") if "model_class" in content else None
    wrapped = (content[key] for key in _WRAPPERS if isinstance(content.get(key), dict))
    state = dict(next(wrapped, content))
    for prefix in _PREFIXES:
        if state and all(str(name).startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    if isinstance(hparams, dict) and "state_dict" in content:
        check_content(content, path)
    else:
        check_tensors(state, path)
    return WeightsFile(path, state, hparams if isinstance(hparams, dict) else {})


def _read_safetensors(path: str | Path) -> dict[str, Any]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"{path} needs safetensors: install it with pip install 'lit-vision[timm]'") from error
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as a weights file ({error}): use another file") from error


def is_checkpoint(path: str | Path) -> bool:
    """Whether a file is a checkpoint of this project, rather than bare weights."""
    return bool(read_weights(path).hparams)


def last_linear(network: nn.Module) -> str | None:
    """The name of a network's last Linear layer; None without one."""
    return next((name for name, module in [*network.named_modules()][::-1] if isinstance(module, nn.Linear)), None)
