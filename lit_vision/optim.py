"""SGD with parameter groups, and schedules of its learning rate."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Self

import torch
from lightning.pytorch import Trainer
from torch import nn

from lit_vision.errors import UserError, check_at_least

Schedule = Literal["constant", "one_cycle"]

ParameterGroup = tuple[list[nn.Parameter], float]
"""Parameters, and the factor by which their learning rate is multiplied."""


def one_cycle(progress: float, warmup: float = 0.05, start: float = 0.04) -> float:
    """Factor of the peak learning rate: a linear rise from ``start`` to 1, then a linear fall to 0.

    After Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Args:
        progress: fraction of the run's steps that are done, in [0, 1].
        warmup: fraction of the steps before the peak, in [0, 1).
        start: factor at the first step.
    """
    if progress < warmup:
        return start + (1 - start) * progress / warmup
    return max(0.0, (1 - progress) / (1 - warmup))


SCHEDULES: dict[Schedule, Callable[[float, float], float]] = {"one_cycle": one_cycle}
"""(progress, warmup) -> factor of the peak learning rate. constant has no entry, since it sets no learning rate."""


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of SGD and of its schedule, as :class:`~lit_vision.models.Classifier` documents them."""

    lr: float
    momentum: float
    weight_decay: float
    nesterov: bool
    schedule: Schedule
    warmup: float

    @classmethod
    def from_hparams(cls, hparams: Mapping[str, Any]) -> Self:
        """Take the options from a model's hyperparameters."""
        return cls(**{field.name: hparams[field.name] for field in fields(cls)})

    def check(self) -> None:
        """Check each option, and that the options are compatible.

        Raises:
            UserError: an option is out of its range, or options contradict each other.
        """
        check_at_least(0, "model", lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup {self.warmup} is out of range: use --model.warmup from 0 to below 1")
        if self.nesterov and not self.momentum:
            raise UserError("nesterov needs momentum: set --model.momentum above 0")

    def check_length(self, steps: float) -> None:
        """Check that the length of a run is limited, if the schedule needs that.

        Args:
            steps: number of steps of the run; infinity if it is not limited.

        Raises:
            UserError: the schedule needs a limit, and the run has none or has no steps.
        """
        if self.schedule in SCHEDULES and not 0 < steps < math.inf:
            raise UserError(
                f"the schedule {self.schedule} needs a run of limited length: set --trainer.max_epochs or "
                "--trainer.max_steps"
            )

    def lr_at(self, progress: float) -> float | None:
        """Learning rate after a fraction of the run, in [0, 1]; None if the schedule sets none."""
        factor = SCHEDULES.get(self.schedule)
        return None if factor is None else self.lr * factor(progress, self.warmup)

    def group_options(self, lr_scale: float) -> dict[str, Any]:
        """Options of a group; weight decay is divided by lr_scale, so that the decay per step does not depend on it."""
        return {
            "lr": self.lr * lr_scale,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay / lr_scale,
            "nesterov": self.nesterov,
        }


def sgd(groups: Sequence[ParameterGroup], options: OptimizerOptions, fused: bool | None) -> torch.optim.SGD:
    """Make SGD whose groups keep their ``lr_scale``, for :func:`set_lr` and :func:`update_groups`."""
    scaled = [{"params": params, "lr_scale": scale, **options.group_options(scale)} for params, scale in groups]
    return torch.optim.SGD(scaled, **options.group_options(1.0), fused=fused)


def use_fused(device: torch.device, trainer: Trainer | None) -> bool | None:
    """Choose whether one kernel updates all parameters; None leaves the choice to PyTorch.

    With mixed precision, Lightning does not clip the gradients of a fused optimizer.
    """
    clips_mixed = trainer is not None and trainer.gradient_clip_val and "mixed" in str(trainer.precision)
    return True if device.type in ("cpu", "cuda") and not clips_mixed else None


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups, multiplied by their ``lr_scale`` if they have one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def update_groups(state: Mapping[str, Any], options: OptimizerOptions, fused: bool | None) -> None:
    """Replace the options in a saved optimizer state with those of this run, in place.

    Groups without ``lr_scale`` belong to a subclass's own optimizer, which keeps its saved options.
    """
    for group in state["param_groups"]:
        if "lr_scale" in group:
            group.update({**options.group_options(group["lr_scale"]), "fused": fused})
