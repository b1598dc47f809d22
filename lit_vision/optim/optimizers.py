import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Self

import torch
from lightning.pytorch import Trainer
from torch import nn

from lit_vision.errors import UserError, check_at_least
from lit_vision.optim.muon_sgd import MuonSGD
from lit_vision.utils.lightning_compat import orthogonalize_in_float32
from lit_vision.utils.precision import has_fast_bfloat16

Optimizer = Literal["sgd", "adamw", "muon", "muon_sgd"]
Schedule = Literal["constant", "one_cycle", "cosine"]

DEFAULT_LR: dict[Optimizer, float] = {"sgd": 0.001, "adamw": 0.003, "muon": 0.003, "muon_sgd": 0.05}
"""Learning rates of layers that start with random weights."""

PRETRAINED_LR = 0.0001
"""Learning rate of pretrained layers, which that of a new layer would ruin."""

_START = 0.04  # factor of the peak learning rate at the first step of a schedule
_EPSILON = 1e-7  # of AdamW; with torch's 1e-8, rounding alone would move parameters whose gradient is almost zero


class ParameterGroup(NamedTuple):
    """Parameters that are trained with the same options.

    Attributes:
        params: the parameters.
        lr_scale: factor of the learning rate.
        decay_scale: factor of the weight decay.
    """

    params: list[nn.Parameter]
    lr_scale: float = 1.0
    decay_scale: float = 1.0


def _warmup(progress: float, warmup: float) -> float:
    return _START + (1 - _START) * progress / warmup


def one_cycle(progress: float, warmup: float = 0.05) -> float:
    """Factor of the peak learning rate: a linear rise from 1/25 to 1, then a linear fall to 0.

    After Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2018.

    Args:
        progress: fraction of the run's steps that are done, in [0, 1].
        warmup: fraction of the steps before the peak, in [0, 1).
    """
    if progress < warmup:
        return _warmup(progress, warmup)
    return max(0.0, (1 - progress) / (1 - warmup))


def cosine(progress: float, warmup: float = 0.05) -> float:
    """Factor of the peak learning rate: a linear rise from 1/25 to 1, then half a cosine to 0.

    After Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """
    if progress < warmup:
        return _warmup(progress, warmup)
    return (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup)))) / 2


SCHEDULES: dict[Schedule, Callable[[float, float], float]] = {"one_cycle": one_cycle, "cosine": cosine}
"""(progress, warmup) -> factor of the peak learning rate. constant has no entry, since it sets no learning rate."""


@dataclass(frozen=True)
class OptimizerOptions:
    """Options of the optimizer and its schedule, as :class:`~lit_vision.models.Classifier` documents them."""

    optimizer: Optimizer
    lr: float | None
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
            UserError: an option is out of its range, options contradict each other, or a package is missing.
        """
        check_at_least(0, "model", lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)
        if not 0 <= self.warmup < 1:
            raise UserError(f"warmup {self.warmup} is out of range: use --model.warmup from 0 to below 1")
        if self.optimizer == "adamw" and self.nesterov:
            raise UserError("adamw has no nesterov: leave --model.nesterov out, or use another --model.optimizer")
        if self.optimizer == "adamw" and self.momentum >= 1:
            raise UserError(f"momentum {self.momentum} is out of range: use --model.momentum below 1 with adamw")
        if self.nesterov and not self.momentum:
            raise UserError("nesterov needs momentum: set --model.momentum above 0")
        if self.optimizer == "muon":
            _import_muon()

    @property
    def peak_lr(self) -> float:
        """The learning rate that was given, or the default of the optimizer."""
        return DEFAULT_LR[self.optimizer] if self.lr is None else self.lr

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
        return None if factor is None else self.peak_lr * factor(progress, self.warmup)

    def of_group(self, group: ParameterGroup) -> dict[str, Any]:
        """Options of a parameter group, under the optimizer's own names."""
        scaled = {"lr": self.peak_lr * group.lr_scale, "weight_decay": self.weight_decay * group.decay_scale}
        if self.optimizer == "adamw":
            return {**scaled, "betas": (self.momentum, 0.999), "eps": _EPSILON}
        return {**scaled, "momentum": self.momentum, "nesterov": self.nesterov}

    def groups(self, groups: Sequence[ParameterGroup]) -> list[ParameterGroup]:
        """The groups as the optimizer takes them: with adamw and muon, biases and norms have no weight decay."""
        if self.optimizer == "sgd":
            return list(groups)
        if self.optimizer == "muon_sgd":
            parts = [
                ParameterGroup([p for p in params if (p.ndim == 4) == filters], lr_scale, 0.0 if filters else decay)
                for params, lr_scale, decay in groups
                for filters in (True, False)
            ]
            return [part for part in parts if part.params]
        parts = [
            ParameterGroup([p for p in params if (p.ndim > 1) == decays], lr_scale, decay_scale if decays else 0.0)
            for params, lr_scale, decay_scale in groups
            for decays in (True, False)
        ]
        return [part for part in parts if part.params]


