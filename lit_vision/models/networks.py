"""Find pretrained networks, and the images that their weights were trained on."""

from pathlib import Path

from lit_vision.errors import UserError
from lit_vision.models.backbones import Backbone
from lit_vision.models.modules import BEFORE_DECODING, InputSpec
from lit_vision.models.timm_backbone import PREFIX, TimmBackbone
from lit_vision.models.torchvision_backbone import TorchvisionBackbone
from lit_vision.models.weights_file import read_weights


def find_backbone(arch: str) -> Backbone:
    """Find a network of torchvision, or with a name that begins with ``timm/`` one of timm.

    Raises:
        UserError: there is no such network, its last layer cannot be replaced, or timm is not installed.
    """
    return TimmBackbone(arch) if arch.startswith(PREFIX) else TorchvisionBackbone(arch)


def pretrained_input(arch: str = "resnet18", weights: str | Path | None = "DEFAULT") -> InputSpec:
    """Tell on which images the weights of a network were trained.

    Its fields are options of the data modules, as in
    ``ImageFolderDataModule(root, **pretrained_input("resnet50")._asdict())``.

    Args:
        arch: name of the network.
        weights: its weights, as TransferClassifier takes them. A checkpoint knows its images; a file of other weights
            is recognised by torchvision's name for it, and otherwise counts as DEFAULT.

    Raises:
        UserError: the network or its weights are unknown or missing.
    """
    backbone = find_backbone(arch)
    if weights is None:
        raise UserError("input pretrained needs pretrained weights: set --model.weights, or leave --data.input out")
    if Path(weights).is_file():
        hparams = {"decoding": BEFORE_DECODING, **read_weights(weights).hparams}
        if all(name in hparams for name in InputSpec._fields):
            return InputSpec(*(hparams[name] for name in InputSpec._fields))
    elif weights not in backbone.weight_names:
        backbone.read(weights)  # which says what is wrong
    return backbone.input_of(str(weights))
