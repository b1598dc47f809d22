"""The end of a run whose loss or weights are no longer finite."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor
from typing_extensions import override

from lit_vision.callbacks.checkpoint import BestAndLast
from lit_vision.callbacks.epoch_log import learning_rate
from lit_vision.errors import UserError

_INTERVAL = 50  # steps between two checks: each check waits for an accelerator, and takes time with small CPU steps


class TerminateOnNaN(Callback):
    """Stops a run when its loss or a weight is NaN or infinite, before that reaches a checkpoint.

    The error names the step, the learning rate and the last good checkpoint. Lightning runs callbacks that write
    checkpoints after this one, in whatever order they are given.

    Raises:
        UserError: a training loss, the validation loss or a weight is not finite.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, float | None, Tensor]] = []  # step, learning rate and loss, not checked yet

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._losses = []

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: Any, batch_idx: int
    ) -> None:
        """Record the loss, and check the losses of many steps at once."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):  # a step without a loss is recorded, so that all ranks check together
            loss = torch.zeros((), device=pl_module.device)
        self._losses.append((trainer.global_step, learning_rate(trainer), loss))
        if len(self._losses) >= _INTERVAL:
            self._check_losses(trainer)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses and the validation loss: the last step may have made weights infinite."""
        if trainer.sanity_checking:
            return
        self._check_losses(trainer)
        loss = trainer.callback_metrics.get("val/loss")  # the mean over all ranks
        if loss is not None and not loss.isfinite():
            raise _error(trainer, f"val/loss is {loss.item()}", trainer.global_step, learning_rate(trainer))

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check_losses(trainer)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check the remaining losses and the weights: a step changes the weights after its loss was computed."""
        self._check_losses(trainer)
        tensors = checkpoint["state_dict"].values()
        finite = [tensor.isfinite().all() for tensor in tensors if tensor.is_floating_point()]
        if finite and _on_any_rank(trainer, torch.stack(finite).all().logical_not()):
            raise _error(trainer, "a weight is NaN or infinite", trainer.global_step, learning_rate(trainer))

    def _check_losses(self, trainer: Trainer) -> None:
        """Check the recorded losses. All ranks do so at the same steps, since a bad loss may be on only one of them."""
        losses, self._losses = self._losses, []
        if not losses:
            return
        finite = torch.stack([loss for _, _, loss in losses]).isfinite().flatten()
        if _on_any_rank(trainer, finite.all().logical_not()):
            bad = finite.logical_not().nonzero()
            step, lr, loss = losses[int(bad[0]) if len(bad) else -1]
            value = loss.item() if len(bad) else "NaN or infinite in another process"
            raise _error(trainer, f"the loss is {value}", step, lr)


def _on_any_rank(trainer: Trainer, condition: Tensor) -> bool:
    """Tell whether a condition holds on this or any other rank. All ranks must ask at the same step."""
    if trainer.world_size > 1:
        return bool(trainer.strategy.reduce(condition.float().to(trainer.strategy.root_device), reduce_op="max"))
    return bool(condition)


def _error(trainer: Trainer, problem: str, step: int, lr: float | None) -> UserError:
    saved = next((c.last_model_path for c in trainer.checkpoint_callbacks if isinstance(c, BestAndLast)), "")
    good = f"the last good checkpoint is {saved}" if saved else "there is no good checkpoint yet"
    rate = f", with lr {lr:g}" if lr is not None else ""
    return UserError(
        f"{problem} at step {step}, in epoch {trainer.current_epoch + 1}{rate}; {good}: lower --model.lr, or "
        "clip gradients with --trainer.gradient_clip_val"
    )
