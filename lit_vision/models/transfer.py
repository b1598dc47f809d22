import difflib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torchvision import models

from lit_vision.errors import UserError
from lit_vision.models.checkpoint import check_state_dict, read_weights
from lit_vision.models.classifier import Classifier, init_linear
from lit_vision.models.feature_cache import compute_features
from lit_vision.utils.log import log_info


class TransferClassifier(Classifier):
    """A frozen torchvision backbone and a new ``fc``, the only layer that is trained.

    The backbone stays in eval mode, so that its BatchNorm statistics do not drift: its parameters and buffers are the
    same bits after fit. ``fc`` starts Xavier uniform, its bias 0.

    While nothing random touches the images, their features are computed once per run and kept, and later epochs only
    train ``fc``; where that is not valid, the log says so.

    Args:
        arch: a torchvision classification network whose last layer is Linear, such as resnet18 or mobilenet_v2.
        weights: of the backbone: DEFAULT or another of torchvision's names for it (downloaded and hash checked by
            torchvision), a file with a state_dict of the network, or null for random ones. From a file whose head has
            as many outputs as there are classes, such as the notebook saves, ``fc`` is loaded, too.
        cache_features: keep features instead of computing them in every epoch.
        image_size: side in pixels of the input images; the command line takes it from the data.
        kwargs: as for :class:`Classifier`.

    Raises:
        UserError: an unknown arch, one with another head or for another image size; weights that are missing or of
            another network.
    """

    def __init__(
        self,
        arch: str = "resnet18",
        weights: str | Path | None = "DEFAULT",
        cache_features: bool = True,
        image_size: int = 224,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_size=image_size, **kwargs)
        self.arch = arch
        self.cache_features = cache_features
        _check(arch, image_size)
        self.backbone = models.get_model(arch, weights=None).requires_grad_(False)
        self.head_name, head = _classifier_layer(self.backbone)
        _replace(self.backbone, self.head_name, nn.Identity())
        self.fc = nn.Linear(head.in_features, len(self.class_names))
        init_linear(self.fc)
        self.train()
        if weights is not None:
            self.load_weights(weights)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W), or of their features (N, width)."""
        return self.fc(self.backbone(image) if image.ndim == 4 else image)

    def train(self, mode: bool = True) -> Self:
        """Train ``fc`` alone: in train mode even a frozen backbone would move its BatchNorm statistics."""
        super().train(mode)
        self.backbone.eval()
        return self

    def export_state_dict(self) -> dict[str, Tensor]:
        """As torchvision's own network with its last Linear replaced names it, which loads it with strict=True."""
        head = {f"{self.head_name}.{name}": tensor for name, tensor in self.fc.state_dict().items()}
        return {**self.backbone.state_dict(), **head}

    def load_weights(self, weights: str | Path) -> None:
        """Load the backbone by name or from a file, and ``fc`` where the file's fits.

        Raises:
            UserError: neither a name nor a file; a download that failed; a file that is broken or of another network.
        """
        names = [*models.get_model_weights(self.arch).__members__]
        if weights in names:
            state: Mapping[str, Tensor] = _download(self.arch, str(weights))
        elif Path(weights).is_file():
            state = read_weights(weights)
        else:
            raise UserError(
                f"weights {weights} is neither a file nor one of torchvision's for {self.arch}: give --model.weights a "
                f"file, {', '.join(names)} or null"
            )
        if state.keys() == self.state_dict().keys():  # a checkpoint of ours
            super().load_weights(weights)
            return
        head = {
            name: state[f"{self.head_name}.{name}"]
            for name in ("weight", "bias")
            if f"{self.head_name}.{name}" in state
        }
        body = {name: tensor for name, tensor in state.items() if not name.startswith(f"{self.head_name}.")}
        check_state_dict(self.backbone, body, weights)
        self.backbone.load_state_dict(body)
        if {name: tensor.shape for name, tensor in head.items()} == {n: p.shape for n, p in self.fc.named_parameters()}:
            self.fc.load_state_dict(head)
            self.trained = True

    # The feature bank

    def on_train_start(self) -> None:
        """Fill the bank where an epoch is resumed in its middle, which has no start of its own."""
        super().on_train_start()
        if "train" in self._totals:  # in all processes, though one alone counts what was seen before
            self._use_bank(self.trainer.train_dataloader)

    def on_train_epoch_start(self) -> None:
        """Start counting anew, and fill the bank in the first epoch."""
        super().on_train_epoch_start()
        self._use_bank(self.trainer.train_dataloader)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew, and fill the bank at the first validation."""
        super().on_validation_epoch_start()
        self._use_bank(self.trainer.val_dataloaders)

    def on_test_epoch_start(self) -> None:
        """Start counting anew, and fill the bank."""
        super().on_test_epoch_start()
        self._use_bank(self.trainer.test_dataloaders)

    def _use_bank(self, loader: Any) -> None:
        if not hasattr(loader, "bank"):  # not our loader, which can give features in the place of images
            return
        reason = self._why_no_bank()
        if reason is None and loader.bank is None:
            loader.bank = compute_features(self.backbone, loader, self.trainer)
        elif reason is not None:
            loader.bank = None
            if self.cache_features and self.trainer.training and self.trainer.current_epoch == 0:
                log_info(f"features are computed in every epoch: {reason}")

    def _why_no_bank(self) -> str | None:
        if not self.cache_features:
            return "cache_features is off"
        data = getattr(self.trainer, "datamodule", None)
        if getattr(data, "augment", ()):
            return "augmentation changes the images"
        if getattr(data, "crop_epochs", 0):
            return "the first epochs see parts of the images"
        if self.tta and self.trainer.testing:
            return "test-time augmentation changes the images"
        if any(parameter.requires_grad for parameter in self.backbone.parameters()):
            return "the backbone is not frozen"
        return None


def _check(arch: str, image_size: int) -> None:
    """Try the network without weights or memory: does it exist, end in a Linear, and take such images?"""
    known = models.list_models(module=models)
    if arch not in known:
        close = difflib.get_close_matches(arch, known, n=3, cutoff=0.4)
        raise UserError(
            f"torchvision has no network {arch}: did you mean {' or '.join(close) or 'resnet18'}? (--model.arch)"
        )
    with torch.device("meta"):
        network = models.get_model(arch, weights=None).eval()
        name, head = _classifier_layer(network)
        if not isinstance(head, nn.Linear):
            raise UserError(f"the head of {arch} is {type(head).__name__}, no Linear: choose another --model.arch")
        _replace(network, name, nn.Identity())
        try:
            features = network(torch.empty(1, 3, image_size, image_size))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise UserError(
                f"{arch} takes no images of {image_size} pixels ({error}): set --data.image_size to 224"
            ) from error
    if features.shape != (1, head.in_features):
        raise UserError(f"the last Linear of {arch} is not its head: choose another --model.arch")


def _classifier_layer(network: nn.Module) -> tuple[str, Any]:
    return [(name, module) for name, module in network.named_modules() if not next(module.children(), None)][-1]


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)


def _download(arch: str, name: str) -> Mapping[str, Tensor]:
    weights = models.get_model_weights(arch)[name]
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    try:
        return weights.get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(
            f"cannot get torchvision's weights {name} of {arch} ({error}): put {weights.url} at {file}, or name a file "
            "with --model.weights FILE"
        ) from error
