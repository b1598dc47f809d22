import difflib
import pickle
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models
from typing_extensions import override

from lit_vision.errors import UserError
from lit_vision.models.backbones import Backbone
from lit_vision.models.modules import InputSpec
from lit_vision.models.unfreeze import LayerStage, find_stages
from lit_vision.utils.torch_file import checked


class TorchvisionBackbone(Backbone):
    """A classification network of torchvision whose last layer is Linear."""

    def __init__(self, arch: str) -> None:
        super().__init__(arch)
        known = models.list_models(module=models)
        if arch not in known:
            close = difflib.get_close_matches(arch, known, n=3, cutoff=0.4)
            raise UserError(
                f"torchvision has no network {arch}: did you mean {' or '.join(close) or 'resnet18'}? (--model.arch)"
            )
        self.on_meta()

    @override
    def make(self) -> nn.Module:
        network: nn.Module = models.get_model(self.arch, weights=None)
        self._head, head = [(n, m) for n, m in network.named_modules() if not next(m.children(), None)][-1]
        if not isinstance(head, nn.Linear):
            raise UserError(
                f"the last layer of {self.arch} is {type(head).__name__}, not Linear: choose another --model.arch"
            )
        parent, _, child = self._head.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
        if isinstance(network, models.GoogLeNet | models.Inception3):
            network.transform_input = True  # their pretrained weights expect it
        return network

    @override
    def stages(self) -> list[LayerStage]:
        return find_stages(self.on_meta())

    @property
    @override
    def weight_names(self) -> list[str]:
        return [*models.get_model_weights(self.arch).__members__]

    @override
    def download(self, name: str) -> Mapping[str, Tensor]:
        weights = models.get_model_weights(self.arch)[name]
        file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
        check = checked(file, "delete it") if file.is_file() else nullcontext()  # a download is checked by its hash
        try:
            with check:
                return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            raise UserError(
                f"cannot download torchvision's weights {name} of {self.arch} ({error}): put {weights.url} at {file}, "
                "or name a file with --model.weights FILE"
            ) from error

    @override
    def input_of(self, weights: str) -> InputSpec:
        """The images of torchvision's weights; a file that is not named as they are counts as the default ones."""
        known = models.get_model_weights(self.arch)
        by_name = {**known.__members__, **{Path(entry.url).name: entry for entry in known}}
        seen = by_name.get(Path(weights).name, known["DEFAULT"]).transforms()
        return InputSpec(seen.crop_size[0], tuple(seen.mean), tuple(seen.std), seen.resize_size[0])

    @override
    def split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Split weights; the auxiliary classifiers, which take no part in evaluation, may be missing."""
        prefix = f"{self._head}."
        head = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
        return {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}, head

    @override
    def join(self, body: Mapping[str, Tensor], head: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {**body, **{f"{self._head}.{name}": tensor for name, tensor in head.items()}}
