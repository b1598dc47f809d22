from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lit_vision.callbacks.checkpoint import BestAndLast
from lit_vision.errors import UserError

_INTERVAL = 50  # steps between two looks: on an accelerator each waits, and small steps on a CPU would feel it, too


class TerminateOnNaN(Callback):
    """Stop a run whose loss or weights are no numbers or infinite, before a checkpoint is made of them.

    It must stand before the callback that writes checkpoints.
    """

    def __init__(self) -> None:
        self._losses: list[tuple[int, float, Tensor]] = []  # step, learning rate and loss that were not looked at

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._losses = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any) -> None:
        """Note the loss, and look at those of many steps at once."""
        self._losses.append((trainer.global_step, _lr(trainer), outputs["loss"]))
        if len(self._losses) >= _INTERVAL:
            self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is left, and at the validation: the last step may have spoilt the weights."""
        if trainer.sanity_checking:
            return
        self._look(trainer)
        loss = trainer.callback_metrics.get("val/loss")  # of all processes
        if loss is not None and not loss.isfinite():
            raise _error(trainer, f"val/loss is {loss.item()}", trainer.global_step, _lr(trainer))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is left."""
        self._look(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look at what is left, and at the weights, which a step spoils after its loss was computed."""
        self._look(trainer)
        tensors = [tensor for tensor in checkpoint["state_dict"].values() if tensor.is_floating_point()]
        if not tensors:
            return
        spoilt = torch.stack([tensor.isfinite().all() for tensor in tensors]).all().logical_not()
        if _in_any_process(trainer, spoilt):
            raise _error(trainer, "a weight is NaN or infinite", trainer.global_step, _lr(trainer))

    def _look(self, trainer: Trainer) -> None:
        """At the same steps in all processes, of which one may meet a bad loss before the others."""
        losses, self._losses = self._losses, []
        if not losses:
            return
        finite = torch.stack([loss for _, _, loss in losses]).isfinite()
        if _in_any_process(trainer, finite.all().logical_not()):
            where = finite.logical_not().nonzero()
            step, lr, loss = losses[int(where[0]) if len(where) else -1]
            value = loss.item() if len(where) else "NaN or infinite in another process"
            raise _error(trainer, f"the loss is {value}", step, lr)


def _in_any_process(trainer: Trainer, condition: Tensor) -> bool:
    """All processes must ask at the same step."""
    if trainer.world_size > 1:
        return bool(trainer.strategy.reduce(condition.float().to(trainer.strategy.root_device), reduce_op="max"))
    return bool(condition)


def _lr(trainer: Trainer) -> float:
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def _error(trainer: Trainer, what: str, step: int, lr: float) -> UserError:
    saved = next((c.last_model_path for c in trainer.callbacks if isinstance(c, BestAndLast)), "")  # type: ignore[attr-defined]
    good = f"the last good checkpoint is {saved}" if saved else "there is no good checkpoint yet"
    return UserError(
        f"{what} at step {step}, in epoch {trainer.current_epoch + 1}, with lr {lr:g}; {good}: lower --model.lr, or "
        "clip with --trainer.gradient_clip_val"
    )
