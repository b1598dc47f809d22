from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from typing_extensions import override

from lit_vision.data.batch import AnyBatch, FeatureBatch
from lit_vision.models.checkpoint import check_state_dict
from lit_vision.models.epoch_metrics import Stage
from lit_vision.models.feature_cache import serve_features
from lit_vision.models.fine_tuning import FineTuning
from lit_vision.models.folding import fold_batch_norms
from lit_vision.models.modules import init_linear
from lit_vision.models.networks import find_backbone
from lit_vision.models.unfreeze import Unfreeze


class TransferClassifier(FineTuning):
    """A pretrained backbone and a new linear layer ``fc``, by default the only layer that is trained.

    The backbone stays in eval mode, so that its BatchNorm statistics do not drift, and dropout is off: after training,
    the parameters and buffers of its frozen part are bit-identical. ``fc`` starts with Xavier uniform weights and zero
    biases.

    If the images are the same in every epoch, the features of a frozen backbone are computed once a run, and later
    epochs run only ``fc``. Otherwise, a message says why the features are computed in every epoch.

    Args:
        arch: Name of a torchvision classification network whose last layer is Linear, such as resnet18 or mobilenet_v2;
            or timm/NAME with a network of timm, which needs the extra timm, such as timm/convnext_tiny.
        weights: Weights of the backbone: DEFAULT or another of torchvision's names, which torchvision or timm downloads
            and checks; a file with a state_dict of the network, or a checkpoint; or null for random weights. If the
            last layer in the file has an output for each class, as in the notebook's files, fc starts from it, unless
            the file is a checkpoint of other classes.
        unfreeze: Layers that are trained beside fc: none (head), all normalisation layers (norm), all layers (all), or
            a number of stages, counted from the end; the table of layers lists them.
        unfreeze_at: Number of initial epochs that train fc alone, without augmentation if features are cached; the
            schedule then begins anew for all trained layers.
        layer_decay: Factor of the learning rate from fc to the last stage, and from each stage to the one before it.
        lr: Learning rate; with a schedule, its peak. By default 0.0001 for pretrained layers, and for fc 0.001 with sgd
            and 0.003 with other optimizers.
        cache_features: Compute the features of each image once a run instead of in every epoch.
        image_size: Side of the input images in pixels; set from the data by the command line.
        kwargs: options of :class:`Classifier`.

    Raises:
        UserError: the network is unknown, does not end in a Linear layer, or cannot take images of this size; its
            weights are missing or of another network; or timm is not installed.
    """

    def __init__(
        self,
        arch: str = "resnet18",
        weights: str | Path | None = "DEFAULT",
        unfreeze: Unfreeze = "head",
        unfreeze_at: int = 0,
        layer_decay: float = 1.0,
        lr: float | None = None,
        cache_features: bool = True,
        image_size: int = 224,
        **kwargs: Any,
    ) -> None:
        super().__init__(image_size=image_size, lr=lr, **kwargs)
        self.arch = arch
        self._library = find_backbone(arch)
        width = self._library.width(image_size)
        self.backbone = self._library.make().requires_grad_(False)
        self.fc = nn.Linear(width, len(self.class_names))
        init_linear(self.fc)
        self.prepare_fine_tuning()
        self._compiled_head: Callable[[Tensor], Tensor] | None = None
        self._folded_backbone: Callable[[Tensor], Tensor] | None = None
        self.train()
        if weights is not None:
            self.load_weights(weights)

    @override
    def forward(self, image: Tensor) -> Tensor:
        return self.fc(self.backbone(image))

    @override
    def logits(self, batch: AnyBatch, stage: Stage) -> Tensor:
        if isinstance(batch, FeatureBatch):
            head = (self._compiled_head or self.fc) if stage == "train" else self.fc
            return head(batch.features.to(self.dtype))
        if stage == "train" and self._folded_backbone is not None:
            return self.fc(self._folded_backbone(batch.image.to(self.dtype)))
        return super().logits(batch, stage)

    @override
    def train(self, mode: bool = True) -> Self:
        """Set the mode of ``fc`` alone: in train mode, even a frozen backbone would update its BatchNorm statistics."""
        super().train(mode)
        self.backbone.eval()
        return self

    @override
    def export_state_dict(self) -> dict[str, Tensor]:
        """Weights for the library's own network with as many classes, which loads them with strict=True."""
        return self._library.join(self.backbone.state_dict(), self.fc.state_dict())

    @override
    def load_weights(self, weights: str | Path) -> None:
        """Load the backbone, and also ``fc`` if the last layer of the file has an output for each class.

        Args:
            weights: one of the library's names for weights, or a file.

        Raises:
            UserError: ``weights`` is neither a name nor a file, the download failed, or the file is broken or of
                another network.
        """
        found = self._library.read(weights)
        found.tell_other_input(self.input_spec)
        body, head = self._split(found.state)
        check_state_dict(self.backbone, body, weights)
        self.backbone.load_state_dict(body)
        if found.has_other_classes(self.class_names):
            found.tell_other_classes(self.class_names)
        elif {name: tensor.shape for name, tensor in head.items()} == {
            n: p.shape for n, p in self.fc.named_parameters()
        }:
            self.fc.load_state_dict(head)
            self.trained = True

    def _split(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Split weights under this class's names or the library's into those of the backbone and of the last layer.

        Auxiliary classifiers of GoogLeNet and Inception, which only torchvision's training uses, may be missing.
        """
        if any(name.startswith("backbone.") for name in state):
            head = {name.removeprefix("fc."): tensor for name, tensor in state.items() if name.startswith("fc.")}
            body = {name.removeprefix("backbone."): t for name, t in state.items() if not name.startswith("fc.")}
        else:
            body, head = self._library.split(state)
        own = self.backbone.state_dict()
        return {**{name: tensor for name, tensor in own.items() if name.lower().startswith("aux")}, **body}, head

    # The feature cache

    def _serve_features(self, loader: object) -> None:
        if self.hparams["cache_features"]:
            waits = self.trainer.training and self.trainer.current_epoch < self.hparams["unfreeze_at"]
            serve_features(
                loader, self.backbone, self.trainer, tta=bool(self.tta) and self.trainer.testing, plain=waits
            )

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        if self.hparams["compile"]:
            self._compiled_head = torch.compile(self.fc.forward)
        elif self.hparams["unfreeze"] != "head":
            self._folded_backbone = fold_batch_norms(self.backbone)
        if self.is_within_epoch:  # on_train_epoch_start is not called for a resumed epoch
            self._serve_features(self.trainer.train_dataloader)

    @override
    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._serve_features(self.trainer.train_dataloader)

    @override
    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._serve_features(self.trainer.val_dataloaders)

    @override
    def on_test_epoch_start(self) -> None:
        super().on_test_epoch_start()
        self._serve_features(self.trainer.test_dataloaders)
