"""Optimizers, their parameter groups, and schedules of the learning rate."""

from lit_vision.optim.muon_sgd import MuonSGD
from lit_vision.optim.optimizers import (
    DEFAULT_LR,
    PRETRAINED_LR,
    SCHEDULES,
    Optimizer,
    OptimizerOptions,
    ParameterGroup,
    Schedule,
    cosine,
    make_optimizer,
    one_cycle,
    set_lr,
    update_groups,
    use_fused,
)

__all__ = [
    "DEFAULT_LR",
    "PRETRAINED_LR",
    "SCHEDULES",
    "MuonSGD",
    "Optimizer",
    "OptimizerOptions",
    "ParameterGroup",
    "Schedule",
    "cosine",
    "make_optimizer",
    "one_cycle",
    "set_lr",
    "update_groups",
    "use_fused",
]
