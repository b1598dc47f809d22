from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from lit_vision.data.batch import AnyBatch, FeatureBatch, MixedBatch
from lit_vision.data.datamodule import image_data
from lit_vision.data.decoding import Decoding, Resize
from lit_vision.data.loader import BatchLoader
from lit_vision.data.splits import check_no_class_is_empty
from lit_vision.errors import UserError
from lit_vision.models import checkpoint as checkpoints
from lit_vision.models.calibration import Calibration, read_calibration
from lit_vision.models.epoch_metrics import EpochMetrics, Stage
from lit_vision.models.loss import ClassWeights, balanced_weights, check_label_smoothing, training_loss
from lit_vision.models.modules import BEFORE_DECODING, InputSpec, check_crop_size
from lit_vision.models.optimization import OptimizedModule
from lit_vision.models.tta import check_tta, over_views
from lit_vision.models.weights_file import last_linear, read_weights
from lit_vision.optim import Optimizer, Schedule
from lit_vision.utils.lightning_compat import FastHookNames


class Classifier(FastHookNames, OptimizedModule, EpochMetrics, ABC):
    """An image classifier: one step for all stages, an optimizer, and loss and accuracy once an epoch.

    A subclass builds its network in ``__init__`` and defines ``forward``; it needs nothing else to train, save and
    load: a checkpoint holds its dotted path, its options and its weights. Options must have plain values; the option
    named weights is a file to start from, which a checkpoint does not record.

    Example:
        my_net.py, for ``lit-vision fit --config shapes.yaml --model my_net.MyNet --model.hidden 64``::

            from torch import nn
            from lit_vision.models import Classifier

            class MyNet(Classifier):
                def __init__(self, hidden: int = 32, **kwargs):
                    super().__init__(**kwargs)
                    self.features = nn.Sequential(nn.Conv2d(3, hidden, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1))
                    self.head = nn.Linear(hidden, len(self.class_names))

                def forward(self, image):
                    return self.head(self.features(image).flatten(1))

    Args:
        class_names: A name for each output; set from the data by the command line.
        image_size: Side of the input images in pixels; set from the data by the command line.
        mean: Mean of each channel, subtracted from values in [0, 1]; set from the data by the command line.
        std: Standard deviation of each channel, by which the centred values are divided; set from the data by the
            command line.
        resize: How images were resized to image_size; set from the data by the command line.
        decoding: How large JPEG files were decoded; set from the data by the command line.
        optimizer: Optimizer: sgd, adamw (Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019), muon,
            which needs the extra timm and leaves vectors to AdamW, or muon_sgd, for convolutions with norms after them.
        lr: Learning rate; with a schedule, its peak.
        momentum: Momentum of SGD and Muon; with AdamW, beta1.
        weight_decay: Weight decay. AdamW and Muon apply it to matrices and convolutions only, muon_sgd to all else.
        nesterov: Use Nesterov momentum, with SGD or Muon.
        schedule: Learning rate schedule: constant; one_cycle, which rises from lr / 25 to lr and falls linearly to 0 at
            the end of the run; or cosine, which rises in the same way and falls as half a cosine.
        warmup: Fraction of the run's steps before the peak of one_cycle or cosine, in [0, 1).
        label_smoothing: Label smoothing of the training loss, in [0, 1] (Szegedy et al., "Rethinking the Inception
            Architecture for Computer Vision", 2015).
        class_weights: Weights of the classes in the training loss: equal, or balanced, which gives rare classes more
            weight, so that all classes have the same in total.
        compile: Compile the network with torch.compile for training, which adds up to a minute at the start.
        tta: Test-time augmentation: test and predict with the mean over six views of each image, or, with a number, of
            each image whose highest probability is below it.

    Raises:
        UserError: an option is out of its range, or options contradict each other.
    """

    prefers_bfloat16: ClassVar[bool] = False
    """Whether the command line runs the network in bfloat16 if the device is fast at that and no precision is given."""

    def __init__(
        self,
        class_names: Sequence[str] = tuple("0123456789"),
        image_size: int = 32,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        resize: Resize = "stretch",
        decoding: Decoding = BEFORE_DECODING,
        optimizer: Optimizer = "sgd",
        lr: float | None = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        schedule: Schedule = "constant",
        warmup: float = 0.05,
        label_smoothing: float = 0.0,
        class_weights: ClassWeights = "equal",
        compile: bool = False,
        tta: bool | float = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(ignore=["weights"])  # a checkpoint has newer ones
        self.optimizer_options.check()
        check_label_smoothing(label_smoothing)
        check_tta(tta)
        self.class_names = list(class_names)
        self.input_spec = InputSpec(image_size, mean, std, resize, decoding)
        self.tta = tta
        self.trained = False
        """Whether weights with an output for each of these classes were loaded."""
        self.calibration: Calibration | None = None
        self._class_weights: Tensor | None = None
        self._compiled: Callable[[Tensor], Tensor] | None = None

    @property  # type: ignore[misc]
    def example_input_array(self) -> Tensor:
        """A blank image, for the table of layers."""
        return self._blank_image(self.input_spec.image_size)

    def _blank_image(self, side: int) -> Tensor:
        return torch.zeros(1, 3, side, side, dtype=self.dtype, device=self.device)  # type: ignore[arg-type]

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W)."""

    def forward_tta(self, image: Tensor) -> Tensor:
        """Logits (N, classes) for test and predict: with ``tta``, the mean over several views."""
        return over_views(self, image, self.tta, self.calibration.temperature if self.calibration else 1.0)

    def load_weights(self, weights: str | Path) -> None:
        """Load a state_dict from a file, such as the notebooks save, or from a checkpoint.

        If a checkpoint is of other classes, the last Linear layer keeps its new weights.

        Raises:
            UserError: the file is missing, broken, or of another network.
        """
        found = read_weights(weights)
        state, head = found.state, last_linear(self)
        found.tell_other_input(self.input_spec)
        if (is_other := found.has_other_classes(self.class_names)) and head is not None:
            found.tell_other_classes(self.class_names)
            own = {name: tensor for name, tensor in self.state_dict().items() if name.startswith(f"{head}.")}
            state = {**state, **own}
        checkpoints.check_state_dict(self, state, weights)
        self.load_state_dict(state)
        self.trained = not is_other

    def export_state_dict(self) -> dict[str, Tensor]:
        """Weights under the names that the network's layers have without this project."""
        return self.state_dict()

    def check_crop_size(self, side: int) -> None:
        """Try the network on an image of the data's ``crop_size``, and raise a UserError if it cannot take it."""
        check_crop_size(self, self._blank_image(side))

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        if (data := image_data(self.trainer)) is not None:
            for side in data.training_sizes():
                if side != self.input_spec.image_size:
                    self.check_crop_size(side)
            data.warn_if_only_crops(self.total_steps / self.steps_per_epoch())
        self._class_weights = self._find_class_weights()
        if self.hparams["compile"]:
            self._compiled = torch.compile(self.forward)

    def _find_class_weights(self) -> Tensor | None:
        if self.hparams["class_weights"] == "equal":
            return None
        loader, data = self.trainer.train_dataloader, image_data(self.trainer)
        if not isinstance(loader, BatchLoader) or (data is not None and data.balance):
            reason = "the data draws all classes equally often" if data else "the data is not an ImageDataModule"
            raise UserError(f"class_weights balanced cannot be used, since {reason}: leave --model.class_weights out")
        check_no_class_is_empty(loader.labels, self.class_names, "--model.class_weights")
        return balanced_weights(loader.labels, len(self.class_names)).to(self.device)

    def logits(self, batch: AnyBatch, stage: Stage) -> Tensor:
        """Logits (N, classes) of a batch on the device, in the precision of the network."""
        assert not isinstance(batch, FeatureBatch)  # a loader serves features only to the model that computed them
        # Evaluation is not compiled, so that fit and validate compute the same figures to the last digit.
        network = (self._compiled or self) if stage == "train" else self.forward_tta if stage == "test" else self
        return network(batch.image.to(self.dtype))

    def step(self, batch: AnyBatch, stage: Stage) -> tuple[Tensor, Tensor]:
        """Compute and count a batch; returns its mean loss and its logits (N, classes), in float32 or float64."""
        if not len(batch.label):  # the last batch has fewer images than there are ranks
            return self._zero_loss(), torch.zeros(0, len(self.class_names), device=batch.label.device)
        logits = self.logits(batch, stage)
        if logits.dtype in (torch.bfloat16, torch.float16):  # which are too coarse for a loss
            logits = logits.float()
        if stage == "train":
            mixed = (batch.other, batch.share) if isinstance(batch, MixedBatch) else None
            loss = training_loss(logits, batch.label, mixed, self.hparams["label_smoothing"], self._class_weights)
        else:
            loss = F.cross_entropy(logits, batch.label)
        self.count(stage, loss, logits, batch.label)
        return loss, logits

    def _zero_loss(self) -> Tensor:
        """Zero loss with zero gradients, for a rank whose part of the last batch is empty (BatchNorm needs images)."""
        return torch.stack([parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum() * 0

    @override
    def training_step(self, batch: AnyBatch, batch_idx: int) -> Tensor:
        """Mean loss of a batch, weighted so that DDP's average over ranks equals the mean over images."""
        loss = self.step(batch, "train")[0]
        if self.trainer.world_size > 1 and isinstance(loader := self.trainer.train_dataloader, BatchLoader):
            loss = loss * loader.loss_weight(batch_idx)
        return loss

    @override
    def validation_step(self, batch: AnyBatch, batch_idx: int) -> Tensor:
        return self.step(batch, "val")[1]

    @override
    def test_step(self, batch: AnyBatch, batch_idx: int) -> Tensor:
        return self.step(batch, "test")[1]

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["model_class"] = checkpoints.class_path(type(self))

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        path = self.trainer.ckpt_path or "the checkpoint"
        checkpoints.check_resumable(self, self.class_names, self.input_spec, checkpoint, path)
        # Lightning does so once the weights are loaded, and those of float64 would be rounded to float32 on their way
        self.trainer.precision_plugin.convert_module(self)
        super().on_load_checkpoint(checkpoint)
        self.calibration = read_calibration(checkpoint)

    @classmethod
    @override
    def load_from_checkpoint(  # type: ignore[override]  # needs nothing but the file
        cls, checkpoint_path: str | Path, map_location: torch.device | str | None = None, **options: Any
    ) -> Self:
        """Load a trained network of the class that was trained, in eval mode; ``options`` replace hyperparameters.

        Raises:
            UserError: the file is missing or broken, or its class is not imported or not a subclass of this one.
        """
        model, checkpoint = checkpoints.load_model(checkpoint_path, Classifier, cls, options)
        model.trained, model.calibration = True, read_calibration(checkpoint)
        return model.to(map_location or "cpu").eval()
