"""Checks of what a checkpoint holds, so that a file that was not written here is refused before it is used."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from lit_vision.data.decoding import Decoding
from lit_vision.errors import UserError
from lit_vision.models.calibration import is_calibration

_MOST_PIXELS = 16_384  # per side


def check_content(checkpoint: Mapping[str, Any], path: str | Path) -> None:
    """Check what every command reads from a checkpoint. What is missing is left to whoever needs it.

    Args:
        checkpoint: the content of the file.
        path: the file, for errors.

    Raises:
        UserError: something has another type than it should, or cannot be true.
    """
    _check(checkpoint, _CONTENT, path)
    _check(checkpoint["hyper_parameters"], _OPTIONS, path)
    check_tensors(checkpoint["state_dict"], path)


def check_tensors(state: Mapping[str, Any], path: str | Path) -> None:
    """Check the values of a state_dict, of which those that are not tensors are left alone.

    Raises:
        UserError: a name is not text, or a tensor is sparse or complex, lacks its values, or has some that are NaN.
    """
    for name, tensor in state.items():
        if not isinstance(name, str):
            raise UserError(f"{path} has a tensor with the name {name!r}, which is not text: use another file")
        if not isinstance(tensor, Tensor):
            continue
        if tensor.layout is not torch.strided or tensor.is_complex() or tensor.is_meta or tensor.is_quantized:
            raise UserError(f"{path} holds {name} in a form that no network has, such as sparse: use another file")
        if tensor.is_floating_point() and not tensor.sum().isfinite() and _is_broken(tensor):
            raise UserError(f"{path} has values in {name} that are NaN or infinite: use an earlier checkpoint")


def _is_broken(tensor: Tensor) -> bool:
    """Whether a value is NaN or infinite; the masks of some networks have negative infinity."""
    return bool((tensor.isnan() | tensor.isposinf()).any())


def check_training_state(checkpoint: Mapping[str, Any], path: str | Path | None) -> None:
    """Check that a checkpoint has what a run needs to go on.

    Raises:
        UserError: something is missing.
    """
    found: Any = checkpoint
    for key in ("loops", "fit_loop", "epoch_progress", "current", "processed"):
        found = found.get(key) if isinstance(found, Mapping) else None
    missing = {"epoch", "global_step", "optimizer_states", "callbacks"} - checkpoint.keys()
    if not isinstance(found, int) or missing:
        raise UserError(
            f"{path} has weights, but not the state of a training, to resume: start from it with --model.weights {path}"
        )


def _check(values: Mapping[str, Any], rules: Mapping[str, Callable[[Any], bool]], path: str | Path) -> None:
    for name, is_right in rules.items():
        if name in values and not is_right(values[name]):
            shown = repr(values[name])
            shown = f"{shown[:40]}..." if len(shown) > 43 else shown
            raise UserError(f"{path} cannot be right, since its {name} is {shown}: use another file")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_dictionaries(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, dict) for value in values)


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _are_channels(value: object, above: float = -math.inf) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and all(isinstance(one, int | float) and math.isfinite(one) and one > above for one in value)
    )


_CONTENT: dict[str, Callable[[Any], bool]] = {
    "state_dict": lambda value: isinstance(value, dict),
    "hyper_parameters": lambda value: isinstance(value, dict) and all(isinstance(name, str) for name in value),
    "model_class": lambda value: value is None or isinstance(value, str),
    "pytorch-lightning_version": lambda value: isinstance(value, str),
    "epoch": _is_count,
    "global_step": _is_count,
    "loops": lambda value: isinstance(value, dict),
    "callbacks": lambda value: isinstance(value, dict) and all(isinstance(state, dict) for state in value.values()),
    "optimizer_states": lambda value: _are_dictionaries(value) and all("param_groups" in state for state in value),
    "train_sums": lambda value: isinstance(value, Tensor) and value.shape == (3,),
    "calibration": is_calibration,
    "provenance": lambda value: _are_dictionaries(value) and all(isinstance(x.get("data", {}), dict) for x in value),
}
_OPTIONS: dict[str, Callable[[Any], bool]] = {
    "class_names": _are_names,
    "image_size": lambda value: _is_count(value) and 1 <= value <= _MOST_PIXELS,
    "mean": _are_channels,
    "std": lambda value: _are_channels(value, above=0),
    "resize": lambda value: value in ("stretch", "center_crop") or _is_count(value),
    "decoding": lambda value: value in get_args(Decoding),
}
