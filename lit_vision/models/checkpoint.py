"""Reading checkpoints and weight files: tensors and plain values only, never code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lit_vision.errors import UserError


def read_file(path: str | Path, what: str = "checkpoint") -> dict[str, Any]:
    """What ``torch.save`` wrote, with tensors on the CPU.

    Raises:
        UserError: the file is missing, broken, or holds more than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no {what} {path}: check the path")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises pickle, zip, EOF and runtime errors on broken files
        raise UserError(
            f"{path} is no {what} that can be read (broken off, or no PyTorch file): use another"
        ) from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, no {what}: save a state_dict() with torch.save")
    return content


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state_dict, or that of a checkpoint.

    Raises:
        UserError: as for :func:`read_file`.
    """
    content = read_file(path, "file of weights")
    return content.get("state_dict", content)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """A checkpoint that the Trainer wrote.

    Raises:
        UserError: as for :func:`read_file`, or it is some other file.
    """
    checkpoint = read_file(path)
    if "state_dict" not in checkpoint or "hyper_parameters" not in checkpoint:
        raise UserError(f"{path} is no checkpoint of a run: for a file of weights use --model.weights {path}")
    return checkpoint


def check_state_dict(network: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Compare names and shapes before loading.

    Raises:
        UserError: names the first keys that differ.
    """
    own = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    other = {name: tuple(tensor.shape) for name, tensor in state.items() if isinstance(tensor, Tensor)}
    differences = [
        *(f"{name} is missing" for name in own if name not in other),
        *(f"{name} is unknown" for name in other if name not in own),
        *(
            f"{name} has shape {other[name]} instead of {shape}"
            for name, shape in own.items()
            if name in other and other[name] != shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise UserError(
            f"{path} holds another network than {type(network).__name__} with these options: "
            f"{'; '.join(differences[:3])}{more}"
        )
