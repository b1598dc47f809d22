import difflib
import math
import re
from collections.abc import Mapping
from functools import cached_property
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_vision.data.decoding import Resize
from lit_vision.errors import UserError
from lit_vision.models.backbones import Backbone
from lit_vision.models.modules import InputSpec, first_line
from lit_vision.models.unfreeze import LayerStage

PREFIX = "timm/"
"""What the names of timm's networks begin with."""


class TimmBackbone(Backbone):
    """A network of timm, such as timm/resnet18 or, with the tag of its weights, timm/resnet18.a1_in1k."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch)
        self._timm = _import_timm(arch)
        self._name = arch.removeprefix(PREFIX)
        family, _, tag = self._name.partition(".")
        if not self._timm.is_model(family):
            close = difflib.get_close_matches(family, self._timm.list_models(), n=3, cutoff=0.4)
            meant = " or ".join(PREFIX + name for name in close) or f"{PREFIX}resnet18"
            raise UserError(f"timm has no network {family}: did you mean {meant}? (--model.arch)")
        tags = [name.partition(".")[2] for name in self._timm.list_models(family, pretrained=True)]
        if tag and tag not in tags:
            known = f"use one of {', '.join(tags)}" if tags else "it has none"
            raise UserError(f"timm has no weights {tag} of {family}: {known} (--model.arch)")

    @override
    def make(self) -> nn.Module:
        return self._make(num_classes=0)

    def _make(self, num_classes: int) -> nn.Module:
        network: nn.Module = self._timm.create_model(self._name, num_classes=num_classes)
        return network

    @override
    def stages(self) -> list[LayerStage]:
        """timm's own groups of layers; one stage of all layers for the few networks without them.

        A last group of normalisation layers alone, such as that of ConvNeXt, belongs to the stage before it.
        """
        from timm.models import group_parameters

        network = self.on_meta()
        try:
            groups = [*group_parameters(network, network.group_matcher(coarse=True)).values()]  # type: ignore[operator]
        except (AttributeError, AssertionError):
            groups = [[name for name, _ in network.named_parameters()]]
        if len(groups) > 1 and all(network.get_parameter(name).ndim == 1 for name in groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
        return [LayerStage(_span(names), names) for names in groups]

    @property
    @override
    def weight_names(self) -> list[str]:
        return ["DEFAULT"]

    @override
    def download(self, name: str) -> Mapping[str, Tensor]:
        try:
            state: Mapping[str, Tensor] = self._timm.create_model(
                self._name, pretrained=True, num_classes=0
            ).state_dict()
        except Exception as error:  # huggingface_hub, its transport and timm raise a dozen kinds
            where = self._settings.get("hf_hub_id") or self._settings.get("url")
            source = f" from {where}" if where else ""
            raise UserError(
                f"cannot download timm's weights of {self._name}{source} ({first_line(error)}): name a file with "
                "--model.weights FILE"
            ) from error
        return state

    @cached_property
    def _settings(self) -> dict[str, Any]:
        settings = self._timm.get_pretrained_cfg(self._name)
        return {} if settings is None else settings.to_dict()

    @override
    def input_of(self, weights: str) -> InputSpec:
        """The images of timm's weights, which are also those of a file."""
        known = {"input_size": (3, 224, 224), "crop_pct": 0.875, **self._settings}
        side = known["input_size"][1]
        whole = known.get("crop_mode") == "squash" and known["crop_pct"] == 1
        resize: Resize = "stretch" if whole else math.floor(side / known["crop_pct"])
        mean, std = known.get("mean", (0.5, 0.5, 0.5)), known.get("std", (0.5, 0.5, 0.5))
        return InputSpec(side, tuple(mean), tuple(std), resize)

    @override
    def split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        own = self.on_meta().state_dict()
        last = [name for name in self._last_layer(1) if name in state]  # which other files than timm's may lack
        body = {name: tensor for name, tensor in state.items() if name in own or name not in last}
        head = {
            name.rpartition(".")[2]: state[name].flatten(1) if state[name].ndim > 1 else state[name] for name in last
        }
        return body, head if len(last) == 2 else {}

    @override
    def join(self, body: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
        last = self._last_layer(len(head["bias"]))
        parts = {name.rpartition(".")[2]: name for name in last}
        if len(last) != 2 or parts.keys() != head.keys() or last[parts["weight"]].numel() != head["weight"].numel():
            raise UserError(f"the last layer of {self.arch} is not one Linear layer: use --format onnx")
        shaped = {name: head[part].reshape(last[name].shape) for part, name in parts.items()}
        return {**body, **shaped}

    def _last_layer(self, num_classes: int) -> dict[str, Tensor]:
        """The tensors that only the whole network has, on the meta device."""
        with torch.device("meta"):
            whole = self._make(num_classes).state_dict()
        own = self.on_meta().state_dict()
        return {name: tensor for name, tensor in whole.items() if name not in own}


def _import_timm(arch: str) -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise UserError(
            f"{arch} needs timm: install it with pip install 'lit-vision[timm]', or use another --model.arch"
        ) from error
    module: ModuleType = timm
    return module


def _span(names: list[str]) -> str:
    """The first and the last module of a stage, such as ``layer1`` or ``conv1 to bn1`` or ``blocks.3``."""
    first, last = (re.split(r"(?<=\d)\.|\.(?!\d)", name)[0] for name in (names[0], names[-1]))
    return first if first == last else f"{first} to {last}"
