from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from typing_extensions import override

from lit_vision.errors import UserError
from lit_vision.optim import OptimizerOptions, ParameterGroup, make_optimizer, set_lr, update_groups, use_fused


class OptimizedModule(LightningModule):
    """A LightningModule that trains with the optimizer and the schedule that its hyperparameters name.

    The learning rate is a function of the step alone. A scheduler would have a state, which a run resumed with another
    lr or length would have to discard.
    """

    total_steps: float = 1.0
    """Number of steps of the whole run, once training has started."""

    @property
    def optimizer_options(self) -> OptimizerOptions:
        """Options of the optimizer and its schedule, taken from the hyperparameters."""
        return OptimizerOptions.from_hparams(self.hparams)

    def parameter_groups(self) -> Sequence[ParameterGroup]:
        """The parameters to train, in groups, each with the factors of its learning rate and its weight decay."""
        return [ParameterGroup([parameter for parameter in self.parameters() if parameter.requires_grad])]

    def _groups(self) -> list[ParameterGroup]:
        return [ParameterGroup(*group) for group in self.parameter_groups()]  # a subclass may give plain tuples

    def schedule_progress(self) -> float:
        """Fraction of the schedule that is done, in [0, 1]."""
        return self.trainer.global_step / self.total_steps

    @override
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return make_optimizer(self._groups(), self.optimizer_options, self._use_fused())

    def _use_fused(self) -> bool | None:
        trainer: Trainer | None = None
        with suppress(RuntimeError):  # the module is not attached to a Trainer
            trainer = self.trainer
        return use_fused(self.device if trainer is None else trainer.strategy.root_device, trainer)

    def steps_per_epoch(self) -> int:
        """Number of the optimizer's steps in an epoch."""
        return -(-int(self.trainer.num_training_batches) // self.trainer.accumulate_grad_batches)

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
        lr = self._schedule.lr_at(self.schedule_progress())
        if lr is not None:
            set_lr(self.trainer.optimizers[0], lr)

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Let the options of this run replace the saved ones."""
        super().on_load_checkpoint(checkpoint)
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        theirs, ours = checkpoint["hyper_parameters"].get("optimizer", "sgd"), self.hparams["optimizer"]
        if theirs != ours:
            raise UserError(
                f"the checkpoint has the state of {theirs}: resume with --model.optimizer {theirs}, or start a new run "
                "from it with --model.weights"
            )
        for state in checkpoint.get("optimizer_states", []):
            update_groups(state, self._groups(), self.optimizer_options, self._use_fused())
