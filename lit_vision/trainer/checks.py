"""Checks of a run before it begins: what it asks for against what its checkpoint has and what its model logs."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import (
    BaseFinetuning,
    BatchSizeFinder,
    Callback,
    EarlyStopping,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    StochasticWeightAveraging,
    Timer,
)

from lit_vision.callbacks import BestAndLast, Patience
from lit_vision.errors import UserError, check_at_least
from lit_vision.models.checkpoint_content import check_training_state
from lit_vision.utils.log import log_info

_INSTEAD: dict[type[Callback], str] = {
    LearningRateFinder: "it searches anew when a run is resumed: use lit-vision lr-find, then --model.lr",
    BatchSizeFinder: "it searches anew when a run is resumed: set --data.batch_size",
    StochasticWeightAveraging: "its average is in no checkpoint: use EMAWeightAveraging, as cifar_fast.yaml does",
}
"""Callbacks of Lightning's whose runs cannot be resumed, and what does their work here."""

_TRAIN_METRICS = {"train/loss", "train/acc", "lr", "time/images_per_second"}
_VAL_METRICS = {"val/loss", "val/acc", "val/f1"}


_PROCESSES_PER_CORE = 16


def check_processes(devices: object, num_nodes: int, environ: Mapping[str, str]) -> None:
    """Check what is asked for before processes are started, or waited for without end.

    Args:
        devices: the value of ``--trainer.devices``.
        num_nodes: the number of machines.
        environ: the environment, in which launchers set the address of the first machine.

    Raises:
        UserError: the processes are too many for this machine, or nothing says where the others are.
    """
    most = _PROCESSES_PER_CORE * (os.cpu_count() or 1)
    if isinstance(devices, int | str) and str(devices).isdecimal() and int(devices) > most:
        raise UserError(f"devices {devices} is too many for this machine: set --trainer.devices to {most} at most")
    if num_nodes > 1 and not any(name in environ for name in ("MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID")):
        raise UserError(
            f"num_nodes {num_nodes} needs the address of the first machine: start the command with torchrun or SLURM, "
            "or set MASTER_ADDR and NODE_RANK"
        )


def check_run(
    trainer: Trainer, model: LightningModule, checkpoint: Mapping[str, Any] | None, path: Path | None
) -> None:
    """Check a run against the checkpoint that it goes on from, and its callbacks against each other.

    Args:
        trainer: the run's Trainer.
        model: the model that it will train.
        checkpoint: the content of the checkpoint; None for a new run.
        path: the checkpoint's file.

    Raises:
        UserError: the run could not begin, could not end, or could not be resumed.
    """
    check_at_least(1, "trainer", check_val_every_n_epoch=trainer.check_val_every_n_epoch)
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # declared nowhere
    for callback in callbacks:
        for kind, instead in _INSTEAD.items():
            if isinstance(callback, kind):
                raise UserError(f"{kind.__name__} cannot be used here, since {instead}")
    _check_monitors(trainer, model, callbacks)
    if checkpoint is not None:
        check_training_state(checkpoint, path)
        _check_progress(trainer, checkpoint, path)
        _check_states(callbacks, checkpoint, path)


def _check_monitors(trainer: Trainer, model: LightningModule, callbacks: list[Callback]) -> None:
    if not type(model).__module__.startswith("lit_vision."):
        return  # the user's own may log anything
    known = _TRAIN_METRICS | (_VAL_METRICS if trainer.limit_val_batches else set())
    for callback in callbacks:
        only_best = isinstance(callback, BestAndLast) and callback.patience is None
        allowed = known | _VAL_METRICS if only_best else known  # without a validation, there is no best epoch
        if not isinstance(callback, EarlyStopping | ModelCheckpoint) or callback.monitor in allowed | {None}:
            continue
        if type(callback).__module__.startswith(("lightning.", "lit_vision.")):
            name = type(callback).__name__
            metrics = ", ".join(sorted(allowed))
            raise UserError(
                f"{name} monitors {callback.monitor}, which is not logged: use one of {metrics} (--checkpoint.monitor)"
            )


def _check_progress(trainer: Trainer, checkpoint: Mapping[str, Any], path: Path | None) -> None:
    """Refuse to go on with a run that has more than was asked for; say so if it has just that."""
    epochs = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    steps = checkpoint["global_step"]
    longest, most = trainer.max_epochs, trainer.max_steps
    for done, wanted, unit in ((epochs, longest, "epochs"), (steps, most, "steps")):
        if wanted is None or wanted < 0 or done < wanted:
            continue
        message = f"{path} has {done} {unit} already: to go on, set --trainer.max_{unit} to more than that"
        if done > wanted:
            raise UserError(message)
        log_info(message)


def _check_states(callbacks: list[Callback], checkpoint: Mapping[str, Any], path: Path | None) -> None:
    """Refuse what the saved states of callbacks do not allow."""
    states = checkpoint.get("callbacks", {})
    for callback in callbacks:
        state = states.get(callback.state_key, {})
        if isinstance(callback, EarlyStopping) and state.get("stopping_reason"):
            if isinstance(callback, Patience) and callback.patience > state["wait_count"]:
                continue
            more = "raise --checkpoint.patience" if isinstance(callback, Patience) else "give it other options"
            raise UserError(
                f"EarlyStopping ended the run of {path} after epoch {state['stopped_epoch'] + 1}: leave the callback "
                f"out to go on, or {more}"
            )
        if isinstance(callback, Timer) and (limit := _seconds(callback)) is not None:
            elapsed = state.get("time_elapsed", {}).get("train", 0)
            if elapsed >= limit:
                raise UserError(
                    f"{path} has used {elapsed:.0f} of {limit:.0f} seconds: raise --trainer.max_time to go on"
                )
        if isinstance(callback, BaseFinetuning | ModelPruning):
            ours = " with --model.unfreeze and --model.unfreeze_at" if isinstance(callback, BaseFinetuning) else ""
            raise UserError(
                f"{type(callback).__name__} cannot be resumed, since no checkpoint says what it has done to the "
                f"network: start a new run{ours}"
            )


def _seconds(timer: Timer) -> float | None:
    """The duration of a timer that has not started; None without a limit."""
    remaining = timer.time_remaining()
    return None if remaining is None else remaining + timer.time_elapsed()


def reason_of_end(trainer: Trainer) -> str | None:
    """Say why a run ended before its last epoch; None if it did not."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    where = f"after epoch {trainer.current_epoch}"
    batches = trainer.fit_loop.epoch_loop.batch_progress
    if batches.current.ready and not batches.is_last_batch:
        where = f"in epoch {trainer.current_epoch + 1}, after step {trainer.global_step}"
    for callback in callbacks:
        if isinstance(callback, EarlyStopping) and callback.stopping_reason.value:
            if callback.stopping_reason.name == "PATIENCE_EXHAUSTED":
                return f"{where}: {callback.monitor} did not improve in {callback.patience} validations"
            return f"{where}: {' '.join(str(callback.stopping_reason_message).split())}"
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None and left <= 0:
            return f"{where}: the time of --trainer.max_time is up"
    if trainer.max_steps != -1 and trainer.global_step >= trainer.max_steps:
        return f"after step {trainer.global_step}, as --trainer.max_steps asks"
    if trainer.max_epochs is not None and 0 <= trainer.current_epoch < trainer.max_epochs:
        return f"{where}: a callback asked for it"
    return None