def make_optimizer(
    groups: Sequence[ParameterGroup], options: OptimizerOptions, fused: bool | None
) -> torch.optim.Optimizer:
    """Make the optimizer, whose groups keep their ``lr_scale`` for :func:`set_lr`.

    Muon (Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024) is that of timm. It treats
    convolutions and matrices, and leaves the other parameters to AdamW; its updates have the size of AdamW's. It
    computes them in bfloat16, but in float32 on a processor that is slow in bfloat16. muon_sgd is :class:`MuonSGD`.
    """
    scaled: list[dict[str, Any]] = [
        {"params": group.params, "lr_scale": group.lr_scale, **options.of_group(group)}
        for group in options.groups(groups)
    ]
    defaults = options.of_group(ParameterGroup([]))
    device = groups[0].params[0].device
    if options.optimizer == "muon_sgd":
        return MuonSGD(scaled, **defaults, dtype=torch.bfloat16 if has_fast_bfloat16(device) else torch.float32)
    if options.optimizer == "muon":
        kind_of_muon = _import_muon()
        if device.type == "cpu" and not has_fast_bfloat16(device):
            orthogonalize_in_float32()  # bfloat16 would take fifty times as long
        muon: torch.optim.Optimizer = kind_of_muon(scaled, **defaults)
        return muon
    kind = torch.optim.SGD if options.optimizer == "sgd" else torch.optim.AdamW
    return kind(scaled, **defaults, fused=fused)


def _import_muon() -> Callable[..., torch.optim.Optimizer]:
    try:
        from timm.optim.muon import Muon
    except ImportError as error:
        raise UserError(
            "muon needs timm: install it with pip install 'lit-vision[timm]', or use another --model.optimizer"
        ) from error
    return Muon


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


def update_groups(
    state: Mapping[str, Any], groups: Sequence[ParameterGroup], options: OptimizerOptions, fused: bool | None
) -> None:
    """Replace the options in a saved optimizer state with those of this run, in place.

    Groups without ``lr_scale`` belong to a subclass's own optimizer, which keeps its saved options.

    Raises:
        UserError: the optimizer has trained other parameters.
    """
    saved = state["param_groups"]
    if any("lr_scale" not in group for group in saved):
        return
    ours = options.groups(groups)
    if [len(group["params"]) for group in saved] != [len(group.params) for group in ours]:
        raise UserError(
            "the optimizer of the checkpoint trains other layers than these options: resume with the --model options "
            "of its run, or start a new run from it with --model.weights"
        )
    for theirs, group in zip(saved, ours, strict=True):
        theirs.update({"lr_scale": group.lr_scale, **options.of_group(group)})
        if options.optimizer in ("sgd", "adamw"):
            theirs["fused"] = fused
