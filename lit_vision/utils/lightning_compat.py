"""All uses of private parts of Lightning and torch, in one place: check this file at each upgrade.

Each is needed because no public part does the same. Checked with lightning 2.6.6 and torch 2.14.1.
"""

import gc
import os
import signal
from functools import partial
from importlib import import_module
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities.exceptions import _TunerExitException
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override


class FastHookNames(LightningModule):
    """A LightningModule that stores the name of the running hook directly.

    Lightning assigns ``_current_fx_name`` before and after each hook, some twenty times a step. ``nn.Module`` looks
    through its parameters, buffers and submodules at each assignment, which takes measurable time if steps are
    short.
    """

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)


class CachedStateKey(Callback):
    """A callback whose ``state_key`` is computed once: Lightning asks for it at each hook.

    A subclass calls :meth:`cache_state_key` at the end of its ``__init__``.
    """

    _cached_state_key: str | None = None

    def cache_state_key(self) -> None:
        """Compute the key from the options as they are now."""
        self._cached_state_key = super().state_key

    @property
    @override
    def state_key(self) -> str:
        return self._cached_state_key or super().state_key


def count_interrupted_epochs_once(trainer: Trainer) -> None:
    """Let a run with ``max_steps`` resume like one with ``max_epochs``.

    With ``max_steps``, Lightning takes an epoch that a checkpoint interrupted for a finished one, and counts it twice
    (``_FitLoop.reset``, ``_iteration_based_training``).
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


class EndOfFit(_TunerExitException):
    """Raised in a hook, it ends ``Trainer.fit`` at once and without an error, as Lightning's tuners do.

    ``Trainer.should_stop`` would count the epoch as finished, and validate in its middle.
    """


def may_stop_early(trainer: Trainer) -> bool:
    """Whether a run has the epochs and steps that it must have at least."""
    return trainer.fit_loop._can_stop_early


def is_within_epoch(trainer: Trainer) -> bool:
    """Whether training starts in the middle of an epoch that a checkpoint interrupted."""
    return trainer.fit_loop.restarted_mid_epoch


def schedule_accumulation(trainer: Trainer) -> None:
    """Let a GradientAccumulationScheduler set the factor of an epoch that a checkpoint resumes.

    It does so when an epoch starts, and Lightning calls no hook at the start of a resumed one.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]  # declared nowhere
        if isinstance(callback, GradientAccumulationScheduler):
            callback.on_train_epoch_start(trainer)


def wrap_again(trainer: Trainer) -> None:
    """Let DistributedDataParallel know of parameters that are trained from now on: it looks at them once, when made."""
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy) and isinstance(strategy.model, DistributedDataParallel):
        strategy.model = trainer.lightning_module
        gc.collect()  # the hooks of the old one live as long as it does
        strategy.configure_ddp()


def kill_other_processes(trainer: Trainer) -> None:
    """End the processes that this one launched: after an error in one, the others wait for it forever.

    ``kill`` is a method of Lightning's private launchers.
    """
    launcher = trainer.strategy.launcher
    if launcher is not None:
        launcher.kill(signal.SIGKILL)


def launched_by_lightning(trainer: Trainer) -> bool:
    """Tell whether Lightning started the other processes itself, rather than torchrun or SLURM.

    Only strategies of several processes have a ``cluster_environment``; the base class does not declare it.
    """
    return isinstance(getattr(trainer.strategy, "cluster_environment", None), LightningEnvironment)


def global_seed() -> int:
    """Return the seed of ``seed_everything``, which Lightning keeps only in the environment; 0 if it was not called."""
    return int(os.environ.get("PL_GLOBAL_SEED", 0))


def cpu_multiplies_bfloat16() -> bool:
    """Tell whether this processor has AVX-512 bf16 instructions; False if torch does not know."""
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return supported is not None and bool(supported())


def is_compile_error(error: Exception) -> bool:
    """Tell whether torch.compile raised an error: its errors have no public base class."""
    return type(error).__module__.startswith(("torch._dynamo", "torch._inductor"))


def orthogonalize_in_float32() -> None:
    """Let timm's Muon compute its Newton-Schulz iterations in float32, for this process.

    ``zeropower_via_newtonschulz`` has an argument for that, which Muon does not pass on. Checked with timm 1.0.31.
    """
    module: Any = import_module("timm.optim.muon")
    if not isinstance(module.zeropower_via_newtonschulz, partial):
        module.zeropower_via_newtonschulz = partial(module.zeropower_via_newtonschulz, dtype=torch.float32)
