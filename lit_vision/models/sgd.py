from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from typing_extensions import override

from lit_vision.optim import OptimizerOptions, ParameterGroup, set_lr, sgd, update_groups, use_fused


class SGDModule(LightningModule):
    """A LightningModule that trains with SGD and the schedule that its hyperparameters name.

    The learning rate is a function of the step alone. A scheduler would have a state, which a run resumed with another
    lr or length would have to discard.
    """

    total_steps: float = 1.0
    """Number of steps of the whole run, once training has started."""

    @property
    def optimizer_options(self) -> OptimizerOptions:
        """Options of SGD and its schedule, taken from the hyperparameters."""
        return OptimizerOptions.from_hparams(self.hparams)

    def parameter_groups(self) -> list[ParameterGroup]:
        """The parameters to train, in groups, each with the factor of its learning rate."""
        return [([parameter for parameter in self.parameters() if parameter.requires_grad], 1.0)]

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return sgd(self.parameter_groups(), self.optimizer_options, self._use_fused())

    def _use_fused(self) -> bool | None:
        trainer: Trainer | None = None
        with suppress(RuntimeError):  # the module is not attached to a Trainer
            trainer = self.trainer
        return use_fused(self.device if trainer is None else trainer.strategy.root_device, trainer)

    @override
    def on_train_start(self) -> None:
        super().on_train_start()
        self._schedule = self.optimizer_options
        self.total_steps = self.trainer.estimated_stepping_batches
        self._schedule.check_length(self.total_steps)

    @override
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.trainer.lr_scheduler_configs:  # set by Lightning's learning rate finder or the network's own scheduler
            return
        lr = self._schedule.lr_at(self.trainer.global_step / self.total_steps)
        if lr is not None:
            set_lr(self.trainer.optimizers[0], lr)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the options of this run replace the saved ones."""
        super().on_load_checkpoint(checkpoint)
        for state in checkpoint.get("optimizer_states", []):
            update_groups(state, self.optimizer_options, self._use_fused())
