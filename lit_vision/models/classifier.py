import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lit_vision.data.batch import Batch
from lit_vision.errors import UserError
from lit_vision.metrics import MetricSums
from lit_vision.models.checkpoint import check_state_dict, read_checkpoint, read_weights
from lit_vision.models.modules import in_eval_mode
from lit_vision.models.tta import mean_over_views
from lit_vision.optim import Schedule, one_cycle
from lit_vision.utils.log import log_info


class Classifier(LightningModule, ABC):
    """An image classifier: one step for all stages, loss and accuracy as means over samples, logged once an epoch.

    A subclass builds its network in ``__init__`` and gives ``forward``: (N, 3, H, W) float32 -> logits (N, classes).
    Everything that is needed to use a trained network stands in its checkpoint as plain values.

    Args:
        class_names: one for each output; the command line takes them from the data.
        image_size: side in pixels of the input images; the command line takes it from the data.
        mean: per channel, what was subtracted from inputs in [0, 1]; the command line takes it from the data.
        std: per channel, what divided them; the command line takes it from the data.
        resize: how images of another size were brought to ``image_size``; the command line takes it from the data.
        lr: learning rate of SGD; of a schedule the highest.
        momentum: of SGD.
        weight_decay: of SGD.
        nesterov: whether the momentum is Nesterov's.
        schedule: of the learning rate: constant, or one_cycle, which rises from a 25th of ``lr`` and falls to nothing
            until the end of the run.
        warmup: part of the run's steps, in [0, 1), during which one_cycle rises; without one_cycle it does nothing.
        label_smoothing: part of the training loss, in [0, 1], that asks for the same probability of every class
            (Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015).
        compile: let torch.compile make faster code for training, which takes up to a minute at the start.
        tta: test and predict with the mean over six views of every image, see :func:`mean_over_views`.
    """

    def __init__(
        self,
        class_names: Sequence[str] = tuple("0123456789"),
        image_size: int = 32,
        mean: tuple[float, float, float] = (0.5, 0.5, 0.5),
        std: tuple[float, float, float] = (0.5, 0.5, 0.5),
        resize: str = "stretch",
        lr: float = 0.001,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        schedule: Schedule = "constant",
        warmup: float = 0.05,
        label_smoothing: float = 0.0,
        compile: bool = False,
        tta: bool = False,
    ) -> None:
        super().__init__()
        for name, value in (("lr", lr), ("momentum", momentum), ("weight_decay", weight_decay)):
            if value < 0:
                raise UserError(f"{name} {value} is negative: give at least 0 with --model.{name}")
        if not 0 <= warmup < 1:
            raise UserError(f"warmup {warmup} is no part of the run: give --model.warmup 0 to less than 1")
        if not 0 <= label_smoothing <= 1:
            raise UserError(f"label_smoothing {label_smoothing} is no part: give --model.label_smoothing 0 to 1")
        if nesterov and not momentum:
            raise UserError("nesterov needs momentum: give --model.momentum more than 0")
        self.save_hyperparameters(ignore=["weights"])  # the checkpoint has better ones
        self.class_names = list(class_names)
        self.lr = lr
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.schedule = schedule
        self.warmup = warmup
        self.label_smoothing = label_smoothing
        self.compile_network = compile
        self.tta = tta
        self._compiled: Callable[[Tensor], Tensor] | None = None
        self.trained = False  # True once weights for these very classes are loaded
        self._totals: dict[str, MetricSums] = {}
        self._steps = 1.0  # of the run

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning notes the name of every hook here; Module would look for parameters and buffers first.
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property  # type: ignore[misc]
    def example_input_array(self) -> Tensor:
        """An image, for the table of layers."""
        side = self.hparams["image_size"]
        return torch.zeros(1, 3, side, side, dtype=self.dtype)  # type: ignore[arg-type]

    @abstractmethod
    def forward(self, image: Tensor) -> Tensor:
        """Logits (N, classes) of normalised images (N, 3, H, W)."""

    def forward_tta(self, image: Tensor) -> Tensor:
        """Logits (N, classes) as test and predict use them: with ``tta`` the mean over several views."""
        return mean_over_views(self, image) if self.tta else self(image)

    def load_weights(self, path: str | Path) -> None:
        """Load a state_dict file, such as the notebooks save.

        Raises:
            UserError: the file is missing, broken, or of another network.
        """
        state = read_weights(path)
        check_state_dict(self, state, path)
        self.load_state_dict(state)
        self.trained = True

    def export_state_dict(self) -> dict[str, Tensor]:
        """The weights, named as the network is without this project."""
        return self.state_dict()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD over all parameters that are to be trained."""
        groups = [{"params": params, "lr_scale": scale} for params, scale in self.parameter_groups()]
        optimizer = torch.optim.SGD(groups, **self._sgd_options())
        for group in optimizer.param_groups:
            group.update(self._group_options(group))
        return optimizer

    def parameter_groups(self) -> list[tuple[list[nn.Parameter], float]]:
        """The parameters that are to be trained, and what the learning rate of each group of them is multiplied by."""
        return [([parameter for parameter in self.parameters() if parameter.requires_grad], 1.0)]

    def _group_options(self, group: dict[str, Any]) -> dict[str, Any]:
        """A group's options; a higher learning rate leaves what weight decay takes in a step as it is."""
        options, scale = self._sgd_options(), group.get("lr_scale", 1.0)
        return {**options, "lr": self.lr * scale, "weight_decay": self.weight_decay / scale}

    def _sgd_options(self) -> dict[str, Any]:
        trainer = self._trainer
        device = self.device if trainer is None else trainer.strategy.root_device
        # One kernel for all parameters; but with mixed precision Lightning does not clip gradients for it.
        clips = trainer is not None and trainer.gradient_clip_val and "mixed" in str(trainer.precision)
        fused = True if device.type in ("cpu", "cuda") and not clips else None
        options = {"lr": self.lr, "momentum": self.momentum, "weight_decay": self.weight_decay}
        return {**options, "nesterov": self.nesterov, "fused": fused}

    def on_train_start(self) -> None:
        """Learn how long the run is, try the size of its small images, and compile."""
        self._steps = self.trainer.estimated_stepping_batches
        if self.schedule != "constant" and not 0 < self._steps < math.inf:
            raise UserError(f"the schedule {self.schedule} needs an end: give --trainer.max_epochs or max_steps")
        data: Any = getattr(self.trainer, "datamodule", None)
        if crop_epochs := getattr(data, "crop_epochs", 0):
            self.check_crop_size(data.crop_size)
            steps = crop_epochs * self.trainer.num_training_batches / self.trainer.accumulate_grad_batches
            if 0 < self._steps <= steps and not self.trainer.fast_dev_run:  # type: ignore[attr-defined]
                log_info(f"no epoch trains on whole images: crop_epochs is {crop_epochs} (--data.crop_epochs)")
        if self.compile_network:
            self._compiled = torch.compile(self.forward)

    @torch.no_grad()
    def check_crop_size(self, side: int) -> None:
        """Try the network on an image of the data's ``crop_size``.

        Raises:
            UserError: it takes none.
        """
        image = torch.zeros(1, 3, side, side, dtype=self.dtype, device=self.device)  # type: ignore[arg-type]
        try:
            with in_eval_mode(self):
                self(image)
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, AssertionError, ValueError) as error:
            message = f"{type(self).__name__} takes no images of {side} pixels"
            raise UserError(f"{message} ({error}): change --data.crop_size, or give --data.crop_epochs 0") from error

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of a schedule.

        It is a function of the step alone and needs no scheduler: there is no state to lose, and a run that goes on has
        the rate that its own lr and length call for.
        """
        if self.schedule == "constant" or self.trainer.lr_scheduler_configs:  # those of lr-find
            return
        lr = self.lr * one_cycle(self.trainer.global_step / self._steps, self.warmup)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)  # older checkpoints have none

    # Steps

    def step(self, batch: Batch, stage: str) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, which is also counted, and the logits (N, classes)."""
        totals = self._totals.get(stage)
        if totals is None:
            totals = self._totals[stage] = MetricSums()
        if not len(batch.label):  # this process' share of an epoch's last batch, with fewer images than processes
            return self._nothing(), batch.image.new_zeros(0, len(self.class_names))
        # Evaluation is not compiled, so that the figures of fit and of validate are the same to the last digit.
        network = (self._compiled or self) if stage == "train" else self.forward_tta if stage == "test" else self
        logits = network(batch.image.to(self.dtype))
        if logits.dtype in (torch.bfloat16, torch.float16):  # too coarse for a loss
            logits = logits.float()
        smoothing = self.label_smoothing if stage == "train" else 0.0
        loss = F.cross_entropy(logits, batch.label, label_smoothing=smoothing)
        totals.add(loss, logits, batch.label)
        return loss, logits

    def _nothing(self) -> Tensor:
        """A loss of 0 whose gradients are 0: BatchNorm, for one, cannot do without images."""
        return torch.stack([parameter.sum() for parameter in self.parameters() if parameter.requires_grad]).sum() * 0

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Loss of a training batch, weighted so that the mean over the processes is that over their images."""
        loss = self.step(batch, "train")[0]
        if self.trainer.world_size == 1:
            return loss
        loader: Any = self.trainer.train_dataloader
        return loss * loader.weight(batch_idx) if hasattr(loader, "weight") else loss

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count a validation batch; gives its logits."""
        return self.step(batch, "val")[1]

    def test_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Count a test batch; gives its logits."""
        return self.step(batch, "test")[1]

    # Epochs

    @property
    def images_seen(self) -> int:
        """Training images of this epoch so far, in this process."""
        return self._totals["train"].count if "train" in self._totals else 0

    def epoch_metrics(self, stage: str) -> dict[str, Tensor]:
        """Loss and accuracy of the epoch so far, over all processes: float32 scalars, {} where nothing was counted."""
        totals = self._totals.get(stage)
        if totals is None:
            return {}
        sums = self._over_processes(totals)
        means = (sums[:2] / sums[2]).to(torch.float32)
        return {f"{stage}/loss": means[0], f"{stage}/acc": means[1]}

    def _over_processes(self, totals: MetricSums) -> Tensor:
        sums = self.trainer.strategy.reduce(totals.sums().to(self.device), reduce_op="sum")
        assert isinstance(sums, Tensor)
        return sums

    def on_train_epoch_start(self) -> None:
        """Start counting anew."""
        self._totals.pop("train", None)

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self._totals.pop("val", None)

    def on_test_epoch_start(self) -> None:
        """Start counting anew."""
        self._totals.pop("test", None)

    def on_train_epoch_end(self) -> None:
        """Log train/loss and train/acc."""
        self.log_dict(self.epoch_metrics("train"))

    def on_validation_epoch_end(self) -> None:
        """Log val/loss and val/acc."""
        self.log_dict(self.epoch_metrics("val"), prog_bar=True)

    def on_test_epoch_end(self) -> None:
        """Log test/loss and test/acc."""
        self.log_dict(self.epoch_metrics("test"))

    # Checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note which class it is, and the sums of an epoch that has begun."""
        checkpoint["model_class"] = type(self).__name__
        if totals := self._totals.get("train"):
            checkpoint["train_sums"] = self._over_processes(totals)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Check that it fits, and let this run's options win over those it was saved with.

        Raises:
            UserError: it is of another network, or of other classes.
        """
        path = self.trainer.ckpt_path or "the checkpoint"
        check_state_dict(self, checkpoint["state_dict"], path)
        names = checkpoint["hyper_parameters"].get("class_names", self.class_names)
        if list(names) != self.class_names:
            raise UserError(
                f"{path} knows the classes {', '.join(names)}, the data has {', '.join(self.class_names)}: "
                "use the data that it was trained for"
            )
        if "train_sums" in checkpoint:
            self._totals["train"] = MetricSums()
            if self.trainer.is_global_zero:  # they are those of all processes
                self._totals["train"].load(checkpoint["train_sums"])
        for state in checkpoint.get("optimizer_states", []):
            for group in state["param_groups"]:
                group.update({name: value for name, value in self._group_options(group).items() if name in group})

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]  # needs nothing but the file
        cls, checkpoint_path: str | Path, map_location: Any = None, **options: Any
    ) -> Self:
        """The trained model, of the class that was trained, in eval mode.

        Args:
            checkpoint_path: a run's checkpoint.
            map_location: device to put it on, by default the CPU.
            options: in the place of saved hyperparameters.

        Raises:
            UserError: the file is missing, broken, or of a class that is not imported or no ``cls``.
        """
        checkpoint = read_checkpoint(checkpoint_path)
        known = {model.__name__: model for model in [cls, *_subclasses(cls)]}
        name = checkpoint.get("model_class")
        if name not in known:
            raise UserError(f"{checkpoint_path} holds a {name}, which is no imported {cls.__name__}: import its class")
        model = known[name](**{**checkpoint["hyper_parameters"], "weights": None, **options})
        check_state_dict(model, checkpoint["state_dict"], checkpoint_path)
        model.load_state_dict(checkpoint["state_dict"])
        return model.to(map_location or "cpu").eval()


def _subclasses(cls: type) -> list[type]:
    children: list[type] = cls.__subclasses__()
    return [found for child in children for found in (child, *_subclasses(child))]


def init_linear(module: nn.Module) -> None:
    """Start a Linear as the notebooks do: weights Xavier uniform, biases 0. For ``Module.apply``."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
